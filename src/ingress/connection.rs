//! One connection, in turns: read, take as many pipelined requests as are complete, wait until their messages are
//! durable, answer all of them in one write.
//!
//! Nothing is read while answers are due, so at any time at most one operation of the socket is pending, and none has
//! to be dropped. What the bytes mean is decided in the pure files beside this one.

use std::rc::Rc;
use std::time::Instant;

use super::body::Decoder;
use super::control_fields::Destination;
use super::framing::Framing;
use super::head::{self, Ask, Endpoint, Head};
use super::refusal::Refusal;
use super::reply::{self, Document, Persistence};
use super::scan::Scanner;
use super::watch::Lease;
use super::{Ingress, outbound};
use crate::disk::Disk;
use crate::limits::{ANSWERS_BYTES_MAX, PIPELINE_MAX, READ_BYTES_MIN, REFUSED_BODY_BYTES_MAX};
use crate::message::Draft;
use crate::metrics::Side;
use crate::metrics::exposition::{CLASSIC, OPENMETRICS};
use crate::net::Stream;
use crate::shard::{Permit, Refused};
use crate::time::{Millis, monotonic_now};
use crate::wal::ticket::{CommitFailed, Ticket};

/// Serves a connection until it ends. Not cancel-safe: a dropped connection is cut off in the middle, though messages
/// that were submitted stay so.
pub async fn serve<S: Stream, D: Disk>(lease: Lease<S>, ingress: Rc<Ingress<S, D>>) {
    Connection::new(lease, Rc::clone(&ingress)).run().await;
    ingress.shard.metrics().connection_closed(Side::In);
}

/// What a connection does when what is due has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Takes requests that are there already.
    Take,
    /// Reads.
    Read,
    /// Ends, while the peer may still be sending.
    Linger,
    /// Ends.
    End,
}

/// An answer that is due, in the order of the requests.
struct Due {
    answer: Answer,
    persistence: Persistence,
    head_only: bool,
}

enum Answer {
    /// 202, when the message is durable. The permit counts the message's memory until then.
    Accepted {
        ticket: Ticket,
        _permit: Permit,
    },
    Refused(Refusal),
    Endpoint(Endpoint),
    /// 100.
    Continue,
}

impl Answer {
    /// Whether the connection ends after it in any case.
    const fn closes(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.closes(),
            Self::Accepted { .. } | Self::Endpoint(_) | Self::Continue => false,
        }
    }
}

/// Whether the body of a request that was not admitted is read and thrown away, so that its connection lives on. A
/// client that waits for a 100 may or may not send its body after another answer (RFC 9110 §10.1.1), so it is not then.
const fn is_skipped(framing: Framing, expects_continue: bool) -> bool {
    match framing {
        Framing::Empty => true,
        Framing::Length(bytes) => bytes <= REFUSED_BODY_BYTES_MAX && !expects_continue,
        Framing::Chunked => false,
    }
}

/// What the next bytes belong to.
enum Expected {
    Head(Scanner),
    Body(Incoming),
    /// To nothing: the last answer is due. `unread`: the peer may still be sending the request it answers.
    End {
        unread: bool,
    },
}

/// A request whose body is being read.
struct Incoming {
    purpose: Purpose,
    framing: Framing,
    persistence: Persistence,
    head_only: bool,
    decoder: Decoder,
    since_ms: u64,
    /// Bytes read since then.
    received: u64,
}

/// What becomes of a request when its body is there.
enum Purpose {
    /// It is submitted.
    Message { timeout: Option<Millis>, permit: Permit },
    /// It is answered so, whatever its body.
    Answer(Answer),
}

struct Connection<S: Stream, D: Disk> {
    lease: Lease<S>,
    ingress: Rc<Ingress<S, D>>,
    /// What was read; used up to `start`.
    input: Vec<u8>,
    start: usize,
    expected: Expected,
    destination: Option<Destination>,
    /// The outbound head of the request that is being read.
    outbound: Vec<u8>,
    due: Vec<Due>,
    output: Vec<u8>,
    /// When the first request of this turn was complete.
    complete_at: Option<Instant>,
    /// 202s in the output.
    accepted: u32,
}

impl<S: Stream, D: Disk> Connection<S, D> {
    fn new(lease: Lease<S>, ingress: Rc<Ingress<S, D>>) -> Self {
        Self {
            lease,
            ingress,
            input: Vec::with_capacity(READ_BYTES_MIN),
            start: 0,
            expected: Expected::Head(Scanner::default()),
            destination: None,
            outbound: Vec::new(),
            due: Vec::new(),
            output: Vec::new(),
            complete_at: None,
            accepted: 0,
        }
    }

