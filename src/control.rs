//! What the outside may ask of running shards: their metrics, and whether they are ready. Asked by the admin listener
//! and the data listeners; answered by each shard between messages.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::metrics::Snapshot;
use crate::metrics::exposition::{self, Process};

/// Time for all shards together to answer one scrape.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions that may wait for one shard.
const QUESTIONS_MAX: usize = 16;

/// A question to a shard.
#[derive(Debug)]
pub enum ShardRequest {
    /// Its metrics.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// What a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Reading its log; not listening yet.
    Recovering,
    /// Taking messages.
    Ready,
    /// Refusing messages until there is log space.
    LogFull,
    /// Refusing messages because the log could not be written.
    LogFailed,
    /// Stopping.
    Draining,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Recovering, Self::Ready, Self::LogFull, Self::LogFailed, Self::Draining];

    /// Why a shard in this phase is not ready.
    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Ready => None,
            Self::Recovering => Some("recovering its log"),
            Self::LogFull => Some("out of log space"),
            Self::LogFailed => Some("unable to write its log"),
            Self::Draining => Some("stopping"),
        }
    }
}

/// A shard's phase, as the other threads see it.
#[derive(Debug)]
pub struct ShardStatus(AtomicU8);

impl Default for ShardStatus {
    fn default() -> Self {
        Self(AtomicU8::new(Phase::Recovering as u8))
    }
}

impl ShardStatus {
    /// Tells the others.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    /// What the shard last told.
    pub fn get(&self) -> Phase {
        let code = self.0.load(Ordering::Relaxed);
        Phase::ALL.into_iter().find(|phase| *phase as u8 == code).expect("only phases are stored")
    }
}

/// A shard's end of the line.
#[derive(Debug)]
pub struct ShardInbox {
    /// Questions to answer.
    pub requests: mpsc::Receiver<ShardRequest>,
    /// Where to tell what it is doing.
    pub status: Arc<ShardStatus>,
}

#[derive(Clone, Debug)]
struct ShardLine {
    requests: mpsc::Sender<ShardRequest>,
    status: Arc<ShardStatus>,
}

/// A handle to all shards; cheap to clone, and may be used on any thread.
#[derive(Clone, Debug)]
pub struct Control {
    shards: Arc<[ShardLine]>,
    log_dir: Arc<PathBuf>,
    backend: &'static str,
}

impl Control {
    /// A handle to `shards` shards, and each shard's end. `log_dir` is where free space is asked.
    pub fn new(shards: usize, log_dir: PathBuf, backend: &'static str) -> (Self, Vec<ShardInbox>) {
        let (lines, inboxes) = (0..shards)
            .map(|_| {
                let (sender, requests) = mpsc::channel(QUESTIONS_MAX);
                let status = Arc::<ShardStatus>::default();
                (ShardLine { requests: sender, status: Arc::clone(&status) }, ShardInbox { requests, status })
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        (Self { shards: lines.into(), log_dir: Arc::new(log_dir), backend }, inboxes)
    }

    /// The metrics of all shards that answer in time, as text. Cancel-safe.
    pub async fn metrics(&self, openmetrics: bool) -> String {
        let deadline = tokio::time::Instant::now() + SCRAPE_TIMEOUT;
        let asked = self.shards.iter().map(|shard| {
            let (sender, answer) = oneshot::channel();
            shard.requests.try_send(ShardRequest::Snapshot(sender)).ok().map(|()| answer)
        });
        let asked: Vec<_> = asked.collect();
        let mut merged = Snapshot::default();
        for (number, answer) in asked.into_iter().enumerate() {
            let Some(answer) = answer else { continue };
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(snapshot)) => merged.merge(&snapshot),
                Ok(Err(_)) | Err(_) => tracing::warn!(shard = number, "a shard did not answer a scrape"),
            }
        }
        let free = rustix::fs::statvfs(&*self.log_dir).ok();
        let disk_free_bytes = free.map(|filesystem| filesystem.f_bavail.saturating_mul(filesystem.f_frsize));
        let process = Process { backend: self.backend, disk_free_bytes };
        if openmetrics { exposition::openmetrics(merged, process) } else { exposition::classic(merged, process) }
    }

    /// Whether every shard takes messages; if not, which do not and why.
    pub fn ready(&self) -> Result<(), String> {
        let reasons: Vec<String> = self
            .shards
            .iter()
            .enumerate()
            .filter_map(|(number, shard)| Some(format!("shard {number} is {}", shard.status.get().reason()?)))
            .collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Gauges, ShardMetrics};

    #[tokio::test(start_paused = true)]
    async fn a_scrape_adds_up_the_shards_that_answer_and_does_not_wait_for_ever() {
        let (control, mut inboxes) = Control::new(3, PathBuf::from("/"), "portable");
        let silent = inboxes.pop().expect("three");
        drop(inboxes.pop());
        let mut answering = inboxes.pop().expect("three");
        let answer = async {
            let Some(ShardRequest::Snapshot(reply)) = answering.requests.recv().await else { panic!("asked") };
            let metrics = ShardMetrics::default();
            metrics.accepted(5);
            reply.send(metrics.snapshot(Gauges::default())).expect("the scrape waits");
        };
        let (text, ()) = tokio::join!(control.metrics(false), answer);
        assert!(text.contains("dispatcher_accepted_total 5\n") && text.contains("shards=\"1\""), "{text}");
        drop(silent);
    }

    #[test]
    fn the_daemon_is_ready_when_every_shard_is_and_says_which_is_not() {
        let (control, inboxes) = Control::new(2, PathBuf::from("/"), "portable");
        inboxes[0].status.set(Phase::Ready);
        assert_eq!(control.ready(), Err("shard 1 is recovering its log".to_owned()));
        inboxes[1].status.set(Phase::Ready);
        assert_eq!(control.ready(), Ok(()));
        inboxes[0].status.set(Phase::LogFull);
        assert_eq!(control.ready(), Err("shard 0 is out of log space".to_owned()));
    }
}
