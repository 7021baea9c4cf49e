//! The place of the log: whose it is, what filesystem it is on, how much space there is, and how long a write takes.
//!
//! Writes go to a file without a name (`O_TMPFILE`) beside the log, through the very code that writes the log. It is gone
//! with this process, however that ends.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::Access;

use super::finding::Finding;
use crate::config::Config;
use crate::config::values::size_text;
use crate::disk::Disk;
use crate::disk::aligned::AlignedBuf;
use crate::disk::names::DSYNC;
use crate::disk::portable::PortableDisk;
use crate::disk::uring::UringDisk;
use crate::limits::BLOCK_BYTES;
use crate::limits::doctor::{DOCTOR_WRITES, DOCTOR_WRITES_MS_MAX, HONEST_WRITE_US_MIN, SEGMENTS_START, SLOW_WRITE_MS};
use crate::server::backend::{self, Backend};
use crate::time::monotonic_now;

/// Filesystems that are memory, layers of a container, or somewhere else.
const MEMORY: &[&str] = &["tmpfs", "ramfs"];
const LAYERS: &[&str] = &["overlay", "aufs"];
const ELSEWHERE: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "virtiofs"];

/// The log, or what is there of the path to it.
pub struct Place {
    log: PathBuf,
    /// The log or its nearest ancestor that is a directory.
    dir: PathBuf,
}

