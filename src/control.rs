//! What the outside may ask of running shards: metrics, readiness, dead letters. Asked by the admin listener
//! and the data listeners; answered by each shard between messages.

// Questions about dead letters.
pub mod letters;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::memory::Memory;
use crate::metrics::exposition::{self, Process};
use crate::metrics::{Side, Snapshot};

/// Time for all shards together to answer one scrape.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions that may wait for one shard.
const QUESTIONS_MAX: usize = 16;

/// A question to a shard.
#[derive(Debug)]
pub enum ShardRequest {
    /// Its metrics.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Dead letters.
    Letters(letters::LetterRequest),
}

/// What a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Taking messages, while it reads its log.
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
    const ALL: [Self; 6] =
        [Self::Starting, Self::Recovering, Self::Ready, Self::LogFull, Self::LogFailed, Self::Draining];

    /// Why a shard in this phase is not ready.
    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Ready => None,
            Self::Starting => Some("starting"),
            Self::Recovering => Some("recovering its log"),
            Self::LogFull => Some("out of log space"),
            Self::LogFailed => Some("unable to write its log"),
            Self::Draining => Some("stopping"),
        }
    }
}

/// A shard's phase, as the other threads see it.
#[derive(Debug)]
pub struct ShardStatus {
    phase: AtomicU8,
    /// Its loop has turned since somebody last asked.
    turned: AtomicBool,
}

impl Default for ShardStatus {
    fn default() -> Self {
        Self { phase: AtomicU8::new(Phase::Starting as u8), turned: AtomicBool::new(true) }
    }
}

impl ShardStatus {
    /// Tells the others.
    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// What the shard last told.
    pub fn get(&self) -> Phase {
        let code = self.phase.load(Ordering::Relaxed);
        Phase::ALL.into_iter().find(|phase| *phase as u8 == code).expect("only phases are stored")
    }

    /// Tells that the shard's loop turns.
    pub fn turn(&self) {
        self.turned.store(true, Ordering::Relaxed);
    }

