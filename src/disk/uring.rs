//! The disk through `io_uring`: the log's writes on a ring of their own, reads on that of the runtime.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use tokio_uring::fs::File;

use super::aligned::AlignedBuf;
use super::ring::WriteRing;
use super::{Disk, Haste, names};

/// Real files, written and read through the rings of one thread; clones share them.
#[derive(Clone)]
pub struct UringDisk(Rc<WriteRing>);

impl UringDisk {
    /// For the current thread, inside its runtime. `modern`: the kernel knows the flags of Linux 6.0.
    ///
    /// Errors: those of `io_uring_setup(2)`.
    pub fn new(modern: bool) -> io::Result<Self> {
        WriteRing::new(modern).map(|ring| Self(Rc::new(ring)))
    }
}

impl Disk for UringDisk {
    type File = File;

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        names::list(dir).await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<()> {
        names::create_dir(dir).await
    }

    async fn create(&self, path: &Path, bytes: u64, haste: Haste) -> io::Result<File> {
        names::create(path, bytes, haste).await.map(File::from_std)
    }

    async fn open(&self, path: &Path, writable: bool) -> io::Result<File> {
        names::open(path, writable).await.map(File::from_std)
    }

    async fn length(&self, file: &File) -> io::Result<u64> {
        Ok(file.statx().await?.stx_size)
    }

    async fn write_at(&self, file: &File, blocks: Bytes, offset: u64) -> io::Result<()> {
        let expected = blocks.len();
        let written = self.0.write_at(&file.as_raw_fd(), blocks, offset).await?;
        // What a short write left behind is unknown, so the caller must treat it as a failure.
        if written == expected { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    async fn read_at(&self, file: &File, mut buffer: AlignedBuf, offset: u64) -> (io::Result<usize>, AlignedBuf) {
        buffer.set_len(0);
        let (result, buffer) = file.read_at(buffer, offset).await;
        (result, buffer)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        names::rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        names::remove(path).await
    }

    async fn write_aside(&self, path: &Path, contents: Bytes) -> io::Result<()> {
        names::write_aside(path, contents).await
    }

    async fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        names::free_bytes(dir).await
    }
}
