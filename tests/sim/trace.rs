//! What happened in a run: a hash over every event, and the events as lines if somebody is to read them.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::io;
use std::rc::Rc;

use super::clock;

/// A handle to the trace of one run; clones share it. Off unless begun with [`Trace::hashing`] or [`Trace::keeping`].
#[derive(Clone, Default)]
pub struct Trace(Option<Rc<Inner>>);

struct Inner {
    hash: Cell<u64>,
    events: Cell<u64>,
    lines: Option<RefCell<Vec<String>>>,
}

/// FNV-1a over the text of the events: the same events in the same order, and nothing else, give the same hash.
struct Hasher(u64);

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

thread_local! {
    static CURRENT: RefCell<Trace> = const { RefCell::new(Trace(None)) };
}

/// Where log lines go that are to be read among the events.
pub struct LogLines;

impl io::Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        CURRENT.with_borrow(|trace| trace.line(format_args!("log: {}", String::from_utf8_lossy(line).trim())));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        Ok(())
    }
}

impl Trace {
    /// A trace that is only hashed.
    pub fn hashing() -> Self {
        Self::new(None)
    }

    /// A trace that is kept too.
    pub fn keeping() -> Self {
        Self::new(Some(RefCell::default()))
    }

    fn new(lines: Option<RefCell<Vec<String>>>) -> Self {
        Self(Some(Rc::new(Inner { hash: Cell::new(FNV_OFFSET), events: Cell::new(0), lines })))
    }

    /// Notes an event, with the time at which it happened.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        let Some(inner) = &self.0 else { return };
        let at = clock::lived();
        let mut hasher = Hasher(inner.hash.get());
        let _ = writeln!(hasher, "{} {event}", at.as_micros());
        inner.hash.set(hasher.0);
        inner.events.update(|events| events + 1);
        self.line(event);
    }

    /// Adds what is only to be read, and is no part of the hash.
    fn line(&self, text: fmt::Arguments<'_>) {
        if let Some(lines) = self.0.as_ref().and_then(|inner| inner.lines.as_ref()) {
            lines.borrow_mut().push(format!("{:>12.3} {text}", clock::lived().as_secs_f64()));
        }
    }

    /// Makes this the trace that [`LogLines`] on this thread go to.
    pub fn take_log_lines(&self) {
        CURRENT.set(self.clone());
    }

    /// The hash so far, and the number of events in it.
    pub fn hash(&self) -> (u64, u64) {
        self.0.as_ref().map_or((0, 0), |inner| (inner.hash.get(), inner.events.get()))
    }

    /// The lines so far, if they are kept.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.as_ref().and_then(|inner| inner.lines.as_ref());
        lines.map_or_else(Vec::new, |lines| lines.borrow().clone())
    }
}
