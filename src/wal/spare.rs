//! Segments made ready in the background, before they are needed: pre-written or recycled.
//!
//! One stands under its final name, as the next segment. Others stand in a pool under names of their own, so that it is
//! plain that nothing is in them; at least the reserve, which keeps what was promised should the disk fill up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::files::Files;
use super::survey::Survey;
use crate::disk::{Disk, DiskError, Haste, while_doing};
use crate::limits::SPARES_MAX;

/// Space that one log may take.
#[derive(Clone, Debug)]
pub struct Space {
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Size of all logs that share `used` at which no segment is added, in bytes; 0: none.
    pub log_bytes_max: u64,
    /// Free space of the filesystem below which no segment is added, in bytes.
    pub disk_reserve: u64,
    /// Segments kept in the pool besides the next one.
    pub reserve: usize,
    /// Bytes of the segments of all logs that share the bound.
    pub used: Rc<Cell<u64>>,
}

/// What a segment is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// New messages, which can be refused: they leave the reserve.
    Messages,
    /// The rest of a batch that could not be written to another segment.
    Rescue,
    /// Outcomes and what is written again: waits for space, as these cannot be refused.
    Outcomes,
}

/// How often a refused segment is asked for again while nothing is reclaimed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What a step of [`Spare::run`] came to.
enum Provided {
    /// Something was done; there may be more to do.
    Step,
    /// All is there.
    Enough,
    /// A bound is reached.
    Bounded,
}

/// The next segments of one log, or why there are none.
pub struct Spare<D: Disk> {
    files: Rc<Files<D>>,
    space: Space,
    next: RefCell<Option<(u32, Rc<D::File>)>>,
    /// Spares by the number in their names.
    pool: RefCell<VecDeque<u32>>,
    /// Segments that are to become spares: those that nothing is in, then those whose messages have ended.
    reclaimed: RefCell<VecDeque<u32>>,
    next_segment: Cell<u32>,
    /// For the name of the next spare.
    next_spare: Cell<u32>,
    segments: Cell<u64>,
    starved: Cell<bool>,
    /// A segment is needed now, whatever the bounds.
    urgent: Cell<bool>,
    wanted: Notify,
    arrived: Notify,
    /// All that can be had has been provided once.
    looked: Cell<bool>,
    has_looked: Notify,
}

impl<D: Disk> Spare<D> {
    /// For the log that a survey found.
    pub fn new(files: Rc<Files<D>>, space: Space, survey: &Survey) -> Self {
        let segments = (survey.segments.len() + survey.unbegun.len() + survey.spares.len()) as u64;
        space.used.update(|used| used + segments * space.segment_bytes);
        Self {
            files,
            space,
            next: RefCell::default(),
            pool: RefCell::new(survey.spares.iter().copied().collect()),
            reclaimed: RefCell::new(survey.unbegun.iter().copied().collect()),
            next_segment: Cell::new(survey.next_segment),
            next_spare: Cell::new(survey.spares.iter().max().map_or(0, |newest| newest.wrapping_add(1))),
            segments: Cell::new(segments),
            starved: Cell::new(false),
            urgent: Cell::new(false),
            wanted: Notify::new(),
            arrived: Notify::new(),
            looked: Cell::new(false),
            has_looked: Notify::new(),
        }
    }

    /// Whether no further segment can be had: the bound is reached or the disk is full.
    pub const fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// Segments that can be had without asking the disk for space.
    pub fn ready(&self) -> usize {
        usize::from(self.next.borrow().is_some()) + self.pool.borrow().len()
    }

    /// Bytes of all segments, spares and reclaimed ones included.
    pub fn log_bytes(&self) -> u64 {
        self.segments.get() * self.space.segment_bytes
    }

    /// Bytes of the segments that hold nothing.
    pub fn spare_bytes(&self) -> u64 {
        (self.ready() + self.reclaimed.borrow().len()) as u64 * self.space.segment_bytes
    }

    /// Gives a segment back whose messages have all ended. Oldest first.
    pub fn reclaim(&self, segment: u32) {
        self.reclaimed.borrow_mut().push_back(segment);
        self.wanted.notify_one();
    }

