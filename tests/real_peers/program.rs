//! Programs that may be missing: found, given a port, run as processes, and ended by their ids.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dispatcher::time::monotonic_now;
use rustix::process::{Pid, Signal};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::common::{PATIENCE, POLL};

/// Where servers are that an ordinary user's `PATH` does not name.
const FURTHER_FOLDERS: &[&str] = &["/usr/sbin", "/usr/local/sbin"];

/// The path of a program; without it says on stderr which test is left out, or fails if `REAL_PEERS` is `required`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FURTHER_FOLDERS.iter().map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        assert!(std::env::var_os("REAL_PEERS").is_none_or(|value| value != "required"), "{name} is not installed");
        // Not `eprintln`: what that says of a test that passes, nobody sees.
        let line = format!("LEFT OUT: {test}: {name} is not installed; ./check installs it where it can\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    found
}

/// A port of loopback that nobody else gets, whether or not a program listens on it: bound here, never listened on, and
/// shared with the program because both set `SO_REUSEADDR`.
pub struct Port {
    /// With the port.
    pub address: SocketAddr,
    _holder: Socket,
}

impl Port {
    /// A free one.
    pub fn hold() -> Self {
        let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        holder.set_reuse_address(true).unwrap();
        holder.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self { address: holder.local_addr().unwrap().as_socket().unwrap(), _holder: holder }
    }
}

/// A child process whose outputs go to a file; dropping it ends it and what it started.
pub struct Program {
    child: Child,
    outputs: PathBuf,
}

impl Program {
    /// Starts one in a process group of its own, with `dir` as its directory and for its outputs.
    pub fn start(command: &mut Command, dir: &Path) -> Self {
        use std::os::unix::process::CommandExt;
        let outputs = dir.join("outputs");
        let file = File::options().create(true).append(true).open(&outputs).unwrap();
        let child = command
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, outputs }
    }

    /// What it said.
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.outputs).unwrap()).into_owned()
    }

    /// Waits until it takes connections.
    pub async fn listening(&mut self, address: SocketAddr) {
        let start = monotonic_now();
        while TcpStream::connect(address).await.is_err() {
            assert!(!self.has_ended() && start.elapsed() < PATIENCE, "it does not listen: {}", self.complaints());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Sends it a signal and waits until it has ended.
    pub async fn end(&mut self, signal: Signal) {
        self.signal(signal);
        let start = monotonic_now();
        while !self.has_ended() {
            assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.complaints());
            tokio::time::sleep(POLL).await;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // All of the group: workers outlive a master that is killed. An error says that all have ended.
        let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}
