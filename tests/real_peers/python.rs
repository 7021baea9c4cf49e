//! Python's http.server on a port and in a directory of its own, and what it saw.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use super::program::{self, Port, Program};
use crate::common::until;

const SCRIPT: &str = include_str!("peer.py");

/// A running server; dropping it ends it.
pub struct Python {
    port: Port,
    program: PathBuf,
    arguments: Vec<String>,
    process: Option<Program>,
    dir: TempDir,
}

/// A request as the server saw it, before it answered.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    pub id: String,
    pub attempt: u32,
    pub maybe_duplicate: bool,
    pub method: String,
    pub target: String,
    pub host: String,
    pub twos: Vec<String>,
    pub connection: u16,
}

impl Python {
    /// Starts one that speaks `version` and has a thread per connection, unless Python is not installed.
    pub async fn start(version: &str) -> Option<Self> {
        Self::start_with(|port| ["-c", SCRIPT, port, version, "0"].map(str::to_owned).to_vec()).await
    }

    /// Starts one that speaks HTTP/1.0, has one thread, and lets `queue` connections wait.
    pub async fn start_single(queue: u8) -> Option<Self> {
        let queue = queue.to_string();
        Self::start_with(|port| ["-c", SCRIPT, port, "HTTP/1.0", &queue].map(str::to_owned).to_vec()).await
    }

    /// Starts `python3 -m http.server`, as anyone does, in an empty directory.
    pub async fn start_module() -> Option<Self> {
        Self::start_with(|port| ["-m", "http.server", port, "--bind", "127.0.0.1"].map(str::to_owned).to_vec()).await
    }

    async fn start_with(arguments: impl Fn(&str) -> Vec<String>) -> Option<Self> {
        let program = program::find("python3")?;
        let port = Port::hold();
        let arguments = arguments(&port.address.port().to_string());
        let mut python = Self { port, program, arguments, process: None, dir: tempfile::tempdir().unwrap() };
        python.run().await;
        Some(python)
    }

    /// Starts it again.
    pub async fn run(&mut self) {
        let mut command = Command::new(&self.program);
        let mut process = Program::start(command.args(&self.arguments), self.dir.path());
        process.listening(self.port.address).await;
        self.process = Some(process);
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        self.process.take().expect("it runs").end(Signal::KILL).await;
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) {
        let process = self.process.as_mut().expect("it runs");
        until("the server has ended", || process.has_ended()).await;
    }

    /// The value of X-Dispatcher-Origin-Host.
    pub fn host(&self) -> String {
        self.port.address.to_string()
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        let text = std::fs::read_to_string(self.dir.path().join("seen")).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The body of a message, as it was when it last came.
    pub fn body(&self, id: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(id)).unwrap()
    }
}