    /// Takes the next segment, waiting for it if need be; `None`: there is none for what it is `wanted` for.
    ///
    /// For anything but messages the bounds no longer count when the reserve is used up: only the disk can refuse.
    pub async fn take(&self, wanted: For) -> Option<(u32, Rc<D::File>)> {
        let mut asked = false;
        loop {
            let arrived = self.arrived.notified();
            let refused = match wanted {
                For::Messages => self.ready() <= self.space.reserve,
                For::Rescue => self.ready() == 0,
                For::Outcomes => false,
            };
            if refused && self.starved.get() {
                return None;
            }
            let next = self.next.borrow_mut().take();
            self.urgent.set(next.is_none() && wanted != For::Messages);
            // Once: what could not be provided is tried again after a while, not at once.
            if next.is_some() || !std::mem::replace(&mut asked, true) {
                self.wanted.notify_one();
            }
            if next.is_some() {
                return next;
            }
            arrived.await;
        }
    }

    /// Resolves when it is known whether there are segments for more than the reserve; then that.
    pub async fn has_more_than_the_reserve(&self) -> bool {
        let looked = self.has_looked.notified();
        if !self.looked.get() {
            looked.await;
        }
        !self.starved.get()
    }

    /// Prepares segments for as long as the log lives.
    pub async fn run(&self) {
        loop {
            let wanted = self.wanted.notified();
            match self.provide().await {
                Ok(Provided::Step) => {}
                Ok(Provided::Enough) => {
                    if self.starved.replace(false) {
                        let (dir, shard) = (self.files.dir().display(), self.files.shard());
                        tracing::info!(%dir, shard, "log space is available again");
                    }
                    self.note_looked();
                    wanted.await;
                }
                Ok(Provided::Bounded) => self.starve("the log has reached its bound", None, wanted).await,
                Err(error) => self.starve("no segment can be added", Some(error), wanted).await,
            }
        }
    }

    /// Waits for a change, or a while.
    async fn starve(&self, why: &str, error: Option<DiskError>, wanted: impl Future<Output = ()>) {
        if !self.starved.replace(true) {
            let cause = error.map(|error| format!("{error}: {}", error.source));
            let (dir, shard) = (self.files.dir().display(), self.files.shard());
            tracing::warn!(%dir, shard, cause, "{why}: new messages are refused until space is free");
        }
        self.note_looked();
        // Whoever waits for a segment may have to be refused.
        self.arrived.notify_one();
        let _ = tokio::time::timeout(RETRY_EVERY, wanted).await;
    }

    fn note_looked(&self) {
        if !self.looked.replace(true) {
            self.has_looked.notify_waiters();
        }
    }

    /// The most pressing step towards a next segment, the reserve, and no more.
    async fn provide(&self) -> Result<Provided, DiskError> {
        let (reclaimed, pooled) = (!self.reclaimed.borrow().is_empty(), self.pool.borrow().len());
        let lacks_next = self.next.borrow().is_none();
        if lacks_next && pooled > 0 && !self.is_in_the_way() {
            return self.promote().await;
        }
        if reclaimed {
            return self.recycle().await;
        }
        if lacks_next || pooled < self.space.reserve {
            return if self.urgent.get() || self.is_within_bounds().await? {
                self.create().await
            } else {
                Ok(Provided::Bounded)
            };
        }
        if pooled > self.space.reserve + SPARES_MAX || (pooled > self.space.reserve && self.exceeds_bound(0)) {
            let surplus = self.pool.borrow().front().copied().expect("the pool holds more than the reserve");
            self.remove_spare(surplus).await?;
            return Ok(Provided::Step);
        }
        Ok(Provided::Enough)
    }

    /// Whether a segment that was never begun still has the name of the next one.
    fn is_in_the_way(&self) -> bool {
        self.reclaimed.borrow().contains(&self.next_segment.get())
    }

