//! Both ends of the core under test, on threads of their own: what they allocate is not counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::Notify;

/// Bytes of a body.
const BODY_BYTES: usize = 1024;
const ACCEPTED: &[u8] = b"HTTP/1.1 202 ";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// One kept connection to the core, which sends when told to.
pub struct Client {
    order: SyncSender<usize>,
    done: Arc<Notify>,
}

impl Client {
    /// Connects to `target`; its messages are for `origin`.
    pub fn connect(target: SocketAddr, origin: SocketAddr) -> Self {
        let (order, orders) = sync_channel(1);
        let done = Arc::new(Notify::new());
        let notified = Arc::clone(&done);
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(target).unwrap();
            let mut request = format!(
                "POST /hook?from=test HTTP/1.1\r\nHost: {target}\r\nX-Dispatcher-Origin-Host: {origin}\r\n\
                 Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
            )
            .into_bytes();
            request.resize(request.len() + BODY_BYTES, b'x');
            for messages in orders {
                stream.write_all(&request.repeat(messages)).unwrap();
                read_accepted(&mut stream, messages);
                notified.notify_one();
            }
        });
        Self { order, done }
    }

    /// Sends so many messages at once, pipelined, and resolves when all have their 202.
    pub async fn send(&self, messages: usize) {
        self.order.send(messages).expect("the connection is open");
        self.done.notified().await;
    }
}

/// Reads that many answers, which have no content.
fn read_accepted(stream: &mut TcpStream, messages: usize) {
    let (mut answers, mut chunk) = (Vec::new(), [0; 16 << 10]);
    let count = |answers: &[u8], what: &[u8]| answers.windows(what.len()).filter(|window| *window == what).count();
    while count(&answers, HEAD_END) < messages {
        let bytes = stream.read(&mut chunk).unwrap();
        assert_ne!(bytes, 0, "the connection stays open");
        answers.extend_from_slice(&chunk[..bytes]);
    }
    assert_eq!(count(&answers, ACCEPTED), messages, "{}", String::from_utf8_lossy(&answers));
}

/// Answers every request with 200, for as long as the test runs.
pub fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || answer(&mut stream));
        }
    });
    address
}

/// Requests come one at a time, and each is done when its body is.
fn answer(stream: &mut TcpStream) {
    let (mut request, mut chunk) = (Vec::new(), [0; 16 << 10]);
    while let Ok(bytes @ 1..) = stream.read(&mut chunk) {
        request.extend_from_slice(&chunk[..bytes]);
        let head_bytes = request.windows(HEAD_END.len()).position(|window| window == HEAD_END);
        if head_bytes.is_some_and(|bytes| request.len() == bytes + HEAD_END.len() + BODY_BYTES) {
            request.clear();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    }
}
