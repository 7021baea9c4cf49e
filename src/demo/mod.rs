//! `dispatcher demo`: the main job in under a minute, with the real binary, real sockets and a real `kill -9`.
//!
//! This file is the plot. Messages go to a daemon that is a child process; its receiver, in this process, at first
//! refuses connections and then fails; half-way the daemon is killed and started again. At the end every message that
//! was acknowledged must have arrived.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::time::monotonic_now;

// The child process.
pub mod daemon;
// Just enough HTTP/1.1 for both ends.
pub mod http;
// The destination.
pub mod receiver;
// The progress bars and the table.
pub mod report;
// The source.
pub mod sender;

use daemon::Daemon;
use receiver::{Mood, Receiver};
use report::{Progress, Report};
use sender::Sender;

const HELP: &str = "\
It works in a temporary directory, on free ports of loopback, and leaves nothing behind.

Exit status:
  0  nothing that was acknowledged was lost
  1  something was, or the demo could not be run";

/// Options of `dispatcher demo`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// How many messages to send
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub messages: u32,
    /// Keeps the temporary directory: the log and the daemon's own log lines
    #[arg(long)]
    pub keep: bool,
}

/// Why the demo came to no end of its own.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No directory, socket or process could be had.
    #[error("{0}")]
    Setup(&'static str, #[source] io::Error),
    /// The daemon did not start or did not stay.
    #[error("{0}")]
    Daemon(String),
    /// SIGINT or SIGTERM.
    #[error("stopped by a signal")]
    Interrupted,
}

/// A share of the messages, in percent, after which the plot goes on.
const LISTENS_AFTER: u64 = 20;
const SUCCEEDS_AFTER: u64 = 40;
const KILLED_AFTER: u64 = 50;
/// How often the plot looks at where things stand, and the progress bars move.
const TICK: Duration = Duration::from_millis(20);
/// The demo gives up after this long, and a bit more per message.
const PATIENCE: Duration = Duration::from_secs(90);
const PATIENCE_PER_MESSAGE: Duration = Duration::from_millis(2);

/// Runs the demo. Exit status 0: nothing was lost; 1: something was, or the demo could not run.
pub fn run(options: &Options) -> ExitCode {
    let end = directory().and_then(|mut directory| {
        directory.disable_cleanup(options.keep);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| DemoError::Setup("no event loop", error))?;
        let report = tokio::task::LocalSet::new().block_on(&runtime, until_signal(play(options, directory.path())))?;
        Ok((report, options.keep.then(|| directory.path().to_owned())))
    });
    match end {
        Ok((report, kept)) => {
            let shown = io::stdout().write_all(report.table(kept.as_deref()).as_bytes());
            if report.is_success() && shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("dispatcher demo: {error}{source}");
            ExitCode::FAILURE
        }
    }
}

/// A new directory where the log's O_DIRECT writes work: a tmpfs of an older kernel has none, and keeps nothing anyway.
fn directory() -> Result<TempDir, DemoError> {
    let asked = std::env::var_os("TMPDIR").map(std::path::PathBuf::from);
    let places = asked.into_iter().chain(["/var/tmp", "/tmp", "."].map(Into::into));
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in places {
        match TempDir::with_prefix_in("dispatcher-demo-", place)
            .and_then(|dir| takes_direct_writes(dir.path()).map(|()| dir))
        {
            Ok(directory) => return Ok(directory),
            Err(error) => last = error,
        }
    }
    Err(DemoError::Setup("no temporary directory (TMPDIR, /var/tmp, /tmp, .) takes O_DIRECT writes", last))
}

fn takes_direct_writes(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let probe = directory.join("probe");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open(&probe, flags, Mode::RUSR | Mode::WUSR)?;
    std::fs::remove_file(probe)
}

