//! A daemon that gives up at once, and an operator at its admin listener.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::common::PATIENCE;
use super::common::daemon::Daemon;
use super::common::origin::{Origin, Reply};

/// One attempt, then a dead letter.
pub const GIVES_UP: &[(&str, &str)] = &[("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "0")];

/// An answer of the admin listener.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

/// Asks the admin listener, with further header lines, each with its CRLF.
pub async fn ask(daemon: &Daemon, method: &str, target: &str, fields: &str) -> Answer {
    let mut stream = TcpStream::connect(daemon.admin_address()).await.unwrap();
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

/// The same, where 200 or 202 is expected; returns the body.
pub async fn told(daemon: &Daemon, method: &str, target: &str) -> Value {
    let answer = ask(daemon, method, target, "").await;
    assert!(matches!(answer.status, 200 | 202), "{method} {target}: {answer:?}");
    answer.body
}

/// Ids of the letters that a query lists, over all pages.
pub async fn listed(daemon: &Daemon, query: &str) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = told(daemon, "GET", &format!("/-/dead-letters?{query}{after}")).await;
        let letters = page["letters"].as_array().unwrap().iter();
        ids.extend(letters.map(|letter| letter["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return ids };
        after = format!("&after={next}");
    }
}

/// Waits until a replay has ended; returns its status.
pub async fn ended(daemon: &Daemon, job: &Value) -> Value {
    let start = dispatcher::time::monotonic_now();
    loop {
        let replays = told(daemon, "GET", "/-/replays").await;
        let status =
            replays["replays"].as_array().unwrap().iter().find(|status| &status["job"] == job).unwrap().clone();
        if status["running"] == false {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "a replay does not end: {status}\n{}", daemon.lines());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Buries `count` messages for an origin, which says 500 to each; returns their ids, sorted.
pub async fn bury(daemon: &Daemon, origin: &Origin, count: usize) -> Vec<String> {
    origin.answer(|_| Reply::Status(500));
    let before = daemon.metric("dead_letters_kept").await;
    let mut sender = daemon.sender().await;
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(sender.post(&origin.host(), format!("body {number}").as_bytes()).await);
    }
    let expected = before + f64::from(u32::try_from(count).unwrap());
    daemon.until_metric("dead_letters_kept", |kept| kept >= expected).await;
    daemon.until_idle().await;
    ids.sort();
    ids
}

/// Runs `dispatcher dead …` against a daemon, while everything else goes on.
pub async fn dead(daemon: &Daemon, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
    command.env_clear().current_dir(dir).stdin(Stdio::null()).arg("dead").args(args);
    command.args(["--admin", &format!("http://{}", daemon.admin_address())]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What a command printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
