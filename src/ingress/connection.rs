//! One connection: read, parse, submit, await durable, answer; keep-alive, pipelining, timeouts.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::body::{Decoder, Framing};
use super::connections::{Connections, Entry};
use super::head::{self, LastOrigin, Purpose, RequestHead, Rules};
use super::reply::{self, Persistence, Refusal};
use super::scan::Scanner;
use crate::control::Control;
use crate::disk::Disk;
use crate::limits::{BODY_BYTES_PER_SECOND_MIN, PIPELINE_MAX, READ_BYTES_MIN};
use crate::message::Draft;
use crate::metrics::Side;
use crate::net::Stream;
use crate::shard::{Permit, Refused, Shard};
use crate::time::{Millis, monotonic_now};
use crate::wal::ticket::Ticket;

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `HEAD_TIMEOUT`
    pub head: Millis,
    /// `BODY_TIMEOUT`
    pub body: Millis,
    /// `IDLE_TIMEOUT`
    pub idle: Millis,
}

/// What the connections of one core share.
pub struct Ingress<S: Stream, D: Disk> {
    /// Where messages go.
    pub shard: Rc<Shard<D>>,
    /// What a head may be.
    pub rules: Rules,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Who answers for our own paths.
    pub control: Control,
    /// Who is connected.
    pub connections: Rc<Connections<S>>,
    /// How many may be.
    pub connections_max: usize,
}

/// Serves one connection to its end.
pub async fn serve<S: Stream, D: Disk>(stream: S, local: IpAddr, ingress: Rc<Ingress<S, D>>) {
    let stream = Rc::new(stream);
    let deadline = ingress.connections.now() + ingress.timeouts.idle.duration();
    let entry = ingress.connections.open(Rc::clone(&stream), deadline);
    ingress.shard.metrics().connection_opened(Side::In);
    let mut connection = Connection {
        ingress: &ingress,
        stream: &*stream,
        entry,
        local,
        buffer: Vec::with_capacity(READ_BYTES_MIN),
        start: 0,
        current: Current::default(),
        outbound: Vec::new(),
        last_origin: LastOrigin::default(),
        queue: VecDeque::new(),
        out: Vec::new(),
    };
    // Either way the socket closes when it is dropped.
    if let Err(Ended::Lingering) = connection.run().await {
        connection.linger().await;
    }
    ingress.shard.metrics().connection_closed(Side::In);
}

pub(super) struct Connection<'i, S: Stream, D: Disk> {
    pub(super) ingress: &'i Ingress<S, D>,
    pub(super) stream: &'i S,
    pub(super) entry: Entry<S>,
    pub(super) local: IpAddr,
    /// What has arrived; what lies before `start` is done with.
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) current: Current,
    pub(super) outbound: Vec<u8>,
    pub(super) last_origin: LastOrigin,
    pub(super) queue: VecDeque<Queued>,
    pub(super) out: Vec<u8>,
}

/// The request that is being read.
pub(super) enum Current {
    Head { scanner: Scanner, deadline: Cell<Option<Instant>>, skipped_line: bool },
    Body(Box<Body>),
}

pub(super) struct Body {
    pub(super) head: RequestHead,
    pub(super) decoder: Decoder,
    pub(super) permit: Permit,
    pub(super) start: usize,
    pub(super) deadline: Instant,
    pub(super) continued: bool,
}

impl Default for Current {
    fn default() -> Self {
        Self::Head { scanner: Scanner::default(), deadline: Cell::new(None), skipped_line: false }
    }
}

/// A request whose answer is due, in order.
pub(super) struct Queued {
    pub(super) ticket: Ticket,
    pub(super) persistence: Persistence,
    pub(super) complete: Instant,
    pub(super) _permit: Permit,
}

/// What can be done with what has arrived.
enum Step {
    /// Another request was submitted.
    Submitted,
    /// More bytes are needed.
    Read,
    /// The client waits for leave to send its body.
    SayContinue,
    /// One of our own paths is asked for.
    Control(RequestHead),
    /// The request is not taken.
    Refuse(Refusal, Persistence, bool),
}

/// Why a connection is over.
pub(super) enum Ended {
    /// Nothing is owed to the peer.
    Closed,
    /// The peer may still be sending; closing at once could destroy the answer on its way (RFC 9112 §9.6).
    Lingering,
}

