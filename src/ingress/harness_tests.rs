//! What connections are tested against: a listener over sockets of either kind, and a shard over real files.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::control_fields::ControlRules;
use super::head::Rules;
use super::seats::Seats;
use super::tokens::Door;
use super::{Ingress, Settings, listener};
use crate::config::Listen;
use crate::control::{Control, Phase, Shared};
use crate::disk::portable::PortableDisk;
use crate::memory::Memory;
use crate::message::policy::Policy;
use crate::message::{IdSource, Scheme, Statuses};
use crate::metrics::exposition::{self, Process};
use crate::metrics::{Gauges, ShardMetrics, Side};
use crate::net::{Stream, portable, uring};
use crate::schedule::backoff::Backoff;
use crate::schedule::breaker;
use crate::schedule::gate::Gates;
use crate::schedule::scheduler::{Limits, Next};
use crate::shard::conclude::RetryRules;
use crate::shard::dead_letters::DeadLetters;
use crate::shard::state::State;
use crate::shard::{self, Shard};
use crate::time::{Clock, Millis, monotonic_now, unix_now};
use crate::wal::files::Files;
use crate::wal::index::Index;
use crate::wal::log::Log;
use crate::wal::spare::Space;
use crate::wal::survey::Survey;

pub(super) const SETTINGS: Settings = Settings {
    rules: Rules {
        control: ControlRules {
            origin_scheme: Scheme::Http,
            timeout_max: Millis(1_800_000),
            own_port: 1,
            own_scheme: Scheme::Http,
            is_own_address: listener::is_own_address,
            policy: Policy::DEFAULT,
        },
        head_bytes_max: 16 << 10,
        body_bytes_max: 1 << 20,
        door: Door::OPEN,
    },
    connections_max: 100,
    head_timeout: Millis(10_000),
    body_timeout: Millis(10_000),
    idle_timeout: Millis(10_000),
};

/// Memory of the shard for messages on their way to the disk, in bytes.
pub(super) const MEMORY_MAX: usize = 6 << 20;

/// What a test sees of the daemon, whatever its sockets are.
#[derive(Clone)]
pub(super) struct Daemon {
    pub(super) shard: Rc<Shard<PortableDisk>>,
    pub(super) seats: Seats,
}

/// A message as it is in the log.
pub(super) struct Submitted {
    pub(super) origin: String,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Daemon {
    /// The messages that have become durable since the last call, in their order.
    pub(super) async fn submitted(&self) -> Vec<Submitted> {
        let mut submitted = Vec::new();
        while let Next::Order((order, _)) = self.shard.next_order() {
            let stored = self.shard.fetch(order.slot).await.unwrap();
            let message = stored.message();
            let (head, body) = (message.head.to_vec(), message.body.to_vec());
            submitted.push(Submitted { origin: order.origin.to_string(), head, body });
        }
        submitted
    }

    /// Connections open now.
    pub(super) fn connections(&self) -> u64 {
        self.shard.metrics().connections(Side::In)
    }

    /// One figure of a scrape, by its name without the prefix and its labels.
    pub(super) fn counted(&self, series: &str) -> u64 {
        let process = Process { backend: "portable", ..Process::default() };
        let text = exposition::classic(self.shard.metrics().snapshot(Gauges::default()), process);
        let line = text.lines().find_map(|line| line.strip_prefix("dispatcher_")?.strip_prefix(series));
        line.unwrap().trim().parse().unwrap()
    }
}

/// Runs a test against a listener on sockets of either kind.
pub(super) fn with<F: Future<Output = ()>>(settings: Settings, test: impl Fn(SocketAddr, Daemon) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run(settings.clone(), portable::TcpStream::new, &test));
    // Where the kernel forbids rings the daemon itself does without them.
    if let Ok(runtime) = tokio_uring::Runtime::new(&tokio_uring::builder()) {
        runtime.block_on(run(settings, uring::TcpStream::new, &test));
    }
}

/// Runs a listener for the time of a test, and then drains it, which must end.
async fn run<S: Stream, F: Future<Output = ()>>(
    settings: Settings,
    wrap: fn(TcpStream) -> io::Result<S>,
    test: impl Fn(SocketAddr, Daemon) -> F,
) {
    let dir = tempfile::tempdir().unwrap();
    let (mut sockets, address) = listener::bind(Listen { host: Some(Ipv4Addr::LOCALHOST.into()), port: 0 }, 1).unwrap();
    let shard = shard(dir.path().to_owned());
    // For as long as the test runs: an inbox that is gone could not be asked.
    let (control, inboxes) = Control::new(1, Shared { log_dir: dir.path().to_owned(), ..Shared::in_root() });
    inboxes[0].status.set(Phase::Ready);
    let (spare, committing) = (Rc::clone(shard.log()), Rc::clone(&shard));
    let loops = [
        spawn_local(async move { spare.spare().run().await }),
        spawn_local(async move { panic!("{}", committing.commit_loop(None).await) }),
    ];
    let bounded = async {
        shard.log().begun().await;
        let ingress = Rc::new(Ingress::new(Rc::clone(&shard), control, settings));
        let seats = ingress.seats.clone();
        let listener = listener::listen(sockets.remove(0)).unwrap();
        let serving = spawn_local(listener::run(listener, wrap, ingress));
        test(address, Daemon { shard: Rc::clone(&shard), seats }).await;
        shard.start_draining();
        serving.await.unwrap();
        assert_eq!(shard.metrics().connections(Side::In), 0);
        for account in [shard.memory().small_messages(), shard.memory().large_messages()] {
            assert!(account.try_take(MEMORY_MAX).is_some(), "all memory is given back");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), bounded).await.expect("a test ends");
    loops.iter().for_each(tokio::task::JoinHandle::abort);
}

fn shard(dir: PathBuf) -> Rc<Shard<PortableDisk>> {
    let (segment_bytes, used) = (4 << 20, Rc::default());
    let space = Space { segment_bytes, log_bytes_max: 0, disk_reserve: 0, reserve: 1, used };
    let log = || {
        let files = Files::new(PortableDisk, dir.clone(), 0);
        Rc::new(Log::new(Rc::new(files), space.clone(), &Survey { next_segment: 1, ..Survey::default() }))
    };
    let backoff = Backoff { base: Millis(1), factor: 1.0, max: Millis(1), jitter: 0.0, retries_max: 0 };
    let settings = shard::Settings {
        default_timeout: Millis(1000),
        retry: RetryRules { backoff, retry_after_max: Millis(1000), no_retry: Statuses::NONE, message_ttl: None },
        epoch: monotonic_now(),
        keep_all: false,
        memory: Memory::of_parts(MEMORY_MAX as u64),
        message_bytes_max: shard::message_bytes_max(space.segment_bytes),
        clock: Clock::SYSTEM,
        corrupt: dir.join("corrupt"),
        origin_share: 1.0,
    };
    let gates = Gates::new(breaker::Rules { failures: 0, probe_max: Millis(1), in_flight_max: 1000 });
    let state = State::new(Limits { slots: 1000, wait_max: backoff.longest() }, gates, unix_now());
    // Its loop is not started, as nothing dies here.
    let dead_letters = DeadLetters::new(log(), Index::default());
    Rc::new(Shard::new(settings, state, log(), dead_letters, IdSource::new(1), ShardMetrics::default(), 1))
}
