//! Messages as these tests send them, and what the dead letter log says of those that were given up.

use std::path::Path;

use dispatcher::schedule::attempt::Failure;
use dispatcher::wal::payload::Payload;
use tokio::task::JoinSet;

use crate::common::daemon::Daemon;
use crate::common::sender::Sender;
use crate::common::{log, until};

/// Sends a request for `origin`, with further header lines, each with its CRLF; returns the message's id.
pub async fn send(sender: &mut Sender, origin: &str, line: &str, fields: &str, body: &[u8]) -> String {
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: dispatcher\r\nX-Dispatcher-Origin-Host: {origin}\r\n{fields}Content-Length: {length}\r\n\r\n"
    );
    sender.write(&[head.as_bytes(), body].concat()).await.unwrap();
    sender.answer().await.unwrap().id()
}

/// Posts `each` messages over each of `senders` connections at once; returns all ids.
pub async fn burst(daemon: &Daemon, origin: &str, senders: usize, each: usize) -> Vec<String> {
    let mut sending = JoinSet::new();
    for _ in 0..senders {
        let (mut sender, origin) = (daemon.sender().await, origin.to_owned());
        sending.spawn_local(async move {
            let mut ids = Vec::with_capacity(each);
            for n in 0..each {
                ids.push(sender.post(&origin, format!("message {n}").as_bytes()).await);
            }
            ids
        });
    }
    sending.join_all().await.into_iter().flatten().collect()
}

/// What is kept of a message that was given up.
#[derive(Debug)]
pub struct Letter {
    pub class: Failure,
    pub status: Option<u16>,
    pub answer: Vec<u8>,
}

/// Waits until the message is a dead letter.
pub async fn letter(daemon_dir: &Path, id: &str) -> Letter {
    let letters = daemon_dir.join("log/dead-letter");
    let mut found = None;
    until(&format!("{id} is a dead letter"), || {
        found = log::records(&letters).into_iter().find(|record| record.id == id);
        found.is_some()
    })
    .await;
    let record = found.unwrap();
    match Payload::decode(record.kind, &record.payload).unwrap() {
        Payload::DeadLetter(_, death) => {
            Letter { class: death.failure, status: death.status, answer: death.answer.to_vec() }
        }
        other => panic!("{other:?} is no dead letter"),
    }
}

/// Fails if any message was given up.
pub async fn assert_none_dead(daemon: &Daemon, dir: &Path) {
    daemon.until_idle().await;
    assert_eq!(log::dead_letters(dir), Vec::<String>::new());
}
