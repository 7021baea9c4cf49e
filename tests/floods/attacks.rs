//! What peers do that do not mean it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What one of many peers does.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    /// Connects and says nothing.
    Idle,
    /// Sends a head, a byte at a time.
    SlowHead,
    /// Announces a body of 16 MiB, sends a bit of it, and then little by little.
    SlowBody,
    /// Connects and goes away, again and again.
    Churn,
    /// Sends what is longer than it may be, of each kind.
    Oversized,
    /// Stops in the middle, with its reading side open.
    HalfClosed,
    /// Asks for documents and reads none.
    NeverReads,
    /// Sends messages, then asks without end, and reads no answer.
    PipelinesWithoutReading,
}

impl Attack {
    /// All of them, and how many peers of each kind a full flood has.
    pub const ALL: [(Self, usize); 8] = [
        (Self::Idle, 5000),
        (Self::SlowHead, 1000),
        (Self::SlowBody, 1000),
        (Self::Churn, 100),
        (Self::Oversized, 400),
        (Self::HalfClosed, 1000),
        (Self::NeverReads, 1000),
        (Self::PipelinesWithoutReading, 200),
    ];

    /// Begins it with so many peers; dropping the set ends it.
    pub fn begin(self, peers: usize, address: SocketAddr, origin: &str) -> JoinSet<()> {
        let mut flood = JoinSet::new();
        for peer in 0..peers {
            let origin = origin.to_owned();
            flood.spawn_local(async move {
                // Whatever the daemon does to it is its business.
                let _ = self.peer(peer, address, &origin).await;
            });
        }
        flood
    }

    async fn peer(self, peer: usize, address: SocketAddr, origin: &str) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("POST /flood HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {origin}\r\n");
        match self {
            Self::Idle => std::future::pending().await,
            Self::SlowHead => {
                stream.write_all(head.as_bytes()).await?;
                trickle(stream, b"X").await
            }
            Self::SlowBody => {
                stream.write_all(format!("{head}Content-Length: 16777216\r\n\r\n").as_bytes()).await?;
                stream.write_all(&[b'x'; 48 << 10]).await?;
                trickle(stream, &[b'x'; 1024]).await
            }
            Self::Churn => {
                for _ in 0..100 {
                    let mut stream = TcpStream::connect(address).await?;
                    stream.write_all(b"G").await?;
                }
                Ok(())
            }
            Self::Oversized => {
                let bytes = match peer % 4 {
                    0 => format!("{head}X-Long: {}\r\n\r\n", "x".repeat(1 << 20)),
                    1 => format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20)),
                    2 => format!("{head}Content-Length: 1073741824\r\n\r\n{}", "x".repeat(1 << 20)),
                    _ => format!("{head}Transfer-Encoding: chunked\r\n\r\n1;{}", "x".repeat(1 << 20)),
                };
                let _ = stream.write_all(bytes.as_bytes()).await;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await?;
                let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned();
                assert!(["400", "413", "414", "431", ""].contains(&&*status), "{status} to {}", peer % 4);
                Ok(())
            }
            Self::HalfClosed => {
                stream.write_all(&head.as_bytes()[..20 + peer % 30]).await?;
                stream.shutdown().await?;
                stream.read_to_end(&mut Vec::new()).await?;
                std::future::pending().await
            }
            Self::NeverReads => loop {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await?;
            },
            Self::PipelinesWithoutReading => {
                let message = format!("{head}Content-Length: 4096\r\n\r\n{}", "x".repeat(4096));
                stream.write_all(message.repeat(20).as_bytes()).await?;
                let asked = "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
                loop {
                    stream.write_all(asked.as_bytes()).await?;
                }
            }
        }
    }
}

async fn trickle(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
