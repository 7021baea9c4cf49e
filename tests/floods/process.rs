//! What the kernel says of a process: memory, descriptors, processor time.

use std::time::Duration;

/// A process by its id.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    fn status(self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Bytes in memory now.
    pub fn resident(self) -> u64 {
        self.status("VmRSS")
    }

    /// The most bytes that were in memory at a time.
    pub fn resident_max(self) -> u64 {
        self.status("VmHWM")
    }

    /// Open descriptors.
    pub fn descriptors(self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count()
    }

    /// Processor time that it has used.
    pub fn processor_time(self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // Fields 14 and 15 of proc(5), in ticks of 10 ms.
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}
