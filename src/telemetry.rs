//! Where log lines go: stderr, as text or JSON.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Sends everything at `level` and above to stderr. Libraries speak up only at warn, or at trace if that is wanted.
///
/// Called once per process; a second call changes nothing.
pub fn init(level: tracing::Level, format: LogFormat) {
    let directives =
        if level == tracing::Level::TRACE { "trace".to_owned() } else { format!("warn,dispatcher={level}") };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    // An error means that a subscriber is there already, as in tests.
    let _ = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => {
            subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
}
