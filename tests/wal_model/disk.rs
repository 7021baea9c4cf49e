//! A disk in memory that takes away whatever the contract of [`Disk`] does not promise.
//!
//! The fault model:
//! - What returned `Ok` is on the disk for ever: contents and names alike.
//! - An operation takes any number of turns, so that operations begun together end in any order.
//! - At a crash, any subset of the blocks of each write in flight has landed, and each name being changed is as before
//!   or as after; an unfinished file may be left behind. Nothing that was begun ever returns.
//! - The operation with a given number, or every one from it on, fails: with EIO (any subset of its blocks may have
//!   landed, its name may have changed), short (a prefix of its blocks has landed) or ENOSPC (it had no effect).
//! - Reads return what was written; bits do not rot here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use dispatcher::disk::Disk;
use dispatcher::disk::aligned::AlignedBuf;
use dispatcher::limits::{BLOCK_BYTES, to_usize};
use dispatcher::message::Xorshift;

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

/// What changes the disk.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Write { inode: usize, blocks: Bytes, offset: usize },
    Create { path: PathBuf, inode: usize },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    Aside { path: PathBuf, contents: Bytes },
}

struct Inner {
    random: Xorshift,
    names: BTreeMap<PathBuf, usize>,
    inodes: Vec<Vec<u8>>,
    in_flight: BTreeMap<u64, Change>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    fault: Option<Fault>,
    free: u64,
}

/// A handle to the disk; clones share it.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<Inner>>);

