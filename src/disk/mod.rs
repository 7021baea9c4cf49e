//! What the log asks of a disk: the trait [`Disk`] and its durability contract.
//!
//! Three implementations: `io_uring`, portable (blocking threads), and the simulator's, which tears, loses and fails
//! writes. Whatever this contract does not promise, the simulator may take away.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

// Block-aligned buffers.
pub mod aligned;
// Names, sizes and first blocks: everything off the path of a commit, shared by both real disks.
pub mod names;
// Writes and reads on a blocking thread.
pub mod portable;
// Writes that the kernel has at once.
mod ring;
// Writes and reads through `io_uring`.
pub mod uring;

use aligned::AlignedBuf;

/// How much of the disk the making of a file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// All of it: somebody waits for the file.
    Now,
    /// Half of its time: messages are being written meanwhile, and nobody waits.
    Aside,
}

/// A directory tree with durable names and block-aligned files.
///
/// Everything that returns `Ok` is on stable storage and survives a power cut; what returned an error, or did not
/// return, may have happened in part: a write in any subset of its blocks, a name before or after the change.
/// No operation is cancel-safe: a dropped future may still take effect.
pub trait Disk: Clone + 'static {
    /// An open file.
    type File: 'static;

    /// The names in `dir`, in no order.
    fn list(&self, dir: &Path) -> impl Future<Output = io::Result<Vec<String>>>;

    /// Makes `dir` and its missing parents. `Ok` if it is there already.
    fn create_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>>;

    /// Makes a file of `bytes` bytes, all of whose blocks have been written once (with zeros); it appears complete or
    /// not at all. It replaces what an operation that failed may have left under that name. `bytes` is a multiple of
    /// the block size.
    fn create(&self, path: &Path, bytes: u64, haste: Haste) -> impl Future<Output = io::Result<Self::File>>;

    /// Opens an existing file for reading, and for writing too if `writable`.
    fn open(&self, path: &Path, writable: bool) -> impl Future<Output = io::Result<Self::File>>;

    /// Length of the file in bytes.
    fn length(&self, file: &Self::File) -> impl Future<Output = io::Result<u64>>;

    /// Writes whole blocks at a block-aligned offset. A short write is an error.
    fn write_at(&self, file: &Self::File, blocks: Bytes, offset: u64) -> impl Future<Output = io::Result<()>>;

    /// Reads at a block-aligned offset until `buffer` is full or the file ends; returns the bytes read.
    fn read_at(
        &self,
        file: &Self::File,
        buffer: AlignedBuf,
        offset: u64,
    ) -> impl Future<Output = (io::Result<usize>, AlignedBuf)>;

    /// Moves a name within one directory tree, replacing `to`.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;

    /// Removes a file, or a directory with everything in it.
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// Writes a small file of any length, replacing it; used for what was set aside, never for the log.
    fn write_aside(&self, path: &Path, contents: Bytes) -> impl Future<Output = io::Result<()>>;

    /// Bytes that an unprivileged process may still allocate on the filesystem that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> impl Future<Output = io::Result<u64>>;
}

/// What was being done to what when the disk failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct DiskError {
    /// The step, as a participle: `reading`, `writing`.
    pub doing: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// Adds to an [`io::Error`] what was being done.
pub fn while_doing(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError { doing, path, source }
}
