//! The next segment, made ready in the background: pre-written or recycled, under its final name, before it is needed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::files::Files;
use crate::disk::{Disk, DiskError, while_doing};

/// Space that one log may take.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Size of the log at which no segment is added, in bytes; 0: none.
    pub log_bytes_max: u64,
    /// Free space of the filesystem below which no segment is added, in bytes.
    pub disk_reserve: u64,
}

/// Reclaimed segments kept for recycling; more are given back to the filesystem.
const RECLAIMED_MAX: usize = 2;

/// How often a refused segment is asked for again while nothing is reclaimed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The next segment of one log, or why there is none.
pub struct Spare<D: Disk> {
    files: Rc<Files<D>>,
    space: Space,
    ready: RefCell<Option<(u32, Rc<D::File>)>>,
    reclaimed: RefCell<VecDeque<u32>>,
    next: Cell<u32>,
    segments: Cell<u64>,
    starved: Cell<bool>,
    /// A segment is needed now, whatever the bounds.
    urgent: Cell<bool>,
    urgent_failures: Cell<u64>,
    overdrawn: Cell<bool>,
    wanted: Notify,
    arrived: Notify,
}

impl<D: Disk> Spare<D> {
    /// For a log of `segments` segments whose next one is numbered `next`.
    pub fn new(files: Rc<Files<D>>, space: Space, next: u32, segments: u64) -> Self {
        Self {
            files,
            space,
            ready: RefCell::default(),
            reclaimed: RefCell::default(),
            next: Cell::new(next),
            segments: Cell::new(segments),
            starved: Cell::new(false),
            urgent: Cell::new(false),
            urgent_failures: Cell::new(0),
            overdrawn: Cell::new(false),
            wanted: Notify::new(),
            arrived: Notify::new(),
        }
    }

    /// Whether no further segment can be had: the bound is reached or the disk is full.
    pub const fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// Bytes of all segments, the spare one and reclaimed ones included.
    pub fn log_bytes(&self) -> u64 {
        self.segments.get() * self.space.segment_bytes
    }

    /// Gives a segment back whose messages have all ended. Oldest first.
    pub fn reclaim(&self, segment: u32) {
        self.files.forget(segment);
        self.reclaimed.borrow_mut().push_back(segment);
        self.wanted.notify_one();
    }

    /// Whether the last segment was had only by ignoring the bounds: no message may go into it.
    pub fn is_overdrawn(&self) -> bool {
        self.overdrawn.get()
    }

    /// Takes the next segment, waiting for it if need be. When it is needed and not there, the bounds no longer count
    /// (the segment is for outcomes of accepted messages); only the disk itself can refuse. Then `None`, if the
    /// caller `may_refuse`; else this waits for space.
    pub async fn take(&self, may_refuse: bool) -> Option<(u32, Rc<D::File>)> {
        let failures = self.urgent_failures.get();
        loop {
            let arrived = self.arrived.notified();
            let ready = self.ready.borrow_mut().take();
            if ready.is_some() {
                self.urgent.set(false);
                self.wanted.notify_one();
                return ready;
            }
            if may_refuse && self.urgent_failures.get() > failures {
                return None;
            }
            if !self.urgent.replace(true) {
                self.wanted.notify_one();
            }
            arrived.await;
        }
    }

    /// Prepares segments for as long as the log lives.
    pub async fn run(&self) {
        loop {
            let wanted = self.wanted.notified();
            let needed = self.ready.borrow().is_none();
            if needed {
                match self.prepare().await {
                    Ok(Some(ready)) => {
                        if !self.overdrawn.get() && self.starved.replace(false) {
                            tracing::info!(dir = %self.files.dir().display(), "log space is available again");
                        }
                        *self.ready.borrow_mut() = Some(ready);
                        self.arrived.notify_one();
                        continue;
                    }
                    Ok(None) => self.starve("the log has reached its bound", None),
                    Err(error) => self.starve("no segment can be added", Some(&error)),
                }
                if self.urgent.get() {
                    self.urgent_failures.update(|failures| failures + 1);
                    self.arrived.notify_one();
                }
                let _ = tokio::time::timeout(RETRY_EVERY, wanted).await;
            } else {
                if let Err(error) = self.trim().await {
                    tracing::warn!(%error, cause = %error.source, "a reclaimed segment could not be removed");
                }
                wanted.await;
            }
        }
    }

