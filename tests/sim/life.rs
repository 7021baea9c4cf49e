//! One life of the process: it starts, takes messages, delivers them, and ends as planned or as it must.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use dispatcher::message::{Draft, MessageId, Origin, Scheme, Xorshift};
use dispatcher::shard::letter::Selection;
use dispatcher::shard::replay::Replay;
use dispatcher::shard::{Refused, Shard, message_bytes_max};
use dispatcher::time::{Millis, UnixMillis};

use super::checker::{Sent, When};
use super::clock;
use super::disk::SimDisk;
use super::plan::{End, Life, SEGMENT_BYTES_MAX};
use super::process::{Process, Run};
use super::storage::index;
use super::world::{self, SEGMENT_BYTES, World};

/// How long a life may take to recover before it ends without that.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// How long the last life may take to end every message.
const FINISH_MAX: Duration = Duration::from_secs(1800);
/// A log of which everything has ended keeps the active segment, the next one, the reserve, and two to recycle.
const IDLE_SEGMENTS_MAX: u64 = 5;

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
    let mut random = Xorshift::new(life.seed);
    let Some(process) = Process::start(run, life, &mut random).await else { return "it could not start" };
    let acting = Acting { run, life, process: &process };
    // An adoption waits for space, which there may never be.
    let recovery = async { drop(tokio::time::timeout(RECOVERY_MAX, process.recover()).await) };
    tokio::select! {
        biased;
        () = process.failure() => return "the log failed",
        ((), ()) = async { tokio::join!(recovery, acting.act(&mut random)) } => {}
    }
    process.look(When::Running);
    let timeout = match life.end {
        End::Drain(timeout) => timeout,
        End::DrainOrCrashAtOperation(_) => Duration::from_secs(1),
        End::Crash | End::CrashAtOperation(_) => return "killed",
    };
    run.trace.note(format_args!("it is asked to stop"));
    process.drain(timeout).await;
    "stopped"
}

/// Asks for a replay of these letters; none: of all.
fn replay(run: &Run, shard: &Shard<SimDisk>, random: &mut Xorshift, ids: Vec<MessageId>) {
    run.trace.note(format_args!("these are replayed: {ids:?}"));
    run.checker.borrow_mut().replay_asked(&ids);
    let interval = Duration::from_millis([0, 0, 50][index(random, 3)]);
    let selection = Selection { ids, ..Selection::default() };
    shard.replay(Replay { job: random.next(), selection, interval });
}

/// What senders and the world do to a process.
struct Acting<'a> {
    run: &'a Run,
    life: &'a Life,
    process: &'a Process<'a>,
}

