//! `dispatcher log`: what is in a log, and whether it is intact. Reads, and never writes, locks or creates anything.
//!
//! A daemon may be running on the log or not: see [`walk`].

// The records, as JSON Lines.
mod cat;
// Which records were asked for.
mod filter;
// A record as a JSON object.
mod line;
// Which directories are read.
mod places;
// What a check found.
mod report;
// The check.
mod verify;
// One shard's log from its beginning to its end.
pub mod walk;

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::values;
use crate::message::{MessageId, OriginError};
use crate::time::{Millis, Rfc3339, UnixMillis};
use crate::wal::recovery::RecoveryError;
pub use filter::State;

/// The commands of `dispatcher log`.
#[derive(Clone, Debug, Subcommand)]
pub enum LogCommand {
    /// Prints every record of a log as JSON Lines
    #[command(after_help = CAT_HELP)]
    Cat(CatOptions),
    /// Checks every checksum of a log and of its dead letters, and sums up what is there
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyOptions),
}

const CAT_HELP: &str = "\
One object per record, shard by shard, oldest first. record is accepted, retry, delivered, dead_lettered, lost, or
dead_letter in the log of dead letters. A field that says nothing is left out. Bodies and answers are base64; a head that
is not UTF-8 is base64 too, as head_base64. Damage and torn tails are told on stderr. The daemon may be running.

Examples:
  dispatcher log cat | jq -c 'select(.record == \"retry\")'
  dispatcher log cat --id 01a20bd2-02f3-7548-aec6-07ca29d3aca6
  dispatcher log cat --origin b.example:8080 --since 2h
  dispatcher log cat --dead-letters --state dead-lettered --bodies
  dispatcher log cat /backup/transaction.log/shard-00 --since 2026-11-24T04:30:00Z

Exit status:
  0  all of it is intact
  1  something is damaged, and was told on stderr
  2  the log or an argument cannot be used";

const VERIFY_HELP: &str = "\
A torn tail is no damage: a crash cut the last batch short, and nobody was told 202 for what is missing. The daemon may be
running; it may reuse segments while they are read, which is counted. Memory grows with the live messages of a shard.

Examples:
  dispatcher log verify
  dispatcher log verify --json /backup/transaction.log | jq .totals

Exit status:
  0  intact
  1  something is damaged
  2  the log or an argument cannot be used, or a newer version wrote it";

/// Options of `dispatcher log cat`.
#[derive(Clone, Debug, Args)]
pub struct CatOptions {
    /// The log, or one shard-NN of it [default: TRANSACTION_LOG]
    pub dir: Option<PathBuf>,
    /// Reads the log of dead letters too: dead-letter in DIR, or DEAD_LETTER
    #[arg(long)]
    pub dead_letters: bool,
    /// Only records of this message; may be repeated
    #[arg(long, value_name = "UUID", value_parser = id)]
    pub id: Vec<MessageId>,
    /// Only records of messages for this origin, spelt as in X-Dispatcher-Origin-Host
    ///
    /// Takes memory for each of them: their outcomes do not name it.
    #[arg(long)]
    pub origin: Option<String>,
    /// Only records of messages that have come to this by the end of the log
    ///
    /// Reads the log twice, and takes memory for every message in it.
    #[arg(long, value_enum)]
    pub state: Option<State>,
    /// Only records of what happened since: an RFC 3339 time, or so long ago, as 30s 5m 2h 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Prints heads with the values of their fields, and queries: both may be secret
    #[arg(long)]
    pub heads: bool,
    /// Prints bodies, and what origins answered to dead letters, as base64
    #[arg(long)]
    pub bodies: bool,
}

/// Options of `dispatcher log verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyOptions {
    /// The log, or one shard-NN of it [default: TRANSACTION_LOG]
    pub dir: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A point in time.
    At(UnixMillis),
    /// So long before the command runs.
    Ago(Millis),
}

/// Whether a log is as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Intact,
    /// Something is damaged.
    Damaged,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No such directory, or none that may be read.
    #[error("{}: expected the directory of a log, with shard-00 and so on in it, or one shard-NN", dir.display())]
    Directory {
        /// What was named.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory, but not of a log.
    #[error("{} holds no log: expected a directory with shard-00 and so on in it, or one shard-NN", dir.display())]
    NoShards {
        /// What was named.
        dir: PathBuf,
    },
    /// Dead letters of a part.
    #[error("{} is one shard: expected the whole log where --dead-letters is given", dir.display())]
    OneShard {
        /// What was named.
        dir: PathBuf,
    },
    /// Not an origin.
    #[error("--origin {text:?}: expected host, host:port, http://host[:port] or https://host[:port]")]
    Origin {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: OriginError,
    },
    /// The disk failed, or a newer version wrote the log.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Where the output goes.
    #[error("writing the output")]
    Output(#[source] io::Error),
    /// No event loop.
    #[error("no event loop")]
    Runtime(#[source] io::Error),
}

/// Runs a command.
pub fn run(command: &LogCommand) -> Result<Verdict, InspectError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(InspectError::Runtime)?;
    runtime.block_on(async {
        match command {
            LogCommand::Cat(options) => cat::cat(options).await,
            LogCommand::Verify(options) => verify::verify(options).await,
        }
    })
}

fn id(text: &str) -> Result<MessageId, String> {
    MessageId::parse(text).ok_or_else(|| "expected a UUID, as in X-Dispatcher-Message-Id".to_owned())
}

fn since(text: &str) -> Result<Since, String> {
    if let Some(ago) = values::duration(text) {
        return Ok(Since::Ago(ago));
    }
    Rfc3339::parse(text).map(Since::At).ok_or_else(|| {
        "expected an RFC 3339 time such as 2026-11-24T04:30:00Z, or a duration such as 30s, 5m, 2h or 7d".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_rfc_3339_or_as_so_long_ago_and_nothing_else() {
        assert_eq!(since("2h"), Ok(Since::Ago(Millis(7_200_000))));
        assert_eq!(since("2023-11-14T22:13:20.001Z"), Ok(Since::At(UnixMillis(1_700_000_000_001))));
        assert_eq!(since("2023-11-14T23:13:20+01:00"), Ok(Since::At(UnixMillis(1_700_000_000_000))));
        for bad in ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "1969-01-01T00:00:00Z", "-2h"] {
            assert!(since(bad).is_err_and(|error| error.starts_with("expected")), "{bad:?}");
        }
    }
}