    fn starve(&self, why: &str, error: Option<&DiskError>) {
        if !self.starved.replace(true) {
            let cause = error.map(|error| format!("{error}: {}", error.source));
            tracing::warn!(dir = %self.files.dir().display(), cause, "{why}: new messages are refused until space is free");
        }
    }

    /// The next segment under its final name, or `None` at a bound.
    async fn prepare(&self) -> Result<Option<(u32, Rc<D::File>)>, DiskError> {
        let disk = self.files.disk();
        let segment = self.next.get();
        let path = self.files.path(segment);
        let file = match self.recycle(&path).await? {
            Some(file) => {
                self.overdrawn.set(false);
                file
            }
            None => {
                let within = self.is_within_bounds().await?;
                if !within && !self.urgent.get() {
                    return Ok(None);
                }
                let file =
                    disk.create(&path, self.space.segment_bytes).await.map_err(while_doing("creating", &path))?;
                self.segments.set(self.segments.get() + 1);
                self.overdrawn.set(!within);
                file
            }
        };
        self.next.set(segment + 1);
        Ok(Some((segment, Rc::new(file))))
    }

    /// Gives the oldest reclaimed segment the name `path`. One of another size (`SEGMENT_BYTES` was changed), or one
    /// beyond the bound, is removed instead.
    async fn recycle(&self, path: &Path) -> Result<Option<D::File>, DiskError> {
        let disk = self.files.disk();
        loop {
            let Some(old) = self.reclaimed.borrow().front().copied() else { return Ok(None) };
            let old_path = self.files.path(old);
            let file = match disk.open(&old_path, true).await {
                // An earlier rename or removal failed and happened all the same. Whether it is durable is unknown, so
                // what stands under the next name is not used but replaced.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.forget_oldest_reclaimed();
                    continue;
                }
                opened => opened.map_err(while_doing("opening", &old_path))?,
            };
            let bytes = disk.length(&file).await.map_err(while_doing("asking the length of", &old_path))?;
            if bytes == self.space.segment_bytes && !self.exceeds_bound(self.segments.get()) {
                disk.rename(&old_path, path).await.map_err(while_doing("recycling", &old_path))?;
                self.reclaimed.borrow_mut().pop_front();
                return Ok(Some(file));
            }
            self.remove_oldest_reclaimed().await?;
        }
    }

    /// Gives space back to the filesystem, oldest first, so that no outcome vanishes before its message.
    async fn remove_oldest_reclaimed(&self) -> Result<(), DiskError> {
        let Some(old) = self.reclaimed.borrow().front().copied() else { return Ok(()) };
        let path = self.files.path(old);
        match self.files.disk().remove(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(while_doing("removing", &path)(error)),
            _ => self.forget_oldest_reclaimed(),
        }
        Ok(())
    }

    fn forget_oldest_reclaimed(&self) {
        self.reclaimed.borrow_mut().pop_front();
        self.segments.set(self.segments.get() - 1);
    }

    const fn exceeds_bound(&self, segments: u64) -> bool {
        self.space.log_bytes_max > 0 && segments * self.space.segment_bytes > self.space.log_bytes_max
    }

    async fn trim(&self) -> Result<(), DiskError> {
        while self.reclaimed.borrow().len() > RECLAIMED_MAX {
            self.remove_oldest_reclaimed().await?;
        }
        Ok(())
    }

    async fn is_within_bounds(&self) -> Result<bool, DiskError> {
        if self.exceeds_bound(self.segments.get() + 1) {
            return Ok(false);
        }
        let dir = self.files.dir();
        let free = self.files.disk().free_bytes(dir).await.map_err(while_doing("asking the free space of", dir))?;
        Ok(free >= self.space.disk_reserve.saturating_add(self.space.segment_bytes))
    }
}