impl Acting<'_> {
    async fn act(&self, random: &mut Xorshift) {
        for _ in 0..self.life.actions {
            match index(random, 14) {
                0..6 => {
                    for _ in 0..=index(random, 6) {
                        self.submit(random);
                    }
                }
                6 => self.process.shards[index(random, self.process.shards.len())].1.change_mood(random),
                7 if self.life.clock_jumps => self.jump(random),
                8 if self.life.space_is_taken => {
                    let taken = index(random, 12) as u64 * SEGMENT_BYTES;
                    let taken =
                        if taken > 6 * SEGMENT_BYTES { 0 } else { self.run.plan.capacity.saturating_sub(taken) };
                    self.run.trace.note(format_args!("others take {taken} bytes"));
                    self.run.disk.set_taken(taken);
                }
                9 => self.process.look(When::Running),
                10 if index(random, 4) == 0 => self.process.look_at_space().await,
                11 | 12 if self.run.plan.has_operator && self.process.is_recovered() => self.operate(random),
                _ => {}
            }
            self.pause(random).await;
        }
    }

    async fn pause(&self, random: &mut Xorshift) {
        let ms = u64::try_from(self.life.pause.as_millis()).unwrap();
        match index(random, 16) {
            0..4 => {}
            4..8 => world::turns(random.next() % 12).await,
            8..15 => tokio::time::sleep(Duration::from_millis(random.next() % (ms + 1))).await,
            _ => tokio::time::sleep(Duration::from_millis(random.next() % (20 * ms + 1))).await,
        }
    }

    /// Submits a message as a connection does, and waits for its ticket in a task.
    fn submit(&self, random: &mut Xorshift) {
        let origin = format!("o{}", index(random, self.run.plan.origins));
        let mut head = format!("POST /hook HTTP/1.1\r\nHost: {origin}\r\nX-N: {:x}\r\n", random.next()).into_bytes();
        if random.next().is_multiple_of(8) {
            head.resize(head.len() + index(random, 2000), b'h');
        }
        let most = message_bytes_max(self.life.segment_bytes) - head.len();
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
        let number = index(random, self.process.shards.len());
        let shard = &self.process.shards[number].0.shard;
        if let Err(refused) = shard.admit(head.len() + body.len()) {
            return self.run.trace.note(format_args!("refused: {refused:?}"));
        }
        let Some(memory) = shard.memory().large_messages().try_take(2 * (head.len() + body.len())) else {
            return self.run.trace.note(format_args!("refused: {:?}", Refused::Memory));
        };
        let to = Origin::parse(&origin, Scheme::Http).unwrap();
        let accepted = clock::CLOCK.now().0;
        let ticket = match shard.submit(Draft { origin: &to, timeout, head: &head, body: &body }) {
            Ok(ticket) => ticket,
            Err(refused) => return self.run.trace.note(format_args!("refused: {refused:?}")),
        };
        let (id, shard) = (ticket.id(), u32::try_from(number).unwrap());
        self.run.trace.note(format_args!("{id} submitted to shard {shard} for {origin}: {bytes} bytes"));
        self.run.checker.borrow_mut().submitted(id, Sent { shard, accepted, origin, head, body });
        let (checker, trace) = (Rc::clone(&self.run.checker), self.run.trace.clone());
        world::spawn(async move {
            let acknowledged = ticket.await.is_ok();
            drop(memory);
            trace.note(format_args!("{id} {}", if acknowledged { "acknowledged" } else { "refused" }));
            checker.borrow_mut().answered(id, acknowledged);
        });
    }

    /// Replays dead letters or removes them, as an operator does.
    fn operate(&self, random: &mut Xorshift) {
        self.process.look(When::Running);
        let shard = &self.process.shards[0].0.shard;
        let mut ids = self.run.checker.borrow().letters();
        ids.retain(|id| shard.is_letter(*id) && random.next().is_multiple_of(2));
        match index(random, 3) {
            // What dies later than the clock said when it was asked is not meant: else nobody knows what is.
            0 if !self.life.clock_jumps => replay(self.run, shard, random, Vec::new()),
            0 | 1 if !ids.is_empty() => replay(self.run, shard, random, ids),
            _ => self.remove(ids),
        }
    }

    fn remove(&self, ids: Vec<MessageId>) {
        self.run.trace.note(format_args!("these are removed: {ids:?}"));
        for id in &ids {
            self.run.checker.borrow_mut().removal_begins(*id);
        }
        let shard = Rc::clone(&self.process.shards[0].0.shard);
        let (checker, trace) = (Rc::clone(&self.run.checker), self.run.trace.clone());
        world::spawn(async move {
            for id in ids {
                let removal = shard.remove_letters(&Selection { ids: vec![id], ..Selection::default() }).await;
                trace.note(format_args!("{id} is removed: {removal:?}"));
                // Else it is known only after a restart.
                if removal.removed == 1 || !shard.dead_letters().log().is_failing() {
                    checker.borrow_mut().removal_ends(id, removal.removed == 1);
                }
            }
        });
    }

    fn jump(&self, random: &mut Xorshift) {
        const MINUTE: i64 = 60_000;
        let spans = [MINUTE, 5 * MINUTE, 60 * MINUTE, 24 * 60 * MINUTE];
        let span = spans[index(random, spans.len())];
        let by = if random.next().is_multiple_of(2) { span } else { -span };
        self.run.trace.note(format_args!("the wall clock jumps by {by} ms"));
        let note = || self.run.checker.borrow_mut().note_time(clock::lived_ms(), clock::CLOCK.now().0);
        note();
        clock::jump(by);
        note();
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
    let object = |what| run.checker.borrow_mut().object(what);
    let Some(process) = Process::start(run, life, &mut Xorshift::new(life.seed)).await else {
        object("a healthy start failed".to_owned());
        return clock::end();
    };
    let (World { shard, .. }, origins) = &process.shards[0];
    origins.heal();
    let (keep_all, bytes_max) = (run.plan.setup.settings.keep_all, run.plan.setup.space.log_bytes_max);
    let finished = async {
        process.recover().await;
        while shard.remaining() != (0, 0, 0) || !shard.is_flushed() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        // What is reclaimed goes back to the filesystem, and then there is room, unless dead letters fill the bound.
        let dead_bytes = run.disk.files_below(Path::new("dead")) * SEGMENT_BYTES_MAX;
        let is_filled = bytes_max > 0 && dead_bytes + IDLE_SEGMENTS_MAX * SEGMENT_BYTES_MAX > bytes_max;
        while !keep_all && !is_filled && !process.shards[0].0.has_room() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    if tokio::time::timeout(FINISH_MAX, finished).await.is_err() {
        let (remaining, room) = (shard.remaining(), process.shards[0].0.has_room());
        object(format!("stuck: {remaining:?} remain, room: {room}, bounds: {:?}", run.plan.setup.space));
    }
    process.look(When::Running);
    if run.plan.has_operator && bytes_max == 0 {
        replay_all(run, &process).await;
    }
    process.look_at_letters().await;
    run.checker.borrow_mut().finished();
    process.count();
    // What was created while the bounds were ignored is given back within a second.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let bytes = run.disk.bytes_below(Path::new("log"));
    if !keep_all && bytes > IDLE_SEGMENTS_MAX * SEGMENT_BYTES_MAX {
        object(format!("{bytes} bytes of log, and nothing is alive"));
    }
    clock::end()
}

/// What cannot be delivered in a healthy world is a dead letter again; without a bound on its time, everything can.
async fn replay_all(run: &Run, process: &Process<'_>) {
    let shard = &process.shards[0].0.shard;
    replay(run, shard, &mut Xorshift::new(1), Vec::new());
    let replayed = async {
        while shard.replays().iter().any(|job| job.running) || shard.remaining() != (0, 0, 0) || !shard.is_flushed() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let object = |what| run.checker.borrow_mut().object(what);
    if tokio::time::timeout(FINISH_MAX, replayed).await.is_err() {
        object(format!("a replay is stuck: {:?}, {:?} remain", shard.replays(), shard.remaining()));
    }
    process.look(When::Running);
    // A letter that died later than the clock says is not meant.
    let goes_back = run.plan.lives.iter().any(|life| life.clock_jumps || life.downtime_ms < 0);
    let is_mortal = run.plan.setup.settings.retry.message_ttl.is_some();
    if !goes_back && !is_mortal && !shard.dead_letters().is_empty() {
        object(format!("{} dead letters are left: {:?}", shard.dead_letters().len(), shard.replays()));
    }
}
