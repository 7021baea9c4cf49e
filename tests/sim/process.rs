//! The process, for as long as it lives: one shard or two, their workers, and what they are compared with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use dispatcher::limits::to_usize;
use dispatcher::message::Xorshift;
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::UnixMillis;
use futures_util::future::{join_all, select_all, try_join_all};

use super::checker::{Checker, Seen, When, Writing};
use super::clock;
use super::disk::SimDisk;
use super::origins::{Judged, Mood, Origins, mood};
use super::plan::{Life, Plan};
use super::tally;
use super::trace::Trace;
use super::world::{self, World};

/// Segments that a log may have beyond twice what is alive: the active one, the next one, the reserve, two to recycle,
/// three that are not worth relocating for, and two on their way.
const SEGMENTS_BEYOND_LIVE_MAX: u64 = 10;

/// Everything that outlives a process.
pub struct Run {
    pub plan: Plan,
    pub disk: SimDisk,
    pub checker: Rc<RefCell<Checker>>,
    pub trace: Trace,
    pub wall: UnixMillis,
}

/// Whether this says that a message which was accepted with larger segments is not adopted into the smaller ones of this
/// life.
fn is_too_long(run: &Run, life: &Life, error: &str) -> bool {
    let may_be = run.plan.lives.iter().any(|other| other.segment_bytes > life.segment_bytes);
    may_be && error.contains("SEGMENT_BYTES")
}

/// A running process.
pub struct Process<'a> {
    run: &'a Run,
    life: &'a Life,
    is_calm: bool,
    /// Messages taken over from other shards, when all of them are.
    adopted: Cell<Option<u64>>,
    /// Each shard with the origins as its workers reach them.
    pub shards: Vec<(World, Rc<Origins>)>,
}

impl<'a> Process<'a> {
    /// Starts it; deliveries wait for [`Process::recover`]. `None`: it could not start.
    pub async fn start(run: &'a Run, life: &'a Life, random: &mut Xorshift) -> Option<Self> {
        let is_calm = life.is_calm() && run.plan.capacity == u64::MAX;
        let setup = run.plan.setup_of(life);
        let seeds: Vec<u64> = (0..life.shards).map(|_| random.next()).collect();
        let starts = (0..).zip(seeds).map(|(number, seed)| world::start_as(&run.disk, number, &setup, seed));
        let worlds = match try_join_all(starts.collect::<Vec<_>>()).await {
            Ok(worlds) => worlds,
            Err(error) => {
                run.trace.note(format_args!("no start: {error}"));
                if is_calm && !is_too_long(run, life, &error) {
                    run.checker.borrow_mut().object(format!("no start without a fault: {error}"));
                }
                return None;
            }
        };
        let retry = &setup.settings.retry;
        let judged = Judged { no_retry: retry.no_retry, retry_after_max: retry.retry_after_max.0 };
        let shards = worlds.into_iter().map(|world| {
            let moods: Vec<Mood> = (0..run.plan.origins).map(|_| mood(random)).collect();
            run.trace.note(format_args!("started at segment {}; origins are {moods:?}", world.next_segment));
            let shard = Rc::clone(&world.shard);
            let room = Box::new(move |writing, bytes| match writing {
                Writing::Retry(tried) => World::notes_retry(&shard, tried),
                Writing::Letter => shard.can_bury(bytes),
            });
            let (checker, trace) = (Rc::clone(&run.checker), run.trace.clone());
            let origins = Origins::new(moods, random.next(), judged.clone(), checker, trace, room);
            (world, Rc::new(origins))
        });
        Some(Self { run, life, is_calm, adopted: Cell::new(None), shards: shards.collect() })
    }

    /// Begins deliveries, and looks at what was recovered as soon as all of it is there.
    pub async fn recover(&self) {
        for (world, origins) in &self.shards {
            world.serve(Rc::clone(origins));
        }
        let recovered = join_all(self.shards.iter().map(|(world, _)| world.recovered())).await;
        self.adopted.set(Some(recovered.iter().map(|recovered| recovered.adopted).sum()));
        self.run.trace.note(format_args!("all is recovered: {recovered:?}"));
        self.look(When::Recovered);
        let damaged: u64 = recovered.iter().map(|recovered| recovered.damaged).sum();
        if damaged > 0 {
            self.object(format!("{damaged} damaged ranges, and nothing was damaged"));
        }
    }

