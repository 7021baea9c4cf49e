//! One connection, in seats: read, take as many pipelined requests as are complete, wait until their messages are
//! durable, answer all of them in one write.
//!
//! Nothing is read while answers are due, so at any time at most one operation of the socket is pending, and none has
//! to be dropped. What the bytes ask for is decided in `requests.rs`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Ingress;
use super::endpoint::Endpoint;
use super::handshake::{self, Handshake};
use super::refusal::Refusal;
use super::reply::{self, Document, Persistence};
use super::requests::{Event, Part, Reply, Requests};
use super::seats::Seat;
use super::watch::Lease;
use crate::disk::Disk;
use crate::limits::{
    ANSWERS_BYTES_MAX, MEMORY_WAIT_MS_MAX, PIPELINE_CONTENDED_MAX, PIPELINE_MAX, SCRATCH_BYTES_KEPT,
    SMALL_MESSAGE_BYTES,
};
use crate::memory::pool::Held;
use crate::message::{Draft, Origin};
use crate::metrics::exposition::{CLASSIC, OPENMETRICS};
use crate::metrics::{RefusedReason, Side};
use crate::net::Stream;
use crate::shard::{Refused, Shard};
use crate::time::monotonic_now;
use crate::wal::ticket::{CommitFailed, Ticket};

/// Serves a connection until it ends. Not cancel-safe: a dropped connection is cut off in the middle, though messages
/// that were submitted stay so.
pub async fn serve<S: Stream, D: Disk>(lease: Lease<S>, ingress: Rc<Ingress<S, D>>) {
    match handshake::wait(&lease, &ingress).await {
        Handshake::Done => Connection::new(lease, Rc::clone(&ingress)).run().await,
        Handshake::InClear => {
            let mut connection = Connection::new(lease, Rc::clone(&ingress));
            connection.requests.refuse(handshake::speaks_tls(), &ingress.settings.rules);
            connection.run().await;
        }
        Handshake::Failed => Connection::new(lease, Rc::clone(&ingress)).linger().await,
        Handshake::Over => drop(lease),
    }
    ingress.shard.metrics().connection_closed(Side::In);
}

/// How long a request may wait for memory in all.
const PATIENCE: Duration = Duration::from_millis(MEMORY_WAIT_MS_MAX);

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
    reply: Reply,
}

enum Answer {
    /// 202, when the message is durable. Until then it is in memory, if it is a small one: what a large one takes, the
    /// connection holds.
    Accepted {
        ticket: Ticket,
        _memory: Option<Held>,
    },
    Refused(Refusal),
    Endpoint(Endpoint),
    /// 100.
    Continue,
}

/// How far a body has come.
#[derive(Clone, Copy)]
struct Progress {
    since_ms: u64,
    /// Bytes read since then.
    received: u64,
}

