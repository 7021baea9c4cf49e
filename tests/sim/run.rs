//! A seed from its first life to its last: returns the hash of its trace, or what there is to object.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use dispatcher::schedule::breaker;
use dispatcher::time::UnixMillis;

use super::checker::{Checker, Conditions};
use super::circuits::Rules;
use super::disk::{Pace, SimDisk};
use super::folded;
use super::life;
use super::plan::{BEGINNING, End, Life, Plan, SEGMENT_BYTES_MAX};
use super::process::Run;
use super::rules;
use super::trace::Trace;
use super::world;

/// Why a seed failed.
#[derive(Debug)]
pub struct Failed {
    pub seed: u64,
    pub objections: Vec<String>,
}

thread_local! {
    /// What panicked on this thread while it simulates.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Panics of a simulation are collected: a task's panic would otherwise be lost with its handle.
fn collect_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let collected = PANICS.with_borrow_mut(|panics| {
                let Some(panics) = panics else { return false };
                panics.push(info.to_string().replace('\n', " "));
                true
            });
            if !collected {
                default(info);
            }
        }));
    });
}

/// Runs a seed.
pub fn run(seed: u64, trace: &Trace) -> Result<(u64, u64), Failed> {
    collect_panics();
    PANICS.set(Some(Vec::new()));
    SEED.set(seed);
    let objections = std::panic::catch_unwind(AssertUnwindSafe(|| lives(seed, trace)));
    let panics = PANICS.take().unwrap_or_default();
    let objections: Vec<String> = objections.unwrap_or_default().into_iter().chain(panics).collect();
    if objections.is_empty() { Ok(trace.hash()) } else { Err(Failed { seed, objections }) }
}

fn lives(seed: u64, trace: &Trace) -> Vec<String> {
    let plan = Plan::new(seed);
    let disk = SimDisk::traced(seed.wrapping_add(1), trace.clone());
    disk.set_capacity(plan.capacity);
    let limits = plan.setup.limits;
    let is_taken = plan.lives.iter().any(|life| life.space_is_taken);
    let space_is_short = plan.capacity < u64::MAX || plan.setup.space.log_bytes_max > 0 || is_taken;
    let breaker::Rules { failures, probe_max, in_flight_max } = plan.rules;
    let origins = Rules { failures, probe_ms_max: probe_max.0, in_flight_max };
    let retries_max = plan.setup.settings.retry.backoff.retries_max;
    let ttl = plan.setup.settings.retry.message_ttl.map(|ttl| ttl.0);
    let checker = Checker::new(retries_max, ttl, limits.slots, origins, space_is_short);
    let checker = Rc::new(RefCell::new(checker));
    let mut run = Run { plan, disk, checker, trace: trace.clone(), wall: BEGINNING };
    trace.note(format_args!("{} origins on {} bytes of disk", run.plan.origins, run.plan.capacity));
    let settings = &run.plan.setup.settings;
    trace.note(format_args!("{:?} {:?} {:?} {:?}", run.plan.setup.space, limits, settings.retry, run.plan.rules));
    trace.note(format_args!("all is kept: {}, memory: {}", settings.keep_all, run.plan.memory_bytes));
    for life in run.plan.lives.clone() {
        run.wall = UnixMillis(run.wall.0.saturating_add_signed(life.downtime_ms));
        one_life(&mut run, &life, false);
        let objections = objections(&run);
        if !objections.is_empty() {
            return objections;
        }
    }
    if !rules::A_FULL_DISK_DRAINS {
        run.disk.set_capacity(u64::MAX);
    }
    one_life(&mut run, &last(seed), true);
    read_back(&run);
    objections(&run)
}

fn objections(run: &Run) -> Vec<String> {
    let mut objections = run.checker.borrow_mut().objections();
    objections.extend(PANICS.with_borrow_mut(|panics| panics.as_mut().map(std::mem::take)).unwrap_or_default());
    objections
}

fn one_life(run: &mut Run, life: &Life, is_last: bool) {
    let disk = run.disk.clone();
    disk.set_pace(life.pace);
    disk.set_flaky(life.flaky);
    disk.set_taken(0);
    if let Some(fault) = life.fault {
        disk.fail(fault);
    }
    if let End::CrashAtOperation(operations) | End::DrainOrCrashAtOperation(operations) = life.end {
        disk.crash_after(operations);
    }
    let read_ms_max = match life.pace {
        Pace::Turns => 0,
        Pace::Slow { ms_max, .. } => (20 * ms_max).min(900),
    };
    let is_calm = life.is_calm() && run.plan.capacity == u64::MAX && run.plan.setup.space.log_bytes_max == 0;
    let reads_may_fail = life.fault.is_some() || life.flaky.is_some();
    run.checker.borrow_mut().life_begins(life.shards, Conditions { reads_may_fail, read_ms_max, is_calm });
    run.wall = world::live(async { if is_last { life::finish(run, life).await } else { life::live(run, life).await } });
    run.checker.borrow_mut().note_time(0, run.wall.0);
    run.checker.borrow_mut().life_ends();
    disk.crash();
    disk.restart();
}

/// Healthy in every way.
const fn last(seed: u64) -> Life {
    Life {
        seed,
        end: End::Crash,
        fault: None,
        flaky: None,
        pace: Pace::Turns,
        clock_jumps: false,
        space_is_taken: false,
        downtime_ms: 0,
        segment_bytes: SEGMENT_BYTES_MAX,
        shards: 1,
        actions: 0,
        pause: Duration::ZERO,
    }
}

/// What stands on the disk in the end: dead letters, all of them and as they were sent, and nothing else.
fn read_back(run: &Run) {
    let found = folded::fold_twice(&run.disk, 0);
    let checker = &mut run.checker.borrow_mut();
    if !found.live.is_empty() {
        checker.object(format!("{} messages are alive in the log after all have ended", found.live.len()));
    }
    checker.look_dead(|id| found.dead.contains_key(&id));
    for (id, body) in &found.dead {
        checker.dead_letter(*id, body);
    }
}
