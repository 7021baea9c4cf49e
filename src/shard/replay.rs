//! Replays: dead letters become messages again, no faster than their origins take them.
//!
//! A job moves a letter only while fewer than a few of its origin's messages wait for their turn on this core, so that it
//! never gets ahead of the origin, and new messages wait for it no longer than for those. Letters whose origins take no
//! more for now are set aside, and those of other origins go on. Jobs live in memory: a restart ends them, and what has
//! not been moved is still a letter.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hashbrown::HashMap;
use tokio::sync::Notify;

use super::Shard;
use super::dead_letters::Letter;
use super::letter::{ReplayStatus, Selection, Walk};
use crate::disk::Disk;
use crate::limits::{
    LETTER_READS_MAX, REPLAY_ASIDE_MAX, REPLAY_READY_MAX, REPLAY_WAIT_MS_MAX, REPLAY_WAIT_MS_MIN, REPLAYS_ENDED_MAX,
    REPLAYS_RUNNING_MAX, SPACE_POLL_MS,
};
use crate::message::{MessageId, Origin};
use crate::time::{UnixMillis, monotonic_now};
use crate::wal::batch::Batch;
use crate::wal::log::Need;
use crate::wal::payload::{Accepted, Payload, Progress};
use crate::wal::ticket::Ticket;

/// A replay, as it is asked for.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Its number.
    pub job: u64,
    /// The letters that are meant.
    pub selection: Selection,
    /// At least this long from one letter to the next on this core; zero: no bound but what the origins take.
    pub interval: Duration,
}

/// The replays of one shard.
#[derive(Default)]
pub struct Replays {
    jobs: RefCell<VecDeque<Rc<Job>>>,
    asked: RefCell<VecDeque<Rc<Job>>>,
    more: Notify,
}

struct Job {
    replay: Replay,
    /// Letters that died later are not meant: one that is replayed and given up again would go around for ever.
    began: UnixMillis,
    status: RefCell<ReplayStatus>,
    cancelled: Cell<bool>,
}

/// Letters that wait until their origins take more, in pieces: a list that doubles would have to be copied.
#[derive(Default)]
struct Aside {
    origins: BTreeMap<Rc<Origin>, VecDeque<Vec<MessageId>>>,
    letters: usize,
}

const PIECE_IDS: usize = 1024;

impl Aside {
    fn push(&mut self, origin: &Rc<Origin>, id: MessageId) {
        self.letters += 1;
        let pieces = self.origins.entry(Rc::clone(origin)).or_default();
        match pieces.back_mut().filter(|piece| piece.len() < PIECE_IDS) {
            Some(piece) => piece.push(id),
            None => pieces.push_back(vec![id]),
        }
    }

    /// Takes up to `most` letters for an origin out.
    fn take(&mut self, origin: &Rc<Origin>, most: usize) -> Vec<MessageId> {
        let Some(pieces) = self.origins.get_mut(origin) else { return Vec::new() };
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(piece) = pieces.front_mut()
        {
            taken.extend(piece.drain(..piece.len().min(most - taken.len())));
            if piece.is_empty() {
                pieces.pop_front();
            }
        }
        if pieces.is_empty() {
            self.origins.remove(origin);
        }
        self.letters -= taken.len();
        taken
    }
}

/// What became of one letter.
enum Moved {
    /// It is a message as soon as this is durable.
    On(Ticket),
    /// Its origin takes no more for now.
    NotNow,
    /// It is none any more, or stands elsewhere and is to be read again.
    Gone,
    /// It does not fit a segment as they are now.
    TooLong,
}

impl Job {
    fn goes_on(&self) -> bool {
        !self.cancelled.get()
    }

    fn note(&self, note: impl FnOnce(&mut ReplayStatus)) {
        note(&mut self.status.borrow_mut());
    }
}

/// A job under way.
struct Run<'a, D: Disk> {
    shard: &'a Shard<D>,
    job: &'a Job,
    aside: Aside,
    /// When the rate allows the next one.
    next_at: Instant,
    tickets: Vec<Ticket>,
    /// Messages appended for an origin and not yet counted as ready.
    appended: HashMap<Rc<Origin>, u32>,
}

