//! One GET over plain HTTP, a connection each.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Authority and path of a URL.
pub fn split(url: &str) -> io::Result<(&str, &str)> {
    let rest = url.strip_prefix("http://");
    let parts = rest.and_then(|rest| rest.find('/').map(|slash| rest.split_at(slash)));
    parts.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "expected http://host:port/path"))
}

/// The body of the answer, whatever its status.
pub async fn body(authority: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let head_end = head_end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer"))?;
    Ok(answer.split_off(head_end + 4))
}
