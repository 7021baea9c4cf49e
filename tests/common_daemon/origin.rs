//! An origin that records what it gets, answers as it is told, and can refuse connections without losing its port.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dispatcher::time::monotonic_now;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use super::sender::field;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub id: String,
    pub attempt: u32,
    pub maybe_duplicate: bool,
    /// This id had been answered with 200 before.
    pub is_repeat: bool,
    pub head: String,
    pub body: Vec<u8>,
    pub at: Instant,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status, with a short body.
    Status(u16),
    /// The same with further fields, each with its CRLF.
    With(u16, &'static str),
    /// A 200 after so long.
    After(Duration),
    /// No answer until [`Origin::release`], then a 200.
    Hold,
    /// The connection is closed without an answer.
    Close,
}

type Decide = Box<dyn Fn(&Received) -> Reply>;

struct Shared {
    received: RefCell<Vec<Received>>,
    answered: RefCell<Vec<String>>,
    ended: RefCell<HashSet<String>>,
    decide: RefCell<Decide>,
    connections: Cell<usize>,
    released: Cell<bool>,
    release: Notify,
    tls: Option<TlsAcceptor>,
}

/// An origin on loopback.
pub struct Origin {
    pub address: SocketAddr,
    shared: Rc<Shared>,
    /// Bound and never listening: the port stays ours while connections are refused.
    _holder: Socket,
    accepting: RefCell<Option<AbortHandle>>,
}

impl Origin {
    /// One that listens and answers 200.
    pub fn start() -> Self {
        let origin = Self::refusing(None);
        origin.listen();
        origin
    }

    /// One that does not listen yet; `tls` is how it will.
    pub fn refusing(tls: Option<TlsAcceptor>) -> Self {
        let holder = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = holder.local_addr().unwrap().as_socket().unwrap();
        let shared = Rc::new(Shared {
            received: RefCell::default(),
            answered: RefCell::default(),
            ended: RefCell::default(),
            decide: RefCell::new(Box::new(|_| Reply::Status(200))),
            connections: Cell::new(0),
            released: Cell::new(false),
            release: Notify::new(),
            tls,
        });
        Self { address, shared, _holder: holder, accepting: RefCell::default() }
    }

    /// The value of X-Dispatcher-Origin-Host.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Takes connections from now on.
    pub fn listen(&self) {
        let socket = bind(self.address);
        socket.listen(1024).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let shared = Rc::clone(&self.shared);
        let accepting = spawn_local(async move {
            // Dropped with this task: then every connection is closed.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.set(shared.connections.get() + 1);
                let shared = Rc::clone(&shared);
                connections.spawn_local(async move {
                    match shared.tls.clone() {
                        None => serve(stream, &shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared).await;
                            }
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        self.accepting.replace(Some(accepting.abort_handle()));
    }

    /// Closes every connection and refuses new ones, from soon on.
    pub fn refuse(&self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }

    /// Answers as `decide` says from now on.
    pub fn answer(&self, decide: impl Fn(&Received) -> Reply + 'static) {
        *self.shared.decide.borrow_mut() = Box::new(decide);
    }

    /// Answers every request that is held and that will be.
    pub fn release(&self) {
        self.shared.released.set(true);
        self.shared.release.notify_waiters();
    }

    /// Every complete request so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.borrow().clone()
    }

    /// How many complete requests came.
    pub fn count(&self) -> usize {
        self.shared.received.borrow().len()
    }

    /// Ids of the requests that were answered with 200, in order, repeats included.
    pub fn delivered(&self) -> Vec<String> {
        self.shared.answered.borrow().clone()
    }

    /// Whether each of these was answered with 200.
    pub fn has_all<'i>(&self, ids: impl IntoIterator<Item = &'i String>) -> bool {
        let ended = self.shared.ended.borrow();
        ids.into_iter().all(|id| ended.contains(id))
    }

    /// Connections taken so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.get()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.refuse();
    }
}

fn bind(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let mut unread = Vec::new();
    while let Some(mut received) = read_request(&mut stream, &mut unread).await {
        let (id, mut reply) = (received.id.clone(), (shared.decide.borrow())(&received));
        received.is_repeat = shared.ended.borrow().contains(&id);
        shared.received.borrow_mut().push(received);
        if reply == Reply::Hold {
            let released = shared.release.notified();
            if !shared.released.get() {
                released.await;
            }
            reply = Reply::Status(200);
        }
        if let Reply::After(wait) = reply {
            tokio::time::sleep(wait).await;
            reply = Reply::Status(200);
        }
        let (status, fields) = match reply {
            Reply::Status(status) => (status, ""),
            Reply::With(status, fields) => (status, fields),
            Reply::After(_) | Reply::Hold | Reply::Close => return,
        };
        let answer = format!("HTTP/1.1 {status} Said\r\n{fields}Content-Length: 4\r\n\r\nsaid");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if status == 200 {
            shared.ended.borrow_mut().insert(id.clone());
            shared.answered.borrow_mut().push(id);
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(unread[..end].to_vec()).unwrap();
    let length: usize = field(&head, "Content-Length").map_or(0, |length| length.parse().unwrap());
    while unread.len() < end + length {
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
    let body = unread[end..end + length].to_vec();
    unread.drain(..end + length);
    let value = |name| field(&head, name);
    Some(Received {
        id: value("X-Dispatcher-Message-Id").expect("every attempt names its message").to_owned(),
        attempt: value("X-Dispatcher-Attempt").expect("every attempt has a number").parse().unwrap(),
        maybe_duplicate: value("X-Dispatcher-Maybe-Duplicate") == Some("true"),
        is_repeat: false,
        body,
        at: monotonic_now(),
        head,
    })
}
