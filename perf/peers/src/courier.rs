//! The worker's half: delivers messages to the origin over kept connections.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::message;

/// Deliveries in flight, each on a connection of its own.
pub const IN_FLIGHT_MAX: usize = 64;
/// Between two attempts of one message.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Connections to the origin.
pub struct Courier {
    origin: String,
    host: HeaderValue,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
    in_flight: Semaphore,
}

impl Courier {
    /// `origin` is host:port.
    pub fn new(origin: &str) -> Self {
        let host = HeaderValue::from_str(origin).unwrap_or_else(|_| HeaderValue::from_static(""));
        let idle = RefCell::new(Vec::with_capacity(IN_FLIGHT_MAX));
        Self { origin: origin.to_owned(), host, idle, in_flight: Semaphore::new(IN_FLIGHT_MAX) }
    }

    /// Returns when the origin has answered with a 2xx, however many attempts that takes. Fails if `message` is none.
    pub async fn deliver(&self, message: Bytes) -> io::Result<()> {
        let _turn = self.in_flight.acquire().await.map_err(io::Error::other)?;
        loop {
            let request = message::decode(&message, &self.host);
            let request = request.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no message of ours"))?;
            if self.attempt(request).await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Whether the origin has taken it.
    async fn attempt(&self, request: hyper::Request<Full<Bytes>>) -> io::Result<bool> {
        let kept = self.idle.borrow_mut().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await.map_err(io::Error::other)?;
        let mut response = connection.send_request(request).await.map_err(io::Error::other)?;
        while let Some(frame) = response.frame().await {
            frame.map_err(io::Error::other)?;
        }
        self.idle.borrow_mut().push(connection);
        Ok(response.status().is_success())
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.origin).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}
