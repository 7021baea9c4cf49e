//! What the bytes of a connection ask for: bytes in, requests and refusals out, in their order.
//!
//! Pure: whoever drives it reads and writes, admits messages and waits. What comes out does not depend on how the bytes
//! were split, and behind a request that ends the connection nothing is ever taken for another one.

use std::ops::Range;

use super::body::Decoder;
use super::control_fields::Destination;
use super::endpoint::Endpoint;
use super::framing::Framing;
use super::head::{self, Ask, Head, Rules};
use super::outbound;
use super::refusal::Refusal;
use super::reply::Persistence;
use super::scan::Scanner;
use crate::limits::{READ_BYTES_KEPT, READ_BYTES_MIN, REFUSED_BODY_BYTES_MAX, SCRATCH_BYTES_KEPT};
use crate::message::{Draft, Origin};
use crate::time::Millis;

/// What comes next.
#[derive(Debug)]
pub enum Event<'a> {
    /// More bytes must be read.
    Read,
    /// A message's head is there, not its body. Call [`Requests::admit`], or [`Requests::refuse`] if it is not taken.
    Admit {
        /// Where it is to go.
        origin: &'a Origin,
        /// What is known of its size, head and body, in bytes: of a chunked one what the buffer can hold.
        message_bytes: usize,
    },
    /// A 100 is due.
    Continue,
    /// A message is complete.
    Message {
        /// What is to be stored.
        draft: Draft<'a>,
        /// How it is to be answered.
        reply: Reply,
    },
    /// One of our own paths is asked for.
    Endpoint {
        /// Which.
        endpoint: Endpoint,
        /// How it is to be answered.
        reply: Reply,
    },
    /// A request is refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// How it is to be answered.
        reply: Reply,
    },
    /// The last answer is due, and nothing comes behind it.
    End {
        /// The peer may still be sending.
        unread: bool,
    },
}

/// How a request is to be answered, whatever the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What becomes of the connection.
    pub persistence: Persistence,
    /// The answer has no content, as the method is HEAD.
    pub head_only: bool,
}

/// What the next bytes belong to, as far as a deadline is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To a request that has not begun: an empty line before it does not count (RFC 9112 §2.2).
    Nothing,
    /// To a head.
    Head,
    /// To a body.
    Body,
}

/// A request whose head is there.
#[derive(Debug)]
struct Begun {
    purpose: Purpose,
    framing: Framing,
    reply: Reply,
    expects_continue: bool,
}

/// What becomes of a request when its body is there.
#[derive(Debug)]
enum Purpose {
    /// It is taken.
    Message { timeout: Option<Millis> },
    /// It is one of our paths, whatever its body.
    Endpoint(Endpoint),
    /// It is refused, but its end is known, so that the connection lives on.
    Refused(Refusal),
}

/// What the next bytes belong to.
#[derive(Debug)]
enum Expected {
    Head(Scanner),
    /// Whether the message is admitted.
    Admission(Begun),
    /// A body. `continue_due`: a 100 comes first.
    Body {
        begun: Begun,
        decoder: Decoder,
        continue_due: bool,
    },
    /// To nothing: this is the last thing to be answered.
    Last {
        purpose: Purpose,
        head_only: bool,
    },
    /// To nothing, and all was answered.
    End {
        unread: bool,
    },
}

/// The requests of one connection.
pub struct Requests {
    /// What was read; used up to `start`.
    input: Vec<u8>,
    start: usize,
    expected: Expected,
    destination: Option<Destination>,
    /// The outbound head of the request that is being read.
    outbound: Vec<u8>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            input: Vec::with_capacity(READ_BYTES_MIN),
            start: 0,
            expected: Expected::Head(Scanner::default()),
            destination: None,
            outbound: Vec::new(),
        }
    }
}

/// Whether the body of a request that is not taken is read and thrown away, so that its connection lives on. A client
/// that waits for a 100 may or may not send its body after another answer (RFC 9110 §10.1.1), so it is not then.
const fn is_skipped(framing: Framing, expects_continue: bool) -> bool {
    match framing {
        Framing::Empty => true,
        Framing::Length(bytes) => bytes <= REFUSED_BODY_BYTES_MAX && !expects_continue,
        Framing::Chunked => false,
    }
}