    /// Turns the oldest reclaimed segment into a spare: oldest first and each step durable, so that no outcome vanishes
    /// before its message.
    async fn recycle(&self) -> Result<Provided, DiskError> {
        let oldest = self.reclaimed.borrow().front().copied().expect("the caller has looked");
        self.files.forget(oldest);
        let (path, spare) = (self.files.path(oldest), self.next_spare.get());
        match self.files.disk().rename(&path, &self.files.spare_path(spare)).await {
            // An earlier try failed and happened all the same. It must not be undone by a crash after the next segment
            // is gone, which may hold the outcomes of what stands in this one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.files.make_names_durable().await?,
            renamed => renamed.map_err(while_doing("recycling", &path))?,
        }
        self.reclaimed.borrow_mut().pop_front();
        self.pool_spare(spare);
        Ok(Provided::Step)
    }

    fn pool_spare(&self, spare: u32) {
        // Where numbers end, one may be taken: what has it is replaced, and missed when its turn comes.
        self.next_spare.set(spare.wrapping_add(1));
        self.pool.borrow_mut().push_back(spare);
    }

    /// Gives a spare the name of the next segment. One of another size (`SEGMENT_BYTES` was changed) is removed.
    async fn promote(&self) -> Result<Provided, DiskError> {
        let spare = self.pool.borrow().front().copied().expect("the caller has looked");
        let (disk, path) = (self.files.disk(), self.files.spare_path(spare));
        let file = match disk.open(&path, true).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget_spare(spare);
                return Ok(Provided::Step);
            }
            opened => opened.map_err(while_doing("opening", &path))?,
        };
        let bytes = disk.length(&file).await.map_err(while_doing("asking the length of", &path))?;
        if bytes != self.space.segment_bytes {
            self.remove_spare(spare).await?;
            return Ok(Provided::Step);
        }
        let next = self.next_segment.get();
        disk.rename(&path, &self.files.path(next)).await.map_err(while_doing("recycling", &path))?;
        self.pool.borrow_mut().pop_front();
        self.put(next, file);
        Ok(Provided::Step)
    }

    async fn create(&self) -> Result<Provided, DiskError> {
        let disk = self.files.disk();
        let bytes = self.space.segment_bytes;
        let next = self.next_segment.get();
        if self.next.borrow().is_none() {
            let path = self.files.path(next);
            let file = disk.create(&path, bytes, Haste::Now).await.map_err(while_doing("creating", &path))?;
            self.count(1);
            self.put(next, file);
        } else {
            let path = self.files.spare_path(self.next_spare.get());
            // At a start, somebody waits for the reserve too.
            let haste = if self.looked.get() { Haste::Aside } else { Haste::Now };
            disk.create(&path, bytes, haste).await.map_err(while_doing("creating", &path))?;
            self.count(1);
            self.pool_spare(self.next_spare.get());
        }
        Ok(Provided::Step)
    }

    fn put(&self, segment: u32, file: D::File) {
        self.next_segment.set(segment + 1);
        *self.next.borrow_mut() = Some((segment, Rc::new(file)));
        self.arrived.notify_one();
    }

    async fn remove_spare(&self, spare: u32) -> Result<(), DiskError> {
        let path = self.files.spare_path(spare);
        match self.files.disk().remove(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(while_doing("removing", &path)(error)),
            Ok(()) | Err(_) => self.forget_spare(spare),
        }
        Ok(())
    }

    fn forget_spare(&self, spare: u32) {
        self.pool.borrow_mut().retain(|other| *other != spare);
        self.count(-1);
    }

    fn count(&self, change: i64) {
        self.segments.update(|segments| segments.saturating_add_signed(change));
        let bytes = self.space.segment_bytes.cast_signed() * change;
        self.space.used.update(|used| used.saturating_add_signed(bytes));
    }

    fn exceeds_bound(&self, more_segments: u64) -> bool {
        let used = self.space.used.get() + more_segments * self.space.segment_bytes;
        self.space.log_bytes_max > 0 && used > self.space.log_bytes_max
    }

    async fn is_within_bounds(&self) -> Result<bool, DiskError> {
        if self.exceeds_bound(1) {
            return Ok(false);
        }
        let dir = self.files.dir();
        let free = self.files.disk().free_bytes(dir).await.map_err(while_doing("asking the free space of", dir))?;
        Ok(free >= self.space.disk_reserve.saturating_add(self.space.segment_bytes))
    }
}
