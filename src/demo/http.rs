//! Just enough HTTP/1.1 for both ends of the demo: heads by httparse, bodies by `Content-Length`.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::message::{MessageId, Xorshift};

const FIELDS_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What stands at the start of a buffer and its length in bytes; none if it is not complete.
type Parsed<T> = Option<io::Result<(T, usize)>>;

/// A connection, kept alive.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: BytesMut,
}

/// What the receiver wants to know of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `X-Dispatcher-Message-Id`.
    pub message_id: Option<MessageId>,
    /// `X-Dispatcher-Maybe-Duplicate` is there.
    pub maybe_duplicate: bool,
    /// The body is the one that was sent with this `X-Demo-Number`.
    pub intact: bool,
}

/// What the sender wants to know of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `X-Dispatcher-Message-Id`.
    pub message_id: Option<MessageId>,
}

impl Connection {
    /// To a listener.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self::new)
    }

    /// From a listener.
    pub fn new(stream: TcpStream) -> Self {
        // Without it a request may wait for the acknowledgement of the one before; a demo is then only slower.
        let _ = stream.set_nodelay(true);
        Self { stream, input: BytesMut::new() }
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next request.
    pub async fn request(&mut self) -> io::Result<Request> {
        self.read(parse_request).await
    }

    /// The next answer.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        self.read(parse_answer).await
    }

    async fn read<T>(&mut self, parse: fn(&[u8]) -> Parsed<T>) -> io::Result<T> {
        loop {
            if let Some(parsed) = parse(&self.input) {
                let (message, bytes) = parsed?;
                self.input.advance(bytes);
                return Ok(message);
            }
            if self.input.len() > MESSAGE_BYTES_MAX || self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The request with number `number`: its body follows from the number alone, so that the receiver can check it.
pub fn numbered_request(host: SocketAddr, origin: SocketAddr, number: u64) -> Vec<u8> {
    let body = numbered_body(number);
    let head = format!(
        "POST /demo/{number} HTTP/1.1\r\nHost: {host}\r\nX-Dispatcher-Origin-Host: {origin}\r\n\
         X-Demo-Number: {number}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Between 0 and 2 KiB.
fn numbered_body(number: u64) -> Vec<u8> {
    let mut random = Xorshift::new(number);
    let words = random.next() % 256;
    (0..words).flat_map(|_| random.next().to_le_bytes()).collect()
}

fn parse_request(input: &[u8]) -> Parsed<Request> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let head_bytes = complete(head.parse(input))?;
    Some(head_bytes.and_then(|head_bytes| framed(input, head_bytes, head.headers)).transpose()?.map(|(body, bytes)| {
        let number = field(head.headers, "x-demo-number").and_then(|number| number.parse().ok());
        let request = Request {
            message_id: field(head.headers, "x-dispatcher-message-id").and_then(MessageId::parse),
            maybe_duplicate: field(head.headers, "x-dispatcher-maybe-duplicate").is_some(),
            intact: number.is_some_and(|number| numbered_body(number) == body),
        };
        (request, bytes)
    }))
}

fn parse_answer(input: &[u8]) -> Parsed<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let head_bytes = complete(head.parse(input))?;
    Some(head_bytes.and_then(|head_bytes| framed(input, head_bytes, head.headers)).transpose()?.map(|(_, bytes)| {
        let message_id = field(head.headers, "x-dispatcher-message-id").and_then(MessageId::parse);
        (Answer { status: head.code.unwrap_or_default(), message_id }, bytes)
    }))
}

/// The length of a head; none if it is not complete.
fn complete(parsed: httparse::Result<usize>) -> Option<io::Result<usize>> {
    match parsed {
        Ok(httparse::Status::Complete(bytes)) => Some(Ok(bytes)),
        Ok(httparse::Status::Partial) => None,
        Err(error) => Some(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
    }
}

/// The body, and the length of head and body; none if it is not complete.
fn framed<'a>(
    input: &'a [u8],
    head_bytes: usize,
    fields: &[httparse::Header<'_>],
) -> io::Result<Option<(&'a [u8], usize)>> {
    let body_bytes: usize = field(fields, "content-length").unwrap_or("0").parse().map_err(io::Error::other)?;
    let bytes = head_bytes.saturating_add(body_bytes);
    Ok(input.get(head_bytes..bytes).map(|body| (body, bytes)))
}

fn field<'a>(fields: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(field.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    #[test]
    fn a_body_that_was_changed_or_swapped_is_noticed() {
        let intact =
            |bytes: &[u8]| parse_request(bytes).and_then(Result::ok).is_some_and(|(request, _)| request.intact);
        let request = numbered_request(ADDRESS, ADDRESS, 7);
        assert!(intact(&request));
        let mut changed = request.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(!intact(&changed));
        let swapped = String::from_utf8_lossy(&request).replace("Number: 7", "Number: 8").into_bytes();
        assert!(!intact(&swapped));
        for cut in 0..request.len() {
            assert!(parse_request(&request[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn an_answer_gives_the_id_under_which_the_message_is_delivered() {
        let input = b"HTTP/1.1 202 Accepted\r\nX-Dispatcher-Message-Id: 01890a5d-ac96-774b-bcce-b302099a8057\r\n\
            Content-Length: 0\r\n\r\nHTTP";
        let (answer, bytes) = parse_answer(input).unwrap().unwrap();
        assert_eq!((answer.status, bytes), (202, input.len() - 4));
        assert_eq!(answer.message_id, MessageId::parse("01890a5d-ac96-774b-bcce-b302099a8057"));
    }
}
