//! What the schedule costs per message: entering, being ordered, ending, and waiting in the wheel.

use std::hint::black_box;

use dispatcher::message::{OriginRef, Scheme, Slot};
use dispatcher::schedule::breaker::{Rules, Signal};
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::links::Nodes;
use dispatcher::schedule::scheduler::{Limits, Next, Now, Scheduler, Supply};
use dispatcher::schedule::wheel::Wheel;
use dispatcher::time::{Millis, UnixMillis};
use divan::Bencher;
use divan::counter::ItemsCount;

mod support;

use support::{counted, is_bench};

const LIMITS: Limits = Limits { slots: 640, wait_max: Millis(86_400_000) };
const RULES: Rules = Rules { failures: 5, probe_max: Millis(60_000), in_flight_max: 64 };
const AT_ONCE: UnixMillis = UnixMillis(0);

fn main() {
    divan::main();
}

fn at(ms: u64) -> Now {
    Now { wall: UnixMillis(1_700_000_000_000 + ms), tick: ms }
}

/// Messages of a round: as many as a batch of a busy core has.
fn batch() -> u32 {
    if is_bench() { 64 } else { 2 }
}

/// A backlog that waits for its retries does not slow down who is ready. Arguments: origins, messages that wait.
#[divan::bench(args = [(1, 0), (1, 100_000), (1, 5_000_000), (64, 5_000_000), (4096, 5_000_000)])]
fn enter_order_and_end(bencher: Bencher<'_, '_>, (origins, waiting): (usize, u32)) {
    let waiting = if is_bench() { waiting } else { waiting.min(10) };
    let batch = batch();
    let hosts: Vec<String> = (0..origins).map(|number| format!("host{number}.test")).collect();
    let origin = |slot: u32| OriginRef { scheme: Scheme::Http, host: &hosts[slot as usize % hosts.len()], port: 80 };
    let mut scheduler = Scheduler::new(LIMITS, Gates::new(RULES), at(0).wall);
    for slot in batch..batch + waiting {
        scheduler.add(Slot(slot), origin(slot), at(3_600_000 + u64::from(slot)).wall, 1, true);
    }
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        counted(|| {
            for slot in 0..batch {
                scheduler.add(Slot(slot), origin(slot), AT_ONCE, 0, false);
            }
            while let Next::Order(order) = scheduler.next(at(0), |_| Supply::Enough) {
                scheduler.release(order.slot, Signal::Alive, None, 0);
                scheduler.remove(black_box(order.slot));
            }
        });
    });
}

#[divan::bench]
fn enter_delayed_fall_due_be_ordered_and_end(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let origin = OriginRef { scheme: Scheme::Http, host: "host.test", port: 80 };
    let mut scheduler = Scheduler::new(LIMITS, Gates::new(RULES), at(0).wall);
    let mut ms = 0;
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        counted(|| {
            for slot in 0..batch {
                scheduler.add(Slot(slot), origin, at(ms + 1 + u64::from(slot) * 7).wall, 1, false);
            }
            assert!(matches!(scheduler.next(at(ms), |_| Supply::Enough), Next::Wait(_)));
            ms += 1 + u64::from(batch) * 7;
            let mut ended = 0;
            while let Next::Order(order) = scheduler.next(at(ms), |_| Supply::Enough) {
                scheduler.release(order.slot, Signal::Alive, None, ms);
                scheduler.remove(order.slot);
                ended += 1;
            }
            assert_eq!(ended, batch);
        });
    });
}

/// The wheel alone; the argument is how far due times are apart, in milliseconds.
#[divan::bench(args = [1, 100, 60_000])]
fn file_and_expire_in_wheel(bencher: Bencher<'_, '_>, apart_ms: u64) {
    let batch = batch();
    let (mut wheel, mut nodes, mut now) = (Wheel::default(), Nodes::default(), 0);
    for slot in 0..batch {
        nodes.enter(Slot(slot), 0);
    }
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        counted(|| {
            for slot in 0..batch {
                wheel.insert(&mut nodes, Slot(slot), now + u64::from(slot + 1) * apart_ms);
            }
            now += u64::from(batch) * apart_ms;
            let mut expired = 0;
            wheel.expire(&mut nodes, now, |_, slot| expired += u32::from(slot.0 < batch));
            assert_eq!(expired, batch);
        });
    });
}