impl<S: Stream, D: Disk> Connection<'_, S, D> {
    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            match self.step() {
                Step::Submitted if self.queue.len() < PIPELINE_MAX => {}
                Step::Submitted => self.answer_queued().await?,
                Step::Read => {
                    self.answer_queued().await?;
                    self.read().await?;
                }
                Step::SayContinue => {
                    self.answer_queued().await?;
                    self.out.extend_from_slice(reply::CONTINUE);
                    self.write().await?;
                }
                Step::Control(head) => {
                    self.answer_queued().await?;
                    self.answer_control(&head).await?;
                }
                Step::Refuse(refusal, persistence, head_only) => {
                    self.answer_queued().await?;
                    self.refuse(&refusal, persistence, head_only).await?;
                }
            }
        }
    }

    /// Takes the current request one step further.
    fn step(&mut self) -> Step {
        match &mut self.current {
            Current::Head { .. } => self.step_head(),
            Current::Body(body) => match body.decoder.decode(&mut self.buffer[body.start..]) {
                Ok(true) => self.submit(),
                Ok(false) if body.head.expects_continue && !body.continued && body.decoder.raw() == 0 => {
                    body.continued = true;
                    Step::SayContinue
                }
                Ok(false) => Step::Read,
                Err(refusal) => Step::Refuse(refusal, Persistence::Close, false),
            },
        }
    }

    fn step_head(&mut self) -> Step {
        let Current::Head { scanner, skipped_line, .. } = &mut self.current else { panic!("called on a head") };
        let arrived = &self.buffer[self.start..];
        let length = match scanner.scan(arrived, self.ingress.rules.head_bytes_max) {
            Ok(Some(length)) => length,
            Ok(None) => return Step::Read,
            Err(refusal) => return Step::Refuse(refusal, Persistence::Close, false),
        };
        if length == 2 {
            // One empty line before a request is forgiven (RFC 9112 §2.2).
            if *skipped_line {
                return Step::Refuse(Refusal::malformed("empty lines instead of a request"), Persistence::Close, false);
            }
            (*scanner, *skipped_line) = (Scanner::default(), true);
            self.start += length;
            return self.step_head();
        }
        let (ingress, head) = (self.ingress, &arrived[..length]);
        let is_head = head.starts_with(b"HEAD ");
        match head::parse(head, &ingress.rules, self.local, &mut self.last_origin, &mut self.outbound) {
            Err(refusal) => {
                // Where a body would end was not looked at, so then nothing behind it is read.
                let keeps = !refusal.close && head::is_kept_and_bodiless(head);
                let persistence = if keeps { Persistence::Keep } else { Persistence::Close };
                self.start += length;
                self.current = Current::default();
                Step::Refuse(refusal, persistence, is_head)
            }
            Ok(head) => self.begin_body(head, length),
        }
    }

    fn begin_body(&mut self, head: RequestHead, head_bytes: usize) -> Step {
        let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
        if !matches!(head.purpose, Purpose::Data { .. }) {
            // A body on one of our own paths has no meaning and is not read.
            let persistence = if has_body { Persistence::Close } else { head.persistence };
            self.start += head_bytes;
            self.current = Current::default();
            return Step::Control(RequestHead { persistence, ..head });
        }
        let expected = match head.framing {
            Framing::None => 0,
            Framing::Length(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            Framing::Chunked => READ_BYTES_MIN,
        };
        let permit = match self.ingress.shard.admit(self.outbound.len() + expected) {
            Ok(permit) => permit,
            Err(refused) => return self.refuse_by_shard(refused, &head, head_bytes, has_body),
        };
        let longest =
            if head.framing == Framing::Chunked { self.ingress.rules.body_bytes_max } else { expected as u64 };
        let slowest = Duration::from_secs(longest / BODY_BYTES_PER_SECOND_MIN);
        self.current = Current::Body(Box::new(Body {
            decoder: Decoder::new(head.framing, self.ingress.rules.body_bytes_max),
            permit,
            start: self.start + head_bytes,
            deadline: self.ingress.connections.now() + self.ingress.timeouts.body.duration() + slowest,
            continued: false,
            head,
        }));
        self.step()
    }

    fn refuse_by_shard(&mut self, refused: Refused, head: &RequestHead, head_bytes: usize, has_body: bool) -> Step {
        let persistence = if has_body { Persistence::Close } else { head.persistence };
        self.start += head_bytes;
        self.current = Current::default();
        Step::Refuse(Refusal::by_shard(refused), persistence, head.head_only)
    }

    fn submit(&mut self) -> Step {
        let Current::Body(body) = std::mem::take(&mut self.current) else { panic!("called on a body") };
        let Purpose::Data { origin, timeout } = &body.head.purpose else { panic!("only data is submitted") };
        if body.head.framing == Framing::Chunked {
            head::finish_chunked(&mut self.outbound, body.decoder.decoded());
        }
        let content = &self.buffer[body.start..body.start + body.decoder.decoded()];
        let draft = Draft { origin, timeout: *timeout, head: &self.outbound, body: content };
        let submitted = self.ingress.shard.submit(draft);
        self.start = body.start + body.decoder.raw();
        match submitted {
            Ok(ticket) => {
                let (persistence, complete) = (body.head.persistence, monotonic_now());
                self.queue.push_back(Queued { ticket, persistence, complete, _permit: body.permit });
                // What follows a request that closes the connection is not looked at.
                if persistence == Persistence::Close { Step::Read } else { Step::Submitted }
            }
            Err(refused) => Step::Refuse(Refusal::by_shard(refused), body.head.persistence, body.head.head_only),
        }
    }
}
