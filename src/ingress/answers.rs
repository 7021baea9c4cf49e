//! The moving half of a connection: reading, writing, and answering in order.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::body::Framing;
use super::connection::{Connection, Current, Ended, Queued};
use super::connections::Waiting;
use super::head::{Purpose, RequestHead};
use super::reply::{self, Persistence, Refusal};
use crate::disk::Disk;
use crate::limits::{LINGER_BYTES_MAX, LINGER_MS, READ_BYTES_MIN};
use crate::metrics::exposition::{CLASSIC, OPENMETRICS};
use crate::net::Stream;
use crate::shard::Refused;
use crate::time::monotonic_now;

impl<S: Stream, D: Disk> Connection<'_, S, D> {
    /// Answers what is queued, in order, with as few writes as the batches allow.
    pub(super) async fn answer_queued(&mut self) -> Result<(), Ended> {
        let mut answered: Vec<Instant> = Vec::new();
        while let Some(Queued { mut ticket, persistence, complete, _permit }) = self.queue.pop_front() {
            if !ticket.is_settled() {
                if !self.out.is_empty() {
                    self.write().await?;
                    self.note_accepted(&mut answered);
                }
                self.entry.watch().wait(Waiting::Nothing, self.ingress.connections.now());
            }
            let result = (&mut ticket).await;
            let last = self.ingress.shard.draining() && self.queue.is_empty();
            let persistence = if last { Persistence::Close } else { persistence };
            match result {
                Ok(id) => {
                    let out = &mut self.out;
                    self.ingress.connections.with_date(|date| reply::accepted(out, id, date, persistence));
                    answered.push(complete);
                }
                Err(_) => self.push_refusal(&Refusal::by_shard(Refused::LogFailed), persistence, false),
            }
            if persistence == Persistence::Close {
                self.write().await?;
                self.note_accepted(&mut answered);
                return Err(Ended::Lingering);
            }
        }
        if !self.out.is_empty() {
            self.write().await?;
            self.note_accepted(&mut answered);
        }
        Ok(())
    }

    fn note_accepted(&self, answered: &mut Vec<Instant>) {
        let now = monotonic_now();
        for complete in answered.drain(..) {
            self.ingress.shard.metrics().accept(now.saturating_duration_since(complete));
        }
    }

    pub(super) async fn answer_control(&mut self, head: &RequestHead) -> Result<(), Ended> {
        let control = &self.ingress.control;
        self.entry.watch().wait(Waiting::Nothing, self.ingress.connections.now());
        let (status, content_type, body) = match head.purpose {
            Purpose::Metrics { openmetrics } => {
                let content_type = if openmetrics { OPENMETRICS } else { CLASSIC };
                ("200 OK", content_type, control.metrics(openmetrics).await)
            }
            Purpose::Healthy => ("200 OK", "text/plain", "healthy\n".to_owned()),
            Purpose::Ready => match control.ready() {
                Ok(()) => ("200 OK", "text/plain", "ready\n".to_owned()),
                Err(reason) => ("503 Service Unavailable", "text/plain", format!("not ready: {reason}\n")),
            },
            Purpose::Data { .. } => panic!("data is submitted"),
        };
        let (out, persistence) = (&mut self.out, head.persistence);
        self.ingress.connections.with_date(|date| {
            reply::control(out, status, content_type, &body, date, persistence, head.head_only);
        });
        self.write().await?;
        if persistence == Persistence::Close { Err(Ended::Lingering) } else { Ok(()) }
    }

    pub(super) async fn refuse(
        &mut self,
        refusal: &Refusal,
        persistence: Persistence,
        head_only: bool,
    ) -> Result<(), Ended> {
        let closes = refusal.close || self.ingress.shard.draining();
        let persistence = if closes { Persistence::Close } else { persistence };
        self.push_refusal(refusal, persistence, head_only);
        self.write().await?;
        if persistence == Persistence::Close { Err(Ended::Lingering) } else { Ok(()) }
    }

    fn push_refusal(&mut self, refusal: &Refusal, persistence: Persistence, head_only: bool) {
        self.ingress.shard.metrics().refused(refusal.reason);
        let out = &mut self.out;
        self.ingress.connections.with_date(|date| refusal.write(out, date, persistence, head_only));
    }

    pub(super) async fn write(&mut self) -> Result<(), Ended> {
        let deadline = self.ingress.connections.now() + self.ingress.timeouts.idle.duration();
        self.entry.watch().wait(Waiting::Peer, deadline);
        let (result, mut out) = self.stream.write_all(std::mem::take(&mut self.out)).await;
        out.clear();
        self.out = out;
        result.map_err(|_| Ended::Closed)
    }

    /// Reads more of the current request, within its time.
    pub(super) async fn read(&mut self) -> Result<(), Ended> {
        let (now, timeouts) = (self.ingress.connections.now(), &self.ingress.timeouts);
        if let Err(refusal) = self.make_room() {
            return self.refuse(&refusal, Persistence::Close, false).await;
        }
        let (waiting, deadline) = match &self.current {
            Current::Head { .. } if self.buffer.len() == self.start => (Waiting::Idle, now + timeouts.idle.duration()),
            Current::Head { deadline, .. } => {
                let due = deadline.get().unwrap_or(now + timeouts.head.duration());
                deadline.set(Some(due));
                (Waiting::Request, due)
            }
            Current::Body(body) => (Waiting::Request, body.deadline.min(now + timeouts.body.duration())),
        };
        if waiting == Waiting::Idle && self.ingress.shard.draining() {
            return Err(Ended::Closed);
        }
        self.entry.watch().wait(waiting, deadline);
        let (result, buffer) = self.stream.read(std::mem::take(&mut self.buffer)).await;
        self.buffer = buffer;
        match result {
            Ok(0) if self.entry.watch().timed_out() => {
                let late = match self.current {
                    Current::Head { .. } => "the head was not complete within HEAD_TIMEOUT",
                    Current::Body(_) => "the body stood still for BODY_TIMEOUT, or came too slowly",
                };
                self.refuse(&Refusal::timeout(late), Persistence::Close, false).await
            }
            Ok(0) | Err(_) => Err(Ended::Closed),
            Ok(_) => Ok(()),
        }
    }

    /// Makes room to read into: done requests go, and the buffer grows to what the current one needs and was admitted.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            if let Current::Body(body) = &mut self.current {
                body.start -= self.start;
            }
            self.start = 0;
        }
        match &mut self.current {
            Current::Head { .. } => {
                if self.buffer.is_empty() && self.buffer.capacity() > 2 * READ_BYTES_MIN {
                    self.buffer = Vec::with_capacity(READ_BYTES_MIN);
                } else if self.buffer.len() == self.buffer.capacity() {
                    self.buffer.reserve(self.buffer.capacity());
                }
            }
            Current::Body(body) => {
                let spare = self.buffer.capacity() - self.buffer.len();
                if body.head.framing != Framing::Chunked {
                    self.buffer.reserve_exact(body.decoder.missing());
                } else if spare < READ_BYTES_MIN {
                    let more = self.buffer.capacity();
                    self.ingress.shard.grow(&mut body.permit, more).map_err(Refusal::by_shard)?;
                    self.buffer.reserve_exact(more);
                }
            }
        }
        Ok(())
    }

    /// Lets the peer read the last answer: says that nothing more comes, and discards what still arrives, so that the
    /// kernel does not answer it with a reset that overtakes the answer (RFC 9112 §9.6).
    pub(super) async fn linger(&mut self) {
        self.stream.shutdown(Shutdown::Write);
        let deadline = self.ingress.connections.now() + Duration::from_millis(LINGER_MS);
        self.entry.watch().wait(Waiting::Peer, deadline);
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX {
            self.buffer.clear();
            let (result, buffer) = self.stream.read(std::mem::take(&mut self.buffer)).await;
            self.buffer = buffer;
            match result {
                Ok(0) | Err(_) => return,
                Ok(bytes) => discarded += bytes,
            }
        }
    }
}
