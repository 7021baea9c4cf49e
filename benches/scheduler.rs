//! What the schedule costs per message: entering, being ordered, ending, and waiting in the wheel.

use std::hint::black_box;

use dispatcher::message::{OriginRef, Scheme, Slot};
use dispatcher::schedule::breaker::{Rules, Signal};
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::{Limits, Next, Now, Scheduler, Supply};
use dispatcher::time::{Millis, UnixMillis};

mod support;

use support::{is_bench, measure};

const LIMITS: Limits = Limits { slots: 640, wait_max: Millis(86_400_000) };
const RULES: Rules = Rules { failures: 5, probe_max: Millis(60_000), in_flight_max: 64 };
const AT_ONCE: UnixMillis = UnixMillis(0);

fn at(ms: u64) -> Now {
    Now { wall: UnixMillis(1_700_000_000_000 + ms), tick: ms }
}

fn main() {
    let waiting = if is_bench() { 5_000_000 } else { 10 };
    let batch: u32 = if is_bench() { 64 } else { 2 };
    let items = batch as usize;
    for (origins, waiting) in [(1, 0), (1, waiting / 50), (1, waiting), (64, waiting), (4096, waiting)] {
        let hosts: Vec<String> = (0..origins).map(|number| format!("host{number}.test")).collect();
        let origin =
            |slot: u32| OriginRef { scheme: Scheme::Http, host: &hosts[slot as usize % hosts.len()], port: 80 };
        let mut scheduler = Scheduler::new(LIMITS, Gates::new(RULES), at(0).wall);
        // A backlog that waits for its retries does not slow down who is ready.
        for slot in batch..batch + waiting {
            scheduler.add(Slot(slot), origin(slot), at(3_600_000 + u64::from(slot)).wall, 1, true);
        }
        let name = format!("enter, order, end; {origins} origins, {waiting} delayed");
        measure(
            &name,
            items,
            || (),
            |()| {
                for slot in 0..batch {
                    scheduler.add(Slot(slot), origin(slot), AT_ONCE, 0, false);
                }
                while let Next::Order(order) = scheduler.next(at(0), |_| Supply::Enough) {
                    scheduler.release(order.slot, Signal::Alive, None, 0);
                    scheduler.remove(black_box(order.slot));
                }
            },
        );
    }
    let origin = OriginRef { scheme: Scheme::Http, host: "host.test", port: 80 };
    let mut scheduler = Scheduler::new(LIMITS, Gates::new(RULES), at(0).wall);
    let mut ms = 0;
    measure(
        "enter delayed, fall due, be ordered, end; none else",
        items,
        || (),
        |()| {
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
        },
    );
}
