//! One process per log directory: an advisory lock that the kernel releases when the process dies.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::disk::names::{PRIVATE_DIR, PRIVATE_FILE};
use crate::time::monotonic_now;

/// Held for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the log directory cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by process {holder}: two daemons never share a log", path.display())]
    Held {
        /// The log directory.
        path: PathBuf,
        /// The process that holds it, as it wrote down itself.
        holder: String,
    },
    /// A file, not a directory.
    #[error("{} is a regular file, not a directory: a log of the first Dispatcher? It is left untouched; choose another path", path.display())]
    RegularFile {
        /// The path.
        path: PathBuf,
    },
    /// The filesystem refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// The step.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A process that was killed holds its lock until the kernel has taken it down, which takes a while with much memory
/// and a ring: a supervisor that starts the next one at once must not be refused.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the lock is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Makes the log directory if need be and locks it (flock(2)); waits up to 3 s for a holder that is going down.
pub fn lock(dir: &Path) -> Result<Lock, LockError> {
    let deadline = monotonic_now() + PATIENCE;
    loop {
        match try_lock(dir) {
            Err(LockError::Held { .. }) if monotonic_now() < deadline => std::thread::park_timeout(TRY_EVERY),
            settled => return settled,
        }
    }
}

/// The process that holds the lock of a log directory, as it wrote down itself; `None`: nobody does, as far as we may see.
/// Makes nothing. A daemon that starts at this very moment waits for it, as for one that is going down.
pub fn holder(dir: &Path) -> Option<String> {
    let mut file = File::open(dir.join("LOCK")).ok()?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).ok()?;
            Some(holder.trim().to_owned())
        }
        Ok(()) | Err(_) => None,
    }
}

fn try_lock(dir: &Path) -> Result<Lock, LockError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| LockError::Io { doing, path, source }
    };
    if dir.is_file() {
        return Err(LockError::RegularFile { path: dir.to_owned() });
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(PRIVATE_DIR).create(dir).map_err(failed("creating", dir))?;
    let path = dir.join("LOCK");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(PRIVATE_FILE);
    let mut file = options.open(&path).map_err(failed("opening", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed("reading", &path))?;
            return Err(LockError::Held { path: dir.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(error) => return Err(failed("locking", &path)(error.into())),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed("writing", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(failed("writing", &path))?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder_or_waits_until_it_is_gone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let held = lock(dir.path()).expect("nobody holds it");
        let pid = std::process::id().to_string();
        assert!(matches!(try_lock(dir.path()), Err(LockError::Held { holder, .. }) if holder == pid));
        assert_eq!((holder(dir.path()), holder(&dir.path().join("none"))), (Some(pid), None));
        let next = std::thread::spawn({
            let dir = dir.path().to_owned();
            move || lock(&dir).map(drop)
        });
        drop(held);
        assert!(next.join().expect("no panic").is_ok(), "a holder that goes down is waited for");
    }

    #[test]
    fn a_regular_file_is_refused_and_left_as_it_was() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("transaction.log");
        std::fs::write(&path, b"{}").expect("writable");
        assert!(matches!(lock(&path), Err(LockError::RegularFile { .. })));
        assert_eq!(std::fs::read(&path).expect("still there"), b"{}");
    }
}
