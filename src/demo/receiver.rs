//! The destination: a port that refuses, then a server that fails, then one that counts what it gets.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;

use hashbrown::HashMap;
use socket2::{Domain, Socket, Type};
use tokio::task::JoinSet;

use super::http::{Connection, Request};
use crate::message::MessageId;

const BACKLOG: i32 = 1024;

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// 503.
    #[default]
    Fails,
    /// 200.
    Succeeds,
}

/// What it has seen.
#[derive(Debug, Default)]
pub struct Receiver {
    mood: Cell<Mood>,
    failed: Cell<u64>,
    damaged: Cell<u64>,
    duplicates: Cell<u64>,
    unmarked_duplicates: Cell<u64>,
    deliveries: RefCell<HashMap<MessageId, u32>>,
}

/// A port that refuses connections but is ours: bound, not listening. Were it merely closed, another process could take
/// it, and a connection to it from the same ephemeral range could even meet itself.
pub fn closed_port() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket();
    address.map(|address| (socket, address)).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// The same port, no longer refusing.
pub fn open(closed: Socket) -> io::Result<tokio::net::TcpListener> {
    closed.listen(BACKLOG)?;
    closed.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(TcpListener::from(closed))
}

/// Serves until the returned set is dropped.
pub fn start(listener: tokio::net::TcpListener, receiver: &Rc<Receiver>) -> JoinSet<()> {
    let receiver = Rc::clone(receiver);
    let mut tasks = JoinSet::new();
    tasks.spawn_local(async move {
        let mut connections = JoinSet::new();
        // An accept error is one connection's, or a lack of descriptors that passes: the daemon will try again.
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn_local(serve(Connection::new(stream), Rc::clone(&receiver)));
                }
                Err(_) => tokio::task::yield_now().await,
            }
            while connections.try_join_next().is_some() {}
        }
    });
    tasks
}

async fn serve(mut connection: Connection, receiver: Rc<Receiver>) {
    while let Ok(request) = connection.request().await {
        let answer = match receiver.take(&request) {
            Mood::Fails => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            Mood::Succeeds => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        };
        if connection.write(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Receiver {
    /// From now on.
    pub fn set_mood(&self, mood: Mood) {
        self.mood.set(mood);
    }

    /// 503s.
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// Different messages answered with 200.
    pub fn delivered(&self) -> u64 {
        self.deliveries.borrow().len() as u64
    }

    /// Whether this message was answered with 200.
    pub fn has(&self, id: MessageId) -> bool {
        self.deliveries.borrow().contains_key(&id)
    }

    /// Messages with a wrong body or without an id.
    pub fn damaged(&self) -> u64 {
        self.damaged.get()
    }

    /// Deliveries of a message that had been answered with 200 before; and those of them that did not say so.
    pub fn duplicates(&self) -> (u64, u64) {
        (self.duplicates.get(), self.unmarked_duplicates.get())
    }

    fn take(&self, request: &Request) -> Mood {
        let mood = self.mood.get();
        let (Some(id), true) = (request.message_id, request.intact) else {
            self.damaged.set(self.damaged.get() + 1);
            return mood;
        };
        if mood == Mood::Fails {
            self.failed.set(self.failed.get() + 1);
            return mood;
        }
        let mut deliveries = self.deliveries.borrow_mut();
        let count = deliveries.entry(id).or_default();
        *count += 1;
        if *count > 1 {
            self.duplicates.set(self.duplicates.get() + 1);
            self.unmarked_duplicates.set(self.unmarked_duplicates.get() + u64::from(!request.maybe_duplicate));
        }
        mood
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::http::numbered_request;

    fn request(id: u8, maybe_duplicate: bool) -> Request {
        Request { message_id: Some(MessageId([id; 16])), maybe_duplicate, intact: true }
    }

    #[test]
    fn only_a_second_success_is_a_duplicate_and_only_without_its_mark_a_fault() {
        let receiver = Receiver::default();
        assert_eq!(receiver.take(&request(1, false)), Mood::Fails);
        receiver.set_mood(Mood::Succeeds);
        for (id, marked) in [(1, false), (1, true), (2, false), (2, false)] {
            assert_eq!(receiver.take(&request(id, marked)), Mood::Succeeds);
        }
        receiver.take(&Request { intact: false, ..request(3, false) });
        assert_eq!((receiver.failed(), receiver.delivered(), receiver.damaged()), (1, 2, 1));
        assert_eq!(receiver.duplicates(), (2, 1));
    }

    #[tokio::test]
    async fn the_port_refuses_until_it_is_opened_and_then_answers() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let (closed, address) = closed_port().unwrap();
                let refused = Connection::connect(address).await.unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
                let receiver = Rc::new(Receiver::default());
                let _serving = start(open(closed).unwrap(), &receiver);
                let mut connection = Connection::connect(address).await.unwrap();
                connection.write(&numbered_request(address, address, 1)).await.unwrap();
                assert_eq!(connection.answer().await.unwrap().status, 503);
            })
            .await;
    }
}
