//! Where log lines go: stderr, as text or JSON.

use std::io::{IsTerminal, stderr};

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::LogFormat;

/// Sends everything of `level` and above to stderr, with colours if that is a terminal. Libraries speak only of warnings
/// and errors, whatever `level`: what they trace, in this version or the next, is up to them, and what passes through them
/// are names, fields and bytes of others.
///
/// Called once per process; a second call changes nothing.
pub fn init(level: Level, format: LogFormat) {
    // An error means that there is a subscriber already.
    let _ = Registry::default().with(layer(level, format, stderr().is_terminal(), stderr)).try_init();
}

fn layer<S, W>(level: Level, format: LogFormat, colours: bool, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    lines.with_filter(filter(level))
}

fn filter(level: Level) -> Targets {
    Targets::new().with_default(level.min(Level::WARN)).with_target(env!("CARGO_PKG_NAME"), level)
}

#[cfg(test)]
mod tests {
    use std::io::{Result, Write};
    use std::sync::{Arc, Mutex};

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
        let written = Written::default();
        let writer = written.clone();
        let subscriber = Registry::default().with(layer(level, format, false, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
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
}