    async fn run(mut self) {
        loop {
            let next = self.take_requests();
            match self.answer(next).await {
                Next::Take => {}
                Next::Read => {
                    if !self.read().await {
                        return;
                    }
                }
                Next::Linger => return self.linger().await,
                Next::End => return,
            }
        }
    }

    /// Takes requests from the input while they are complete, up to the pipelining depth.
    fn take_requests(&mut self) -> Next {
        while self.due.len() < PIPELINE_MAX {
            let more = match std::mem::replace(&mut self.expected, Expected::End { unread: true }) {
                Expected::Head(scanner) => self.take_head(scanner),
                Expected::Body(incoming) => self.take_body(incoming),
                Expected::End { unread } => {
                    self.expected = Expected::End { unread };
                    return if unread || self.start < self.input.len() { Next::Linger } else { Next::End };
                }
            };
            if !more {
                return Next::Read;
            }
        }
        Next::Take
    }

    /// Each `take_…` returns whether to go on; `false` means that more must be read.
    fn take_head(&mut self, mut scanner: Scanner) -> bool {
        let settings = &self.ingress.settings;
        let input = &self.input[self.start..];
        let span = match scanner.scan(input, settings.head_bytes_max) {
            Ok(Some(span)) => span,
            Ok(None) => {
                self.expected = Expected::Head(scanner);
                return false;
            }
            Err(refusal) => return self.refuse_head(refusal),
        };
        let head = &input[span.start..span.end];
        match head::parse(head, &settings.rules, &mut self.destination, &mut self.outbound) {
            Ok(head) => {
                self.start += span.end;
                self.begin(head)
            }
            Err(refusal) => self.refuse_head(refusal),
        }
    }

    /// Admits a request whose head is complete, and takes what is there of its body.
    fn begin(&mut self, head: Head) -> bool {
        let Head { ask, framing, persistence, expects_continue, head_only } = head;
        let purpose = match ask {
            Ask::Message { timeout } => match self.admit(self.outbound.len() + self.body_bytes(framing)) {
                Ok(permit) => Purpose::Message { timeout, permit },
                Err(refused) => Purpose::Answer(Answer::Refused(refused.into())),
            },
            Ask::Endpoint(endpoint) => Purpose::Answer(Answer::Endpoint(endpoint)),
            Ask::Refused(refusal) => Purpose::Answer(Answer::Refused(refusal)),
        };
        let purpose = match purpose {
            Purpose::Answer(answer) if answer.closes() || !is_skipped(framing, expects_continue) => {
                return self.end_with(answer, head_only);
            }
            purpose => purpose,
        };
        let decoder = Decoder::new(framing, self.ingress.settings.rules.body_bytes_max);
        if expects_continue && decoder.missing() > 0 && self.start == self.input.len() {
            self.due.push(Due { answer: Answer::Continue, persistence: Persistence::Open, head_only: false });
        }
        let since_ms = self.ingress.clock.now_ms.get();
        self.take_body(Incoming { purpose, framing, persistence, head_only, decoder, since_ms, received: 0 })
    }

    fn admit(&self, message_bytes: usize) -> Result<Permit, Refused> {
        let (shard, destination) = (&self.ingress.shard, self.destination.as_ref());
        let origin = destination.expect("the head of a message put it there").origin();
        shard.admit_origin(origin.borrowed(), message_bytes)?;
        shard.admit(message_bytes)
    }

    /// What to admit for a body, in bytes. The length of a chunked one is unknown: what the buffer holds, and then
    /// more as it grows.
    fn body_bytes(&self, framing: Framing) -> usize {
        match framing {
            Framing::Empty => 0,
            Framing::Length(bytes) => bytes,
            Framing::Chunked => self.input.capacity(),
        }
    }

    fn take_body(&mut self, mut incoming: Incoming) -> bool {
        match incoming.decoder.decode(&mut self.input[self.start..]) {
            Ok(true) => {
                self.finish(incoming);
                true
            }
            Ok(false) => {
                self.expected = Expected::Body(incoming);
                false
            }
            Err(refusal) => self.end_with(Answer::Refused(refusal), incoming.head_only),
        }
    }

