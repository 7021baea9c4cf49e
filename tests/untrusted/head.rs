//! Heads: the verdict is the contract's, however the bytes were split; and what is sent on is one head, without a
//! second reading.

use dispatcher::ingress::control_fields::Destination;
use dispatcher::ingress::endpoint::Endpoint;
use dispatcher::ingress::head::{self, Rules};
use dispatcher::ingress::reply::Persistence as Persists;
use dispatcher::ingress::scan::{Scanner, Span};
use dispatcher::limits::FIELDS_MAX;

use super::choices::Choices;
use super::expected_head;
use super::expected_head::{Ask, Framing, Head, Persistence, Verdict};
use super::reads::Reads;
use super::requests_text::{mutated, request};
use super::rules::rules;

/// Checks an input: `[what, rules, kind of reads, their size, …]`.
pub fn check(input: &[u8]) {
    let [what, measures, kind, size, rest @ ..] = input else { return };
    let rules = rules(*measures);
    let mut choices = Choices::Bytes(rest);
    let bytes = match what % 3 {
        0 => rest.to_vec(),
        made => {
            let mut made_of = Vec::new();
            request(&mut choices, &mut made_of);
            if made == 1 { made_of } else { mutated(made_of, &mut choices) }
        }
    };
    compare(&bytes, &rules, &mut Reads::new(*kind, *size));
}

fn compare(bytes: &[u8], rules: &Rules, reads: &mut Reads) {
    let expected = expected_head::head(bytes, rules);
    let mut destination = None;
    let whole = verdict(bytes, rules, &mut Reads::new(0, 0), &mut destination);
    assert_eq!(whole, expected, "{}", bytes.escape_ascii());
    // Also when the destination of the request before is remembered: the same one, or another.
    if reads.next(256).is_multiple_of(2) {
        destination = None;
        let other = b"X-Dispatcher-Origin-Host: b.example:8\r\n\r\n";
        let before = [b"GET / HTTP/1.0\r\n", &other[..]].concat();
        assert!(matches!(verdict(&before, rules, &mut Reads::new(0, 0), &mut destination), Verdict::Head(..)));
    }
    let split = verdict(bytes, rules, reads, &mut destination);
    assert_eq!(split, expected, "split: {}", bytes.escape_ascii());
    if let Verdict::Head(head, _) = &whole
        && let Ask::Message { outbound, .. } = &head.ask
    {
        check_outbound(outbound, head.framing);
    }
}

/// What the daemon makes of the bytes, read so.
fn verdict(bytes: &[u8], rules: &Rules, reads: &mut Reads, last: &mut Option<Destination>) -> Verdict {
    let mut scanner = Scanner::default();
    let mut fed = 0;
    while fed < bytes.len() {
        fed += reads.next(bytes.len() - fed);
        match scanner.scan(&bytes[..fed], rules.head_bytes_max) {
            Ok(None) => {}
            Ok(Some(span)) => return read(bytes, span, rules, last),
            Err(refusal) => {
                assert!(refusal.closes(), "what is no head ends the connection");
                return Verdict::Refused(refusal.status());
            }
        }
    }
    Verdict::Incomplete
}

fn read(bytes: &[u8], span: Span, rules: &Rules, last: &mut Option<Destination>) -> Verdict {
    let head_bytes = span.end - span.start;
    assert!(head_bytes <= rules.head_bytes_max, "a head of {head_bytes} bytes");
    let mut outbound = Vec::new();
    let read = match head::parse(&bytes[span.start..span.end], rules, last, &mut outbound) {
        Ok(read) => read,
        Err(refusal) => {
            assert!(refusal.closes(), "what leaves the end in doubt ends the connection");
            return Verdict::Refused(refusal.status());
        }
    };
    let ask = match read.ask {
        head::Ask::Message { timeout } => {
            let to = last.as_ref().expect("a message has a destination");
            let bytes_max = head_bytes + to.authority().len() + 128;
            assert!(outbound.capacity() <= bytes_max, "{} bytes for a head of {head_bytes}", outbound.capacity());
            Ask::Message { origin: to.origin().to_string(), timeout_ms: timeout.map(|span| span.0), outbound }
        }
        head::Ask::Endpoint(Endpoint::Metrics { .. }) => Ask::Endpoint("/metrics".to_owned()),
        head::Ask::Endpoint(Endpoint::Healthy) => Ask::Endpoint("/-/healthy".to_owned()),
        head::Ask::Endpoint(Endpoint::Ready) => Ask::Endpoint("/-/ready".to_owned()),
        head::Ask::Refused(refusal) => Ask::Refused(refusal.status()),
    };
    let framing = match read.framing {
        dispatcher::ingress::framing::Framing::Empty => Framing::Empty,
        dispatcher::ingress::framing::Framing::Length(bytes) => Framing::Length(bytes),
        dispatcher::ingress::framing::Framing::Chunked => Framing::Chunked,
    };
    let persistence = match read.persistence {
        Persists::Open => Persistence::Open,
        Persists::OpenOnRequest => Persistence::OpenOnRequest,
        Persists::Close => Persistence::Close,
    };
    let (expects_continue, head_only) = (read.expects_continue, read.head_only);
    Verdict::Head(Box::new(Head { ask, framing, persistence, expects_continue, head_only }), span.end)
}

/// What is sent on, read by itself: a receiver that is laxer than we are finds the same in it.
fn check_outbound(outbound: &[u8], framing: Framing) {
    let bytes = [outbound, b"\r\n"].concat();
    let ends = bytes.windows(2).filter(|pair| *pair == b"\r\n").count();
    let count = |byte: u8| bytes.iter().filter(|one| **one == byte).count();
    assert_eq!((count(b'\r'), count(b'\n')), (ends, ends), "no bare CR or LF");
    let is_control = |byte: &&u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n');
    assert_eq!(bytes.iter().find(is_control), None, "no control characters");
    assert_eq!(bytes.windows(4).position(|four| four == b"\r\n\r\n"), Some(bytes.len() - 4), "one head");

    let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX + 1];
    let mut request = httparse::Request::new(&mut room);
    assert_eq!(request.parse(&bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(request.version, Some(1));
    let of = |name: &str| request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert_eq!(of("Host"), 1);
    assert_eq!(of("Content-Length"), usize::from(matches!(framing, Framing::Length(_))));
    for gone in ["Transfer-Encoding", "Connection", "Upgrade", "TE", "Trailer", "Expect", "Proxy-Authorization"] {
        assert_eq!(of(gone), 0, "{gone} is not sent on");
    }
    let starts = bytes.split(|byte| *byte == b'\n').skip(1).filter(|line| *line != b"\r" && !line.is_empty());
    let lines: Vec<_> = starts.collect();
    assert_eq!(lines.len(), request.headers.len(), "a line a field");
    for (line, field) in lines.iter().zip(request.headers.iter()) {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').expect("a colon"));
        assert_eq!((field.name.as_bytes(), field.value), (name, value[1..].trim_ascii()));
    }
}