impl<D: Disk> Shard<D> {
    /// Begins a replay; `false`: there are as many as may be.
    pub fn replay(&self, replay: Replay) -> bool {
        let Replays { jobs, asked, more } = &self.replays;
        let mut jobs = jobs.borrow_mut();
        let running = jobs.iter().filter(|job| job.status.borrow().running).count();
        if running >= REPLAYS_RUNNING_MAX {
            return false;
        }
        while jobs.len() - running >= REPLAYS_ENDED_MAX {
            let oldest = jobs.iter().position(|job| !job.status.borrow().running).expect("more have ended than none");
            jobs.remove(oldest);
        }
        let letters = match replay.selection.ids.len() {
            0 => self.dead_letters.len(),
            ids => ids,
        };
        let status =
            ReplayStatus { job: replay.job, letters: letters as u64, running: true, ..ReplayStatus::default() };
        let began = self.settings.clock.now();
        let job = Rc::new(Job { replay, began, status: RefCell::new(status), cancelled: Cell::default() });
        jobs.push_back(Rc::clone(&job));
        asked.borrow_mut().push_back(job);
        more.notify_one();
        true
    }

    /// The replays that run, and those that ended last.
    pub fn replays(&self) -> Vec<ReplayStatus> {
        self.replays.jobs.borrow().iter().map(|job| job.status.borrow().clone()).collect()
    }

    /// Ends a replay; `false`: there is none with this number that runs.
    pub fn cancel_replay(&self, number: u64) -> bool {
        let jobs = self.replays.jobs.borrow();
        let Some(job) = jobs.iter().find(|job| job.replay.job == number) else { return false };
        let mut status = job.status.borrow_mut();
        status.cancelled |= status.running;
        job.cancelled.set(true);
        status.running
    }

    /// Runs replays for as long as the shard lives.
    pub async fn replay_loop(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            let next = self.replays.asked.borrow_mut().pop_front();
            if let Some(job) = next {
                running.push(self.run_replay(job));
                continue;
            }
            tokio::select! {
                biased;
                () = self.replays.more.notified() => {}
                Some(()) = running.next() => {}
            }
        }
    }

    async fn run_replay(&self, job: Rc<Job>) {
        let run = Run {
            shard: self,
            job: &job,
            aside: Aside::default(),
            next_at: monotonic_now(),
            tickets: Vec::new(),
            appended: HashMap::new(),
        };
        run.run().await;
        job.note(|status| (status.running, status.waiting) = (false, 0));
        let status = job.status.borrow().clone();
        tracing::info!(
            job = status.job,
            shard = self.number(),
            replayed = status.replayed,
            unreadable = status.unreadable,
            cancelled = status.cancelled,
            "a replay has ended"
        );
    }
}

