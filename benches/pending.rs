//! What millions of pending messages cost a core: bytes of memory each, and how long taking one can take.
//!
//! One long run whose slowest step and memory matter, not a step to repeat: so it is no benchmark of divan's, and has no
//! profiler between itself and the allocator.

use std::io::Write;

use dispatcher::message::{IdSource, MessageId, OriginRef, Scheme, Slot};
use dispatcher::schedule::breaker::{Rules, Signal};
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::{Limits, Next, Now, Supply};
use dispatcher::shard::state::State;
use dispatcher::time::{Millis, UnixMillis, monotonic_now};
use dispatcher::wal::index::Location;
use dispatcher::wal::payload::{Accepted, Payload, Progress};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

const WALL: u64 = 1_700_000_000_000;
const LIMITS: Limits = Limits { slots: 640, wait_max: Millis(86_400_000) };
const RULES: Rules = Rules { failures: 5, probe_max: Millis(60_000), in_flight_max: 64 };
const RECORD_BYTES: u32 = 1024;
const SEGMENT_RECORDS: u64 = 60_000;
/// Records between two looks at the schedule, as one commit applies them.
const COMMIT_RECORDS: u64 = 64;

/// A log, as far as places go.
struct Places(u64);

impl Places {
    fn next(&mut self) -> Location {
        self.0 += 1;
        let number = |value: u64| u32::try_from(value).expect("a short log");
        let (segment, offset) = (number(self.0 / SEGMENT_RECORDS), number(self.0 % SEGMENT_RECORDS));
        Location { segment, offset: 4096 + offset * RECORD_BYTES, bytes: RECORD_BYTES - 3 }
    }
}

/// One step done for many messages, and how long each took: by the clock, and by the time the thread really ran, which
/// what else the machine does has no part in.
struct Step {
    wall: Histogram<u64>,
    cpu: Histogram<u64>,
}

impl Step {
    fn new() -> Self {
        let histogram = || Histogram::new_with_max(10_000_000_000, 3).expect("bounds and digits are valid");
        Self { wall: histogram(), cpu: histogram() }
    }

    fn time<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let (began, began_cpu) = (monotonic_now(), cpu_ns());
        let result = run();
        self.cpu.saturating_record(cpu_ns() - began_cpu);
        self.wall.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        result
    }

    fn report(&self, name: &str, note: &str) {
        let [p50, p999, max] = [0.5, 0.999, 1.0].map(|quantile| self.wall.value_at_quantile(quantile));
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{name:<44} ns  p50 {p50:>5}  p99.9 {p999:>7}  max {max:>9}  max cpu {:>9}  {note}",
            self.cpu.max()
        )
        .expect("stdout is open");
    }
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("time that was spent")
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = field.and_then(|field| field.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

fn origin(hosts: &[String], number: u64) -> OriginRef<'_> {
    let host = &hosts[usize::try_from(number).expect("64 bits") % hosts.len()];
    OriginRef { scheme: Scheme::Http, host, port: 80 }
}

fn accepted(origin: OriginRef<'_>) -> Payload<'_> {
    let progress = Progress::default();
    Payload::Accepted(Accepted {
        accepted: UnixMillis(WALL),
        timeout: None,
        origin,
        again: false,
        replays: 0,
        progress,
        head: b"",
        body: b"",
    })
}

fn run(messages: u64) {
    let hosts: Vec<String> = (0..64).map(|number| format!("host{number}.test")).collect();
    let now = Now { wall: UnixMillis(WALL), tick: 0 };
    let (mut places, mut ids) = (Places(0), IdSource::new(1));
    let mut pending: Vec<MessageId> = (0..messages).map(|number| ids.next(UnixMillis(WALL + number / 50))).collect();
    let before = resident();
    let each = |state: &State| {
        #[allow(clippy::cast_precision_loss, reason = "for reading")]
        let bytes = resident().saturating_sub(before) as f64 / state.index().len() as f64;
        format!("{bytes:.1} bytes of memory each, {} in all", state.index().len())
    };

    let mut state = State::new(LIMITS, Gates::new(RULES), now.wall);
    let mut step = Step::new();
    for (number, id) in (0..).zip(&pending) {
        let at = places.next();
        step.time(|| state.recover(*id, &accepted(origin(&hosts, number)), at));
        if number == messages / 2 {
            step.report("recover, half of them", &each(&state));
        }
    }
    step.report("recover", &each(&state));

    let mut step = Step::new();
    step.time(|| state.settle());
    step.report("settle", "");

    let mut step = Step::new();
    while state.counts().held > 0 {
        // What is ordered is tried and put off, so that it is delayed with all the others.
        if let Next::Order(order) = step.time(|| state.next(now, |_| Supply::Enough)) {
            state.release(order.slot, Signal::Alive, None, now.tick);
            state.postpone(order.slot, UnixMillis(WALL + 3_600_000), 1, true);
        }
    }
    step.report("release, a piece of 1024", "");

    let mut step = Step::new();
    let mut filing = Step::new();
    for (number, id) in (0..).zip(&pending) {
        let at = Location { bytes: 96, ..places.next() };
        let due = UnixMillis(WALL + 1_000_000 + number % 3_600_000);
        let retry = Payload::Retry(Progress { due, attempts: 1, maybe_duplicate: true, history: Vec::new() });
        step.time(|| state.apply(*id, &retry, at));
        if number % COMMIT_RECORDS == 0
            && let Next::Order(order) = filing.time(|| state.next(now, |_| Supply::Enough))
        {
            state.release(order.slot, Signal::Alive, None, now.tick);
            state.postpone(order.slot, UnixMillis(WALL + 3_600_000), 1, true);
        }
    }
    step.report("retry", &each(&state));
    filing.report("file 64 retries in the wheel", "");

    // A steady flow beside the backlog, through slots that were used before.
    let mut step = Step::new();
    for number in 0..messages / 2 {
        let id = ids.next(UnixMillis(WALL + messages / 50));
        let (at, ended) = (places.next(), places.next());
        let victim = usize::try_from(number * 2).expect("64 bits");
        let old = std::mem::replace(&mut pending[victim], id);
        let delivered = Payload::Delivered { at: now.wall, attempts: 2, status: 200 };
        step.time(|| {
            state.apply(old, &delivered, ended);
            state.apply(id, &accepted(origin(&hosts, number)), at);
        });
    }
    step.report("one ends, one is accepted", &each(&state));
    assert!(pending.iter().all(|id| state.index().find(*id).is_some_and(|slot| slot != Slot(u32::MAX))));
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let messages = if is_bench { 5_000_000 } else { 5_000 };
    // As a core does it: on a thread that is not the first, whose memory an allocator keeps apart.
    std::thread::spawn(move || run(messages)).join().expect("it measures");
}
