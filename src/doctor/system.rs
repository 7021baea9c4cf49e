//! What the kernel allows: rings, descriptors, memory, processors, and what time it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::finding::Finding;
use crate::config::values::size_text;
use crate::config::{Config, IoBackend};
use crate::limits::doctor::SANE_CLOCK_MS;
use crate::limits::to_usize;
use crate::server::backend::{self, Backend};
use crate::server::descriptors::Descriptors;
use crate::server::{raise_descriptor_limit, shares};
use crate::time::{Rfc3339, UnixMillis, unix_now};

/// Whether a ring can be made, and if not, who forbids it.
pub fn io_uring(config: &Config) -> Finding {
    const CHECK: &str = "io_uring";
    if config.io_backend == IoBackend::Portable {
        return Finding::ok(CHECK, "not asked for: IO_BACKEND=portable");
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (kernel, error) = (
        kernel.trim(),
        match backend::probe() {
            Ok(Backend::Uring { modern: true }) => {
                return Finding::ok(CHECK, format!("a ring can be made (Linux {})", kernel.trim()));
            }
            Ok(_) => {
                let found =
                    format!("a ring can be made, without COOP_TASKRUN and SINGLE_ISSUER (Linux {})", kernel.trim());
                return Finding::warning(CHECK, found, "Linux 6.0 or later saves wake-ups");
            }
            Err(error) => error,
        },
    );
    let (who, remedy) = forbidden_by(&error);
    let found = format!("no ring can be made: {who} ({error}; Linux {kernel})");
    match config.io_backend {
        IoBackend::Uring => Finding::problem(CHECK, found, remedy),
        IoBackend::Auto | IoBackend::Portable => Finding::warning(CHECK, found, remedy),
    }
}

fn forbidden_by(error: &io::Error) -> (&'static str, &'static str) {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (Errno::from_io_error(error), disabled.trim()) {
        (Some(Errno::NOSYS), _) => {
            ("this kernel has no io_uring", "use a kernel with CONFIG_IO_URING, or IO_BACKEND=portable")
        }
        (_, "2") => ("kernel.io_uring_disabled=2", "sysctl kernel.io_uring_disabled=0, or IO_BACKEND=portable"),
        (_, "1") => (
            "kernel.io_uring_disabled=1 and this user is not in kernel.io_uring_group",
            "sysctl kernel.io_uring_disabled=0, or put the user in that group, or IO_BACKEND=portable",
        ),
        (Some(Errno::PERM | Errno::ACCESS), _) => (
            "a seccomp filter forbids it",
            "in a container --security-opt seccomp=deploy/seccomp.json, under systemd allow @io-event and io_uring_setup, or IO_BACKEND=portable",
        ),
        (Some(Errno::NOMEM), _) => ("no memory may be locked", "raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=)"),
        _ => ("for a reason that is not known", "set IO_BACKEND=portable"),
    }
}

/// Whether system calls are filtered.
pub fn seccomp() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map_or("?", str::trim);
    let mode = match field("Seccomp:") {
        "0" => "no filter",
        "2" => "a filter is in force; what it forbids of io_uring is told above",
        _ => "not known",
    };
    Finding::ok("seccomp", format!("{mode}; NoNewPrivs {}", field("NoNewPrivs:")))
}

