//! What a shard does for a message besides the log: the fold over its records, and the metrics.

use std::hint::black_box;
use std::time::Duration;

use dispatcher::message::{IdSource, OriginRef, Scheme};
use dispatcher::metrics::ShardMetrics;
use dispatcher::schedule::attempt::Outcome;
use dispatcher::schedule::breaker::{Rules, Signal};
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::{Limits, Next, Now, Supply};
use dispatcher::shard::state::State;
use dispatcher::time::{Millis, UnixMillis};
use dispatcher::wal::index::Location;
use dispatcher::wal::payload::{Accepted, Payload, Progress};
use divan::Bencher;

mod support;

use support::{counted, is_bench};

const LIMITS: Limits = Limits { slots: 640, wait_max: Millis(86_400_000) };
const RULES: Rules = Rules { failures: 5, probe_max: Millis(60_000), in_flight_max: 64 };
const WALL: UnixMillis = UnixMillis(1_700_000_000_000);
const NOW: Now = Now { wall: WALL, tick: 0 };
const ORIGIN: OriginRef<'_> = OriginRef { scheme: Scheme::Http, host: "origin.test", port: 80 };
/// Nothing of the state looks at it but the counts of its segment.
const PLACE: Location = Location { segment: 1, offset: 4096, bytes: 1024 };

fn main() {
    divan::main();
}

fn accepted() -> Payload<'static> {
    let progress = Progress::default();
    Payload::Accepted(Accepted {
        accepted: WALL,
        timeout: None,
        origin: ORIGIN,
        again: false,
        replays: 0,
        progress,
        head: b"",
        body: b"",
    })
}

/// A message's two records applied, and its order between them. Argument: messages that wait for their retries.
#[divan::bench(args = [0, 1_000_000])]
fn apply_accepted_order_apply_delivered(bencher: Bencher<'_, '_>, waiting: u32) {
    let waiting = if is_bench() { waiting } else { waiting.min(10) };
    let (mut ids, mut state) = (IdSource::new(1), State::new(LIMITS, Gates::new(RULES), WALL));
    for _ in 0..waiting {
        let id = ids.next(WALL);
        state.apply(id, &accepted(), PLACE);
        let due = UnixMillis(WALL.0 + 3_600_000);
        let retry = Progress { due, attempts: 1, maybe_duplicate: false, history: Vec::new() };
        state.apply(id, &Payload::Retry(retry), PLACE);
    }
    let delivered = Payload::Delivered { at: WALL, attempts: 1, status: 200 };
    bencher.with_inputs(|| ids.next(WALL)).bench_local_values(|id| {
        counted(|| {
            state.apply(id, black_box(&accepted()), PLACE);
            let Next::Order(order) = state.next(NOW, |_| Supply::Enough) else { panic!("one is ready") };
            state.release(order.slot, Signal::Alive, None, NOW.tick);
            state.apply(id, &delivered, PLACE);
        });
    });
}

/// All that a message tells the metrics on its way.
#[divan::bench]
fn record_metrics(bencher: Bencher<'_, '_>) {
    let metrics = ShardMetrics::default();
    let mut micros = 0;
    bencher.bench_local(|| {
        micros = (micros + 97) % 5_000;
        counted(|| {
            metrics.accept(Duration::from_micros(micros));
            metrics.attempt(Outcome::Delivered, Duration::from_micros(micros));
            metrics.delivered(Millis(micros));
        });
    });
}
