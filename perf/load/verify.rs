//! Asks the sink whether everything that was acknowledged has arrived.

use std::io;
use std::time::Duration;

use dispatcher::time::monotonic_now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tally::Tally;

const POLL: Duration = Duration::from_millis(50);

/// Waits until the sink has seen every acknowledged id, or `limit` is over, and reports what it has.
pub async fn verify(url: &str, acknowledged: &Tally, limit: Duration) -> io::Result<serde_json::Value> {
    let end = monotonic_now();
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "expected http://host:port/-/summary");
    let (authority, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(invalid)?;
    let start = monotonic_now();
    loop {
        let summary: serde_json::Value = serde_json::from_slice(&get(authority, &format!("/{path}")).await?)?;
        let seen = summary["unique_load_ids"].as_u64().ok_or_else(invalid)?;
        let late = start.elapsed() > limit;
        if seen >= acknowledged.acknowledged() || late {
            let missing = acknowledged.missing(&get(authority, "/-/seen").await?);
            if missing == 0 || late {
                let mut verdict = serde_json::json!({
                    "waited_seconds": start.elapsed().as_secs_f64(),
                    "delivered": seen,
                    "lost": missing,
                    "duplicates": summary["duplicate_load_ids"],
                    "checksum_errors": summary["checksum_errors"],
                });
                acknowledged.times.summarize(&get(authority, "/-/arrivals").await?, end, &mut verdict);
                return Ok(verdict);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The body of a GET.
async fn get(authority: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let head_end = head_end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer from the sink"))?;
    Ok(answer.split_off(head_end + 4))
}