async fn until_signal(play: impl Future<Output = Result<Report, DemoError>>) -> Result<Report, DemoError> {
    let no_signals = |error| DemoError::Setup("no signal handler", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    // Dropping the play kills the daemon.
    tokio::select! {
        biased;
        _ = interrupt.recv() => Err(DemoError::Interrupted),
        _ = terminate.recv() => Err(DemoError::Interrupted),
        end = play => end,
    }
}

/// The plot's stage: who is there, and until when it may take.
struct Stage {
    messages: u64,
    sender: Rc<Sender>,
    receiver: Rc<Receiver>,
    progress: Progress,
    deadline: Instant,
}

async fn play(options: &Options, directory: &Path) -> Result<Report, DemoError> {
    let (closed, origin) =
        receiver::closed_port().map_err(|error| DemoError::Setup("no port for the receiver", error))?;
    let mut daemon = Daemon::start(directory, "first").await?;
    let start = monotonic_now();
    let stage = Stage {
        messages: options.messages.into(),
        sender: Rc::new(Sender::new(daemon.address, origin, options.messages)),
        receiver: Rc::new(Receiver::default()),
        progress: Progress::new(options.messages.into()),
        deadline: start + PATIENCE + PATIENCE_PER_MESSAGE * options.messages,
    };
    let _sending = sender::start(&stage.sender);
    stage.progress.note(&format!("daemon on {}, its receiver on {origin} refuses connections", daemon.address));
    stage.acknowledged(LISTENS_AFTER, &mut daemon).await?;

    let listener = receiver::open(closed).map_err(|error| DemoError::Setup("the receiver cannot listen", error))?;
    let _receiving = receiver::start(listener, &stage.receiver);
    stage.progress.note("the receiver listens, and answers 503 to everything");
    stage.acknowledged(SUCCEEDS_AFTER, &mut daemon).await?;
    stage.until(&mut daemon, |stage| stage.receiver.failed() > 0).await?;

    stage.receiver.set_mood(Mood::Succeeds);
    stage.progress.note("the receiver answers 200");
    stage.acknowledged(KILLED_AFTER, &mut daemon).await?;

    daemon.kill();
    let waiting = stage.sender.acknowledged().saturating_sub(stage.receiver.delivered());
    stage.progress.note(&format!("kill -9 of the daemon, with {waiting} acknowledged messages not delivered yet"));
    let mut daemon = restart(&stage, directory).await?;
    stage.acknowledged(100, &mut daemon).await?;
    stage.progress.note("every message is acknowledged; waiting for the last retries");
    stage.until(&mut daemon, Stage::is_complete).await?;
    // What is in flight now could still become a duplicate: let the daemon finish it before counting.
    daemon.stop().await;
    stage.progress.finish();
    Ok(Report::new(stage.messages, &stage.sender, &stage.receiver, start.elapsed()))
}

async fn restart(stage: &Stage, directory: &Path) -> Result<Daemon, DemoError> {
    let killed = monotonic_now();
    let daemon = Daemon::start(directory, "second").await?;
    stage.sender.set_address(daemon.address);
    stage.progress.note(&format!("started again on the same log; listening after {} ms", killed.elapsed().as_millis()));
    Ok(daemon)
}

impl Stage {
    /// Until this share of the messages, in percent, is acknowledged.
    async fn acknowledged(&self, percent: u64, daemon: &mut Daemon) -> Result<(), DemoError> {
        self.until(daemon, |stage| stage.sender.acknowledged() * 100 >= stage.messages * percent).await
    }

    fn is_complete(&self) -> bool {
        self.receiver.delivered() >= self.messages && self.sender.missing(&self.receiver) == 0
    }

    /// Until `met`, or until the demo has taken too long: the report then tells what is missing.
    async fn until(&self, daemon: &mut Daemon, met: impl Fn(&Self) -> bool) -> Result<(), DemoError> {
        while !met(self) && monotonic_now() < self.deadline {
            daemon.check()?;
            self.progress.show(self.sender.acknowledged(), self.receiver.delivered());
            tokio::time::sleep(TICK).await;
        }
        self.progress.show(self.sender.acknowledged(), self.receiver.delivered());
        Ok(())
    }
}
