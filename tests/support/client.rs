//! A client that sends the bytes it is given and reads answers as RFC 9112 frames them, in the clear or under TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::tls::{self, Session};
use super::{DEADLINE, field, position};

/// One connection.
pub struct Client {
    link: Link,
    arrived: Vec<u8>,
}

enum Link {
    Clear(TcpStream),
    Secret(Box<Session>),
}

/// A socket on which everything has a deadline.
pub(super) fn socket(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, DEADLINE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    Ok(socket)
}

impl Link {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(socket) => socket,
            Self::Secret(session) => &session.sock,
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(bytes),
            Self::Secret(session) => match session.read(bytes) {
                // What could not be sent any more does not keep what had come before from being read.
                Err(error) if is_hung_up(&error) => read_only(session, bytes),
                read => read,
            },
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.write_all(bytes),
            Self::Secret(session) => session.write_all(bytes).and_then(|()| session.flush()),
        }
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Reads from a session whose peer takes nothing any more.
fn read_only(session: &mut Session, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match session.conn.reader().read(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
        session.conn.read_tls(&mut session.sock)?;
        session.conn.process_new_packets().map_err(io::Error::other)?;
    }
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
        Self { link: Link::Clear(socket(address).unwrap()), arrived: Vec::new() }
    }

    /// Connects under TLS. Errors: that the handshake failed.
    pub fn connect_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let link = Link::Secret(Box::new(tls::connect(address, config)?));
        Ok(Self { link, arrived: Vec::new() })
    }

    /// The TLS session, if there is one.
    pub fn session(&self) -> Option<&Session> {
        match &self.link {
            Link::Clear(_) => None,
            Link::Secret(session) => Some(session),
        }
    }

    /// Sends bytes. A peer that has refused already and hung up is no failure: its answer tells.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match self.link.write(bytes.as_ref()) {
            Err(error) if !is_hung_up(&error) => {
                panic!("sending: {error}")
            }
            _ => {}
        }
    }

    /// Sends no more.
    pub fn finish(&mut self) {
        if let Link::Secret(session) = &mut self.link {
            session.conn.send_close_notify();
            session.flush().unwrap();
        }
        self.cut();
    }

    /// Sends no more, and under TLS does not say so.
    pub fn cut(&self) {
        self.link.socket().shutdown(Shutdown::Write).unwrap();
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
        self.link.socket().set_read_timeout(Some(wait)).unwrap();
        let mut bytes = [0; 4096];
        let read = self.link.read(&mut bytes);
        self.link.socket().set_read_timeout(Some(DEADLINE)).unwrap();
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

    /// Receives more; `false` at the end. A reset ends a connection like any other, but under TLS an end must be said.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        let read = match self.link.read(&mut bytes) {
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
