//! A stored HTTP/1.1 head to a request of HTTP/2: the same method, target, fields and values.
//!
//! Names become lower-case, as HTTP/2 has them, and `Host` becomes `:authority`. Fields of one name keep their order;
//! names stand in the order in which they first occur, because the header map that h2 takes groups them.

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use crate::delivery::Outbound;

const MESSAGE_ID: HeaderName = HeaderName::from_static("x-dispatcher-message-id");
const ATTEMPT: HeaderName = HeaderName::from_static("x-dispatcher-attempt");
const MAYBE_DUPLICATE: HeaderName = HeaderName::from_static("x-dispatcher-maybe-duplicate");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What HTTP/2, or the library that speaks it, has no way to say.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::delivery) enum Unsayable {
    #[error("the stored head is not one of HTTP/1.1")]
    Head,
    #[error("the target cannot be a :path")]
    Target,
    #[error("the Host cannot be an :authority")]
    Authority,
    #[error("a field cannot be sent")]
    Field,
}

/// The request without its body, the fields of the attempt included.
pub(super) fn of(outbound: &Outbound, maybe_duplicate: bool) -> Result<Request<()>, Unsayable> {
    let head = [&outbound.head[..], b"\r\n"].concat();
    let lines = head.iter().filter(|byte| **byte == b'\n').count();
    let mut slots = vec![httparse::EMPTY_HEADER; lines];
    let mut parsed = httparse::Request::new(&mut slots);
    let complete = parsed.parse(&head).map_err(|_| Unsayable::Head)?.is_complete();
    let (Some(method), Some(target), true) = (parsed.method, parsed.path, complete) else {
        return Err(Unsayable::Head);
    };
    let mut fields = HeaderMap::with_capacity(lines);
    let mut authority = None;
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Unsayable::Field)?;
        if name == HOST {
            authority = Some(Authority::try_from(field.value).map_err(|_| Unsayable::Authority)?);
        } else if !is_of_the_connection(&name) {
            let mut value = HeaderValue::from_bytes(field.value).map_err(|_| Unsayable::Field)?;
            // One connection carries the requests of many senders: a secret must not enter the table that they share
            // (RFC 7541 §7.1).
            value.set_sensitive([AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(&name));
            append(&mut fields, name, value)?;
        }
    }
    let id = HeaderValue::from_bytes(&outbound.message_id.text()).map_err(|_| Unsayable::Field)?;
    append(&mut fields, MESSAGE_ID, id)?;
    append(&mut fields, ATTEMPT, HeaderValue::from(outbound.attempt))?;
    if maybe_duplicate {
        append(&mut fields, MAYBE_DUPLICATE, HeaderValue::from_static("true"))?;
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| Unsayable::Head)?;
    *request.uri_mut() = uri(target, authority.ok_or(Unsayable::Authority)?)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

fn append(fields: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<(), Unsayable> {
    fields.try_append(name, value).map(|_| ()).map_err(|_| Unsayable::Field)
}

/// RFC 9113 §8.2.2. Ingress lets none of them in; a peer may treat one as an attack.
fn is_of_the_connection(name: &HeaderName) -> bool {
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE].contains(name)
}