/// Whether there are descriptors and memory for what the variables ask for.
pub fn division(config: &Config) -> Vec<Finding> {
    let (allowed, cores) = (raise_descriptor_limit(), config.cores.len() as u64);
    let least = Descriptors::least(cores);
    if allowed < least {
        let found = format!("RLIMIT_NOFILE is {allowed}, and {cores} core(s) need {least} at least");
        return vec![Finding::problem("descriptors", found, "ulimit -n 65536, LimitNOFILE=65536, or fewer CORES")];
    }
    let Some((given, memory)) = shares::divide(config, allowed) else {
        let found = format!("MAX_MEMORY={} is too little for {cores} core(s)", size_text(config.max_memory));
        return vec![Finding::problem("memory", found, "a larger MAX_MEMORY, fewer CORES, or a smaller MAX_BODY")];
    };
    let (asked, slots) = (u64::from(config.max_connections), given.slots * cores);
    let connections = memory.division().connections;
    let found =
        format!("RLIMIT_NOFILE is {allowed}: {} of {asked} connections and {slots} deliveries", given.connections);
    let descriptors = if given.connections < asked {
        Finding::warning("descriptors", found, "ulimit -n 65536, LimitNOFILE=65536, or a smaller MAX_CONNECTIONS")
    } else {
        Finding::ok("descriptors", found)
    };
    let found =
        format!("MAX_MEMORY={} has room for {connections} of {asked} connections", size_text(config.max_memory));
    let division = if connections < asked.min(given.connections) {
        Finding::warning("division", found, "a larger MAX_MEMORY, or a smaller MAX_CONNECTIONS")
    } else {
        Finding::ok("division", found)
    };
    vec![descriptors, division]
}

/// Whether there is as much memory as may be taken.
pub fn memory(config: &Config) -> Finding {
    const CHECK: &str = "memory";
    let most = config.max_memory;
    if let Some(limit) = cgroup_min("memory.max", |text| text.trim().parse().ok()).filter(|limit| *limit < most) {
        let found = format!("MAX_MEMORY={} and the cgroup allows {}", size_text(most), size_text(limit));
        return Finding::problem(CHECK, found, "a MAX_MEMORY of nine tenths of the limit at most, or a higher limit");
    }
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    match kib.map(|kib| kib * 1024) {
        Some(available) if available < most => {
            let found = format!("MAX_MEMORY={} and {} are available", size_text(most), rough(available));
            Finding::warning(CHECK, found, "a smaller MAX_MEMORY, or a larger machine")
        }
        Some(available) => {
            Finding::ok(CHECK, format!("MAX_MEMORY={}, {} are available", size_text(most), rough(available)))
        }
        None => Finding::ok(CHECK, "what is available is not known"),
    }
}

/// Whether there is as much of the processors as there are cores.
pub fn processors(config: &Config) -> Finding {
    const CHECK: &str = "processors";
    let cores = config.cores.len();
    // Two numbers, microseconds of each period; or `max`.
    let share = |text: &str| {
        let (quota, period) = text.trim().split_once(' ')?;
        let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
        quota.checked_mul(100)?.checked_div(period)
    };
    match cgroup_min("cpu.max", share) {
        Some(percent) if to_usize(percent) < cores * 100 => {
            let found = format!("{cores} core loop(s), and the cgroup allows {percent}% of one processor");
            Finding::warning(
                CHECK,
                found,
                "as many CORES as whole processors are allowed: who is throttled holds up all its messages",
            )
        }
        _ => Finding::ok(CHECK, format!("{cores} core loop(s), on processors {:?}", config.cores)),
    }
}

/// Whether the time is one that ids and due times can be made of.
pub fn clock() -> Finding {
    const CHECK: &str = "clock";
    let now = unix_now();
    if now < UnixMillis(SANE_CLOCK_MS) {
        let found = format!("it is {}, before this program was made", Rfc3339(now));
        return Finding::problem(CHECK, found, "set the clock, and keep it by NTP: ids and due times go by it");
    }
    // What systemd-timesyncd leaves; chrony and others leave nothing to be read without asking them.
    let synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    let how = if synchronised { ", kept by systemd-timesyncd" } else { "; by what it is kept is not known" };
    Finding::ok(CHECK, format!("{}{how}", Rfc3339(now)))
}

/// The smallest value of a file of this process's cgroup and of those above it (cgroup v2).
fn cgroup_min(file: &str, value: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = PathBuf::from("/sys/fs/cgroup");
    let own = root.join(own);
    let dirs = own.ancestors().take_while(|dir| dir.starts_with(&root));
    dirs.filter_map(|dir| value(&fs::read_to_string(dir.join(file)).ok()?)).min()
}

/// Whole mebibytes: what is available differs with each look.
fn rough(bytes: u64) -> String {
    size_text(bytes >> 20 << 20)
}