impl<D: Disk> Run<'_, D> {
    async fn run(mut self) {
        let mut walk = Some(Walk::new(&self.job.replay.selection));
        let mut wait_ms = REPLAY_WAIT_MS_MIN;
        while self.goes_on() && (walk.is_some() || self.aside.letters > 0) {
            let before = self.job.status.borrow().replayed;
            self.go_on_with_those_aside().await;
            let stalled = self.job.status.borrow().replayed == before;
            if let Some(reading) = &mut walk
                && (self.aside.letters < REPLAY_ASIDE_MAX || (stalled && wait_ms >= REPLAY_WAIT_MS_MAX))
            {
                let piece = self.shard.dead_letters.look(|index| reading.next_piece(index, LETTER_READS_MAX));
                match piece {
                    Some(piece) => self.look_at(&piece).await,
                    None => walk = None,
                }
            }
            self.settle().await;
            let is_full = walk.is_none() || self.aside.letters >= REPLAY_ASIDE_MAX;
            if is_full && stalled {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(REPLAY_WAIT_MS_MAX);
            } else {
                wait_ms = REPLAY_WAIT_MS_MIN;
                tokio::task::yield_now().await;
            }
        }
        self.settle().await;
    }

    fn goes_on(&self) -> bool {
        self.job.goes_on() && !self.shard.draining()
    }

    /// Moves those that were set aside, as far as their origins take them now.
    async fn go_on_with_those_aside(&mut self) {
        if !self.shard.takes_replays(0) {
            return;
        }
        let origins: Vec<_> = self.aside.origins.keys().cloned().collect();
        for origin in origins {
            let room = self.room(&origin);
            let ids = self.aside.take(&origin, room as usize);
            self.move_those(&ids).await;
            self.note_waiting();
        }
    }

    /// Looks at letters that were not looked at before.
    async fn look_at(&mut self, piece: &[MessageId]) {
        self.job.note(|status| status.looked_at += piece.len() as u64);
        let letters: Vec<_> = piece.iter().copied().filter(|id| self.shard.is_letter(*id)).collect();
        self.move_those(&letters).await;
        self.note_waiting();
    }

    fn note_waiting(&self) {
        self.job.note(|status| status.waiting = self.aside.letters as u64);
    }

    async fn move_those(&mut self, ids: &[MessageId]) {
        let mut left = ids;
        while !left.is_empty() {
            let group = self.shard.readable_together(left);
            let _memory = self.shard.memory_for(&left[..group]).await;
            for (id, read) in self.shard.read_letters(&left[..group]).await {
                self.job.note(|status| status.unreadable += u64::from(read.is_err()));
                let Some(letter) = self.shard.told(id, read) else { continue };
                self.move_one(id, &letter).await;
            }
            left = &left[group..];
        }
    }

    async fn move_one(&mut self, id: MessageId, letter: &Letter) {
        let (message, death) = letter.parts();
        if !self.job.replay.selection.takes(&message, &death) || death.at > self.job.began {
            return;
        }
        let origin = Rc::new(message.origin.to_origin());
        if !self.goes_on() || self.room(&origin) == 0 {
            return self.aside.push(&origin, id);
        }
        self.keep_to_the_rate().await;
        match self.shard.move_letter(id, letter, &message) {
            Moved::On(ticket) => {
                self.tickets.push(ticket);
                *self.appended.entry(origin).or_default() += 1;
                self.job.note(|status| status.replayed += 1);
                self.shard.metrics.letter_replayed();
            }
            Moved::NotNow => self.aside.push(&origin, id),
            // Should it stand elsewhere, it is looked at again there.
            Moved::Gone if self.shard.is_letter(id) => self.aside.push(&origin, id),
            Moved::Gone => {}
            Moved::TooLong => {
                let (shard, origin) = (self.shard.number(), &origin);
                tracing::error!(%id, %origin, shard, "a dead letter is too long for a segment: set SEGMENT_BYTES to at least what it was");
                self.job.note(|status| status.unreadable += 1);
            }
        }
    }

    /// Messages that an origin takes at once.
    fn room(&self, origin: &Rc<Origin>) -> u32 {
        let ready = self.shard.state.borrow().ready_of(origin.borrowed());
        REPLAY_READY_MAX.saturating_sub(ready + self.appended.get(origin).copied().unwrap_or(0))
    }

    async fn keep_to_the_rate(&mut self) {
        let interval = self.job.replay.interval;
        if interval.is_zero() {
            return;
        }
        if self.next_at > monotonic_now() {
            self.settle().await;
        }
        while self.goes_on() && monotonic_now() < self.next_at {
            // In pieces, so that it can be cancelled.
            let until = self.next_at.min(monotonic_now() + Duration::from_millis(SPACE_POLL_MS));
            tokio::time::sleep_until(until.into()).await;
        }
        // What a timer was late by is made up for, and no more.
        let earliest = monotonic_now().checked_sub(Duration::from_millis(REPLAY_WAIT_MS_MAX));
        self.next_at = earliest.map_or(self.next_at, |earliest| self.next_at.max(earliest)) + interval;
    }

    /// Waits until what was moved is durable, and ready.
    async fn settle(&mut self) {
        for ticket in self.tickets.drain(..) {
            // A replay is never refused, only written once more.
            let _ = ticket.await;
        }
        self.appended.clear();
    }
}

impl<D: Disk> Shard<D> {
    /// Whether there is room for one more message, and for the note that it is no letter any more.
    fn takes_replays(&self, payload_bytes: usize) -> bool {
        self.log.has_room(Need::Message, payload_bytes)
            && self.dead_letters.log().has_room(Need::Move, Batch::bytes_of_one(0))
            && !self.log.is_failing()
            && !self.log.is_congested()
    }

    /// Accepts a letter anew, if it is still the one that was read.
    fn move_letter(&self, id: MessageId, letter: &Letter, message: &Accepted<'_>) -> Moved {
        if self.dead_letters.place(id) != Some(letter.at) || self.knows(id) || self.draining() {
            return Moved::Gone;
        }
        let bytes = message.head.len() + message.body.len();
        let replay = Accepted {
            accepted: self.settings.clock.now(),
            again: false,
            replays: message.replays.saturating_add(1),
            progress: Progress { maybe_duplicate: message.progress.maybe_duplicate, ..Progress::default() },
            ..message.clone()
        };
        let payload = Payload::Accepted(replay);
        if !self.log.holds(payload.bytes()) {
            return Moved::TooLong;
        }
        if !self.takes_replays(payload.bytes()) || self.admit_origin(message.origin, bytes).is_err() {
            return Moved::NotNow;
        }
        let claimed = self.dead_letters.claim(id);
        assert!(claimed, "a letter that has a place is not leaving");
        Moved::On(self.log.append(id, &payload))
    }
}