impl Requests {
    /// What comes next. Behind [`Event::Read`] and [`Event::End`] it stays so until bytes come.
    pub fn next(&mut self, rules: &Rules) -> Event<'_> {
        loop {
            match std::mem::replace(&mut self.expected, Expected::End { unread: true }) {
                Expected::Head(scanner) => {
                    if !self.take_head(scanner, rules) {
                        return Event::Read;
                    }
                }
                Expected::Admission(begun) => {
                    let message_bytes = self.outbound.len() + self.body_bytes(begun.framing);
                    self.expected = Expected::Admission(begun);
                    return Event::Admit { origin: destination(self.destination.as_ref()), message_bytes };
                }
                Expected::Body { begun, decoder, continue_due: true } => {
                    self.expected = Expected::Body { begun, decoder, continue_due: false };
                    return Event::Continue;
                }
                Expected::Body { begun, mut decoder, .. } => match decoder.decode(&mut self.input[self.start..]) {
                    Ok(true) => {
                        let body = self.start..self.start + decoder.decoded();
                        self.start += decoder.used();
                        return self.complete(begun, body);
                    }
                    Ok(false) => {
                        self.expected = Expected::Body { begun, decoder, continue_due: false };
                        return Event::Read;
                    }
                    Err(refusal) => self.refuse_last(refusal, begun.reply.head_only),
                },
                Expected::Last { purpose, head_only } => {
                    return self.event(purpose, Reply { persistence: Persistence::Close, head_only }, 0..0);
                }
                Expected::End { unread } => {
                    let unread = unread || self.start < self.input.len();
                    self.expected = Expected::End { unread };
                    return Event::End { unread };
                }
            }
        }
    }

    /// Takes a head if one is complete; returns whether it, or what is wrong with it, is now expected.
    fn take_head(&mut self, mut scanner: Scanner, rules: &Rules) -> bool {
        let input = &self.input[self.start..];
        let parsed = match scanner.scan(input, rules.head_bytes_max) {
            Ok(None) => {
                self.expected = Expected::Head(scanner);
                return false;
            }
            Ok(Some(span)) => {
                let head = &input[span.start..span.end];
                head::parse(head, rules, &mut self.destination, &mut self.outbound).map(|head| (head, span.end))
            }
            Err(refusal) => Err(refusal),
        };
        match parsed {
            Ok((head, used)) => {
                self.start += used;
                self.begin(head, rules);
            }
            Err(refusal) => self.refuse_head(refusal),
        }
        true
    }

    fn begin(&mut self, head: Head, rules: &Rules) {
        let Head { ask, framing, persistence, expects_continue, head_only } = head;
        let begun = |purpose| Begun { purpose, framing, reply: Reply { persistence, head_only }, expects_continue };
        match ask {
            Ask::Message { timeout } => self.expected = Expected::Admission(begun(Purpose::Message { timeout })),
            Ask::Endpoint(endpoint) => self.begin_answered(begun(Purpose::Endpoint(endpoint)), rules),
            Ask::Refused(refusal) => self.begin_answered(begun(Purpose::Refused(refusal)), rules),
        }
    }

    /// Skips the body of a request that is no message, or ends with it.
    fn begin_answered(&mut self, begun: Begun, rules: &Rules) {
        let closes = matches!(&begun.purpose, Purpose::Refused(refusal) if refusal.closes());
        if closes || !is_skipped(begun.framing, begun.expects_continue) {
            self.expected = Expected::Last { purpose: begun.purpose, head_only: begun.reply.head_only };
        } else {
            self.begin_body(begun, rules);
        }
    }

    fn begin_body(&mut self, begun: Begun, rules: &Rules) {
        let decoder = Decoder::new(begun.framing, rules.body_bytes_max);
        let continue_due = begun.expects_continue && decoder.missing() > 0 && self.start == self.input.len();
        self.expected = Expected::Body { begun, decoder, continue_due };
    }

    /// Bytes of a body, as far as they are known: of a chunked one what the buffer holds, and then more as it grows.
    fn body_bytes(&self, framing: Framing) -> usize {
        match framing {
            Framing::Empty => 0,
            Framing::Length(bytes) => bytes,
            Framing::Chunked => self.input.capacity(),
        }
    }

    /// Takes the body of the message that [`Event::Admit`] told of.
    ///
    /// Panics: if that was not the last event.
    pub fn admit(&mut self, rules: &Rules) {
        match std::mem::replace(&mut self.expected, Expected::End { unread: true }) {
            Expected::Admission(begun) => self.begin_body(begun, rules),
            other => panic!("{other:?} is not to be admitted"),
        }
    }

    /// Refuses what is being read: the message that [`Event::Admit`] told of, so that the connection may live on; else
    /// what is not complete, which ends it.
    pub fn refuse(&mut self, refusal: Refusal, rules: &Rules) {
        match std::mem::replace(&mut self.expected, Expected::End { unread: true }) {
            Expected::Admission(begun) => {
                self.begin_answered(Begun { purpose: Purpose::Refused(refusal), ..begun }, rules);
            }
            Expected::Body { begun, .. } => self.refuse_last(refusal, begun.reply.head_only),
            Expected::Head(_) => self.refuse_head(refusal),
            last @ (Expected::Last { .. } | Expected::End { .. }) => self.expected = last,
        }
    }

    /// Refuses the request whose head is at the start of the input: what follows it is never taken for a request.
    fn refuse_head(&mut self, refusal: Refusal) {
        let input = &self.input[self.start..];
        let head_only = input.strip_prefix(b"\r\n").unwrap_or(input).starts_with(b"HEAD ");
        self.refuse_last(refusal, head_only);
    }

    fn refuse_last(&mut self, refusal: Refusal, head_only: bool) {
        self.expected = Expected::Last { purpose: Purpose::Refused(refusal), head_only };
    }

    /// Takes nothing behind the message that was just complete.
    pub fn end(&mut self) {
        self.expected = Expected::End { unread: false };
    }

    fn complete(&mut self, begun: Begun, body: Range<usize>) -> Event<'_> {
        let Begun { purpose, framing, reply, .. } = begun;
        self.expected = match reply.persistence {
            Persistence::Close => Expected::End { unread: false },
            Persistence::Open | Persistence::OpenOnRequest => Expected::Head(Scanner::default()),
        };
        if framing == Framing::Chunked && matches!(purpose, Purpose::Message { .. }) {
            outbound::push_content_length(&mut self.outbound, body.len());
        }
        self.event(purpose, reply, body)
    }

    fn event(&self, purpose: Purpose, reply: Reply, body: Range<usize>) -> Event<'_> {
        match purpose {
            Purpose::Message { timeout } => {
                let origin = destination(self.destination.as_ref());
                let draft = Draft { origin, timeout, head: &self.outbound, body: &self.input[body] };
                Event::Message { draft, reply }
            }
            Purpose::Endpoint(endpoint) => Event::Endpoint { endpoint, reply },
            Purpose::Refused(refusal) => Event::Refused { refusal, reply },
        }
    }

    /// What the next bytes belong to; `None`: to nothing any more.
    pub fn part(&self) -> Option<Part> {
        match &self.expected {
            Expected::Head(_) if b"\r\n".starts_with(&self.input[self.start..]) => Some(Part::Nothing),
            Expected::Head(_) => Some(Part::Head),
            Expected::Admission(_) | Expected::Body { .. } => Some(Part::Body),
            Expected::Last { .. } | Expected::End { .. } => None,
        }
    }

    /// Makes what is left the front of the buffer, gives back what a large request needed, and says how many bytes it
    /// must be able to hold for the next read.
    ///
    /// A full buffer is doubled, whatever length was announced: who sends little holds little, and copying stays linear.
    pub fn make_room(&mut self, rules: &Rules) -> usize {
        self.input.drain(..std::mem::take(&mut self.start));
        let longest = match &mut self.expected {
            Expected::Body { begun, decoder, .. } => {
                decoder.close_gap(&mut self.input, 0);
                match begun.framing {
                    Framing::Chunked => rules.body_bytes_max + READ_BYTES_MIN,
                    Framing::Empty | Framing::Length(_) => self.input.len() + decoder.missing(),
                }
            }
            _ => {
                self.give_back();
                rules.head_bytes_max + READ_BYTES_MIN
            }
        };
        let (held_bytes, bytes) = (self.input.capacity(), self.input.len());
        match bytes < held_bytes {
            // What a connection may hold anyway, it gets at once.
            true if longest <= READ_BYTES_KEPT => longest.max(held_bytes),
            true => held_bytes,
            false => longest.min((2 * bytes).max(READ_BYTES_KEPT)).max(bytes + 1),
        }
    }

    /// Gives back what a large request needed.
    fn give_back(&mut self) {
        if self.input.capacity() > READ_BYTES_KEPT && self.input.len() < READ_BYTES_MIN {
            let mut input = Vec::with_capacity(READ_BYTES_MIN);
            input.extend_from_slice(&self.input);
            self.input = input;
        }
        if self.outbound.capacity() > SCRATCH_BYTES_KEPT {
            self.outbound = Vec::new();
        }
    }

    /// The buffer, for a read to append to, able to hold `wanted_bytes`. Give it back with [`Self::fill`].
    pub fn take_buffer(&mut self, wanted_bytes: usize) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.input);
        input.reserve_exact(wanted_bytes.saturating_sub(input.len()));
        input
    }

    /// The buffer, with what was read.
    pub fn fill(&mut self, input: Vec<u8>) {
        self.input = input;
    }
}

fn destination(read: Option<&Destination>) -> &Origin {
    read.expect("the head of a message put it there").origin()
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
