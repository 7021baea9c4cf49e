//! The disk through `pwrite` and `pread` on helper threads: where `io_uring` is forbidden.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::aligned::AlignedBuf;
use super::{Disk, Haste, names};

/// Real files, written and read by the runtime's blocking threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortableDisk;

impl Disk for PortableDisk {
    type File = Arc<File>;

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        names::list(dir).await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<()> {
        names::create_dir(dir).await
    }

    async fn create(&self, path: &Path, bytes: u64, haste: Haste) -> io::Result<Arc<File>> {
        names::create(path, bytes, haste).await.map(Arc::new)
    }

    async fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<File>> {
        names::open(path, writable).await.map(Arc::new)
    }

    async fn length(&self, file: &Arc<File>) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    async fn write_at(&self, file: &Arc<File>, blocks: Bytes, offset: u64) -> io::Result<()> {
        let file = Arc::clone(file);
        names::blocking(move || {
            let written = file.write_at(&blocks, offset)?;
            if written == blocks.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        })
        .await
    }

    async fn read_at(&self, file: &Arc<File>, mut buffer: AlignedBuf, offset: u64) -> (io::Result<usize>, AlignedBuf) {
        let file = Arc::clone(file);
        let read = names::blocking(move || {
            buffer.set_len(buffer.capacity());
            let result = file.read_at(&mut buffer, offset);
            buffer.set_len(*result.as_ref().unwrap_or(&0));
            Ok((result, buffer))
        });
        read.await.unwrap_or_else(|error| (Err(error), AlignedBuf::with_capacity(0)))
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
