//! What the demo shows: progress while it runs, a table at its end.

use std::cell::Cell;
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use super::receiver::Receiver;
use super::sender::Sender;
use crate::time::monotonic_now;

/// Without a terminal, progress is a line this often.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Two bars on stderr, or plain lines where it is not a terminal.
#[derive(Debug)]
pub struct Progress {
    bars: Option<Bars>,
    line_due: Cell<Instant>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    acknowledged: ProgressBar,
    delivered: ProgressBar,
}

impl Progress {
    /// Towards this many messages.
    pub fn new(messages: u64) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let style = ProgressStyle::with_template("  {prefix:>12} [{bar:40}] {human_pos} of {human_len}")
                .expect("the template is valid")
                .progress_chars("=> ");
            let bar = |name| all.add(ProgressBar::new(messages).with_style(style.clone()).with_prefix(name));
            let (acknowledged, delivered) = (bar("acknowledged"), bar("delivered"));
            Bars { all, acknowledged, delivered }
        });
        Self { bars, line_due: Cell::new(monotonic_now() + LINE_EVERY) }
    }

    /// What has just happened.
    pub fn note(&self, text: &str) {
        let shown = self.bars.as_ref().is_some_and(|bars| bars.all.println(format!("* {text}")).is_ok());
        if !shown {
            eprintln!("* {text}");
        }
    }

    /// How far it is.
    pub fn show(&self, acknowledged: u64, delivered: u64) {
        match &self.bars {
            Some(bars) => {
                bars.acknowledged.set_position(acknowledged);
                bars.delivered.set_position(delivered);
            }
            None if monotonic_now() >= self.line_due.get() => {
                self.line_due.set(monotonic_now() + LINE_EVERY);
                eprintln!("  acknowledged {acknowledged}, delivered {delivered}");
            }
            None => {}
        }
    }

    /// Leaves the bars as they are.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.acknowledged.abandon();
            bars.delivered.abandon();
        }
    }
}

/// The end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    wanted: u64,
    sent: u64,
    acknowledged: u64,
    delivered: u64,
    lost: u64,
    damaged: u64,
    duplicates: u64,
    unmarked_duplicates: u64,
    refused: Option<u16>,
    failed: u64,
    latency_us: (u64, u64),
    took: Duration,
}

impl Report {
    /// As things stand now, with `wanted` messages to be acknowledged.
    pub fn new(wanted: u64, sender: &Sender, receiver: &Receiver, took: Duration) -> Self {
        let (duplicates, unmarked_duplicates) = receiver.duplicates();
        Self {
            wanted,
            sent: sender.sent(),
            acknowledged: sender.acknowledged(),
            delivered: receiver.delivered(),
            lost: sender.missing(receiver),
            damaged: receiver.damaged(),
            duplicates,
            unmarked_duplicates,
            refused: sender.refused(),
            failed: receiver.failed(),
            latency_us: (sender.latency_us(0.5), sender.latency_us(0.99)),
            took,
        }
    }

    /// Whether every promise was kept.
    pub const fn is_success(&self) -> bool {
        self.lost == 0 && self.damaged == 0 && self.unmarked_duplicates == 0 && self.acknowledged == self.wanted
    }

    /// For a person to read; `kept` is the directory that was not removed.
    pub fn table(&self, kept: Option<&Path>) -> String {
        let mut text = String::from("\n");
        let mut row = |name: &str, count: u64, meaning: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<14}{:>10}   {meaning}", HumanCount(count).to_string());
        };
        let again = self.sent.saturating_sub(self.acknowledged);
        row("sent", self.sent, &format!("{again} of them again, because no answer came before the kill"));
        row("acknowledged", self.acknowledged, "answered 202: on disk");
        row("answered 503", self.failed, "by the receiver at first; each was tried again");
        let early = self.delivered.saturating_sub(self.acknowledged);
        let early =
            if early > 0 { format!(", {early} of them on disk though the kill took their 202") } else { String::new() };
        row("delivered", self.delivered, &format!("bodies intact{early}"));
        let marks = if self.unmarked_duplicates == 0 { "marked" } else { "NOT ALL MARKED" };
        row("duplicates", self.duplicates, &format!("{marks} X-Dispatcher-Maybe-Duplicate: true"));
        row("lost", self.lost, if self.lost == 0 { "of those acknowledged" } else { "ACKNOWLEDGED AND NOT DELIVERED" });
        if self.damaged > 0 {
            row("damaged", self.damaged, "ARRIVED WITH ANOTHER BODY OR WITHOUT AN ID");
        }
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
        let (p50, p99) = self.latency_us;
        let _ =
            writeln!(text, "  {:<14}{:>10.2}   ms from request to 202; p99 {:.2} ms", "accept p50", ms(p50), ms(p99));
        let _ = writeln!(text, "  {:<14}{:>10.1}   seconds in all", "took", self.took.as_secs_f64());
        if self.acknowledged < self.wanted {
            let missing = self.wanted - self.acknowledged;
            let _ = writeln!(text, "\n  OUT OF TIME: {missing} messages were not acknowledged");
        }
        if let Some(status) = self.refused {
            let _ = writeln!(text, "\n  Some messages were refused at first, the last with {status}, and sent again.");
        }
        if let Some(kept) = kept {
            let _ = writeln!(text, "\n  Kept: {}", kept.display());
        }
        text.push_str(NEXT);
        text
    }
}

const NEXT: &str = "
Where to go next: run it, and send it a request as you would send it to its destination.

  LISTEN=:8080 dispatcher
  curl -i -H 'X-Dispatcher-Origin-Host: example.com' -d hello http://localhost:8080/any/path?and=query
  curl http://localhost:8080/metrics
  dispatcher --help        every variable, with its default
";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Report = Report {
        wanted: 10_000,
        sent: 10_016,
        acknowledged: 10_000,
        delivered: 10_003,
        lost: 0,
        damaged: 0,
        duplicates: 4,
        unmarked_duplicates: 0,
        refused: None,
        failed: 4_321,
        latency_us: (310, 2_150),
        took: Duration::from_millis(8_400),
    };

    #[test]
    fn the_table_says_what_became_of_the_messages() {
        let table = GOOD.table(None);
        for row in [
            "sent              10,016   16 of",
            "lost                   0   of",
            "accept p50          0.31   ms",
            "p99 2.15 ms",
            "took                 8.4   seconds",
            "answered 503       4,321   by",
            "3 of them on disk",
        ] {
            assert!(table.contains(row), "{row:?} in {table}");
        }
        assert!(!table.contains("Kept") && !table.contains("refused"));
        assert!(GOOD.is_success());
    }

    #[test]
    fn a_broken_promise_is_no_success() {
        for bad in [
            Report { lost: 1, ..GOOD },
            Report { damaged: 1, ..GOOD },
            Report { unmarked_duplicates: 1, ..GOOD },
            Report { acknowledged: 9_999, ..GOOD },
        ] {
            assert!(!bad.is_success());
            assert!(bad.table(None) != GOOD.table(None));
        }
    }
}