    /// Submits a request that is complete, or notes what to answer instead.
    fn finish(&mut self, incoming: Incoming) {
        let Incoming { purpose, framing, persistence, head_only, decoder, .. } = incoming;
        self.complete_at.get_or_insert_with(monotonic_now);
        let answer = match purpose {
            Purpose::Message { timeout, permit } => {
                let body = &self.input[self.start..self.start + decoder.decoded()];
                if framing == Framing::Chunked {
                    outbound::push_content_length(&mut self.outbound, body.len());
                }
                let destination = self.destination.as_ref().expect("the head of a message put it there");
                let draft = Draft { origin: destination.origin(), timeout, head: &self.outbound, body };
                match self.ingress.shard.submit(draft) {
                    Ok(ticket) => Answer::Accepted { ticket, _permit: permit },
                    Err(refused) => Answer::Refused(refused.into()),
                }
            }
            Purpose::Answer(answer) => answer,
        };
        self.start += decoder.used();
        let persistence = if answer.closes() { Persistence::Close } else { persistence };
        self.due.push(Due { answer, persistence, head_only });
        self.expected = match persistence {
            Persistence::Close => Expected::End { unread: false },
            Persistence::Open | Persistence::OpenOnRequest => Expected::Head(Scanner::default()),
        };
    }

    /// Refuses the request whose head is at the start of the input.
    fn refuse_head(&mut self, refusal: Refusal) -> bool {
        let input = &self.input[self.start..];
        let head_only = input.strip_prefix(b"\r\n").unwrap_or(input).starts_with(b"HEAD ");
        self.end_with(Answer::Refused(refusal), head_only)
    }

    /// The last answer of this connection: what follows in the input is never taken for a request.
    fn end_with(&mut self, answer: Answer, head_only: bool) -> bool {
        self.due.push(Due { answer, persistence: Persistence::Close, head_only });
        self.expected = Expected::End { unread: true };
        true
    }

    /// Writes every answer that is due, in order, and says what comes next.
    async fn answer(&mut self, mut next: Next) -> Next {
        let mut due = std::mem::take(&mut self.due);
        let mut left = due.len();
        for mut one in due.drain(..) {
            left -= 1;
            if left == 0 && self.shall_close() {
                one.persistence = Persistence::Close;
                next = Next::Linger;
            }
            self.push_answer(one).await;
            if (left == 0 || self.output.len() >= ANSWERS_BYTES_MAX) && !self.write().await {
                return Next::End;
            }
        }
        self.due = due;
        self.complete_at = None;
        next
    }

    /// Whether the answer at hand is to be the last: asked for by us, and between two requests.
    fn shall_close(&self) -> bool {
        let wanted = self.lease.cut().is_some() || self.ingress.shard.draining();
        wanted && matches!(self.expected, Expected::Head(_))
    }

    /// Appends an answer to the output, waiting for the disk if it must.
    async fn push_answer(&mut self, due: Due) {
        let Due { answer, persistence, head_only } = due;
        let refusal = match answer {
            Answer::Accepted { ticket, .. } => {
                self.lease.enter_answer();
                match ticket.await {
                    Ok(id) => {
                        self.accepted += 1;
                        let date = self.ingress.clock.date.get();
                        return reply::push_accepted(&mut self.output, &date, id, persistence);
                    }
                    Err(CommitFailed::NoSpace) => Refusal::from(Refused::LogFull),
                    Err(CommitFailed::Unwritten) => Refusal::from(Refused::LogFailed),
                }
            }
            Answer::Refused(refusal) => refusal,
            Answer::Endpoint(endpoint) => return self.push_endpoint(endpoint, persistence, head_only).await,
            Answer::Continue => return self.output.extend_from_slice(reply::CONTINUE),
        };
        self.ingress.refuse(&mut self.output, &refusal, persistence, head_only);
    }

    async fn push_endpoint(&mut self, endpoint: Endpoint, persistence: Persistence, head_only: bool) {
        self.lease.enter_answer();
        let control = &self.ingress.control;
        let (status, media_type, content) = match endpoint {
            Endpoint::Metrics { openmetrics } => {
                (200, if openmetrics { OPENMETRICS } else { CLASSIC }, control.metrics(openmetrics).await)
            }
            Endpoint::Healthy => (200, PLAIN, "healthy\n".to_owned()),
            Endpoint::Ready => match control.ready() {
                Ok(()) => (200, PLAIN, "ready\n".to_owned()),
                Err(reason) => (503, PLAIN, format!("not ready: {reason}\n")),
            },
        };
        let document = Document { status, media_type, content: content.as_bytes() };
        reply::push_document(&mut self.output, &self.ingress.clock.date.get(), &document, persistence, head_only);
    }
}

// The half that touches the socket.
mod socket;

const PLAIN: &str = "text/plain; charset=utf-8";
