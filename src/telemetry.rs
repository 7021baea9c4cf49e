//! Where log lines go: stderr, as text or JSON, and no more of a kind than somebody could read.

// Too many lines of a kind.
mod storms;

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::LogFormat;
use crate::limits::{LOG_LINES_MAX, LOG_WHILE_MS};
use storms::{StormLayer, Storms};

/// Log lines, until it is dropped; then what was left out is told, and no more.
pub struct Telemetry {
    format: LogFormat,
    ending: Option<SyncSender<()>>,
    teller: Option<JoinHandle<()>>,
}

/// Sends everything of `level` and above to stderr, with colours if that is a terminal. Libraries speak only of warnings
/// and errors, whatever `level`: what they trace, in this version or the next, is up to them, and what passes through them
/// are names, fields and bytes of others.
///
/// Called once per process. Errors: no thread can be had.
pub fn init(level: Level, format: LogFormat) -> std::io::Result<Telemetry> {
    let lines_max = if level > Level::INFO { u32::MAX } else { LOG_LINES_MAX };
    let storms = Arc::new(Storms::new(lines_max));
    let layer = layer(level, format, stderr().is_terminal(), stderr, Arc::clone(&storms));
    // An error means that there is a subscriber already.
    let _ = Registry::default().with(layer).try_init();
    let (ending, ended) = sync_channel::<()>(0);
    let body = move || {
        while ended.recv_timeout(Duration::from_millis(LOG_WHILE_MS)) == Err(RecvTimeoutError::Timeout) {
            storms.tell();
        }
        storms.tell();
    };
    let teller = std::thread::Builder::new().name("log".to_owned()).spawn(body)?;
    Ok(Telemetry { format, ending: Some(ending), teller: Some(teller) })
}

impl Telemetry {
    /// Says why the process ends although it was not asked to: a line like the others as JSON, or for people.
    pub fn tell_failure(&self, error: &str, exit_status: u8) {
        match self.format {
            LogFormat::Text => eprintln!("dispatcher: {error}"),
            LogFormat::Json => tracing::error!(error, exit_status, "failed"),
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        drop(self.ending.take());
        // An error would be a panic of that thread, which has told of itself.
        let _ = self.teller.take().map(JoinHandle::join);
    }
}

fn layer<S, W>(level: Level, format: LogFormat, colours: bool, writer: W, storms: Arc<Storms>) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    // Not filters of this one layer: those may not refuse an event that they have let pass by its kind.
    filter(level).and_then(StormLayer(storms)).and_then(lines)
}

fn filter(level: Level) -> Targets {
    Targets::new().with_default(level.min(Level::WARN)).with_target(env!("CARGO_PKG_NAME"), level)
}

/// An error and all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Result, Write};
    use std::sync::Mutex;

    use super::*;

    /// Keeps what is written to it.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn written(level: Level, format: LogFormat, log: impl FnOnce()) -> String {
        written_in_storms(level, format, &Arc::new(Storms::new(u32::MAX)), log)
    }

    fn written_in_storms(level: Level, format: LogFormat, storms: &Arc<Storms>, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = layer(level, format, false, move || writer.clone(), Arc::clone(storms));
        tracing::subscriber::with_default(Registry::default().with(layer), log);
        let bytes = written.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_json_line_is_flat_and_knows_no_spans() {
        let text = written(Level::INFO, LogFormat::Json, || {
            let _span = tracing::info_span!("request", id = 1).entered();
            tracing::warn!(shard = 3, segment = 42, "torn tail dropped");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).expect("one JSON object");
        let keys: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["level", "message", "segment", "shard", "target", "timestamp"]);
        assert_eq!((line["level"].as_str(), line["shard"].as_u64()), (Some("WARN"), Some(3)));
        assert_eq!(line["message"].as_str(), Some("torn tail dropped"));
    }

    #[test]
    fn a_text_line_has_no_colours_where_nobody_looks() {
        let text = written(Level::INFO, LogFormat::Text, || tracing::info!(shard = 3, "recovered"));
        assert!(text.contains("INFO") && text.contains("recovered shard=3\n") && !text.contains('\x1b'), "{text:?}");
    }

    /// Whoever can have a text of theirs logged must not be able to forge a line, or to have a terminal obey.
    #[test]
    fn a_value_cannot_begin_a_line_of_its_own_nor_command_a_terminal() {
        let hostile = "a\u{1b}[2J\r\n2026-01-01T00:00:00Z INFO forged";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = written(Level::INFO, format, || tracing::info!(hostile, shown = ?hostile, "event"));
            assert_eq!(text.matches(['\n', '\r']).count(), 1, "{text:?}");
            assert!(text.ends_with('\n') && !text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn libraries_speak_of_warnings_alone_and_never_above_the_level_that_is_wanted() {
        for (level, ours, theirs) in [
            (Level::ERROR, Level::ERROR, Level::ERROR),
            (Level::WARN, Level::WARN, Level::WARN),
            (Level::INFO, Level::INFO, Level::WARN),
            (Level::DEBUG, Level::DEBUG, Level::WARN),
            (Level::TRACE, Level::TRACE, Level::WARN),
        ] {
            let filter = filter(level);
            for at in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                assert_eq!(filter.would_enable("dispatcher::wal", &at), at <= ours, "{level} {at}");
                assert_eq!(filter.would_enable("hyper::proto", &at), at <= theirs, "{level} {at}");
            }
        }
    }

    #[test]
    fn of_a_storm_so_many_lines_are_written_in_each_while_and_then_how_many_were_left_out() {
        let storms = Arc::new(Storms::new(3));
        let dead = |id: u32| tracing::warn!(id, "dead-lettered");
        let text = written_in_storms(Level::INFO, LogFormat::Json, &storms, || {
            (0..10).for_each(dead);
            tracing::error!("of another kind");
            storms.tell();
            (10..12).for_each(dead);
            storms.tell();
        });
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let ids: Vec<u64> = lines.iter().filter_map(|line| line["id"].as_u64()).collect();
        assert_eq!(ids, [0, 1, 2, 10, 11], "{text}");
        assert_eq!((lines.len(), lines[3]["message"].as_str()), (7, Some("of another kind")), "{text}");
        let told = (lines[4]["left_out"].as_u64(), lines[4]["line"].as_str(), lines[4]["level"].as_str());
        assert_eq!(told, (Some(7), Some("dead-lettered"), Some("WARN")), "{text}");
    }

    #[test]
    fn what_is_traced_on_request_is_never_left_out() {
        let storms = Arc::new(Storms::new(1));
        let text = written_in_storms(Level::DEBUG, LogFormat::Text, &storms, || {
            (0..5).for_each(|number| tracing::debug!(number, "all of it"));
        });
        assert_eq!(text.lines().count(), 5, "{text}");
    }
}
