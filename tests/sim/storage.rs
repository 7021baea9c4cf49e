//! What stands on the simulated disk: names, sectors, space; and what a failure or a crash makes of a change.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use dispatcher::message::Xorshift;

/// What lands or does not: the unit in which a drive writes.
pub const SECTOR_BYTES: usize = 512;

/// Space of the filesystem, in bytes.
#[derive(Debug)]
pub struct Space {
    capacity: Cell<u64>,
    used: Cell<u64>,
    /// Used by others.
    taken: Cell<u64>,
}

impl Space {
    fn free(&self) -> u64 {
        self.capacity.get().saturating_sub(self.used.get()).saturating_sub(self.taken.get())
    }
}

/// The contents of a file. It takes space for as long as it has a name or is open.
#[derive(Debug)]
pub struct Inode {
    contents: RefCell<Vec<u8>>,
    bytes: u64,
    space: Rc<Space>,
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.space.used.update(|used| used - self.bytes);
    }
}

impl Inode {
    pub fn len(&self) -> usize {
        self.contents.borrow().len()
    }

    /// Copies what stands from `offset` on; returns how many bytes.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let contents = self.contents.borrow();
        let rest = contents.get(offset..).unwrap_or_default();
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        bytes
    }

    fn write_sector(&self, at: usize, sector: &[u8]) {
        self.contents.borrow_mut()[at..at + sector.len()].copy_from_slice(sector);
    }
}

/// What changes the disk.
#[derive(Clone, Debug)]
pub enum Change {
    Nothing,
    Write {
        inode: Rc<Inode>,
        blocks: Bytes,
        offset: usize,
    },
    Create {
        path: PathBuf,
        inode: Rc<Inode>,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    /// A small file, or a directory.
    Put {
        path: PathBuf,
        inode: Rc<Inode>,
    },
}

impl Change {
    /// The directory whose names it changes.
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Nothing | Self::Write { .. } => None,
            Self::Create { path, .. } | Self::Remove { path } | Self::Put { path, .. } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }
}

/// What becomes of a change that does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    All,
    /// Any subset of its sectors.
    Some,
    /// Each sector holds what it held, what was written, that with a bit flipped, or anything.
    Anything,
}

/// A name and what it names, if anything.
type Named = (PathBuf, Option<Rc<Inode>>);

/// The names and contents of the disk.
#[derive(Debug)]
pub struct Storage {
    names: BTreeMap<PathBuf, Rc<Inode>>,
    /// By directory, names as they were before a change that failed and is seen all the same: whether it survives a
    /// crash is open until the directory is synced.
    unsynced: BTreeMap<PathBuf, Vec<Named>>,
    space: Rc<Space>,
}

impl Default for Storage {
    fn default() -> Self {
        let space = Space { capacity: Cell::new(u64::MAX), used: Cell::new(0), taken: Cell::new(0) };
        Self { names: BTreeMap::new(), unsynced: BTreeMap::new(), space: Rc::new(space) }
    }
}

impl Storage {
    pub fn names(&self) -> &BTreeMap<PathBuf, Rc<Inode>> {
        &self.names
    }

    pub fn free(&self) -> u64 {
        self.space.free()
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.space.capacity.set(bytes);
    }

    /// Lets others use `bytes` of the filesystem.
    pub fn set_taken(&self, bytes: u64) {
        self.space.taken.set(bytes);
    }

    /// Lets others leave no more than `bytes` free.
    pub fn set_free(&self, bytes: u64) {
        self.space.taken.set(0);
        self.space.taken.set(self.space.free().saturating_sub(bytes));
    }

    /// Contents without a name, if there is space for them.
    pub fn inode(&self, contents: Vec<u8>) -> Option<Rc<Inode>> {
        let bytes = contents.len() as u64;
        if bytes > self.space.free() {
            return None;
        }
        self.space.used.update(|used| used + bytes);
        Some(Rc::new(Inode { contents: RefCell::new(contents), bytes, space: Rc::clone(&self.space) }))
    }

    /// Puts a file there as if it had always been.
    pub fn put(&mut self, path: &Path, contents: Vec<u8>) {
        let inode = self.inode(contents).expect("there is space for what is put there");
        self.names.insert(path.to_owned(), inode);
    }

    /// A change that succeeds: it is durable, and so is every name in its directory.
    pub fn apply(&mut self, change: &Change) {
        if let Change::Write { inode, blocks, offset } = change {
            for (sector, at) in blocks.chunks(SECTOR_BYTES).zip((*offset..).step_by(SECTOR_BYTES)) {
                inode.write_sector(at, sector);
            }
        }
        self.change_names(change);
        if let Some(directory) = change.directory() {
            self.unsynced.remove(directory);
        }
    }

    /// A write of which only the first sectors landed.
    pub fn apply_prefix(&self, change: &Change, random: &mut Xorshift) {
        if let Change::Write { inode, blocks, offset } = change {
            let landed = index(random, blocks.len() / SECTOR_BYTES);
            for (sector, at) in blocks.chunks(SECTOR_BYTES).zip((*offset..).step_by(SECTOR_BYTES)).take(landed) {
                inode.write_sector(at, sector);
            }
        }
    }

