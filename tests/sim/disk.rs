//! A disk in memory that takes away whatever the contract of [`Disk`] does not promise.
//!
//! The fault model:
//! - What returned `Ok` is on the disk for ever: contents and names alike.
//! - An operation takes any number of turns, or of milliseconds, so that operations begun together end in any order.
//! - At a crash, each 512-byte sector of a write in flight holds what it held, what was written, that with a bit
//!   flipped, or anything; each name being changed is as before or as after; an unfinished file may be left behind.
//!   Nothing that was begun ever returns.
//! - The operation with a given number, or every one from it on, or one in so many, fails: with EIO (its sectors hold
//!   what they may hold after a crash; its name may have changed, for good or until a crash undoes it), short (a prefix
//!   of its sectors has landed) or ENOSPC (it had no effect).
//! - A file takes space until it has no name and is open no more; others take space too, and give it back.
//! - Reads return what was written; what is durable does not rot here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dispatcher::disk::aligned::AlignedBuf;
use dispatcher::disk::{Disk, Haste};
use dispatcher::limits::{BLOCK_BYTES, to_usize};
use dispatcher::message::Xorshift;
use tokio::sync::Notify;

use super::storage::{Change, Inode, Storage, index};
use super::trace::Trace;

/// More operations than anything here has between two restarts.
const OPERATIONS_MAX: u64 = 100_000;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Eio,
    Short,
    NoSpace,
}

/// Which operations fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Number of the operation, from 0.
    pub at: u64,
    pub kind: Kind,
    /// Every later operation fails too.
    pub forever: bool,
}

/// How long operations take.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// A few turns of the other tasks.
    Turns,
    /// So many milliseconds at most, every so often.
    Slow { ms_max: u64, one_in: u64 },
}

struct Inner {
    random: Xorshift,
    storage: Storage,
    in_flight: BTreeMap<u64, Change>,
    operations: u64,
    since_restart: u64,
    crash_at: Option<u64>,
    crashed: bool,
    fault: Option<Fault>,
    /// One operation in so many fails.
    flaky: Option<u64>,
    pace: Pace,
    trace: Trace,
}

/// A handle to the disk; clones share it.
#[derive(Clone)]
pub struct SimDisk {
    inner: Rc<RefCell<Inner>>,
    crash: Rc<Notify>,
}

impl SimDisk {
    /// Empty. `seed` decides every choice.
    pub fn new(seed: u64) -> Self {
        Self::traced(seed, Trace::default())
    }

    /// The same; every operation is noted in `trace`.
    pub fn traced(seed: u64, trace: Trace) -> Self {
        let inner = Inner {
            random: Xorshift::new(seed),
            storage: Storage::default(),
            in_flight: BTreeMap::new(),
            operations: 0,
            since_restart: 0,
            crash_at: None,
            crashed: false,
            fault: None,
            flaky: None,
            pace: Pace::Turns,
            trace,
        };
        Self { inner: Rc::new(RefCell::new(inner)), crash: Rc::default() }
    }

    /// Cuts the power when `operations` more have begun.
    pub fn crash_after(&self, operations: u64) {
        let mut inner = self.inner.borrow_mut();
        inner.crash_at = Some(inner.operations + operations);
    }

    /// Cuts the power now.
    pub fn crash(&self) {
        self.inner.borrow_mut().crash();
        self.crash.notify_waiters();
    }

    pub fn has_crashed(&self) -> bool {
        self.inner.borrow().crashed
    }

    /// Resolves when the power is cut.
    pub async fn crashed(&self) {
        let crash = self.crash.notified();
        if !self.has_crashed() {
            crash.await;
        }
    }

    /// Power and health are back; the caller has dropped everything that used the disk before.
    pub fn restart(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.in_flight.clear();
        inner.since_restart = 0;
        (inner.crashed, inner.crash_at, inner.fault, inner.flaky) = (false, None, None, None);
    }

    /// Fails the operation that is `fault.at` operations ahead.
    pub fn fail(&self, fault: Fault) {
        let mut inner = self.inner.borrow_mut();
        inner.fault = Some(Fault { at: inner.operations + fault.at, ..fault });
    }

