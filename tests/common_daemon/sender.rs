//! A kept connection to the daemon that sends requests and reads their answers.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// A kept connection.
pub struct Sender {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The id of an accepted message.
    #[track_caller]
    pub fn id(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        self.field("X-Dispatcher-Message-Id").expect("a 202 names its message").to_owned()
    }
}

/// The value of a header field in a head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

impl Sender {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Posts a body for `origin`, with further header lines, each with its CRLF.
    pub async fn try_post(&mut self, origin: &str, fields: &str, body: &[u8]) -> Result<Answer> {
        let length = body.len();
        let head = format!(
            "POST /in?a=1 HTTP/1.1\r\nHost: dispatcher\r\nX-Dispatcher-Origin-Host: {origin}\r\n{fields}Content-Length: {length}\r\n\r\n"
        );
        self.write(&[head.as_bytes(), body].concat()).await?;
        self.answer().await
    }

    /// Posts a body that is accepted; returns the message's id.
    pub async fn post(&mut self, origin: &str, body: &[u8]) -> String {
        self.try_post(origin, "", body).await.unwrap().id()
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads the next answer.
    pub async fn answer(&mut self) -> Result<Answer> {
        let late = |_| Error::new(ErrorKind::TimedOut, "no answer");
        tokio::time::timeout(PATIENCE, self.read_answer()).await.map_err(late)?
    }

    async fn read_answer(&mut self) -> Result<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let length = field(&head, "Content-Length").map_or(0, |length| length.parse().expect("a length"));
        let length = if status == 100 { 0 } else { length };
        while self.unread.len() < end + length {
            self.read_more().await?;
        }
        let body = self.unread[end..end + length].to_vec();
        self.unread.drain(..end + length);
        Ok(Answer { status, head, body })
    }

    async fn read_more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
