//! The real binary: started with an environment of its own, watched through its log, killed by its pid.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use dispatcher::time::monotonic_now;
use rustix::process::{Pid, Signal, kill_process};
use rustls::{ALL_VERSIONS, ClientConfig};
use tempfile::TempDir;

use super::tls::{Authority, CERTIFICATE, KEY};
use super::{Client, DEADLINE, Shared};

/// What every daemon of a test is started with; a test's own variables come on top.
const VARIABLES: [(&str, &str); 8] = [
    ("LISTEN", "127.0.0.1:0"),
    ("ADMIN_LISTEN", "127.0.0.1:0"),
    ("LOG_FORMAT", "json"),
    ("SEGMENT_BYTES", "4MiB"),
    ("MAX_BODY", "1MiB"),
    ("DISK_RESERVE", "1MiB"),
    ("CORES", "1"),
    ("IO_BACKEND", "portable"),
];

/// Under TLS on top of them: where [`Identity::put_into`] puts it.
///
/// [`Identity::put_into`]: super::tls::Identity::put_into
pub const TLS_VARIABLES: [(&str, &str); 2] = [("TLS_CERT", CERTIFICATE), ("TLS_KEY", KEY)];

/// Both ways to do input and output: a contract holds on either.
pub const BACKENDS: [&str; 2] = ["uring", "portable"];

/// What a process has written to its standard error, line by line, and whether it has closed it.
type Lines = Arc<Shared<(Vec<String>, bool)>>;

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    lines: Lines,
    reader: Option<JoinHandle<()>>,
    /// The data listener.
    pub data: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// How its clients speak TLS, if they do.
    tls: Option<Arc<ClientConfig>>,
    /// Holds the log; removed at last.
    pub directory: TempDir,
}

impl Daemon {
    /// Starts one on an empty log and waits until it listens.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), variables, None)
    }

    /// Starts one whose data listener speaks TLS; its clients trust it.
    pub fn start_tls(variables: &[(&str, &str)]) -> Self {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        authority.issue().put_into(directory.path());
        Self::start_in(directory, &[&TLS_VARIABLES, variables].concat(), Some(authority.client(ALL_VERSIONS, None)))
    }

    /// Starts one in a directory that may hold files for it; `tls` is what its clients speak TLS by.
    pub fn start_in(directory: TempDir, variables: &[(&str, &str)], tls: Option<Arc<ClientConfig>>) -> Self {
        let (child, lines, reader) = spawn(&directory, variables, &[]);
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut daemon = Self { child, lines, reader: Some(reader), data: unset, admin: unset, tls, directory };
        daemon.until_listening();
        daemon
    }

    /// Starts it again on its log, once it is dead.
    pub fn start_again(&mut self, variables: &[(&str, &str)]) {
        let (child, lines, reader) = spawn(&self.directory, variables, &[]);
        (self.child, self.lines, self.reader) = (child, lines, Some(reader));
        self.until_listening();
    }

    fn until_listening(&mut self) {
        let addresses = self.lines.until(|(lines, ended)| {
            assert!(!*ended, "the daemon ended instead of listening: {lines:#?}");
            ready(lines)
        });
        (self.data, self.admin) = addresses.expect("the daemon listens in time");
    }

    /// Kills it, and tells all that it wrote, line by line.
    pub fn kill(&mut self) -> Vec<String> {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.take().map(JoinHandle::join).expect("it ran").unwrap();
        let mut written = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut written).unwrap();
        self.lines.change(|(lines, _)| lines.push(written));
        self.log_lines("")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself; its exit status.
    pub fn ended(&mut self) -> Option<i32> {
        self.lines.until(|(_, ended)| ended.then_some(())).expect("it ends in time");
        self.child.wait().unwrap().code()
    }

    /// A connection to the data listener, under TLS if that is what it speaks.
    pub fn connect(&self) -> Client {
        self.try_connect().expect("a handshake")
    }

    /// The same, where it may not be let in. Errors: that the handshake failed.
    pub fn try_connect(&self) -> std::io::Result<Client> {
        match &self.tls {
            None => Ok(Client::connect(self.data)),
            Some(config) => Client::connect_tls(self.data, config),
        }
    }

    /// The first line of its log with `part` in it, once it is there.
    pub fn log_line(&self, part: &str) -> String {
        let line = self.lines.until(|(lines, _)| lines.iter().find(|line| line.contains(part)).cloned());
        line.unwrap_or_else(|| panic!("the log has a line with {part}"))
    }

    /// The lines of its log with `part` in them, so far.
    pub fn log_lines(&self, part: &str) -> Vec<String> {
        self.lines.change(|(lines, _)| lines.iter().filter(|line| line.contains(part)).cloned().collect())
    }

    /// Waits until as many lines of its log have `part` in them.
    #[track_caller]
    pub fn log_lines_until(&self, part: &str, count: usize) {
        let enough = |lines: &Vec<String>| lines.iter().filter(|line| line.contains(part)).count() >= count;
        let found = self.lines.until(|(lines, _)| enough(lines).then_some(()));
        assert!(found.is_some(), "the log has {count} lines with {part}");
    }

    /// The value of a series, as the admin listener shows it.
    pub fn metric(&self, series: &str) -> f64 {
        let answer = Client::connect(self.admin).get("/metrics");
        let value = answer.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{series} is in {}", answer.text()))
    }

    /// Waits until a series has a value: a message is counted just after its sender is told.
    #[track_caller]
    pub fn assert_metric(&self, series: &str, expected: f64) {
        let start = monotonic_now();
        let mut value = self.metric(series);
        while value < expected && start.elapsed() < DEADLINE {
            value = self.metric(series);
        }
        assert_eq!(value, expected, "{series}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reader.take().map(JoinHandle::join);
        if std::thread::panicking() {
            self.lines.change(|(lines, _)| eprintln!("the daemon's log:\n{}", lines.join("\n")));
        }
    }
}