    /// Fails one operation in `one_in`, in any way.
    pub fn set_flaky(&self, one_in: Option<u64>) {
        self.inner.borrow_mut().flaky = one_in;
    }

    pub fn set_pace(&self, pace: Pace) {
        self.inner.borrow_mut().pace = pace;
    }

    pub fn set_free(&self, bytes: u64) {
        self.inner.borrow().storage.set_free(bytes);
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.inner.borrow().storage.set_capacity(bytes);
    }

    pub fn set_taken(&self, bytes: u64) {
        self.inner.borrow().storage.set_taken(bytes);
    }

    /// Operations begun so far.
    pub fn operations(&self) -> u64 {
        self.inner.borrow().operations
    }

    /// Files with their contents, to look at.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let inner = self.inner.borrow();
        let contents = |inode: &Inode| {
            let mut contents = vec![0; inode.len()];
            inode.read(0, &mut contents);
            contents
        };
        inner.storage.names().iter().map(|(path, inode)| (path.clone(), contents(inode))).collect()
    }

    /// Bytes of the files below `dir`.
    pub fn bytes_below(&self, dir: &Path) -> u64 {
        let inner = self.inner.borrow();
        inner
            .storage
            .names()
            .iter()
            .filter(|(path, _)| path.starts_with(dir))
            .map(|(_, inode)| inode.len() as u64)
            .sum()
    }

    /// Names below `dir`.
    pub fn files_below(&self, dir: &Path) -> u64 {
        self.inner.borrow().storage.names().keys().filter(|path| path.starts_with(dir)).count() as u64
    }

    /// Puts a file there as if it had always been.
    pub fn put(&self, path: &Path, contents: Vec<u8>) {
        self.inner.borrow_mut().storage.put(path, contents);
    }

    /// Begins an operation, waits its turns, and ends it; `Err` if it fails. Never returns after a crash.
    async fn operate(&self, change: Change) -> io::Result<()> {
        let (number, (turns, ms)) = {
            let mut inner = self.inner.borrow_mut();
            (inner.begin(change), inner.time())
        };
        if self.has_crashed() {
            self.crash.notify_waiters();
        }
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if self.has_crashed() {
            std::future::pending::<()>().await;
        }
        self.inner.borrow_mut().end(number)
    }

    fn named(&self, path: &Path) -> io::Result<Rc<Inode>> {
        self.inner.borrow().storage.names().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_there(&self, path: &Path) -> bool {
        self.inner.borrow().storage.names().keys().any(|name| name.starts_with(path))
    }

    fn inode(&self, contents: Vec<u8>) -> io::Result<Rc<Inode>> {
        self.inner.borrow().storage.inode(contents).ok_or_else(|| io::ErrorKind::StorageFull.into())
    }
}

impl Inner {
    fn begin(&mut self, change: Change) -> u64 {
        let number = self.operations;
        self.operations += 1;
        self.since_restart += 1;
        if self.since_restart > OPERATIONS_MAX {
            self.crash();
            panic!("{OPERATIONS_MAX} disk operations in one life: something goes round in circles");
        }
        if !self.crashed {
            match &change {
                Change::Nothing => {}
                Change::Write { blocks, offset, .. } => {
                    self.trace.note(format_args!("disk {number}: write {} bytes at {offset}", blocks.len()));
                }
                Change::Create { path, .. } => {
                    self.trace.note(format_args!("disk {number}: create {}", path.display()))
                }
                Change::Rename { from, to } => {
                    self.trace.note(format_args!("disk {number}: rename {} to {}", from.display(), to.display()));
                }
                Change::Remove { path } => self.trace.note(format_args!("disk {number}: remove {}", path.display())),
                Change::Put { path, .. } => self.trace.note(format_args!("disk {number}: put {}", path.display())),
            }
            self.in_flight.insert(number, change);
            if self.crash_at == Some(number) {
                self.crash();
            }
        }
        number
    }

    /// Turns and milliseconds that an operation takes.
    fn time(&mut self) -> (u64, u64) {
        let turns = self.random.next() % 4;
        match self.pace {
            Pace::Slow { ms_max, one_in } if self.random.next().is_multiple_of(one_in) => {
                (turns, self.random.next() % (ms_max + 1))
            }
            Pace::Turns | Pace::Slow { .. } => (turns, 0),
        }
    }

