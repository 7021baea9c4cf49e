//! A client that sends the bytes it is given and reads answers as RFC 9112 frames them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{DEADLINE, field, position};

/// One connection.
pub struct Client {
    stream: TcpStream,
    arrived: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Status line and fields, without the empty line.
    pub head: String,
    /// Its body, as Content-Length frames it.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects; every read has a deadline.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, arrived: Vec::new() }
    }

    /// Sends bytes. A peer that has refused already and hung up is no failure: its answer tells.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("sending: {error}")
            }
            _ => {}
        }
    }

    /// Sends no more.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next answer; to a HEAD it has no body.
    pub fn answer_to(&mut self, method: &str) -> Answer {
        let end = loop {
            if let Some(at) = position(&self.arrived, b"\r\n\r\n") {
                break at;
            }
            assert!(self.receive(), "an answer is complete, not {:?}", String::from_utf8_lossy(&self.arrived));
        };
        let head = String::from_utf8(self.arrived[..end].to_vec()).unwrap();
        self.arrived.drain(..end + 4);
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("a status line begins {head:?}"));
        let framed = method != "HEAD" && status >= 200;
        let length = field(&head, "Content-Length").filter(|_| framed).map_or(0, |value| value.parse().unwrap());
        while self.arrived.len() < length {
            assert!(self.receive(), "the body of an answer is complete: {head}");
        }
        let body = self.arrived.drain(..length).collect();
        Answer { status, head, body }
    }

    /// The next answer to anything but a HEAD.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// Whether the peer closes without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.arrived.is_empty() && !self.receive()
    }

    /// Whether bytes are there, waiting for them as long as `wait`.
    pub fn has_arrived(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes);
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            read => {
                self.arrived.extend_from_slice(&bytes[..read.unwrap()]);
                true
            }
        }
    }

    /// Asks for a path under a name that is ours.
    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.answer()
    }

    /// Receives more; `false` at the end. A reset ends a connection like any other.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        let read = match self.stream.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            read => read.unwrap_or_else(|error| panic!("waiting for an answer: {error}")),
        };
        self.arrived.extend_from_slice(&bytes[..read]);
        read > 0
    }
}

impl Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Whether it says that the connection ends.
    pub fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }

    /// Its body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Its body as a JSON object.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The id that a 202 gives.
    pub fn message_id(&self) -> String {
        assert_eq!(self.status, 202, "{} {}", self.head, String::from_utf8_lossy(&self.body));
        self.field("X-Dispatcher-Message-Id").unwrap().to_owned()
    }
}
