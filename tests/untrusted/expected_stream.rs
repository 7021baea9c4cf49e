//! What comes out of a connection, decided over all of its bytes: one request after the other, until one ends it.

use dispatcher::ingress::head::Rules;
use dispatcher::limits::REFUSED_BODY_BYTES_MAX;

use super::expected_body::{self, Body};
use super::expected_head::{self, Ask, Framing, Head, Persistence, Verdict};

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Message { origin: String, timeout_ms: Option<u64>, head: Vec<u8>, body: Vec<u8> },
    Endpoint(String),
    Refused(u16),
}

/// A request that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub outcome: Outcome,
    pub persistence: Persistence,
    pub head_only: bool,
}

/// A request of which a body is taken: the 100 may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Requests that were answered before it.
    pub answered: usize,
    /// Bytes up to the end of its head.
    pub head_end: usize,
    /// The client waits for a 100.
    pub expects_continue: bool,
    /// How its body is framed.
    pub framing: Framing,
}

/// All that comes of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    pub told: Vec<Told>,
    pub taken: Vec<Taken>,
    /// Nothing comes after the last of them, whatever follows.
    pub is_ended: bool,
    /// Bytes left that are no whole request.
    pub left: usize,
}

/// What is decided about messages from outside.
pub trait Outside {
    /// The status that refuses the message of this number, and whether that ends the connection.
    fn refusal(&self, message: usize) -> Option<(u16, bool)>;
    /// The status of what is cut off in the middle, if the bytes end and more could have come.
    fn cut_off(&self) -> Option<u16>;
}

/// Reads all of `input`.
pub fn stream(input: &[u8], rules: &Rules, outside: &impl Outside) -> Stream {
    let mut all = Stream::default();
    let (mut at, mut messages) = (0, 0);
    while !all.is_ended {
        let rest = &input[at..];
        all.left = rest.len();
        let head_only = rest.strip_prefix(b"\r\n").unwrap_or(rest).starts_with(b"HEAD ");
        let (head, used) = match expected_head::head(rest, rules) {
            Verdict::Head(head, used) => (*head, used),
            Verdict::Refused(status) => {
                all.end(status, head_only);
                break;
            }
            Verdict::Incomplete => {
                // An empty line is no beginning.
                if let Some(status) = outside.cut_off().filter(|_| !b"\r\n".starts_with(rest)) {
                    all.end(status, head_only);
                }
                break;
            }
        };
        let Head { ask, framing, persistence, expects_continue, head_only } = head;
        let is_message = matches!(ask, Ask::Message { .. });
        let refusal = if is_message { outside.refusal(messages) } else { None };
        messages += usize::from(is_message);
        let (outcome, closes) = match (ask, refusal) {
            (_, Some((status, closes))) => (Outcome::Refused(status), closes),
            (Ask::Message { origin, timeout_ms, outbound }, None) => {
                (Outcome::Message { origin, timeout_ms, head: outbound, body: Vec::new() }, false)
            }
            (Ask::Endpoint(path), None) => (Outcome::Endpoint(path), false),
            (Ask::Refused(status), None) => (Outcome::Refused(status), false),
        };
        let is_taken = matches!(outcome, Outcome::Message { .. });
        let is_skipped = match framing {
            Framing::Empty => true,
            Framing::Length(bytes) => bytes <= REFUSED_BODY_BYTES_MAX && !expects_continue,
            Framing::Chunked => false,
        };
        if closes || !(is_taken || is_skipped) {
            all.told.push(Told { outcome, persistence: Persistence::Close, head_only });
            all.is_ended = true;
            break;
        }
        if is_taken {
            let (answered, head_end) = (all.told.len(), at + used);
            all.taken.push(Taken { answered, head_end, expects_continue, framing });
        }
        let (body, body_used) = match body(&rest[used..], framing, rules) {
            Body::Whole { body, used } => (body, used),
            Body::Refused(status) => {
                all.end(status, head_only);
                break;
            }
            Body::Incomplete => {
                if let Some(status) = outside.cut_off() {
                    all.end(status, head_only);
                }
                break;
            }
        };
        at += used + body_used;
        all.told.push(Told { outcome: outcome.with(body, framing), persistence, head_only });
        all.is_ended = persistence == Persistence::Close;
        all.left = input.len() - at;
    }
    all
}

fn body(rest: &[u8], framing: Framing, rules: &Rules) -> Body {
    let sized = |bytes: usize| match rest.get(..bytes) {
        Some(body) => Body::Whole { body: body.to_vec(), used: bytes },
        None => Body::Incomplete,
    };
    match framing {
        Framing::Empty => sized(0),
        Framing::Length(bytes) => sized(bytes),
        Framing::Chunked => expected_body::chunked(rest, rules.body_bytes_max),
    }
}

impl Outcome {
    /// With its body, if it is a message.
    fn with(self, all: Vec<u8>, framing: Framing) -> Self {
        match self {
            Self::Message { origin, timeout_ms, mut head, .. } => {
                if framing == Framing::Chunked {
                    head.extend_from_slice(format!("Content-Length: {}\r\n", all.len()).as_bytes());
                }
                Self::Message { origin, timeout_ms, head, body: all }
            }
            other => other,
        }
    }
}

impl Stream {
    fn end(&mut self, status: u16, head_only: bool) {
        self.told.push(Told { outcome: Outcome::Refused(status), persistence: Persistence::Close, head_only });
        self.is_ended = true;
    }
}
