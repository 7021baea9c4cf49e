//! An origin that records every request as the bytes it was, and answers each with 200.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::{Shared, field, position};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Listens until it is dropped; its connections end with their peer's.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Shared<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Origin {
    /// On a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0").unwrap()
    }

    /// On `address`, if this machine has it.
    pub fn start_at(address: &str) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let address = listener.local_addr().unwrap();
        let (requests, stop) = (Arc::<Shared<Vec<Vec<u8>>>>::default(), Arc::new(AtomicBool::new(false)));
        let (recorded, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let recorded = Arc::clone(&recorded);
                std::thread::spawn(move || serve(stream, &recorded));
            }
        });
        Some(Self { address, requests, stop, accepting: Some(accepting) })
    }

    /// The first request with this message id, once it is there.
    pub fn received(&self, message_id: &str) -> Vec<u8> {
        let field = format!("\r\nX-Dispatcher-Message-Id: {message_id}\r\n");
        // Of a body of megabytes nothing need be looked at.
        let head = |request: &[u8]| position(request, b"\r\n\r\n").map_or(request.len(), |end| end + 4);
        let names = |request: &&Vec<u8>| position(&request[..head(request)], field.as_bytes()).is_some();
        let found = self.requests.until(|requests| requests.iter().find(names).cloned());
        found.unwrap_or_else(|| panic!("{message_id} is delivered"))
    }

    /// Everything received so far, once it is at least so many requests.
    pub fn requests_when(&self, count: usize) -> Vec<Vec<u8>> {
        let found = self.requests.until(|requests| (requests.len() >= count).then(|| requests.clone()));
        found.unwrap_or_else(|| panic!("{count} requests arrive, not {}", self.requests().len()))
    }

    /// Everything received so far.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.change(|requests| requests.clone())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; it is gone already if nobody listens.
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, recorded: &Shared<Vec<Vec<u8>>>) {
    let mut arrived = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut arrived) {
        recorded.change(|requests| requests.push(request));
        if stream.write_all(OK).is_err() {
            return;
        }
    }
    // What never became a request is recorded too: nothing may be sent that is none.
    if !arrived.is_empty() {
        recorded.change(|requests| requests.push(arrived));
    }
}

fn read_request(stream: &mut TcpStream, arrived: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head_end = loop {
        if let Some(at) = position(arrived, b"\r\n\r\n") {
            break at + 4;
        }
        receive(stream, arrived)?;
    };
    let head = String::from_utf8_lossy(&arrived[..head_end]);
    let length: usize = field(&head, "Content-Length").map_or(0, |value| value.parse().unwrap());
    while arrived.len() < head_end + length {
        receive(stream, arrived)?;
    }
    Some(arrived.drain(..head_end + length).collect())
}

fn receive(stream: &mut TcpStream, arrived: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 64 << 10];
    loop {
        match stream.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return None,
            Ok(read) => {
                arrived.extend_from_slice(&bytes[..read]);
                return Some(());
            }
        }
    }
}
