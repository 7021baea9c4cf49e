//! One core of the daemon as `server::core` puts it together, on the calling thread: listener, shard, log, deliveries.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use dispatcher::config::Listen;
use dispatcher::control::{Control, Phase, ShardInbox, Shared};
use dispatcher::delivery::client::{HyperTransport, TransportConfig};
use dispatcher::delivery::names::NameSources;
use dispatcher::delivery::{tls, worker};
use dispatcher::disk::uring::UringDisk;
use dispatcher::ingress::control_fields::ControlRules;
use dispatcher::ingress::head::Rules;
use dispatcher::ingress::tokens::Door;
use dispatcher::ingress::{Ingress, Settings, listener};
use dispatcher::memory::Memory;
use dispatcher::message::policy::Policy;
use dispatcher::message::{IdSource, Scheme, Statuses};
use dispatcher::metrics::ShardMetrics;
use dispatcher::net::uring;
use dispatcher::schedule::backoff::Backoff;
use dispatcher::schedule::breaker;
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::Limits;
use dispatcher::shard::conclude::RetryRules;
use dispatcher::shard::dead_letters::DeadLetters;
use dispatcher::shard::state::State;
use dispatcher::shard::{self, Shard};
use dispatcher::time::{Clock, Millis, monotonic_now, unix_now};
use dispatcher::wal::files::Files;
use dispatcher::wal::index::Index;
use dispatcher::wal::log::Log;
use dispatcher::wal::spare::Space;
use dispatcher::wal::survey::Survey;
use tokio::task::spawn_local;

/// Memory for each part that grows, in bytes: more than any test takes.
const MEMORY_BYTES: u64 = 64 << 20;
/// The test is over before a segment is.
const SEGMENT_BYTES: u64 = 64 << 20;
const HOUR: Millis = Millis(3_600_000);

/// A core whose tasks run whenever its runtime does.
pub struct Core {
    /// Where it takes messages.
    pub address: SocketAddr,
    /// Its messages.
    pub shard: Rc<Shard<UringDisk>>,
    _inbox: ShardInbox,
}

impl Core {
    /// With an empty log in `dir`; delivers only if `delivers`.
    pub async fn start(dir: &Path, delivers: bool) -> Self {
        let (mut sockets, address) =
            listener::bind(Listen { host: Some(Ipv4Addr::LOCALHOST.into()), port: 0 }, 1).unwrap();
        let shard = shard(dir);
        let shared = Shared {
            log_dir: dir.to_owned(),
            disk_reserve_bytes: 0,
            log_bytes_max: 0,
            backend: "uring",
            gates: Gates::new(breaker::Rules { failures: 0, probe_max: HOUR, in_flight_max: 1000 }),
            epoch: monotonic_now(),
            started: unix_now(),
            memory: Memory::of_parts(MEMORY_BYTES),
        };
        let (control, mut inboxes) = Control::new(1, shared);
        let inbox = inboxes.remove(0);
        inbox.status.set(Phase::Ready);
        let (spare, committing) = (Rc::clone(shard.log()), Rc::clone(&shard));
        spawn_local(async move { spare.spare().run().await });
        spawn_local(async move { panic!("{}", committing.commit_loop(None).await) });
        shard.log().begun().await;
        let ingress = Rc::new(Ingress::new(Rc::clone(&shard), control, settings(address.port())));
        spawn_local(listener::run(listener::listen(sockets.remove(0)).unwrap(), uring::TcpStream::new, ingress));
        if delivers {
            spawn_local(worker::run(Rc::clone(&shard), Rc::new(transport())));
        }
        Self { address, shard, _inbox: inbox }
    }
}

fn settings(own_port: u16) -> Settings {
    let control = ControlRules {
        origin_scheme: Scheme::Http,
        timeout_max: HOUR,
        own_port,
        own_scheme: Scheme::Http,
        is_own_address: listener::is_own_address,
        policy: Policy::DEFAULT,
    };
    Settings {
        rules: Rules { control, head_bytes_max: 16 << 10, body_bytes_max: 1 << 20, door: Door::OPEN },
        connections_max: 100,
        head_timeout: HOUR,
        body_timeout: HOUR,
        idle_timeout: HOUR,
    }
}

fn transport() -> HyperTransport {
    HyperTransport::new(TransportConfig {
        connect_timeout: Millis(10_000),
        tls: tls::client_config(None).unwrap(),
        policy: Policy::DEFAULT,
        names: NameSources::default(),
        dns_answers_max: 10,
        idle_max: 100,
    })
}

fn shard(dir: &Path) -> Rc<Shard<UringDisk>> {
    let disk = UringDisk::new(false).expect("a ring");
    let space =
        Space { segment_bytes: SEGMENT_BYTES, log_bytes_max: 0, disk_reserve: 0, reserve: 1, used: Rc::default() };
    let log = || {
        let files = Files::new(disk.clone(), dir.to_owned(), 0);
        Rc::new(Log::new(Rc::new(files), space.clone(), &Survey { next_segment: 1, ..Survey::default() }))
    };
    let backoff = Backoff { base: HOUR, factor: 1.0, max: HOUR, jitter: 0.0, retries_max: 1 };
    let settings = shard::Settings {
        default_timeout: HOUR,
        retry: RetryRules { backoff, retry_after_max: HOUR, no_retry: Statuses::NONE, message_ttl: None },
        epoch: monotonic_now(),
        keep_all: false,
        memory: Memory::of_parts(MEMORY_BYTES),
        message_bytes_max: shard::message_bytes_max(space.segment_bytes),
        clock: Clock::SYSTEM,
        corrupt: dir.join("corrupt"),
        origin_share: 1.0,
    };
    let gates = Gates::new(breaker::Rules { failures: 0, probe_max: HOUR, in_flight_max: 1000 });
    let state = State::new(Limits { slots: 1000, wait_max: backoff.longest() }, gates, unix_now());
    // Its loop is not started, as nothing dies here.
    let dead_letters = DeadLetters::new(log(), Index::default());
    Rc::new(Shard::new(settings, state, log(), dead_letters, IdSource::new(1), ShardMetrics::default(), 1))
}