/// Runs `test` against a fresh daemon on each backend.
pub fn on_both(variables: &[(&str, &str)], test: impl Fn(&Daemon)) {
    for backend in BACKENDS {
        let daemon = Daemon::start(&[&[("IO_BACKEND", backend)], variables].concat());
        test(&daemon);
    }
}

/// Runs `test` against a fresh daemon under TLS on each backend.
pub fn on_tls(variables: &[(&str, &str)], test: impl Fn(&Daemon)) {
    for backend in BACKENDS {
        let daemon = Daemon::start_tls(&[&[("IO_BACKEND", backend)], variables].concat());
        test(&daemon);
    }
}

/// Runs `test` against a fresh daemon on each backend, in the clear and under TLS.
pub fn on_all(variables: &[(&str, &str)], test: impl Fn(&Daemon)) {
    on_both(variables, &test);
    on_tls(variables, &test);
}

/// How a process ended that was not expected to stay.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: Vec<String>,
}

/// Runs the binary with its log in `directory` until it ends; one that does not is killed, and then has no code.
pub fn run(directory: &TempDir, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let (mut child, lines, reader) = spawn(directory, variables, arguments);
    let ended = lines.until(|(_, ended)| ended.then_some(()));
    if ended.is_none() {
        // Errors mean that it is gone already.
        let _ = child.kill();
    }
    let code = child.wait().unwrap().code();
    reader.join().unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ended { code, stdout, stderr: lines.change(|(lines, _)| std::mem::take(lines)) }
}

fn spawn(directory: &TempDir, variables: &[(&str, &str)], arguments: &[&str]) -> (Child, Lines, JoinHandle<()>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dispatcher"))
        .args(arguments)
        .env_clear()
        .env("TRANSACTION_LOG", directory.path().join("log"))
        .envs(VARIABLES)
        .envs(variables.iter().copied())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, stderr) = (Lines::default(), BufReader::new(child.stderr.take().unwrap()));
    let written = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            written.change(|(lines, _)| lines.push(line));
        }
        written.change(|(_, ended)| *ended = true);
    });
    (child, lines, reader)
}

/// Both addresses, once it listens and has read its log; from lines in either format.
fn ready(lines: &[String]) -> Option<(SocketAddr, SocketAddr)> {
    let says = |line: &&String, message: &str| {
        line.contains(&format!("\"message\":\"{message}\"")) || line.contains(&format!(": {message} "))
    };
    let listening = lines.iter().find(|line| says(line, "listening"))?;
    let recovered = lines.iter().filter(|line| says(line, "recovered")).count();
    let value = |name: &str| {
        let [json, text] = [format!("\"{name}\":"), format!(" {name}=")];
        let (_, rest) = listening.split_once(&json).or_else(|| listening.split_once(&text))?;
        rest.trim_start_matches('"').split(['"', ' ', ',', '}']).next()
    };
    let address = |name: &str| value(name)?.parse().ok();
    (value("shards") == Some(&recovered.to_string())).then_some((address("listen")?, address("admin")?))
}