fn uri(target: &str, authority: Authority) -> Result<Uri, Unsayable> {
    let path = PathAndQuery::try_from(target).map_err(|_| Unsayable::Target)?;
    // The library's parser is lenient in what it drops; the origin must get the very bytes.
    if path.as_str() != target {
        return Err(Unsayable::Target);
    }
    let mut parts = http::uri::Parts::default();
    (parts.scheme, parts.authority, parts.path_and_query) = (Some(Scheme::HTTPS), Some(authority), Some(path));
    Uri::from_parts(parts).map_err(|_| Unsayable::Target)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;

    use super::*;
    use crate::message::{MessageId, Origin};
    use crate::time::Millis;

    const ID: &str = "0190a6e2-7b4c-7def-8123-456789abcdef";

    fn outbound(head: &[u8]) -> Outbound {
        Outbound {
            origin: Rc::new(Origin::parse("b", crate::message::Scheme::Https).unwrap()),
            head: Bytes::copy_from_slice(head),
            message_id: MessageId::parse(ID).unwrap(),
            attempt: 7,
            maybe_duplicate: false,
            body: Bytes::new(),
            timeout: Millis(1),
        }
    }

    fn head(line: &str, fields: &[u8]) -> Vec<u8> {
        [line.as_bytes(), b" HTTP/1.1\r\nHost: b:1\r\n", fields].concat()
    }

    #[test]
    fn every_method_and_target_survives() {
        let table = [
            "GET /",
            "POST /a%2Fb/../c?d=%20&e//",
            "BREW //a",
            "a!#$%&'*+-.^_`|~9 /x",
            "HEAD /?",
            "GET /?a=http://b",
            "GET /\"[]{|}?[]{|}\\^`",
            "GET /\u{fc}?\u{20ac}",
            "OPTIONS *",
        ];
        for line in table {
            let request = of(&outbound(&head(line, b"")), false).unwrap();
            let (method, target) = line.split_once(' ').unwrap();
            assert_eq!(request.method(), method);
            assert_eq!(request.uri().path_and_query().unwrap().as_str(), target);
            assert_eq!(request.uri().authority().unwrap(), "b:1");
            assert_eq!(request.uri().scheme_str(), Some("https"));
        }
    }

    /// Ingress takes all of ASCII that is visible; RFC 3986 has these escaped.
    #[test]
    fn targets_with_a_few_characters_that_no_uri_has_cannot_be_said() {
        let refused = |place: &str| {
            let graphic = (0x21..0x7f_u8).map(char::from).filter(|character| *character != '#');
            let head = |character: char| head(&format!("GET {place}{character}"), b"");
            graphic.filter(|character| of(&outbound(&head(*character)), false).is_err()).collect::<String>()
        };
        assert_eq!((refused("/").as_str(), refused("/?").as_str()), ("<>`", "\"<>"));
    }

    #[test]
    fn fields_keep_their_values_their_repetition_and_their_order_within_a_name() {
        let fields = b"X-B: 1\r\nCookie: a\r\nx-b:2\r\nX-Latin: caf\xe9 \xff\x80\r\nX-Empty:\r\nCOOKIE: b\r\nContent-Length: 3\r\n";
        let request = of(&outbound(&head("PUT /", fields)), true).unwrap();
        let seen: Vec<(&str, &[u8])> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 10] = [
            ("x-b", b"1"),
            ("x-b", b"2"),
            ("cookie", b"a"),
            ("cookie", b"b"),
            ("x-latin", b"caf\xe9 \xff\x80"),
            ("x-empty", b""),
            ("content-length", b"3"),
            ("x-dispatcher-message-id", ID.as_bytes()),
            ("x-dispatcher-attempt", b"7"),
            ("x-dispatcher-maybe-duplicate", b"true"),
        ];
        assert_eq!(seen, expected);
        assert!(request.headers()["cookie"].is_sensitive());
        assert!(!of(&outbound(&head("PUT /", b"")), false).unwrap().headers().contains_key(MAYBE_DUPLICATE));
    }

    #[test]
    fn nothing_of_the_connection_is_sent() {
        let fields =
            b"Connection: x\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nTE: gzip\r\nTransfer-Encoding: chunked\r\n\
            Upgrade: h2c\r\nConnection-ish: close\r\n";
        let request = of(&outbound(&head("GET /", fields)), false).unwrap();
        let names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["connection-ish", "x-dispatcher-message-id", "x-dispatcher-attempt"]);
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        let table: [(&[u8], Unsayable); 7] = [
            (b"", Unsayable::Head),
            (b"GET /\r\n", Unsayable::Head),
            (b"GET / HTTP/1.1\r\n", Unsayable::Authority),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n", Unsayable::Authority),
            (b"GET /a#b HTTP/1.1\r\nHost: b\r\n", Unsayable::Target),
            (b"GET http://other/abs HTTP/1.1\r\nHost: b\r\n", Unsayable::Target),
            (b"GET / HTTP/1.1\r\nHost: b\r\nno colon\r\n", Unsayable::Head),
        ];
        for (head, error) in table {
            assert_eq!(of(&outbound(head), false).unwrap_err(), error, "{}", head.escape_ascii());
        }
    }
}