impl Place {
    /// Where the log of a configuration is or would be.
    pub fn of(config: &Config) -> io::Result<Self> {
        let log = std::path::absolute(&config.transaction_log)?;
        let dir = log.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).canonicalize()?;
        Ok(Self { log, dir })
    }

    /// Whose the log is, and whether we may use it.
    pub fn log(&self, holder: Option<&str>) -> Finding {
        const CHECK: &str = "log";
        let log = self.log.display();
        if self.log.is_file() {
            let remedy = "another TRANSACTION_LOG: this is a regular file, a log of the first Dispatcher perhaps";
            return Finding::problem(CHECK, format!("{log} is no directory"), remedy);
        }
        if let Some(pid) = holder {
            return Finding::ok(
                CHECK,
                format!("{log} is in use by the running dispatcher, process {pid}, which is left alone"),
            );
        }
        if let Err(error) = rustix::fs::access(&self.dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            let found = format!("{} cannot be used by this user: {error}", self.dir.display());
            return Finding::problem(CHECK, found, "a directory that is the user's own");
        }
        let state = if self.log.is_dir() { "is there and in nobody's use" } else { "is not there yet and can be made" };
        Finding::ok(CHECK, format!("{log} {state}"))
    }

    /// What filesystem it is on.
    pub fn filesystem(&self) -> Finding {
        const CHECK: &str = "filesystem";
        let Some(Mount { kind, source, options, .. }) = mount_of(&self.dir) else {
            return Finding::warning(CHECK, "not to be found among the mounts", "look at /proc/self/mountinfo");
        };
        let found = format!("{kind} on {source}");
        let is = |kinds: &[&str]| kinds.contains(&kind.as_str());
        if options.split(',').any(|option| option == "ro") {
            return Finding::problem(CHECK, format!("{found}, mounted to be read only"), "a place that can be written");
        }
        if is(MEMORY) {
            return Finding::warning(
                CHECK,
                format!("{found}: memory, which no restart survives"),
                "a directory on a disk",
            );
        }
        if is(LAYERS) {
            let remedy = "a volume: what is written to a container's own layer goes with it, and is slower";
            return Finding::warning(CHECK, found, remedy);
        }
        if is(ELSEWHERE) {
            return Finding::warning(
                CHECK,
                format!("{found}: not a local disk"),
                "a local disk: whether O_DSYNC is kept is up to the other side",
            );
        }
        Finding::ok(CHECK, found)
    }

    /// Whether there is space for a start, and for what the variables promise.
    pub fn space(&self, config: &Config) -> Finding {
        const CHECK: &str = "space";
        let free = match rustix::fs::statvfs(&self.dir) {
            Ok(of) => of.f_bavail.saturating_mul(of.f_frsize),
            Err(error) => return Finding::problem(CHECK, format!("it cannot be asked: {error}"), "look at the mount"),
        };
        let (used, reserve) = (bytes_of(&self.log), config.disk_reserve);
        let needed = SEGMENTS_START * config.segment_bytes * config.cores.len() as u64;
        let room = (used + free).saturating_sub(reserve);
        let found = format!("{} free, {} of log, reserve {}", rough(free), rough(used), size_text(reserve));
        if free <= reserve && used == 0 {
            return Finding::problem(
                CHECK,
                found,
                "a larger disk, or a smaller DISK_RESERVE: new messages would get 507",
            );
        }
        if room < needed {
            let found = format!("{found}; {} core(s) begin with {}", config.cores.len(), size_text(needed));
            return Finding::problem(CHECK, found, "a larger disk, a smaller SEGMENT_BYTES, or fewer CORES");
        }
        if config.max_log_bytes > room {
            let found = format!("{found}; MAX_LOG_BYTES={} is more than that", size_text(config.max_log_bytes));
            return Finding::warning(CHECK, found, "a larger disk, or a smaller MAX_LOG_BYTES: the disk is the bound");
        }
        Finding::ok(CHECK, found)
    }

    /// Whether writes go past the page cache, and how long one takes until it is on stable storage.
    pub fn writes(&self, config: &Config) -> Vec<Finding> {
        let failed = |error: io::Error| {
            let found = format!("no file can be written in {}: {error}", self.dir.display());
            vec![Finding::problem("writes", found, "a directory that this user may write to, on a disk with space")]
        };
        let (file, path) = match unnamed(&self.dir) {
            Ok(made) => made,
            Err(error) => return failed(error),
        };
        let direct = fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT | DSYNC).open(&path);
        let direct = match direct {
            Ok(_) => Finding::ok("O_DIRECT", "works"),
            Err(error) => {
                let remedy = "ext4 or xfs: writes go through the page cache, which costs a copy";
                Finding::warning("O_DIRECT", format!("does not work: {error}"), remedy)
            }
        };
        let measured = match backend::probe().ok().filter(|_| config.io_backend != crate::config::IoBackend::Portable) {
            Some(backend @ Backend::Uring { modern }) => {
                backend::run(backend, async { measure(UringDisk::new(modern)?, &path).await })
            }
            _ => backend::run(Backend::Portable, measure(PortableDisk, &path)),
        };
        drop(file);
        match measured.and_then(|measured| measured) {
            Ok(times) => vec![direct, judged(&times, cache_of(&self.dir).as_deref())],
            Err(error) => failed(error),
        }
    }
}

/// Sorted times of single writes to the disk at `path`.
async fn measure<D: Disk>(disk: D, path: &Path) -> io::Result<Vec<Duration>> {
    let file = disk.open(path, true).await?;
    let (mut times, began) = (Vec::new(), monotonic_now());
    for block in 0..DOCTOR_WRITES {
        let mut buffer = AlignedBuf::with_capacity(BLOCK_BYTES);
        buffer.extend_from_slice(&[0x5a; BLOCK_BYTES]);
        let start = monotonic_now();
        disk.write_at(&file, Bytes::from_owner(buffer), block * BLOCK_BYTES as u64).await?;
        times.push(monotonic_now() - start);
        if monotonic_now() - began > Duration::from_millis(DOCTOR_WRITES_MS_MAX) {
            break;
        }
    }
    times.sort();
    Ok(times)
}

