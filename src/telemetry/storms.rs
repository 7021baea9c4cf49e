//! Storms of log lines: of each kind only so many are written in a while, then how many were left out.
//!
//! A kind is a place in the source, so a storm of one kind hides no line of another. Only warnings, errors and
//! information are counted: who asks for more than that wants all of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one kind in the present while.
#[derive(Debug)]
struct Kind {
    level: Level,
    /// What its first line says.
    line: String,
    written: u32,
    left_out: u64,
}

/// Which lines there were, in the present while.
#[derive(Debug)]
pub struct Storms {
    lines_max: u32,
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

impl Storms {
    /// At most so many lines of each kind between two calls of [`Self::tell`].
    pub fn new(lines_max: u32) -> Self {
        Self { lines_max, kinds: Mutex::default() }
    }

    /// Begins the next while. A line for each kind of which some were left out in the last one says how many.
    pub fn tell(&self) {
        // Taken first: what is told here is an event, too.
        let kinds = std::mem::take(&mut *self.kinds());
        for Kind { level, line, left_out, .. } in kinds.into_values().filter(|kind| kind.left_out > 0) {
            const MESSAGE: &str = "lines were left out: too many of a kind";
            // The level of an event is part of its place in the source.
            if level == Level::ERROR {
                tracing::error!(line, left_out, "{MESSAGE}");
            } else if level == Level::WARN {
                tracing::warn!(line, left_out, "{MESSAGE}");
            } else {
                tracing::info!(line, left_out, "{MESSAGE}");
            }
        }
    }

    /// Whether this line is one too many.
    fn is_written(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut kinds = self.kinds();
        let kind = kinds.entry(metadata.callsite()).or_insert_with(|| {
            let mut message = Message::default();
            event.record(&mut message);
            Kind { level: *metadata.level(), line: message.0, written: 0, left_out: 0 }
        });
        if kind.written < self.lines_max {
            kind.written += 1;
            return true;
        }
        kind.left_out += 1;
        false
    }

    /// A panic aborts the process in production; in tests, what it left behind is still what it was.
    fn kinds(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event says, without its fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Shared with whoever tells what was left out.
pub struct StormLayer(pub Arc<Storms>);

impl<S: Subscriber> Layer<S> for StormLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.is_written(event)
    }
}