    /// Whether everything is there that the logs held.
    pub fn is_recovered(&self) -> bool {
        self.adopted.get().is_some()
    }

    /// Resolves when a log has given up, after which the process ends.
    pub async fn failure(&self) {
        let failures = self.shards.iter().map(|(world, _)| Box::pin(world.failure()));
        let ((), which, _) = select_all(failures).await;
        let failed = self.shards[which].0.failed.borrow();
        self.run.trace.note(format_args!("the log of shard {which} failed: {failed:?}"));
        if self.is_calm && !failed.as_deref().is_some_and(|error| is_too_long(self.run, self.life, error)) {
            self.object(format!("a log failed without a fault: {failed:?}"));
        }
    }

    /// Stops in order; what is settled then is counted.
    pub async fn drain(&self, timeout: Duration) {
        join_all(self.shards.iter().map(|(world, _)| world.drain(timeout))).await;
        self.look(When::Running);
        if self.shards.iter().all(|(world, _)| world.shard.is_settled()) {
            self.count();
        }
    }

    /// Compares the metrics with what happened. Nothing may be under way.
    pub fn count(&self) {
        let Some(adopted) = self.adopted.get() else { return };
        let scrapes: String = self.shards.iter().map(|(world, _)| world.scrape()).collect();
        tally::check(&scrapes, adopted, &mut self.run.checker.borrow_mut());
    }

    /// Compares the shards with what was promised.
    pub fn look(&self, when: When) {
        let checker = &mut self.run.checker.borrow_mut();
        checker.note_time(clock::lived_ms(), clock::CLOCK.now().0);
        let alive = checker.look(when, |id| {
            let mut seen = Seen::default();
            for (number, (World { shard, .. }, _)) in (0..).zip(&self.shards) {
                seen.dead |= shard.dead_letters().contains(id);
                if shard.knows(id) {
                    (seen.alive, seen.shard) = (true, number);
                }
            }
            seen
        });
        let gauges: Vec<_> = self.shards.iter().map(|(world, _)| world.shard.gauges()).collect();
        let counted: u64 = gauges.iter().map(|gauges| gauges.ready + gauges.in_flight + gauges.delayed).sum();
        if counted != alive && !checker.counts_twofold() {
            checker.object(format!("{counted} messages are counted, {alive} are alive"));
        }
    }

    /// Compares what dead letters say of their ends with what happened.
    pub async fn look_at_letters(&self) {
        let ids = self.run.checker.borrow().letters();
        for id in ids {
            for (world, _) in &self.shards {
                match world.shard.dead_letters().find(id).await {
                    Ok(Some(buried)) => {
                        self.run.trace.note(format_args!("{id} is a dead letter: {:?}", buried.failure));
                        self.run.checker.borrow_mut().letter_class(id, buried.failure == Failure::Expired);
                    }
                    Ok(None) => {}
                    Err(error) => self.object(format!("{id} cannot be read as a dead letter: {error}")),
                }
            }
        }
    }

    /// Compares the size of the log with what was and is alive: relocation takes some time, and is no quicker than the
    /// disk.
    pub async fn look_at_space(&self) {
        let lived: Vec<u64> = self.shards.iter().map(|(world, _)| self.live_bytes(world)).collect();
        tokio::time::sleep(Duration::from_secs(3)).await;
        if !self.is_calm || self.run.plan.setup.settings.keep_all || self.adopted.get().is_none() {
            return;
        }
        for (number, (world, _)) in (0..).zip(&self.shards) {
            let bytes = self.run.disk.bytes_below(&world::log_dir("log", number));
            let live = self.live_bytes(world).max(lived[number as usize]);
            if bytes > 2 * live + SEGMENTS_BEYOND_LIVE_MAX * world.shard.log().segment_bytes() {
                self.object(format!("shard {number}: {bytes} bytes of log for {live} live ones"));
            }
        }
    }

    /// Bytes of what is alive, and of what cannot be had because a segment holds no more than one long message.
    fn live_bytes(&self, World { shard, .. }: &World) -> u64 {
        let segment_bytes = shard.log().segment_bytes();
        let long = self.run.checker.borrow().bytes_of_alive(to_usize(segment_bytes / 4), |id| shard.knows(id));
        shard.gauges().log_live_bytes.max(long.div_ceil(segment_bytes / 4) * segment_bytes)
    }

    fn object(&self, what: String) {
        self.run.checker.borrow_mut().object(what);
    }
}
