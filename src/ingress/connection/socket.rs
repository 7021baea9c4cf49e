//! A connection's socket and buffers: making room, reading until a deadline, writing, and ending so that the peer sees
//! the last answer.

use super::{Answer, Connection, Expected, Purpose};
use crate::disk::Disk;
use crate::ingress::framing::Framing;
use crate::ingress::refusal::Refusal;
use crate::ingress::watch::{Cut, Phase};
use crate::limits::{
    BODY_BYTES_PER_SECOND_MIN, LINGER_BYTES_MAX, LINGER_MS_MAX, READ_BYTES_KEPT, READ_BYTES_MIN, SCRATCH_BYTES_KEPT,
};
use crate::metrics::RefusedReason;
use crate::net::Stream;
use crate::time::{Millis, monotonic_now};

impl<S: Stream, D: Disk> Connection<S, D> {
    /// Reads once, and refuses what has ended or was cut off in the middle. Returns whether the connection goes on.
    pub(super) async fn read(&mut self) -> bool {
        if let Err(refusal) = self.make_room() {
            return self.refuse_expected(refusal);
        }
        self.enter_reading();
        let (read, input) = self.lease.stream.read(std::mem::take(&mut self.input)).await;
        self.input = input;
        match read {
            Ok(0) => self.ended(),
            Ok(bytes) => {
                if let Expected::Body(incoming) = &mut self.expected {
                    incoming.received += bytes as u64;
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Nothing more will come. An unfinished request is refused (RFC 9112 §8), for which the peer may have kept its
    /// other side open.
    fn ended(&mut self) -> bool {
        let in_body = matches!(self.expected, Expected::Body(_));
        let refusal = match self.lease.cut() {
            _ if !in_body && !self.in_head() => return false,
            Some(Cut::Closing) => return false,
            Some(Cut::Overdue) if in_body => Refusal::new(RefusedReason::Timeout, "The body did not come in time."),
            Some(Cut::Overdue) => Refusal::new(RefusedReason::Timeout, "The head did not come in time."),
            None => Refusal::new(RefusedReason::Malformed, "The connection ended in the middle of the request."),
        };
        self.refuse_expected(refusal)
    }

    fn refuse_expected(&mut self, refusal: Refusal) -> bool {
        match &self.expected {
            Expected::Body(incoming) => {
                let head_only = incoming.head_only;
                self.end_with(Answer::Refused(refusal), head_only)
            }
            Expected::Head(_) | Expected::End { .. } => self.refuse_head(refusal),
        }
    }

    /// Whether a head has begun: an empty line before it does not count (RFC 9112 §2.2).
    fn in_head(&self) -> bool {
        !b"\r\n".starts_with(&self.input[self.start..])
    }

    /// Says what is waited for, and until when.
    fn enter_reading(&self) {
        let (clock, settings) = (&self.ingress.clock, &self.ingress.settings);
        let now_ms = clock.now_ms.get();
        let (phase, deadline_ms) = match &self.expected {
            Expected::Body(incoming) => {
                let fair_ms = incoming.received.saturating_mul(1000) / BODY_BYTES_PER_SECOND_MIN;
                let all = incoming.since_ms.saturating_add(clock.after(settings.body_timeout) - now_ms);
                let deadline_ms = clock.after(settings.body_timeout).min(all.saturating_add(fair_ms));
                (Phase::Body, deadline_ms)
            }
            Expected::Head(_) | Expected::End { .. } if self.in_head() => {
                if self.lease.phase() == Phase::Head {
                    // Counted from the first byte, however many follow.
                    return;
                }
                (Phase::Head, clock.after(settings.head_timeout))
            }
            Expected::Head(_) | Expected::End { .. } => {
                // Draining may have begun during the last write, and then closed only those that were idle.
                if self.ingress.shard.draining() {
                    self.lease.close();
                }
                (Phase::Idle, clock.after(settings.idle_timeout))
            }
        };
        self.lease.enter(phase, now_ms, deadline_ms);
    }

    /// Makes room for a read: moves what is left to the front, gives back what a large request needed, and grows the
    /// buffer to what was admitted.
    ///
    /// Errors: 503 or 507 when a chunked body outgrows what can be admitted.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.start < self.input.len() {
            self.input.drain(..self.start);
        } else {
            self.input.clear();
        }
        self.start = 0;
        let wanted = match &mut self.expected {
            Expected::Body(incoming) => {
                incoming.decoder.close_gap(&mut self.input, 0);
                let wanted = self.input.len() + incoming.decoder.missing();
                if wanted <= self.input.capacity() {
                    return Ok(());
                }
                match (incoming.framing, &mut incoming.purpose) {
                    (Framing::Chunked, Purpose::Message { permit, .. }) => {
                        // Doubled, so that copying stays linear, but not past what the longest body needs.
                        let longest = self.ingress.settings.rules.body_bytes_max + READ_BYTES_MIN;
                        let wanted = wanted.max((self.input.capacity() * 2).min(longest));
                        self.ingress.shard.grow(permit, wanted - self.input.capacity())?;
                        wanted
                    }
                    _ => wanted,
                }
            }
            Expected::Head(_) | Expected::End { .. } => {
                if self.input.is_empty() {
                    self.give_back();
                }
                // A head needs no admission: MAX_HEAD bounds it.
                if self.input.len() < self.input.capacity() {
                    return Ok(());
                }
                (self.input.len() * 2).min(self.ingress.settings.head_bytes_max + READ_BYTES_MIN)
            }
        };
        self.input.reserve_exact(wanted - self.input.len());
        Ok(())
    }

    fn give_back(&mut self) {
        if self.input.capacity() > READ_BYTES_KEPT {
            self.input = Vec::with_capacity(READ_BYTES_MIN);
        }
        for scratch in [&mut self.outbound, &mut self.output] {
            if scratch.capacity() > SCRATCH_BYTES_KEPT {
                *scratch = Vec::new();
            }
        }
    }

    /// Writes the output. Returns whether the peer took it.
    pub(super) async fn write(&mut self) -> bool {
        let clock = &self.ingress.clock;
        self.lease.enter(Phase::Write, clock.now_ms.get(), clock.after(self.ingress.settings.body_timeout));
        let (written, mut output) = self.lease.stream.write_all(std::mem::take(&mut self.output)).await;
        output.clear();
        self.output = output;
        if let Some(complete_at) = self.complete_at
            && self.accepted > 0
        {
            let took = monotonic_now().duration_since(complete_at);
            for _ in 0..std::mem::take(&mut self.accepted) {
                self.ingress.shard.metrics().accept(took);
            }
        }
        written.is_ok()
    }

    /// Ends the connection after its last answer, to which the peer may not have come yet: what it still sends is read
    /// and thrown away for a while, since closing with unread bytes makes the kernel reset the connection, and the
    /// peer then loses the answer (RFC 9112 §9.6).
    pub(super) async fn linger(mut self) {
        if self.lease.stream.shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let clock = &self.ingress.clock;
        self.lease.enter(Phase::Linger, clock.now_ms.get(), clock.after(Millis(LINGER_MS_MAX)));
        let mut input = std::mem::take(&mut self.input);
        if input.capacity() > READ_BYTES_KEPT {
            input = Vec::with_capacity(READ_BYTES_MIN);
        }
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX {
            input.clear();
            let (read, buffer) = self.lease.stream.read(input).await;
            input = buffer;
            match read {
                Ok(0) | Err(_) => return,
                Ok(bytes) => discarded += bytes,
            }
        }
    }
}