impl SimDisk {
    /// Empty. `seed` decides every choice.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            random: Xorshift::new(seed),
            names: BTreeMap::new(),
            inodes: Vec::new(),
            in_flight: BTreeMap::new(),
            operations: 0,
            crash_at: None,
            crashed: false,
            fault: None,
            free: u64::MAX,
        })))
    }

    /// Cuts the power when `operations` more have begun.
    pub fn crash_after(&self, operations: u64) {
        let mut inner = self.0.borrow_mut();
        inner.crash_at = Some(inner.operations + operations);
    }

    /// Cuts the power now.
    pub fn crash(&self) {
        self.0.borrow_mut().crash();
    }

    pub fn has_crashed(&self) -> bool {
        self.0.borrow().crashed
    }

    /// Power and health are back; the caller has dropped everything that used the disk before.
    pub fn restart(&self) {
        let mut inner = self.0.borrow_mut();
        inner.in_flight.clear();
        (inner.crashed, inner.crash_at, inner.fault) = (false, None, None);
    }

    /// Fails the operation that is `fault.at` operations ahead.
    pub fn fail(&self, fault: Fault) {
        let mut inner = self.0.borrow_mut();
        inner.fault = Some(Fault { at: inner.operations + fault.at, ..fault });
    }

    pub fn set_free(&self, bytes: u64) {
        self.0.borrow_mut().free = bytes;
    }

    /// Operations begun so far.
    pub fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// Files with their contents, to look at.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let inner = self.0.borrow();
        inner.names.iter().map(|(path, inode)| (path.clone(), inner.inodes[*inode].clone())).collect()
    }

    /// Puts a file there as if it had always been.
    pub fn put(&self, path: &Path, contents: Vec<u8>) {
        let mut inner = self.0.borrow_mut();
        inner.inodes.push(contents);
        let inode = inner.inodes.len() - 1;
        inner.names.insert(path.to_owned(), inode);
    }

    /// Begins an operation, waits its turns, and ends it; `Err` if it fails. Never returns after a crash.
    async fn operate(&self, change: Change) -> io::Result<()> {
        let (number, turns) = self.0.borrow_mut().begin(change);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if self.has_crashed() {
            std::future::pending::<()>().await;
        }
        self.0.borrow_mut().end(number)
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.0.borrow().names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inner {
    fn begin(&mut self, change: Change) -> (u64, u64) {
        let number = self.operations;
        self.operations += 1;
        if !self.crashed {
            self.in_flight.insert(number, change);
            if self.crash_at == Some(number) {
                self.crash();
            }
        }
        (number, self.random.next() % 4)
    }

    fn end(&mut self, number: u64) -> io::Result<()> {
        let change = self.in_flight.remove(&number).expect("an operation ends once");
        let fails = |fault: &Fault| number == fault.at || (fault.forever && number > fault.at);
        match self.fault.filter(fails).map(|fault| fault.kind) {
            None => {
                self.apply(&change, &mut |_| true);
                Ok(())
            }
            Some(Kind::Eio) => {
                self.apply_in_part(&change);
                Err(io::Error::from_raw_os_error(5))
            }
            Some(Kind::Short) => {
                if let Change::Write { blocks, .. } = &change {
                    let landed = self.random.next() % (blocks.len() / BLOCK_BYTES) as u64;
                    self.apply(&change, &mut |block| block < landed);
                }
                Err(io::ErrorKind::WriteZero.into())
            }
            Some(Kind::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn crash(&mut self) {
        self.crashed = true;
        for change in std::mem::take(&mut self.in_flight).into_values() {
            self.apply_in_part(&change);
        }
    }

    fn apply_in_part(&mut self, change: &Change) {
        // All, nothing, and every subset in between; the extremes often.
        let mut random = self.random.clone();
        let mode = random.next() % 4;
        self.random.next();
        if let (Change::Create { path, .. }, 0) = (change, mode) {
            let unfinished = PathBuf::from(format!("{}.new", path.display()));
            let inode = self.inodes.len();
            self.inodes.push(Vec::new());
            self.names.insert(unfinished, inode);
        }
        self.apply(change, &mut |_| match mode {
            0 => false,
            1 => true,
            _ => random.next().is_multiple_of(2),
        });
    }

    /// Applies the parts of a change that `lands` chooses: the blocks of a write, or a name.
    fn apply(&mut self, change: &Change, lands: &mut dyn FnMut(u64) -> bool) {
        match change {
            Change::Nothing => {}
            Change::Write { inode, blocks, offset } => {
                for (block, bytes) in (0..).zip(blocks.chunks(BLOCK_BYTES)) {
                    let at = offset + to_usize(block) * BLOCK_BYTES;
                    if lands(block) {
                        self.inodes[*inode][at..at + BLOCK_BYTES].copy_from_slice(bytes);
                    }
                }
            }
            Change::Create { path, inode } => {
                if lands(0) {
                    self.names.insert(path.clone(), *inode);
                }
            }
            Change::Rename { from, to } => {
                if lands(0) {
                    let moved: Vec<PathBuf> =
                        self.names.keys().filter(|name| name.starts_with(from)).cloned().collect();
                    for name in moved {
                        let inode = self.names.remove(&name).unwrap();
                        let rest = name.strip_prefix(from).unwrap();
                        let name = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                        self.names.insert(name, inode);
                    }
                }
            }
            Change::Remove { path } => {
                // A directory goes file by file.
                self.names.retain(|name, _| !(name.starts_with(path) && lands(0)));
            }
            Change::Aside { path, contents } => {
                if lands(0) {
                    self.inodes.push(contents.to_vec());
                    let inode = self.inodes.len() - 1;
                    self.names.insert(path.clone(), inode);
                }
            }
        }
    }
}

impl Disk for SimDisk {
    type File = usize;

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.operate(Change::Nothing).await?;
        let inner = self.0.borrow();
        let below = inner.names.keys().filter_map(|name| name.strip_prefix(dir).ok()?.components().next());
        let mut names: Vec<String> = below.map(|name| name.as_os_str().to_str().unwrap().to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    async fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        // Directories are there when a file is.
        self.operate(Change::Nothing).await
    }

    async fn create(&self, path: &Path, bytes: u64) -> io::Result<usize> {
        let inode = {
            let mut inner = self.0.borrow_mut();
            inner.inodes.push(vec![0; to_usize(bytes)]);
            inner.inodes.len() - 1
        };
        self.operate(Change::Create { path: path.to_owned(), inode }).await?;
        Ok(inode)
    }

    async fn open(&self, path: &Path, _writable: bool) -> io::Result<usize> {
        self.operate(Change::Nothing).await?;
        self.inode(path)
    }

    async fn length(&self, file: &usize) -> io::Result<u64> {
        self.operate(Change::Nothing).await?;
        Ok(self.0.borrow().inodes[*file].len() as u64)
    }

    async fn write_at(&self, file: &usize, blocks: Bytes, offset: u64) -> io::Result<()> {
        assert!(blocks.len().is_multiple_of(BLOCK_BYTES), "whole blocks");
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "at a block");
        assert!(to_usize(offset) + blocks.len() <= self.0.borrow().inodes[*file].len(), "within the file");
        self.operate(Change::Write { inode: *file, blocks, offset: to_usize(offset) }).await
    }

    async fn read_at(&self, file: &usize, mut buffer: AlignedBuf, offset: u64) -> (io::Result<usize>, AlignedBuf) {
        if let Err(error) = self.operate(Change::Nothing).await {
            buffer.set_len(0);
            return (Err(error), buffer);
        }
        let inner = self.0.borrow();
        let rest = inner.inodes[*file].get(to_usize(offset)..).unwrap_or_default();
        let bytes = rest.len().min(buffer.capacity());
        buffer.set_len(bytes);
        buffer.copy_from_slice(&rest[..bytes]);
        (Ok(bytes), buffer)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let there = self.0.borrow().names.keys().any(|name| name.starts_with(from));
        self.operate(Change::Rename { from: from.to_owned(), to: to.to_owned() }).await?;
        if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let there = self.0.borrow().names.keys().any(|name| name.starts_with(path));
        self.operate(Change::Remove { path: path.to_owned() }).await?;
        if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    async fn write_aside(&self, path: &Path, contents: Bytes) -> io::Result<()> {
        self.operate(Change::Aside { path: path.to_owned(), contents }).await
    }

    async fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        self.operate(Change::Nothing).await?;
        Ok(self.0.borrow().free)
    }
}
