//! What the outside may ask of running shards: metrics, readiness, dead letters. Asked by the admin listener
//! and the data listeners; answered by each shard between messages.

// Questions about dead letters.
pub mod letters;
// What a shard is doing.
mod phase;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::memory::Memory;
use crate::metrics::exposition::{self, Process, Usage};
use crate::metrics::{Side, Snapshot};
use crate::schedule::gate::Gates;
use crate::time::{UnixMillis, monotonic_now, process_cpu_time};
pub use phase::{Phase, ShardStatus};

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

/// A shard's end of the line.
#[derive(Debug)]
pub struct ShardInbox {
    /// Questions to answer.
    pub requests: mpsc::Receiver<ShardRequest>,
    /// Where to tell what it is doing.
    pub status: Arc<ShardStatus>,
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
    /// Who takes scrapes over from cores.
    scrapes: Arc<OnceLock<mpsc::Sender<Scrape>>>,
}

/// A scrape that a core hands over.
#[derive(Debug)]
struct Scrape {
    openmetrics: bool,
    reply: oneshot::Sender<String>,
}

/// What concerns the process and no shard.
#[derive(Debug)]
pub struct Shared {
    /// Where free space is asked.
    pub log_dir: PathBuf,
    /// `DISK_RESERVE`, in bytes.
    pub disk_reserve_bytes: u64,
    /// `MAX_LOG_BYTES`, in bytes; 0: none.
    pub log_bytes_max: u64,
    /// The I/O it runs on.
    pub backend: &'static str,
    /// The origins.
    pub gates: Arc<Gates>,
    /// Where the ticks of the gates begin.
    pub epoch: std::time::Instant,
    /// When the process started.
    pub started: UnixMillis,
    /// What may be taken of memory, and is.
    pub memory: Arc<Memory>,
}

#[cfg(test)]
impl Shared {
    /// For tests: of a process whose log is on the filesystem of `/`.
    pub fn in_root() -> Self {
        use crate::schedule::breaker::Rules;
        use crate::time::Millis;
        let rules = Rules { failures: 5, probe_max: Millis(1000), in_flight_max: 8 };
        Self {
            log_dir: PathBuf::from("/"),
            disk_reserve_bytes: 0,
            log_bytes_max: 0,
            backend: "portable",
            gates: Gates::new(rules),
            epoch: monotonic_now(),
            started: UnixMillis(0),
            memory: Memory::of_parts(0),
        }
    }
}

impl Control {
    /// A handle to `shards` shards, and each shard's end.
    pub fn new(shards: usize, shared: Shared) -> (Self, Vec<ShardInbox>) {
        let (lines, inboxes) = (0..shards)
            .map(|shard| {
                let (sender, requests) = mpsc::channel(QUESTIONS_MAX);
                let status = Arc::new(ShardStatus::new(shard));
                let line = ShardLine { requests: sender, status: Arc::clone(&status), last: Mutex::default() };
                (line, ShardInbox { requests, status })
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let jobs = Arc::new(AtomicU64::new(1));
        (Self { shards: lines.into(), shared: Arc::new(shared), jobs, scrapes: Arc::default() }, inboxes)
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
        let process = self.process(merged.connections(Side::In));
        if openmetrics { exposition::openmetrics(merged, process) } else { exposition::classic(merged, process) }
    }

    /// The same for a core, which another thread spares adding up and writing: that takes some hundred microseconds, and
    /// more the more cores there are, in which messages would wait. Cancel-safe.
    pub async fn metrics_off_core(&self, openmetrics: bool) -> String {
        let Some(scrapes) = self.scrapes.get() else { return self.metrics(openmetrics).await };
        let (reply, text) = oneshot::channel();
        drop(scrapes.send(Scrape { openmetrics, reply }).await);
        match text.await {
            Ok(text) => text,
            // The other thread is on its way out.
            Err(_) => self.metrics(openmetrics).await,
        }
    }

    /// Takes scrapes over from cores, one at a time, for as long as it is polled. Once per process.
    pub async fn serve_scrapes(&self) {
        let (sender, mut scrapes) = mpsc::channel(QUESTIONS_MAX);
        self.scrapes.set(sender).expect("one serves");
        while let Some(Scrape { openmetrics, reply }) = scrapes.recv().await {
            // Who has given up needs none.
            drop(reply.send(self.metrics(openmetrics).await));
        }
    }

    /// What concerns no shard; `connections` are open from senders.
    fn process(&self, connections: u64) -> Process {
        let shared = &self.shared;
        let phases: Vec<Phase> = self.shards.iter().map(|shard| shard.status.get()).collect();
        let in_phase = |phase| phases.iter().filter(|other| **other == phase).count() as u64;
        let tick = monotonic_now().saturating_duration_since(shared.epoch).as_millis();
        Process {
            backend: shared.backend,
            shards: Phase::ALL.map(|phase| (phase.as_str(), in_phase(phase))).to_vec(),
            disk_free_bytes: self.disk_free(),
            disk_reserve_bytes: shared.disk_reserve_bytes,
            log_bytes_max: shared.log_bytes_max,
            origins: shared.gates.figures(u64::try_from(tick).unwrap_or(u64::MAX)),
            memory: shared.memory.parts(connections).to_vec(),
            usage: Usage { started: shared.started, cpu: process_cpu_time(), resident_bytes: resident_bytes() },
        }
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
            self.shards.iter().for_each(|shard| shard.status.forget_turn());
        }
        all
    }
}

/// Bytes of this process that are in memory (`proc_pid_status(5)`).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? * 1024)
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
    async fn a_core_gets_its_scrape_from_who_serves_them_and_else_makes_it_itself() {
        let (control, mut inboxes) = Control::new(1, Shared::in_root());
        let first = tokio::select! {
            biased;
            () = answering(&mut inboxes[0], 5) => unreachable!("the line stays open"),
            text = control.metrics_off_core(false) => text,
        };
        let second = tokio::select! {
            biased;
            () = answering(&mut inboxes[0], 6) => unreachable!("the line stays open"),
            () = control.serve_scrapes() => unreachable!("it serves for as long as it is polled"),
            text = control.metrics_off_core(true) => text,
        };
        // Who served is gone.
        let third = tokio::select! {
            biased;
            () = answering(&mut inboxes[0], 7) => unreachable!("the line stays open"),
            text = control.metrics_off_core(false) => text,
        };
        for (text, accepted) in [(first, 5), (second, 6), (third, 7)] {
            assert!(text.contains(&format!("dispatcher_accepted_total {accepted}\n")), "{text}");
        }
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
