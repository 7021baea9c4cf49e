//! A message as it is queued: the request that is to be made, as HTTP/1.1 writes it.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use hyper::Request;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};

/// Fields of one request.
const FIELDS_MAX: usize = 128;
/// Most that one field adds beside its name and value, and the request line beside its method and target, in bytes.
const FRAMING_BYTES: usize = 16;

/// Head and body, without the fields that are about the connection.
pub fn encode(head: &hyper::http::request::Parts, body: &[u8]) -> Bytes {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let method = head.method.as_str();
    let fields = || {
        head.headers.iter().filter(|(name, _)| ![CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING].contains(name))
    };
    let bytes: usize = fields().map(|(name, value)| name.as_str().len() + value.len() + FRAMING_BYTES).sum();
    let mut out = BytesMut::with_capacity(method.len() + target.len() + FRAMING_BYTES + bytes + body.len());
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    for (name, value) in fields() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.put_slice(part);
        }
    }
    out.put_slice(b"\r\n");
    out.put_slice(body);
    out.freeze()
}

/// The request to `origin`; none if the message is not what [`encode`] writes.
pub fn decode(message: &Bytes, origin: &HeaderValue) -> Option<Request<Full<Bytes>>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = head.parse(message).ok()? else { return None };
    let mut request = Request::builder().method(head.method?).uri(head.path?).header(HOST, origin);
    for field in head.headers.iter() {
        request = request.header(field.name, field.value);
    }
    request.body(Full::new(message.slice(head_bytes..))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_what_is_delivered() {
        let sent = Request::post("/hook?a=b").header("Host", "us").header("X-One", "1").header("X-One", "2");
        let sent = sent.header("Content-Length", "4").body(()).unwrap();
        let message = encode(&sent.into_parts().0, b"body");
        assert_eq!(message, "POST /hook?a=b HTTP/1.1\r\nx-one: 1\r\nx-one: 2\r\n\r\nbody");
        let request = decode(&message, &HeaderValue::from_static("them:1")).unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string()), ("POST", "/hook?a=b".to_owned()));
        let fields: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("host", b"them:1".as_slice()), ("x-one", b"1"), ("x-one", b"2")]);
        assert!(decode(&Bytes::from_static(b"POST"), &HeaderValue::from_static("them:1")).is_none());
    }
}