    /// A change that failed: any part of it may have happened. A name that is seen may not survive a crash.
    pub fn apply_failed(&mut self, change: &Change, random: &mut Xorshift) {
        let Some(directory) = change.directory() else { return self.apply_in_part(change, random) };
        match random.next() % 3 {
            0 => self.apply_in_part(change, random),
            1 => {
                let touched = self.touched(change).into_iter();
                let before: Vec<Named> = touched.map(|name| (name.clone(), self.names.get(&name).cloned())).collect();
                self.unsynced.entry(directory.to_owned()).or_default().extend(before);
                self.change_names(change);
            }
            _ => {}
        }
    }

    /// The power is cut while `changes` are under way.
    pub fn crash(&mut self, changes: impl Iterator<Item = Change>, random: &mut Xorshift) {
        for (_, before) in std::mem::take(&mut self.unsynced) {
            if random.next().is_multiple_of(2) {
                continue;
            }
            for (name, inode) in before.into_iter().rev() {
                match inode {
                    Some(inode) => self.names.insert(name, inode),
                    None => self.names.remove(&name),
                };
            }
        }
        for change in changes {
            self.apply_in_part(&change, random);
        }
    }

    /// All, nothing, and everything in between; the extremes often.
    fn apply_in_part(&mut self, change: &Change, random: &mut Xorshift) {
        let part = [Part::Nothing, Part::All, Part::Some, Part::Anything][index(random, 4)];
        match change {
            Change::Nothing => {}
            Change::Write { inode, blocks, offset } => {
                for (sector, at) in blocks.chunks(SECTOR_BYTES).zip((*offset..).step_by(SECTOR_BYTES)) {
                    write_in_part(inode, at, sector, part, random);
                }
            }
            Change::Create { path, .. } if part == Part::Anything => {
                let unfinished = PathBuf::from(format!("{}.new", path.display()));
                if let Some(inode) = self.inode(Vec::new()) {
                    self.names.insert(unfinished, inode);
                }
            }
            // A directory goes file by file.
            Change::Remove { .. } => {
                for name in self.touched(change) {
                    if part == Part::All || (part != Part::Nothing && random.next().is_multiple_of(2)) {
                        self.names.remove(&name);
                    }
                }
            }
            Change::Create { .. } | Change::Rename { .. } | Change::Put { .. } => {
                if part == Part::All || (part != Part::Nothing && random.next().is_multiple_of(2)) {
                    self.change_names(change);
                }
            }
        }
    }

    /// The names that a change makes, takes or replaces.
    fn touched(&self, change: &Change) -> Vec<PathBuf> {
        match change {
            Change::Nothing | Change::Write { .. } => Vec::new(),
            Change::Create { path, .. } | Change::Put { path, .. } => vec![path.clone()],
            Change::Remove { path } => self.below(path),
            Change::Rename { from, to } => {
                self.below(from).into_iter().flat_map(|name| [moved(&name, from, to), name]).collect()
            }
        }
    }

    /// The file `path`, or the files below it.
    fn below(&self, path: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|name| name.starts_with(path)).cloned().collect()
    }

    fn change_names(&mut self, change: &Change) {
        match change {
            Change::Nothing | Change::Write { .. } => {}
            Change::Create { path, inode } | Change::Put { path, inode } => {
                self.names.insert(path.clone(), Rc::clone(inode));
            }
            Change::Rename { from, to } => {
                for name in self.below(from) {
                    let inode = self.names.remove(&name).expect("just found");
                    self.names.insert(moved(&name, from, to), inode);
                }
            }
            Change::Remove { path } => self.names.retain(|name, _| !name.starts_with(path)),
        }
    }
}

/// The name of what is `name` when `from`, which it is or lies below, becomes `to`.
fn moved(name: &Path, from: &Path, to: &Path) -> PathBuf {
    let rest = name.strip_prefix(from).expect("it starts so");
    if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) }
}

fn write_in_part(inode: &Inode, at: usize, sector: &[u8], part: Part, random: &mut Xorshift) {
    let lands = match part {
        Part::Nothing => false,
        Part::All => true,
        Part::Some | Part::Anything => random.next().is_multiple_of(2),
    };
    if lands {
        inode.write_sector(at, sector);
    }
    if part != Part::Anything {
        return;
    }
    match random.next() % 8 {
        0 => {
            let mut garbage = sector.to_vec();
            garbage.fill_with(|| random.next().to_le_bytes()[7]);
            inode.write_sector(at, &garbage);
        }
        1 => {
            let mut flipped = sector.to_vec();
            let bit = index(random, flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            inode.write_sector(at, &flipped);
        }
        _ => {}
    }
}

/// A random number below `count`.
pub fn index(random: &mut Xorshift, count: usize) -> usize {
    usize::try_from((random.next() >> 16) % count.max(1) as u64).expect("below a usize")
}