    /// A start and a stop have bounds of their own.
    fn has_turned(&self) -> bool {
        matches!(self.get(), Phase::Starting | Phase::Draining) || self.turned.load(Ordering::Relaxed)
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

#[cfg(test)]
impl Shared {
    /// For tests: of a process whose log is on the filesystem of `/`.
    pub fn in_root() -> Self {
        let memory = Memory::of_parts(0);
        Self { log_dir: PathBuf::from("/"), backend: "portable", open_origins: Arc::default(), memory }
    }
}

#[derive(Debug)]
struct ShardLine {
    requests: mpsc::Sender<ShardRequest>,
    status: Arc<ShardStatus>,
    /// What it said last, for the scrape that it does not answer.
    last: Mutex<Option<Snapshot>>,
}

impl ShardLine {
    /// Asks; `None` from a shard that has gone. A question whose asker has given up costs the shard one wasted copy.
    async fn snapshot(&self) -> Option<Snapshot> {
        let (sender, answer) = oneshot::channel();
        self.requests.send(ShardRequest::Snapshot(sender)).await.ok()?;
        answer.await.ok()
    }
}

/// A handle to all shards; cheap to clone, and may be used on any thread.
#[derive(Clone, Debug)]
pub struct Control {
    shards: Arc<[ShardLine]>,
    shared: Arc<Shared>,
    /// Number of the next replay.
    jobs: Arc<AtomicU64>,
}

/// What concerns the process and no shard.
#[derive(Debug)]
pub struct Shared {
    /// Where free space is asked.
    pub log_dir: PathBuf,
    /// The I/O it runs on.
    pub backend: &'static str,
    /// Origins whose circuit is open.
    pub open_origins: Arc<AtomicU64>,
    /// What may be taken of memory, and is.
    pub memory: Arc<Memory>,
}

impl Control {
    /// A handle to `shards` shards, and each shard's end.
    pub fn new(shards: usize, shared: Shared) -> (Self, Vec<ShardInbox>) {
        let (lines, inboxes) = (0..shards)
            .map(|_| {
                let (sender, requests) = mpsc::channel(QUESTIONS_MAX);
                let status = Arc::<ShardStatus>::default();
                let line = ShardLine { requests: sender, status: Arc::clone(&status), last: Mutex::default() };
                (line, ShardInbox { requests, status })
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let jobs = Arc::new(AtomicU64::new(1));
        (Self { shards: lines.into(), shared: Arc::new(shared), jobs }, inboxes)
    }

    /// The metrics of all shards as text, OpenMetrics or classic, in at most 2 s. Cancel-safe.
    ///
    /// A shard that does not answer in time stands with what it said last, and a log line names it: without its part
    /// the counters would fall and rise again, which a rate over them reads as a burst.
    pub async fn metrics(&self, openmetrics: bool) -> String {
        let deadline = Instant::now() + SCRAPE_TIMEOUT;
        let answers = join_all(self.shards.iter().map(|shard| async move {
            match shard.status.get() {
                // It has nothing to tell before it serves.
                Phase::Starting => Ok(None),
                Phase::Recovering | Phase::Ready | Phase::LogFull | Phase::LogFailed | Phase::Draining => {
                    timeout_at(deadline, shard.snapshot()).await.ok().flatten().map(Some).ok_or(())
                }
            }
        }))
        .await;
        let mut merged = Snapshot::default();
        for (number, (shard, answer)) in self.shards.iter().zip(answers).enumerate() {
            let mut last = shard.last.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(answer) => *last = answer,
                Err(()) => tracing::warn!(shard = number, "no answer to a scrape: its last figures stand"),
            }
            if let Some(snapshot) = &*last {
                merged.merge(snapshot);
            }
        }
        let process = Process {
            backend: self.shared.backend,
            shards: self.shards.len(),
            disk_free_bytes: self.disk_free(),
            open_origins: self.shared.open_origins.load(Ordering::Relaxed),
            memory: self.shared.memory.parts(merged.connections(Side::In)).to_vec(),
        };
        if openmetrics { exposition::openmetrics(merged, process) } else { exposition::classic(merged, process) }
    }

    /// Bytes that an unprivileged process may still allocate where the log is (`statvfs(3)`).
    fn disk_free(&self) -> Option<u64> {
        let filesystem = rustix::fs::statvfs(&self.shared.log_dir).ok()?;
        Some(filesystem.f_bavail.saturating_mul(filesystem.f_frsize))
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

    /// Whether the loop of every shard has turned since this was last so. For one asker.
    pub fn has_turned(&self) -> bool {
        let all = self.shards.iter().all(|shard| shard.status.has_turned());
        if all {
            self.shards.iter().for_each(|shard| shard.status.turned.store(false, Ordering::Relaxed));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Gauges, ShardMetrics};

    /// Answers every question with `accepted` messages, until the inbox is dropped.
    async fn answering(inbox: &mut ShardInbox, accepted: usize) {
        inbox.status.set(Phase::Ready);
        while let Some(ShardRequest::Snapshot(reply)) = inbox.requests.recv().await {
            let metrics = ShardMetrics::default();
            metrics.accepted(accepted);
            reply.send(metrics.snapshot(Gauges::default())).expect("the scrape waits");
        }
    }

    async fn scrape(control: &Control, inbox: &mut ShardInbox, accepted: usize) -> String {
        tokio::select! {
            biased;
            () = answering(inbox, accepted) => unreachable!("the line stays open"),
            text = control.metrics(false) => text,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_adds_up_the_shards_that_answer_and_does_not_wait_for_ever() {
        let (control, mut inboxes) = Control::new(4, Shared::in_root());
        let _recovering = inboxes.pop().expect("four");
        let silent = inboxes.pop().expect("four");
        silent.status.set(Phase::Ready);
        let dead = inboxes.pop().expect("four");
        dead.status.set(Phase::Ready);
        drop(dead);
        let started = Instant::now();
        let text = scrape(&control, &mut inboxes[0], 5).await;
        assert!(text.contains("dispatcher_accepted_total 5\n") && text.contains("shards=\"4\""), "{text}");
        assert!(text.contains("\ndispatcher_disk_free_bytes "), "{text}");
        assert!(Instant::now() - started <= SCRAPE_TIMEOUT + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn counters_never_fall_because_a_shard_is_busy() {
        let (control, mut inboxes) = Control::new(2, Shared::in_root());
        let mut second = inboxes.pop().expect("two");
        let (first, both) = (&mut inboxes[0], Arc::new(control));
        let text = tokio::select! {
            biased;
            () = answering(first, 5) => unreachable!("the line stays open"),
            text = scrape(&both, &mut second, 7) => text,
        };
        assert!(text.contains("dispatcher_accepted_total 12\n"), "{text}");
        // The first is silent now; its five still count.
        let text = scrape(&both, &mut second, 8).await;
        assert!(text.contains("dispatcher_accepted_total 13\n"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn while_shards_start_a_scrape_does_not_wait_for_them() {
        let (control, _inboxes) = Control::new(2, Shared::in_root());
        let started = Instant::now();
        let text = control.metrics(true).await;
        assert!(text.contains("dispatcher_accepted_total 0\n") && text.ends_with("# EOF\n"), "{text}");
        assert_eq!(Instant::now(), started);
    }

    #[test]
    fn the_daemon_is_ready_when_every_shard_is_and_says_which_is_not() {
        let (control, inboxes) = Control::new(2, Shared::in_root());
        inboxes[0].status.set(Phase::Ready);
        assert_eq!(control.ready(), Err("shard 1 is starting".to_owned()));
        inboxes[1].status.set(Phase::Ready);
        assert_eq!(control.ready(), Ok(()));
        inboxes[0].status.set(Phase::LogFull);
        assert_eq!(control.ready(), Err("shard 0 is out of log space".to_owned()));
    }

    #[test]
    fn a_shard_whose_loop_stands_still_is_noticed_and_one_that_starts_or_stops_is_not_accused() {
        let (control, inboxes) = Control::new(2, Shared::in_root());
        inboxes[0].status.set(Phase::Ready);
        assert!(control.has_turned(), "nothing is held against a loop that has just begun");
        assert!(!control.has_turned());
        inboxes[0].status.turn();
        assert!(control.has_turned(), "the other one is still starting");
        inboxes[1].status.set(Phase::Recovering);
        inboxes[0].status.turn();
        assert!(!control.has_turned());
        inboxes[1].status.turn();
        assert!(control.has_turned(), "the first one's turn still counted");
        inboxes.iter().for_each(|inbox| inbox.status.set(Phase::Draining));
        assert!(control.has_turned() && control.has_turned());
    }
}
