//! Names, sizes and first blocks of files: blocking calls on a helper thread, off the path of every commit.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Haste;
use super::aligned::AlignedBuf;
use crate::limits::{PREWRITE_BYTES, to_usize};
use crate::time::monotonic_now;

/// From libc: what rustix 1.1 calls `DSYNC` is `O_SYNC`, which writes the file's times down with each write. That is a
/// commit of the filesystem's journal for nothing: the blocks and the length of a segment never change.
pub const DSYNC: i32 = libc::O_DSYNC;

/// Modes of directories and files that are made: what was sent is for the owner alone, whatever the umask. What is there
/// already keeps its mode, as an operator may have meant it.
pub const PRIVATE_DIR: u32 = 0o700;
/// See [`PRIVATE_DIR`].
pub const PRIVATE_FILE: u32 = 0o600;

/// Suffix of a file that is not complete yet; such a file is nobody's and is removed at start.
pub const UNFINISHED: &str = "new";

/// Runs a blocking call on the runtime's helper threads.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|_| Err(io::Error::other("the helper thread is gone")))
}

/// See [`super::Disk::list`].
pub async fn list(dir: &Path) -> io::Result<Vec<String>> {
    let dir = dir.to_owned();
    blocking(move || {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    })
    .await
}

/// See [`super::Disk::create_dir`].
pub async fn create_dir(dir: &Path) -> io::Result<()> {
    let dir = dir.to_owned();
    blocking(move || {
        let missing: Vec<&Path> = dir.ancestors().take_while(|ancestor| !ancestor.is_dir()).collect();
        for path in missing.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
            match fs::DirBuilder::new().mode(PRIVATE_DIR).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => sync_parent(path)?,
            }
        }
        Ok(())
    })
    .await
}

/// See [`super::Disk::create`]. Zeros are written through the same flags as the log, so that the blocks are the
/// filesystem's final ones: an `O_DSYNC` write into unwritten extents would have to commit the journal too.
pub async fn create(path: &Path, bytes: u64, haste: Haste) -> io::Result<fs::File> {
    let path = path.to_owned();
    blocking(move || {
        let unfinished = with_suffix(&path);
        let _ = fs::remove_file(&unfinished);
        let file = open_direct(fs::OpenOptions::new().read(true).write(true).create_new(true), &unfinished)?;
        let written = write_zeros(&file, bytes, haste).and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        sync_parent(&path)?;
        Ok(file)
    })
    .await
}

/// See [`super::Disk::open`].
pub async fn open(path: &Path, writable: bool) -> io::Result<fs::File> {
    let path = path.to_owned();
    blocking(move || open_direct(fs::OpenOptions::new().read(true).write(writable), &path)).await
}

/// See [`super::Disk::rename`].
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || {
        fs::rename(&from, &to)?;
        sync_parent(&to)?;
        sync_parent(&from)
    })
    .await
}

/// See [`super::Disk::remove`].
pub async fn remove(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || {
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }?;
        sync_parent(&path)
    })
    .await
}

/// See [`super::Disk::write_aside`].
pub async fn write_aside(path: &Path, contents: Bytes) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || {
        let unfinished = with_suffix(&path);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&unfinished)?;
        file.write_all(&contents)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_parent(&path)
    })
    .await
}

/// See [`super::Disk::free_bytes`].
pub async fn free_bytes(dir: &Path) -> io::Result<u64> {
    let dir = dir.to_owned();
    blocking(move || {
        let filesystem = rustix::fs::statvfs(&dir)?;
        Ok(filesystem.f_bavail.saturating_mul(filesystem.f_frsize))
    })
    .await
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Opens with `O_DIRECT | O_DSYNC`, or without `O_DIRECT` where the filesystem knows none (tmpfs before Linux 6.6).
fn open_direct(options: &mut fs::OpenOptions, path: &Path) -> io::Result<fs::File> {
    let direct = options.mode(PRIVATE_FILE).custom_flags(libc::O_DIRECT | DSYNC).open(path);
    match direct {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            options.create_new(false).custom_flags(DSYNC).open(path)
        }
        opened => opened,
    }
}

#[allow(clippy::disallowed_methods, reason = "runs on a thread of its own")]
fn write_zeros(file: &fs::File, bytes: u64, haste: Haste) -> io::Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    let mut zeros = AlignedBuf::with_capacity(PREWRITE_BYTES);
    zeros.set_len(PREWRITE_BYTES);
    let mut offset = 0;
    while offset < bytes {
        let piece = to_usize(bytes - offset).min(PREWRITE_BYTES);
        let began = monotonic_now();
        file.write_all_at(&zeros[..piece], offset)?;
        offset += piece as u64;
        if haste == Haste::Aside {
            std::thread::sleep(monotonic_now().duration_since(began));
        }
    }
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_is_made_is_for_its_owner_alone() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let (outer, inner) = (root.path().join("a"), root.path().join("a/b"));
        let (segment, aside) = (inner.join("segment"), inner.join("aside"));
        create_dir(&inner).await.expect("made");
        create(&segment, 4096, Haste::Aside).await.expect("created");
        write_aside(&aside, Bytes::from_static(b"x")).await.expect("written");
        for (path, mode) in [(outer, 0o700), (inner, 0o700), (segment, 0o600), (aside, 0o600)] {
            let found = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}: {found:o}", path.display());
        }
    }

    #[tokio::test]
    async fn files_are_opened_so_that_a_write_waits_for_its_data_and_not_for_the_times_of_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("segment");
        create(&path, 4096, Haste::Now).await.expect("created");
        let file = open(&path, true).await.expect("opened");
        let flags = rustix::fs::fcntl_getfl(&file).expect("open").bits().cast_signed();
        assert_eq!(flags & libc::O_SYNC, libc::O_DSYNC, "{flags:o}");
    }
}