struct Connection<S: Stream, D: Disk> {
    lease: Lease<S>,
    ingress: Rc<Ingress<S, D>>,
    requests: Requests,
    /// While what was read is looked at, and until what it asked for is done.
    seat: Option<Seat>,
    /// What it takes beyond what every connection may.
    memory: Option<Held>,
    /// How long the request that is being read may still wait for memory.
    patience: Duration,
    /// How far the body that is being read has come.
    progress: Option<Progress>,
    due: Vec<Due>,
    output: Vec<u8>,
    /// What a document in the output takes.
    output_memory: Option<Held>,
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
            requests: Requests::default(),
            seat: None,
            memory: None,
            patience: PATIENCE,
            progress: None,
            due: Vec::new(),
            output: Vec::new(),
            output_memory: None,
            complete_at: None,
            accepted: 0,
        }
    }

    async fn run(mut self) {
        loop {
            let next = self.take_requests();
            match self.answer(next).await {
                Next::Take => self.take_seat().await,
                Next::Read => {
                    if !self.read().await {
                        return;
                    }
                    self.take_seat().await;
                }
                Next::Linger => return self.linger().await,
                Next::End => return,
            }
        }
    }

    /// Waits for a seat, or until it has waited long enough to be refused.
    async fn take_seat(&mut self) {
        self.seat = match self.ingress.seats.try_take() {
            Some(seat) => Some(seat),
            None => self.ingress.seats.take().await,
        };
    }

    /// Takes requests while they are complete, up to the pipelining depth.
    fn take_requests(&mut self) -> Next {
        let depth = if self.ingress.seats.are_taken() { PIPELINE_CONTENDED_MAX } else { PIPELINE_MAX };
        let (shard, rules) = (&self.ingress.shard, &self.ingress.settings.rules);
        while self.due.len() < depth {
            let (answer, reply) = match self.requests.next(rules) {
                Event::Read => return Next::Read,
                Event::End { unread: true } => return Next::Linger,
                Event::End { unread: false } => return Next::End,
                Event::Admit { .. } if self.seat.is_none() => {
                    let detail = "More requests come than this instance can serve.";
                    self.requests.refuse(Refusal::new(RefusedReason::Overload, detail), rules);
                    continue;
                }
                Event::Admit { origin, message_bytes } => {
                    match admit(shard, origin, message_bytes) {
                        Ok(()) => self.requests.admit(rules),
                        Err(refused) => self.requests.refuse(refused.into(), rules),
                    }
                    continue;
                }
                Event::Continue => (Answer::Continue, Reply { persistence: Persistence::Open, head_only: false }),
                Event::Message { draft, reply } => match submit(shard, draft, self.memory.is_some()) {
                    Ok(accepted) => (accepted, reply),
                    Err(refused) => {
                        let refusal = Refusal::from(refused);
                        let closes = refusal.closes();
                        if closes {
                            self.requests.end();
                        }
                        let persistence = if closes { Persistence::Close } else { reply.persistence };
                        (Answer::Refused(refusal), Reply { persistence, ..reply })
                    }
                },
                Event::Endpoint { endpoint, reply } => (Answer::Endpoint(endpoint), reply),
                Event::Refused { refusal, reply } => (Answer::Refused(refusal), reply),
            };
            if !matches!(answer, Answer::Continue) {
                self.progress = None;
                self.patience = PATIENCE;
                self.complete_at.get_or_insert_with(monotonic_now);
            }
            self.due.push(Due { answer, reply });
        }
        Next::Take
    }

    /// Writes every answer that is due, in order, and says what comes next.
    async fn answer(&mut self, mut next: Next) -> Next {
        let mut due = std::mem::take(&mut self.due);
        let mut left = due.len();
        for mut one in due.drain(..) {
            left -= 1;
            if left == 0 && self.shall_close() {
                one.reply.persistence = Persistence::Close;
                next = Next::Linger;
            }
            self.push_answer(one).await;
            if (left == 0 || self.output.len() >= ANSWERS_BYTES_MAX) && !self.write().await {
                return Next::End;
            }
        }
        self.due = due;
        self.complete_at = None;
        // Also where nothing was due, and the peer is now waited for.
        self.seat = None;
        next
    }

    /// Whether the answer at hand is to be the last: asked for by us, and between two requests.
    fn shall_close(&self) -> bool {
        let wanted = self.lease.cut().is_some() || self.ingress.shard.draining();
        wanted && matches!(self.requests.part(), Some(Part::Nothing | Part::Head))
    }

    /// Appends an answer to the output, waiting for the disk if it must.
    async fn push_answer(&mut self, due: Due) {
        let Due { answer, reply: Reply { persistence, head_only } } = due;
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
        self.seat = None;
        self.lease.enter_answer();
        let control = &self.ingress.control;
        let (status, media_type, content) = match endpoint {
            Endpoint::Metrics { openmetrics } => {
                // One at a time: each has every core add up its histograms.
                let _one = self.ingress.scrapes.lock().await;
                (200, if openmetrics { OPENMETRICS } else { CLASSIC }, control.metrics_off_core(openmetrics).await)
            }
            Endpoint::Healthy => (200, PLAIN, "healthy\n".to_owned()),
            Endpoint::Ready => match control.ready() {
                Ok(()) => (200, PLAIN, "ready\n".to_owned()),
                Err(reason) => (503, PLAIN, format!("not ready: {reason}\n")),
            },
        };
        // The document and the answer it is in, until the peer has taken that.
        let memory = self.ingress.shard.memory().large_messages().try_take(2 * content.len() + SCRATCH_BYTES_KEPT);
        if memory.is_none() && content.len() > SCRATCH_BYTES_KEPT {
            let refusal = Refusal::from(Refused::Memory);
            return self.ingress.refuse(&mut self.output, &refusal, persistence, head_only);
        }
        self.output_memory = memory;
        let document = Document { status, media_type, content: content.as_bytes() };
        reply::push_document(&mut self.output, &self.ingress.clock.date.get(), &document, persistence, head_only);
    }
}

fn admit<D: Disk>(shard: &Shard<D>, origin: &Origin, message_bytes: usize) -> Result<(), Refused> {
    shard.admit_origin(origin.borrowed(), message_bytes)?;
    shard.admit(message_bytes)
}

/// `holds_memory`: the connection has taken what a message takes that is larger than what any connection may read.
fn submit<D: Disk>(shard: &Shard<D>, draft: Draft<'_>, holds_memory: bool) -> Result<Answer, Refused> {
    let message_bytes = draft.head.len() + draft.body.len();
    let memory = if message_bytes <= SMALL_MESSAGE_BYTES || !holds_memory {
        Some(shard.memory().small_messages().try_take(message_bytes).ok_or(Refused::Memory)?)
    } else {
        None
    };
    Ok(Answer::Accepted { ticket: shard.submit(draft)?, _memory: memory })
}

// The half that touches the socket.
mod socket;

const PLAIN: &str = "text/plain; charset=utf-8";
