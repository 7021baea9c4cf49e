//! A connection's socket and buffers: making room, reading until a deadline, writing, and ending so that the peer sees
//! the last answer.

use super::{Connection, Progress};
use crate::disk::Disk;
use crate::ingress::refusal::Refusal;
use crate::ingress::requests::Part;
use crate::ingress::watch::{Cut, Phase};
use crate::limits::{
    BODY_BYTES_PER_SECOND_MIN, DUE_KEPT, LINGER_BYTES_MAX, LINGER_MS_MAX, READ_BYTES_KEPT, READ_BYTES_MIN,
    SCRATCH_BYTES_KEPT,
};
use crate::memory::pool::Held;
use crate::metrics::RefusedReason;
use crate::net::{Begin, Stream};
use crate::shard::Refused;
use crate::time::{Millis, monotonic_now};

impl<S: Stream, D: Disk> Connection<S, D> {
    /// Reads once, and refuses what has ended or was cut off in the middle. Returns whether the connection goes on.
    pub(super) async fn read(&mut self) -> bool {
        let wanted_bytes = self.requests.make_room(&self.ingress.settings.rules);
        if self.due.capacity() > DUE_KEPT && self.requests.part() == Some(Part::Nothing) {
            self.due = Vec::new();
        }
        if !self.hold(wanted_bytes).await {
            self.requests.refuse(Refused::Memory.into(), &self.ingress.settings.rules);
            return true;
        }
        self.enter_reading();
        let buffer = self.requests.take_buffer(wanted_bytes);
        let (read, buffer) = self.lease.stream.read(buffer).await;
        self.requests.fill(buffer);
        match read {
            Ok(0) => self.ended(),
            Ok(bytes) => {
                if let Some(progress) = &mut self.progress {
                    progress.received += bytes as u64;
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Takes the memory for a larger buffer, waiting for it for a moment while TCP holds the peer back; or gives back what
    /// is not needed any more. Returns whether it has what it needs.
    async fn hold(&mut self, wanted_bytes: usize) -> bool {
        let beyond = wanted_bytes.saturating_sub(READ_BYTES_KEPT);
        if beyond == 0 {
            self.memory = None;
            return true;
        }
        // In the buffer, and once more on its way to the disk, which goes for all that is in the buffer.
        let missing = (2 * beyond + READ_BYTES_KEPT).saturating_sub(self.memory.as_ref().map_or(0, Held::bytes));
        if missing == 0 {
            return true;
        }
        let account = self.ingress.shard.memory().large_messages();
        let more = match account.try_take(missing) {
            Some(more) => more,
            None => {
                // The time of a head goes on: however often it has to wait, it has that and no more.
                if self.lease.phase() != Phase::Head {
                    self.lease.enter_answer();
                }
                let began = monotonic_now();
                let more = tokio::time::timeout(self.patience, account.take(missing)).await;
                self.patience = self.patience.saturating_sub(monotonic_now().duration_since(began));
                let Ok(more) = more else { return false };
                more
            }
        };
        match &mut self.memory {
            Some(memory) => memory.join(more),
            None => self.memory = Some(more),
        }
        true
    }

    /// Nothing more will come. An unfinished request is refused (RFC 9112 §8), for which the peer may have kept its
    /// other side open. Returns whether there is one.
    fn ended(&mut self) -> bool {
        let in_body = match self.requests.part() {
            None | Some(Part::Nothing) => return false,
            Some(Part::Head) => false,
            Some(Part::Body) => true,
        };
        let refusal = match self.lease.cut() {
            Some(Cut::Closing) => return false,
            Some(Cut::Overdue) if in_body => Refusal::new(RefusedReason::Timeout, "The body did not come in time."),
            Some(Cut::Overdue) => Refusal::new(RefusedReason::Timeout, "The head did not come in time."),
            None => Refusal::new(RefusedReason::Malformed, "The connection ended in the middle of the request."),
        };
        self.requests.refuse(refusal, &self.ingress.settings.rules);
        true
    }

    /// Says what is waited for, and until when.
    fn enter_reading(&mut self) {
        let (clock, settings) = (&self.ingress.clock, &self.ingress.settings);
        let now_ms = clock.now_ms.get();
        let (phase, deadline_ms) = match self.requests.part() {
            Some(Part::Body) => {
                let progress = self.progress.get_or_insert(Progress { since_ms: now_ms, received: 0 });
                let fair_ms = progress.received.saturating_mul(1000) / BODY_BYTES_PER_SECOND_MIN;
                let all = progress.since_ms.saturating_add(clock.after(settings.body_timeout) - now_ms);
                let deadline_ms = clock.after(settings.body_timeout).min(all.saturating_add(fair_ms));
                (Phase::Body, deadline_ms)
            }
            Some(Part::Head) if self.lease.phase() == Phase::Head => {
                // Counted from the first byte, however many follow.
                return;
            }
            Some(Part::Head) => (Phase::Head, clock.after(settings.head_timeout)),
            Some(Part::Nothing) | None => {
                // Draining may have begun during the last write, and then closed only those that were idle.
                if self.ingress.shard.draining() {
                    self.lease.close();
                }
                (Phase::Idle, clock.after(settings.idle_timeout))
            }
        };
        self.lease.enter(phase, now_ms, deadline_ms);
    }

    /// Writes the output. Returns whether the peer took it.
    pub(super) async fn write(&mut self) -> bool {
        // Where others are served as well, one submission for all is cheaper; where nobody is, the peer is all that waits.
        let alone = self.seat.as_ref().is_some_and(|seat| self.ingress.seats.is_only(seat));
        let begin = if alone { Begin::Now } else { Begin::Together };
        // How long the peer takes to read is up to the peer.
        self.seat = None;
        let clock = &self.ingress.clock;
        self.lease.enter(Phase::Write, clock.now_ms.get(), clock.after(self.ingress.settings.body_timeout));
        let (written, mut output) = self.lease.stream.write_all(std::mem::take(&mut self.output), begin).await;
        output.clear();
        self.output = if output.capacity() > 2 * SCRATCH_BYTES_KEPT { Vec::new() } else { output };
        self.output_memory = None;
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
        let mut input = self.requests.take_buffer(0);
        if input.capacity() > READ_BYTES_KEPT {
            input = Vec::with_capacity(READ_BYTES_MIN);
        }
        // Nothing of it is needed any more.
        (self.memory, self.due) = (None, Vec::new());
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
