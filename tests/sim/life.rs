//! One life of the process: it starts, takes messages, delivers them, and ends as planned or as it must.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use dispatcher::limits::to_usize;
use dispatcher::message::{Draft, Origin, Scheme, Xorshift};
use dispatcher::time::{Millis, UnixMillis};
use dispatcher::wal::log::Need;

use super::checker::{Checker, Room, Seen, Sent, When};
use super::clock;
use super::disk::SimDisk;
use super::origins::{Mood, Origins, mood};
use super::plan::{End, Life, Plan};
use super::rules;
use super::storage::index;
use super::tally;
use super::trace::Trace;
use super::world::{self, SEGMENT_BYTES, World};

/// Everything that outlives a process.
pub struct Run {
    pub plan: Plan,
    pub disk: SimDisk,
    pub checker: Rc<RefCell<Checker>>,
    pub trace: Trace,
    pub wall: UnixMillis,
}

/// How long the last life may take to end every message.
const FINISH_MAX: Duration = Duration::from_secs(24 * 3600);

struct Living<'a> {
    run: &'a Run,
    life: &'a Life,
    world: Rc<World>,
    origins: Rc<Origins>,
    random: Xorshift,
}

/// Lives one life as planned; returns the wall time at its end.
pub async fn live(run: &Run, life: &Life) -> UnixMillis {
    clock::begin(run.wall);
    run.trace.note(format_args!("a life begins: {life:?}"));
    let ended = tokio::select! {
        biased;
        () = run.disk.crashed() => "power cut",
        ended = Box::pin(live_until_stopped(run, life)) => ended,
    };
    run.trace.note(format_args!("the life ends: {ended}"));
    clock::end()
}

async fn live_until_stopped(run: &Run, life: &Life) -> &'static str {
    let Some(mut living) = begin(run, life).await else { return "it could not start" };
    let world = Rc::clone(&living.world);
    tokio::select! {
        biased;
        () = world.failure() => {
            run.trace.note(format_args!("the log failed: {:?}", world.failed.borrow()));
            if life.is_calm() && run.plan.capacity == u64::MAX {
                run.checker.borrow_mut().object(format!("a log failed without a fault: {:?}", world.failed.borrow()));
            }
            return "the log failed";
        }
        () = living.act() => {}
    }
    living.look(When::Running);
    if let End::Drain(timeout) = life.end {
        run.trace.note(format_args!("it is asked to stop"));
        world.drain(timeout).await;
        living.look(When::Running);
        if world.shard.is_settled() {
            tally::check(&world.scrape(), &mut run.checker.borrow_mut());
        }
        return "stopped";
    }
    "killed"
}

/// Starts the process: recovers, looks at what was recovered, begins deliveries.
async fn begin<'a>(run: &'a Run, life: &'a Life) -> Option<Living<'a>> {
    let mut random = Xorshift::new(life.seed);
    let world = match world::start_as(&run.disk, 0, &run.plan.setup, random.next()).await {
        Ok(world) => Rc::new(world),
        Err(error) => {
            run.trace.note(format_args!("no start: {error}"));
            if life.is_calm() && run.plan.capacity == u64::MAX {
                run.checker.borrow_mut().object(format!("no start without a fault: {error}"));
            }
            return None;
        }
    };
    let moods: Vec<Mood> = (0..run.plan.origins).map(|_| mood(&mut random)).collect();
    run.trace.note(format_args!("recovered: {:?}; origins are {moods:?}", world.surveys));
    let shard = Rc::clone(&world.shard);
    let room = Box::new(move |message_bytes| Room {
        retry: shard.log().has_room(Need::Retry, 0),
        dead_letter: shard.can_bury(message_bytes),
    });
    let (checker, trace) = (Rc::clone(&run.checker), run.trace.clone());
    let origins = Rc::new(Origins::new(moods, random.next(), checker, trace, room));
    let in_background = random.next().is_multiple_of(2);
    let living = Living { run, life, world, origins, random };
    if in_background {
        living.world.serve(Rc::clone(&living.origins));
    }
    if !living.recover().await {
        return None;
    }
    if !in_background {
        living.world.serve(Rc::clone(&living.origins));
    }
    Some(living)
}