/// What the times of writes say of a disk with this kind of cache (`queue/write_cache`), if that is known.
fn judged(times: &[Duration], cache: Option<&str>) -> Finding {
    const CHECK: &str = "writes";
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    let (p50, p99) = (at(50), at(99));
    let cache_text = cache.map_or_else(|| "not known".to_owned(), |cache| format!("{cache:?}"));
    let found = format!(
        "{} of 4 KiB with O_DSYNC: p50 {:.2} ms, p99 {:.2} ms; the disk's cache is {cache_text}",
        times.len(),
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
    // "write back": the cache is volatile, and each of these writes should have waited until it was flushed.
    if cache == Some("write back") && p50 < Duration::from_micros(HONEST_WRITE_US_MIN) {
        let remedy = "faster than a volatile cache can be flushed: if disk, controller or hypervisor ignores flushes, a power cut takes what was answered with 202";
        return Finding::warning(CHECK, found, remedy);
    }
    if p50 > Duration::from_millis(SLOW_WRITE_MS) {
        return Finding::warning(CHECK, found, "a faster disk: no 202 is sent before such a write has ended");
    }
    Finding::ok(CHECK, found)
}

/// A file without a name, all of whose blocks have been written once, and a path by which it can be opened again.
fn unnamed(dir: &Path) -> io::Result<(fs::File, PathBuf)> {
    let file = tempfile::tempfile_in(dir)?;
    let zeros = [0; BLOCK_BYTES];
    for block in 0..DOCTOR_WRITES {
        file.write_all_at(&zeros, block * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok((file, path))
}

struct Mount {
    device: String,
    kind: String,
    source: String,
    options: String,
}

/// The mount that a directory is in (proc_pid_mountinfo(5)): the longest mount point that leads to it, the last one of that
/// length, as later mounts cover earlier ones.
fn mount_of(dir: &Path) -> Option<Mount> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (before, after): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), after.split(' ').collect());
        // Spaces in names are written as octal.
        let point = before.get(4)?.replace("\\040", " ");
        let text = |field: Option<&&str>| field.map(|text| (*text).to_owned());
        let mount = Mount {
            device: text(before.get(2))?,
            kind: text(after.first())?,
            source: text(after.get(1))?,
            options: text(before.get(5))?,
        };
        dir.starts_with(&point).then_some((point.len(), mount))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, mount)| mount)
}

/// What kind of cache the disk below a directory has: `write back` or `write through`.
fn cache_of(dir: &Path) -> Option<String> {
    let Mount { device, source, .. } = mount_of(dir)?;
    let of_source = fs::metadata(source).ok().map(|device| {
        let number = device.rdev();
        format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number))
    });
    [Some(device), of_source].into_iter().flatten().find_map(|number| {
        let disk = fs::canonicalize(format!("/sys/dev/block/{number}")).ok()?;
        // A partition's queue is that of its disk.
        let caches = [disk.join("queue/write_cache"), disk.join("../queue/write_cache")];
        caches.into_iter().find_map(|path| fs::read_to_string(path).ok()).map(|cache| cache.trim().to_owned())
    })
}

/// Bytes of all segments below a directory, as far as they are to be seen; links are not followed.
fn bytes_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_of(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) | Err(_) => 0,
    });
    sizes.sum()
}

/// Whole mebibytes.
fn rough(bytes: u64) -> String {
    size_text(bytes >> 20 << 20)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn writes_that_no_volatile_cache_can_have_flushed_are_warned_about_and_so_are_slow_ones() {
        for (micros, cache, verdict) in [
            (20, Some("write back"), Verdict::Warning),
            (20, Some("write through"), Verdict::Ok),
            (20, None, Verdict::Ok),
            (600, Some("write back"), Verdict::Ok),
            (SLOW_WRITE_MS * 1000 + 1, None, Verdict::Warning),
        ] {
            let finding = judged(&[Duration::from_micros(micros); 9], cache);
            assert_eq!(finding.verdict, verdict, "{micros} {cache:?}: {finding:?}");
        }
    }

    #[test]
    fn the_file_that_is_written_has_no_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = Place { log: dir.path().join("log"), dir: dir.path().to_owned() };
        let (_file, path) = unnamed(dir.path()).expect("made");
        assert!(path.exists());
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0);
        assert!(mount_of(dir.path()).is_some(), "{}", place.log.display());
    }
}
