//! The daemon as a child process: started on a directory, asked for its metrics, stopped or killed by its pid.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dispatcher::time::monotonic_now;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::sender::Sender;

/// What every daemon is told unless a test says otherwise: quick retries that do not end, small segments.
const VARIABLES: &[(&str, &str)] = &[
    ("LISTEN", "127.0.0.1:0"),
    ("ADMIN_LISTEN", "127.0.0.1:0"),
    ("LOG_FORMAT", "json"),
    ("SEGMENT_BYTES", "2MiB"),
    ("MAX_BODY", "256KiB"),
    ("DISK_RESERVE", "1MiB"),
    ("CORES", "2"),
    ("BACKOFF_BASE", "50ms"),
    ("BACKOFF_FACTOR", "2"),
    ("BACKOFF_MAX", "500ms"),
    ("RETRY_AFTER_MAX", "500ms"),
    ("RETRYLIMIT", "1000"),
];

/// A child process; dropping it kills it.
pub struct Daemon {
    child: Child,
    lines: PathBuf,
    addresses: Option<(SocketAddr, SocketAddr)>,
}

impl Daemon {
    /// Starts one on `<dir>/log`, without waiting for anything.
    pub fn spawn(dir: &Path, variables: &[(&str, &str)]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_dispatcher")), dir, variables)
    }

    /// The same with so many descriptors at most.
    pub fn spawn_with_descriptors(descriptors: u32, dir: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {descriptors} && exec {}", env!("CARGO_BIN_EXE_dispatcher")));
        Self::spawn_by(command, dir, variables)
    }

    fn spawn_by(mut command: Command, dir: &Path, variables: &[(&str, &str)]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let lines = dir.join(format!("lines-{}", STARTED.fetch_add(1, Ordering::Relaxed)));
        let child = command
            .env_clear()
            .envs(VARIABLES.iter().chain(variables).copied())
            .env("TRANSACTION_LOG", dir.join("log"))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&lines).unwrap())
            .spawn()
            .unwrap();
        Self { child, lines, addresses: None }
    }

    /// Starts one and waits until it listens and has read its log.
    pub async fn start(dir: &Path, variables: &[(&str, &str)]) -> Self {
        let mut daemon = Self::spawn(dir, variables);
        daemon.listening().await;
        super::until("it has read its log", || daemon.has_recovered()).await;
        daemon
    }

    fn has_recovered(&self) -> bool {
        let recovered = self.lines().lines().filter(|line| line.contains("\"message\":\"recovered\"")).count();
        self.said("listening").is_some_and(|line| line["shards"] == recovered)
    }

    /// Waits until it listens.
    pub async fn listening(&mut self) {
        let start = monotonic_now();
        while self.addresses.is_none() {
            if let Some(line) = self.said("listening") {
                let address = |key: &str| line[key].as_str().unwrap().parse().unwrap();
                self.addresses = Some((address("listen"), address("admin")));
                break;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.lines());
            }
            assert!(start.elapsed() < PATIENCE, "the daemon does not listen:\n{}", self.lines());
            tokio::time::sleep(super::POLL).await;
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses.expect("it listens").0
    }

    /// Its admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        let mut address = self.addresses.expect("it listens").1;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        address
    }

    /// A kept connection to it.
    pub async fn sender(&self) -> Sender {
        Sender::connect(self.address()).await.unwrap()
    }

    /// All that it wrote to stderr.
    pub fn lines(&self) -> String {
        std::fs::read_to_string(&self.lines).unwrap()
    }

    /// The first log line with this message.
    pub fn said(&self, message: &str) -> Option<serde_json::Value> {
        self.lines().lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["message"].as_str()?.starts_with(message).then_some(line)
        })
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let start = monotonic_now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the daemon does not end:\n{}", self.lines());
            tokio::time::sleep(super::POLL).await;
        }
    }

    /// SIGTERM, and it drains and ends well.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.lines());
    }

    /// The value of one series of its metrics, by its full name without the prefix.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.admin("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix("dispatcher_")?.strip_prefix(series));
        let value = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        value.trim().parse().unwrap()
    }

    /// Waits until a series has a value.
    pub async fn until_metric(&self, series: &str, wanted: impl Fn(f64) -> bool) {
        let start = monotonic_now();
        loop {
            let value = self.metric(series).await;
            if wanted(value) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{series} stays {value}:\n{}", self.lines());
            tokio::time::sleep(super::POLL * 4).await;
        }
    }

    /// Waits until it has no live message, in whatever state: one scrape, as messages go from one state to another.
    pub async fn until_idle(&self) {
        let start = monotonic_now();
        loop {
            let text = self.admin("/metrics").await;
            let states: Vec<&str> = text.lines().filter(|line| line.starts_with("dispatcher_messages{")).collect();
            assert!(!states.is_empty(), "no messages in\n{text}");
            if states.iter().all(|line| line.ends_with(" 0")) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "it stays busy: {states:?}\n{}", self.lines());
            tokio::time::sleep(super::POLL * 4).await;
        }
    }

    /// What its admin listener answers to a GET, head included.
    pub async fn admin(&self, path: &str) -> String {
        self.admin_by("GET", path).await
    }

    /// The same to any method.
    pub async fn admin_by(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin_address()).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