impl Living<'_> {
    /// Reads the log, and looks at what was in it.
    async fn recover(&self) -> bool {
        let damaged = match self.world.recover().await {
            Ok(damaged) => damaged,
            Err(error) => {
                self.run.trace.note(format_args!("no recovery: {error}"));
                if self.life.is_calm() && self.run.plan.capacity == u64::MAX {
                    self.run.checker.borrow_mut().object(format!("no recovery without a fault: {error}"));
                }
                return false;
            }
        };
        if damaged > 0 {
            self.run.checker.borrow_mut().object(format!("{damaged} damaged ranges, and nothing was damaged"));
        }
        self.look(When::Recovered);
        true
    }

    async fn act(&mut self) {
        for _ in 0..self.life.actions {
            match index(&mut self.random, 12) {
                0..6 => {
                    for _ in 0..=index(&mut self.random, 6) {
                        self.submit();
                    }
                }
                6 => self.origins.change_mood(&mut self.random),
                7 if self.life.clock_jumps => self.jump(),
                8 if self.life.space_is_taken => {
                    let taken = index(&mut self.random, 12) as u64 * SEGMENT_BYTES;
                    let taken =
                        if taken > 6 * SEGMENT_BYTES { 0 } else { self.run.plan.capacity.saturating_sub(taken) };
                    self.run.trace.note(format_args!("others take {taken} bytes"));
                    self.run.disk.set_taken(taken);
                }
                9 => self.look(When::Running),
                10 if index(&mut self.random, 4) == 0 => self.look_at_space().await,
                _ => {}
            }
            self.pause().await;
        }
    }

    async fn pause(&mut self) {
        let ms = u64::try_from(self.life.pause.as_millis()).unwrap();
        match index(&mut self.random, 4) {
            0 => {}
            1 => world::turns(self.random.next() % 12).await,
            _ => tokio::time::sleep(Duration::from_millis(self.random.next() % (ms + 1))).await,
        }
    }

    /// Submits a message as a connection does, and waits for its ticket in a task.
    fn submit(&mut self) {
        let random = &mut self.random;
        let origin = format!("o{}", index(random, self.run.plan.origins));
        let mut head = format!("POST /hook HTTP/1.1\r\nHost: {origin}\r\nX-N: {:x}\r\n", random.next()).into_bytes();
        if random.next().is_multiple_of(8) {
            head.resize(head.len() + index(random, 2000), b'h');
        }
        let most = self.run.plan.setup.settings.message_bytes_max - head.len();
        let bytes = match index(random, 16) {
            0 | 1 => 0,
            2..8 => index(random, 200),
            8..12 => index(random, 4096),
            12..15 => index(random, 9000),
            _ if random.next().is_multiple_of(3) => most - index(random, 64),
            _ => index(random, most),
        };
        let body = body(random, bytes);
        let timeout = random.next().is_multiple_of(4).then(|| Millis(100 + random.next() % 5000));
        let shard = &self.world.shard;
        let permit = match shard.admit(head.len() + body.len()) {
            Ok(permit) => permit,
            Err(refused) => return self.run.trace.note(format_args!("refused: {refused:?}")),
        };
        let to = Origin::parse(&origin, Scheme::Http).unwrap();
        let ticket = match shard.submit(Draft { origin: &to, timeout, head: &head, body: &body }) {
            Ok(ticket) => ticket,
            Err(refused) => return self.run.trace.note(format_args!("refused: {refused:?}")),
        };
        let id = ticket.id();
        self.run.trace.note(format_args!("{id} submitted for {origin}: {bytes} bytes"));
        self.run.checker.borrow_mut().submitted(id, Sent { origin, head, body });
        let (checker, trace) = (Rc::clone(&self.run.checker), self.run.trace.clone());
        world::spawn(async move {
            let acknowledged = ticket.await.is_ok();
            drop(permit);
            trace.note(format_args!("{id} {}", if acknowledged { "acknowledged" } else { "refused" }));
            checker.borrow_mut().answered(id, acknowledged);
        });
    }

    fn jump(&mut self) {
        const MINUTE: i64 = 60_000;
        let spans = [MINUTE, 5 * MINUTE, 60 * MINUTE, 24 * 60 * MINUTE];
        let span = spans[index(&mut self.random, spans.len())];
        let by = if self.random.next().is_multiple_of(2) { span } else { -span };
        self.run.trace.note(format_args!("the wall clock jumps by {by} ms"));
        clock::jump(by);
    }

    /// Compares the shard with what was promised.
    fn look(&self, when: When) {
        let (shard, checker) = (&self.world.shard, &mut self.run.checker.borrow_mut());
        let alive = checker.look(when, |id| Seen { alive: shard.knows(id), dead: shard.dead_letters().contains(id) });
        let gauges = shard.gauges();
        let counted = gauges.ready + gauges.in_flight + gauges.delayed;
        if counted != alive {
            checker.object(format!("{counted} messages are counted, {alive} are alive"));
        }
        if when == When::Recovered && gauges.in_flight > 0 {
            checker.object(format!("{} in flight before any attempt", gauges.in_flight));
        }
    }

    /// Compares the size of the log with what is alive, some time after the last message: relocation is no quicker than
    /// the disk.
    async fn look_at_space(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
        if !rules::SPACE_IS_BOUNDED_BY_WHAT_LIVES || !self.life.is_calm() || self.run.plan.setup.settings.keep_all {
            return;
        }
        let (shard, checker) = (&self.world.shard, &mut self.run.checker.borrow_mut());
        let bytes = self.run.disk.bytes_below(Path::new("log"));
        // A segment may hold no more than one long message: then the rest of it is not to be had.
        let long = checker.bytes_of_alive(to_usize(SEGMENT_BYTES / 4), |id| shard.knows(id));
        let live = shard.gauges().log_live_bytes.max(long.div_ceil(SEGMENT_BYTES / 4) * SEGMENT_BYTES);
        if bytes > 2 * live + rules::SEGMENTS_BEYOND_LIVE_MAX * SEGMENT_BYTES {
            checker.object(format!("{bytes} bytes of log for {live} live ones"));
        }
    }
}

