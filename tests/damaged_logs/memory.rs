//! A disk in memory that does what it is told, at once; and the waiting for what never waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dispatcher::disk::aligned::AlignedBuf;
use dispatcher::disk::{Disk, Haste};
use dispatcher::limits::to_usize;

/// Turns after which what is waited for will not end.
const TURNS_MAX: usize = 1 << 16;

/// Waits for what needs no runtime, as nothing on this disk takes time.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..TURNS_MAX {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("it does not end");
}

/// A file: whoever has it open sees what is written to it.
pub type Contents = Rc<RefCell<Vec<u8>>>;

/// A handle to the disk; clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    files: Rc<RefCell<BTreeMap<PathBuf, Contents>>>,
    /// The next write says that it failed. It takes place all the same.
    fails: Rc<Cell<bool>>,
}

impl MemoryDisk {
    /// Puts a file there, in place of what has that name.
    pub fn put(&self, path: &Path, contents: Vec<u8>) -> Contents {
        let contents = Rc::new(RefCell::new(contents));
        self.files.borrow_mut().insert(path.to_owned(), Rc::clone(&contents));
        contents
    }

    pub fn fail_next_write(&self) {
        self.fails.set(true);
    }

    pub fn named(&self, path: &Path) -> io::Result<Contents> {
        self.files.borrow().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    type File = Contents;

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files.borrow();
        let below = files.keys().filter_map(|path| path.strip_prefix(dir).ok());
        Ok(below.map(|name| name.to_str().unwrap().to_owned()).collect())
    }

    async fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        // Directories are there when a file is.
        Ok(())
    }

    async fn create(&self, path: &Path, bytes: u64, _haste: Haste) -> io::Result<Contents> {
        Ok(self.put(path, vec![0; to_usize(bytes)]))
    }

    async fn open(&self, path: &Path, _writable: bool) -> io::Result<Contents> {
        self.named(path)
    }

    async fn length(&self, file: &Contents) -> io::Result<u64> {
        Ok(file.borrow().len() as u64)
    }

    async fn write_at(&self, file: &Contents, blocks: Bytes, offset: u64) -> io::Result<()> {
        file.borrow_mut()[to_usize(offset)..][..blocks.len()].copy_from_slice(&blocks);
        if self.fails.take() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    async fn read_at(&self, file: &Contents, mut buffer: AlignedBuf, offset: u64) -> (io::Result<usize>, AlignedBuf) {
        let contents = file.borrow();
        let rest = contents.get(to_usize(offset)..).unwrap_or_default();
        let bytes = rest.len().min(buffer.capacity());
        buffer.set_len(bytes);
        buffer.copy_from_slice(&rest[..bytes]);
        (Ok(bytes), buffer)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let contents = self.files.borrow_mut().remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.files.borrow_mut().insert(to.to_owned(), contents);
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.borrow_mut().remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    async fn write_aside(&self, path: &Path, contents: Bytes) -> io::Result<()> {
        self.put(path, contents.to_vec());
        Ok(())
    }

    async fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
