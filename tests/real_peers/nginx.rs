//! nginx on a port and in a directory of its own, and what its access log says.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use dispatcher::time::monotonic_now;
use rustix::process::Signal;
use tempfile::TempDir;

use super::program::{self, Port, Program};
use crate::common::{PATIENCE, POLL, until};

/// What every test is told of a request, as fields of one line each.
const LOG_FORMAT: &str = "$http_x_dispatcher_message_id $http_x_dispatcher_attempt $http_x_dispatcher_maybe_duplicate \
    $status $server_protocol $connection $request_length $request_method $request_uri $http_expect";

/// A configuration with the holes `USER`, `LISTEN` and `SERVER`. Bodies are kept in memory unless they are large.
const CONFIGURATION: &str = "
daemon off;
USER
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
    log_format seen 'FORMAT';
    access_log access.log seen;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    HTTP
    server {
        listen LISTEN;
        SERVER
    }
}
";

/// What a test changes of the configuration.
#[derive(Clone, Copy, Default)]
pub struct Setup<'s> {
    /// Directives of `http`.
    pub http: &'s str,
    /// Directives of `server`.
    pub server: &'s str,
    /// Parameters of `listen`.
    pub listen: &'s str,
}

/// A running nginx; dropping it ends it.
pub struct Nginx {
    port: Port,
    program: PathBuf,
    process: Option<Program>,
    dir: TempDir,
}

/// A request as nginx saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub attempt: u32,
    pub maybe_duplicate: bool,
    pub status: u16,
    pub protocol: String,
    pub connection: u64,
    pub length: u64,
    pub method: String,
    pub target: String,
    pub expect: String,
}

impl Nginx {
    /// Starts one whose server block is `server`, unless nginx is not installed.
    pub async fn start(server: &str) -> Option<Self> {
        Self::start_with(&Setup { server, ..Setup::default() }).await
    }

    /// Starts one, unless nginx is not installed.
    pub async fn start_with(setup: &Setup<'_>) -> Option<Self> {
        let program = program::find("nginx")?;
        let mut nginx = Self { port: Port::hold(), program, process: None, dir: tempfile::tempdir().unwrap() };
        nginx.configure(setup);
        nginx.run().await;
        Some(nginx)
    }

    /// Writes the configuration; it is read at the next start or reload.
    pub fn configure(&self, setup: &Setup<'_>) {
        // Started by root, workers would be of a user who may not enter the directory.
        let user = if rustix::process::getuid().is_root() { "user root root;" } else { "" };
        let text = CONFIGURATION
            .replace("USER", user)
            .replace("FORMAT", LOG_FORMAT)
            .replace("LISTEN", &format!("{} {}", self.port.address, setup.listen))
            .replace("HTTP", setup.http)
            .replace("SERVER", setup.server);
        std::fs::write(self.dir.path().join("nginx.conf"), text).unwrap();
    }

    /// Starts it again after [`Nginx::stop`].
    pub async fn run(&mut self) {
        assert!(self.process.is_none(), "it does not run");
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(self.dir.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        let mut process = Program::start(&mut command, self.dir.path());
        process.listening(self.port.address).await;
        self.process = Some(process);
    }

    /// Ends it at once, requests in flight included, as its init script's `stop` does.
    pub async fn stop(&mut self) {
        self.process.take().expect("it runs").end(Signal::TERM).await;
    }

    /// Has it read its configuration again and put new workers in the place of the old ones.
    pub async fn reload(&self) {
        let process = self.process.as_ref().expect("it runs");
        let ended = |process: &Program| process.complaints().matches("exited with code 0").count();
        let before = ended(process);
        process.signal(Signal::HUP);
        until("both old workers have ended", || ended(process) >= before + 2).await;
    }

    /// The value of X-Dispatcher-Origin-Host.
    pub fn host(&self) -> String {
        self.port.address.to_string()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Every request so far, in the order in which they ended.
    pub fn seen(&self) -> Vec<Seen> {
        let text = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        // A line that is being written has no end yet.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(Seen::parse).collect()
    }

    /// Waits until each of these messages was answered with 200.
    pub async fn until_delivered(&self, ids: &[String]) {
        let start = monotonic_now();
        loop {
            let seen = self.seen();
            let delivered: HashSet<&str> = delivered(&seen).map(|seen| seen.id.as_str()).collect();
            let missing: Vec<&String> = ids.iter().filter(|id| !delivered.contains(id.as_str())).collect();
            if missing.is_empty() {
                return;
            }
            let tried: Vec<&Seen> = seen.iter().filter(|seen| missing.contains(&&seen.id)).collect();
            assert!(start.elapsed() < PATIENCE, "{} of {} are missing: {tried:?}", missing.len(), ids.len());
            tokio::time::sleep(POLL * 4).await;
        }
    }
}

/// Those that were answered with 200.
pub fn delivered(seen: &[Seen]) -> impl Iterator<Item = &Seen> {
    seen.iter().filter(|seen| seen.status == 200)
}

impl Seen {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let [id, attempt, maybe_duplicate, status, protocol, connection, length, method, target, expect] = fields[..]
        else {
            panic!("not a line of the access log: {line}")
        };
        Self {
            id: id.to_owned(),
            // 0: a request that nginx could not read to that field.
            attempt: attempt.parse().unwrap_or(0),
            maybe_duplicate: maybe_duplicate == "true",
            status: status.parse().unwrap(),
            protocol: protocol.to_owned(),
            connection: connection.parse().unwrap(),
            length: length.parse().unwrap(),
            method: method.to_owned(),
            target: target.to_owned(),
            expect: expect.to_owned(),
        }
    }
}

/// Fails unless each of `ids` was delivered once, by its first attempt.
#[track_caller]
pub fn assert_exactly_once_at_first(nginx: &Nginx, ids: &[String]) {
    let seen = nginx.seen();
    let mut got: Vec<&str> = delivered(&seen).map(|seen| seen.id.as_str()).collect();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    got.sort_unstable();
    wanted.sort_unstable();
    assert!(got == wanted, "{} deliveries of {} messages", got.len(), wanted.len());
    let mut later = String::new();
    for seen in seen.iter().filter(|seen| seen.attempt != 1 || seen.status != 200) {
        writeln!(later, "{seen:?}").unwrap();
    }
    assert!(later.is_empty(), "not by the first attempt:\n{later}");
}
