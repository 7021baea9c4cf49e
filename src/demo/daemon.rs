//! The daemon as a child process: this same binary, started on a log in the temporary directory.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::DemoError;
use crate::time::monotonic_now;

/// What the child is told; everything else has its default. Retries are quick, so that the demo is, and many, so that
/// none ends as a dead letter.
const VARIABLES: &[(&str, &str)] = &[
    ("LISTEN", "127.0.0.1:0"),
    ("ADMIN_LISTEN", "127.0.0.1:0"),
    ("LOG_FORMAT", "json"),
    ("BACKOFF_BASE", "200ms"),
    ("BACKOFF_FACTOR", "2"),
    ("BACKOFF_MAX", "2s"),
    ("RETRYLIMIT", "50"),
    ("SEGMENT_BYTES", "8MiB"),
    ("MAX_BODY", "1MiB"),
];

/// It must listen, or have stopped, after this long.
const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Log lines shown of a daemon that did not start.
const LINES_SHOWN: usize = 5;

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    /// Its data listener.
    pub address: SocketAddr,
    child: Child,
    log_lines: PathBuf,
}

impl Daemon {
    /// Starts a daemon on `<directory>/log` and waits until it listens. Its log lines go to `<directory>/<name>.log`.
    ///
    /// Errors: it cannot be started, ends, or does not listen in time.
    pub async fn start(directory: &Path, name: &str) -> Result<Self, DemoError> {
        let log_lines = directory.join(format!("{name}.log"));
        let child =
            spawn(directory, &log_lines).map_err(|error| DemoError::Setup("the daemon cannot be run", error))?;
        // An address until it has said its own: from here on the guard owns the child.
        let mut daemon = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, log_lines };
        let start = monotonic_now();
        loop {
            if let Some(address) = listening(&std::fs::read_to_string(&daemon.log_lines).unwrap_or_default()) {
                daemon.address = address;
                return Ok(daemon);
            }
            daemon.check()?;
            if start.elapsed() > START_MAX {
                return Err(daemon.failure("the daemon does not listen"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(&format!("the daemon ended with {}", describe(status)))),
            Err(error) => Err(DemoError::Setup("the daemon cannot be watched", error)),
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits until it has drained; after 10 seconds SIGKILL.
    pub async fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let start = monotonic_now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < STOP_MAX {
            tokio::time::sleep(POLL).await;
        }
    }

    fn failure(&self, what: &str) -> DemoError {
        let text = std::fs::read_to_string(&self.log_lines).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n  ");
        DemoError::Daemon(format!("{what}; its last lines:\n  {last}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &Path, log_lines: &Path) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .env_clear()
        .envs(VARIABLES.iter().copied())
        .env("TRANSACTION_LOG", directory.join("log"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log_lines)?)
        .spawn()
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

/// The data listener's address, once the daemon has said it.
fn listening(log_lines: &str) -> Option<SocketAddr> {
    log_lines.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "listening").then(|| line["listen"].as_str()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_that_says_listening_and_no_other() {
        let lines = concat!(
            "{\"level\":\"INFO\",\"message\":\"recovered\",\"listen\":\"127.0.0.1:1\"}\n",
            "not json\n",
            "{\"level\":\"INFO\",\"message\":\"listening\",\"listen\":\"127.0.0.1:40001\",\"admin\":\"127.0.0.1:2\"}\n",
        );
        assert_eq!(listening(lines), Some(SocketAddr::from(([127, 0, 0, 1], 40_001))));
        for cut in [0, 40, lines.len() - 5] {
            assert_eq!(listening(&lines[..cut]), None);
        }
    }
}