/// A body that no other message has.
fn body(random: &mut Xorshift, bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes + 8);
    while body.len() < bytes {
        body.extend_from_slice(&random.next().to_le_bytes());
    }
    body.truncate(bytes);
    body
}

/// The last life: nothing fails, every origin is healthy, until every message has ended. Returns the wall time.
pub async fn finish(run: &Run, life: &Life) -> UnixMillis {
    clock::begin(run.wall);
    run.trace.note(format_args!("the last life begins"));
    let Some(living) = begin(run, life).await else {
        run.checker.borrow_mut().object("a healthy start failed".to_owned());
        return clock::end();
    };
    living.origins.heal();
    let (shard, space, keep_all) = (&living.world.shard, &run.plan.setup.space, run.plan.setup.settings.keep_all);
    let finished = async {
        while shard.remaining() != (0, 0, 0) || !shard.is_flushed() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        // What is reclaimed goes back to the filesystem, and then there is room.
        // Unless dead letters have it, which share the bound and stay.
        let dead_bytes = shard.dead_letters().log().spare().log_bytes();
        let is_dead_letters = space.log_bytes_max > 0 && dead_bytes + 4 * SEGMENT_BYTES > space.log_bytes_max;
        while !keep_all && !is_dead_letters && !shard.log().has_room(Need::Message, 0) {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    if tokio::time::timeout(FINISH_MAX, finished).await.is_err() {
        let (remaining, room) = (shard.remaining(), shard.log().has_room(Need::Message, 0));
        run.checker.borrow_mut().object(format!("stuck: {remaining:?} remain, room: {room}, bounds: {space:?}"));
    }
    living.look(When::Running);
    run.checker.borrow_mut().finished();
    tally::check(&living.world.scrape(), &mut run.checker.borrow_mut());
    // What was created while the bounds were ignored is given back within a second.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let segments = to_usize(run.disk.bytes_below(&world::log_dir("log", 0)) / SEGMENT_BYTES);
    if !keep_all && segments > IDLE_SEGMENTS_MAX {
        run.checker.borrow_mut().object(format!("{segments} segments of log, and nothing is alive"));
    }
    clock::end()
}

/// A log of which everything has ended keeps the active segment, the next one, the reserve, and two to recycle.
const IDLE_SEGMENTS_MAX: usize = 5;