    fn end(&mut self, number: u64) -> io::Result<()> {
        let change = self.in_flight.remove(&number).expect("an operation ends once");
        let fails = |fault: &Fault| number == fault.at || (fault.forever && number > fault.at);
        let mut kind = self.fault.filter(fails).map(|fault| fault.kind);
        if let Some(one_in) = self.flaky
            && self.random.next().is_multiple_of(one_in)
        {
            kind = Some([Kind::Eio, Kind::Short, Kind::NoSpace][index(&mut self.random, 3)]);
        }
        if let Some(kind) = kind {
            self.trace.note(format_args!("disk {number}: fails with {kind:?}"));
        }
        match kind {
            None => {
                self.storage.apply(&change);
                Ok(())
            }
            Some(Kind::Eio) => {
                self.storage.apply_failed(&change, &mut self.random);
                Err(io::Error::from_raw_os_error(5))
            }
            Some(Kind::Short) => {
                self.storage.apply_prefix(&change, &mut self.random);
                Err(io::ErrorKind::WriteZero.into())
            }
            Some(Kind::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn crash(&mut self) {
        if !self.crashed {
            self.trace.note(format_args!("disk: the power is cut, {} operations in flight", self.in_flight.len()));
        }
        self.crashed = true;
        let in_flight = std::mem::take(&mut self.in_flight);
        self.storage.crash(in_flight.into_values(), &mut self.random);
    }
}

impl Disk for SimDisk {
    type File = Rc<Inode>;

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.operate(Change::Nothing).await?;
        let inner = self.inner.borrow();
        let names = inner.storage.names().keys();
        let below = names.filter_map(|name| name.strip_prefix(dir).ok()?.components().next());
        let mut names: Vec<String> = below.map(|name| name.as_os_str().to_str().unwrap().to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<()> {
        // Its parents are there when it is.
        if self.is_there(dir) {
            return self.operate(Change::Nothing).await;
        }
        let inode = self.inode(Vec::new())?;
        self.operate(Change::Put { path: dir.to_owned(), inode }).await
    }

    async fn create(&self, path: &Path, bytes: u64, _haste: Haste) -> io::Result<Rc<Inode>> {
        let inode = self.inode(vec![0; to_usize(bytes)])?;
        self.operate(Change::Create { path: path.to_owned(), inode: Rc::clone(&inode) }).await?;
        Ok(inode)
    }

    async fn open(&self, path: &Path, _writable: bool) -> io::Result<Rc<Inode>> {
        self.operate(Change::Nothing).await?;
        self.named(path)
    }

    async fn length(&self, file: &Rc<Inode>) -> io::Result<u64> {
        self.operate(Change::Nothing).await?;
        Ok(file.len() as u64)
    }

    async fn write_at(&self, file: &Rc<Inode>, blocks: Bytes, offset: u64) -> io::Result<()> {
        assert!(blocks.len().is_multiple_of(BLOCK_BYTES), "whole blocks");
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "at a block");
        assert!(to_usize(offset) + blocks.len() <= file.len(), "within the file");
        self.operate(Change::Write { inode: Rc::clone(file), blocks, offset: to_usize(offset) }).await
    }

    async fn read_at(&self, file: &Rc<Inode>, mut buffer: AlignedBuf, offset: u64) -> (io::Result<usize>, AlignedBuf) {
        if let Err(error) = self.operate(Change::Nothing).await {
            buffer.set_len(0);
            return (Err(error), buffer);
        }
        buffer.set_len(buffer.capacity());
        let bytes = file.read(to_usize(offset), &mut buffer);
        buffer.set_len(bytes);
        (Ok(bytes), buffer)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let there = self.is_there(from);
        self.operate(Change::Rename { from: from.to_owned(), to: to.to_owned() }).await?;
        if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let there = self.is_there(path);
        self.operate(Change::Remove { path: path.to_owned() }).await?;
        if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    async fn write_aside(&self, path: &Path, contents: Bytes) -> io::Result<()> {
        let inode = self.inode(contents.to_vec())?;
        self.operate(Change::Put { path: path.to_owned(), inode }).await
    }

    async fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        self.operate(Change::Nothing).await?;
        Ok(self.inner.borrow().storage.free())
    }
}
