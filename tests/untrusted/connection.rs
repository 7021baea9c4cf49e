//! A whole connection: requests come out of its bytes as the contract has it, however they are read and whatever is
//! admitted; its buffer stays within its bounds; and behind the last answer nothing is taken.

use dispatcher::ingress::endpoint::Endpoint;
use dispatcher::ingress::head::Rules;
use dispatcher::ingress::refusal::Refusal;
use dispatcher::ingress::reply::Persistence as Persists;
use dispatcher::ingress::requests::{Event, Part, Reply, Requests};
use dispatcher::limits::{PIPELINE_MAX, READ_BYTES_KEPT, READ_BYTES_MIN};
use dispatcher::message::Draft;
use dispatcher::metrics::RefusedReason;

use super::choices::Choices;
use super::expected_head::{Framing, Persistence};
use super::expected_stream::{self, Outcome, Outside, Stream, Taken, Told};
use super::reads::Reads;
use super::requests_text::{mutated, pipeline};
use super::rules::rules;

/// What happens to a connection beside its bytes.
#[derive(Clone, Copy)]
struct World {
    /// A bit per message, for ever again: it is not admitted.
    refused: u8,
    /// Bit 0: what is not admitted ends the connection. Bits 1 and 2: how it ends. Bit 3: memory for a larger buffer is not to be had.
    how: u8,
}

impl Outside for World {
    fn refusal(&self, message: usize) -> Option<(u16, bool)> {
        (self.refused >> (message % 8) & 1 != 0).then_some((503, self.how & 1 != 0))
    }

    fn cut_off(&self) -> Option<u16> {
        match self.how >> 1 & 3 {
            0 | 1 => Some(400),
            2 => Some(408),
            _ => None,
        }
    }
}

/// Checks an input: `[what, rules, kind of reads, their size, messages refused, world, …]`.
pub fn check(input: &[u8]) {
    let [what, measures, kind, size, refused, how, rest @ ..] = input else { return };
    let mut choices = Choices::Bytes(rest);
    let bytes = match what % 3 {
        0 => rest.to_vec(),
        1 => pipeline(&mut choices),
        _ => mutated(pipeline(&mut choices), &mut choices),
    };
    compare(&bytes, &rules(*measures), Reads::new(*kind, *size), World { refused: *refused, how: *how });
}

fn compare(bytes: &[u8], rules: &Rules, reads: Reads, world: World) {
    let expected = expected_stream::stream(bytes, rules, &world);
    let mut driven = Driven::new(rules, world, &expected);
    driven.run(bytes, reads);
    let Driven { told, is_ended, denied, .. } = driven;
    let shown = || bytes.escape_ascii().to_string();
    if denied {
        // Memory for more than every connection may have ran short: what was being read is refused, and all before it is
        // as it would have been.
        let (last, before) = told.split_last().expect("what was denied is answered");
        assert_eq!(*before, expected.told[..before.len()], "{}", shown());
        assert_eq!((&last.outcome, last.persistence), (&Outcome::Refused(503), Persistence::Close), "{}", shown());
        assert!(is_ended, "{}", shown());
        return;
    }
    assert_eq!(told, expected.told, "{}", shown());
    assert_eq!(is_ended, expected.is_ended, "{}", shown());
}

/// A connection that is driven as `ingress/connection.rs` drives one.
struct Driven<'a> {
    rules: &'a Rules,
    world: World,
    expected: &'a Stream,
    requests: Requests,
    told: Vec<Told>,
    messages: usize,
    /// The message that was admitted, as it is expected, until it is complete.
    admitted: Option<Taken>,
    /// A 100 was due for the message that is being read.
    is_continued: bool,
    fed: usize,
    is_ended: bool,
    denied: bool,
}

impl<'a> Driven<'a> {
    fn new(rules: &'a Rules, world: World, expected: &'a Stream) -> Self {
        Self {
            rules,
            world,
            expected,
            requests: Requests::default(),
            told: Vec::new(),
            messages: 0,
            admitted: None,
            is_continued: false,
            fed: 0,
            is_ended: false,
            denied: false,
        }
    }

    fn run(&mut self, bytes: &[u8], mut reads: Reads) {
        loop {
            let before = self.told.len();
            // As many as may be answered at once; then they are, and it goes on.
            while self.told.len() - before < PIPELINE_MAX {
                if !self.take() {
                    break;
                }
            }
            if self.told.len() - before == PIPELINE_MAX {
                continue;
            }
            if self.is_ended {
                assert!(matches!(self.requests.next(self.rules), Event::End { .. }), "an end stays one");
                return;
            }
            if self.fed < bytes.len() {
                self.read(bytes, &mut reads);
            } else if !self.cut_off() {
                return;
            }
        }
    }

    /// Takes one event; returns whether there may be another one without a read.
    fn take(&mut self) -> bool {
        let rules = self.rules;
        let (outcome, reply) = match self.requests.next(rules) {
            Event::Read => return false,
            Event::End { .. } => {
                self.is_ended = true;
                return false;
            }
            Event::Admit { origin, message_bytes } => {
                assert!(self.admitted.is_none(), "one at a time");
                let origin = origin.to_string();
                self.admit(&origin, message_bytes);
                return true;
            }
            Event::Continue => {
                let admitted = self.admitted.expect("only who is admitted is told to go on");
                assert!(admitted.expects_continue && !self.is_continued);
                assert_eq!(admitted.head_end, self.fed, "who has not waited is not told to go on");
                self.is_continued = true;
                return true;
            }
            Event::Message { draft: Draft { origin, timeout, head, body }, reply } => {
                assert!(self.admitted.take().is_some(), "what was not admitted is not taken");
                let (origin, timeout_ms) = (origin.to_string(), timeout.map(|span| span.0));
                (Outcome::Message { origin, timeout_ms, head: head.to_vec(), body: body.to_vec() }, reply)
            }
            Event::Endpoint { endpoint, reply } => (Outcome::Endpoint(path_of(endpoint).to_owned()), reply),
            Event::Refused { refusal, reply } => {
                self.admitted = None;
                (Outcome::Refused(refusal.status()), reply)
            }
        };
        let closed = self.told.last().is_some_and(|last| last.persistence == Persistence::Close);
        assert!(!closed, "nothing is taken behind what ends the connection");
        let Reply { persistence, head_only } = reply;
        self.told.push(Told { outcome, persistence: persistence_of(persistence), head_only });
        true
    }

    fn admit(&mut self, origin: &str, message_bytes: usize) {
        let refusal = self.world.refusal(self.messages);
        self.messages += 1;
        if let Some((_, closes)) = refusal {
            let reason = if closes { RefusedReason::Draining } else { RefusedReason::Memory };
            return self.requests.refuse(Refusal::new(reason, ""), self.rules);
        }
        let taken = self.expected.taken.iter().find(|taken| taken.answered == self.told.len());
        let taken = *taken.expect("only what is to be taken asks for admission");
        let told = self.expected.told.get(taken.answered).map(|told| &told.outcome);
        if let Some(Outcome::Message { origin: expected, head, body, .. }) = told {
            assert_eq!(origin, expected);
            let enough = if taken.framing == Framing::Chunked { 0 } else { head.len() + body.len() };
            assert!(message_bytes >= enough, "what is admitted is what it takes");
        }
        (self.admitted, self.is_continued) = (Some(taken), false);
        self.requests.admit(self.rules);
    }

    fn read(&mut self, bytes: &[u8], reads: &mut Reads) {
        if let Some(taken) = self.admitted {
            let is_due = taken.expects_continue && taken.head_end == self.fed && taken.framing != Framing::Length(0);
            assert!(self.is_continued || !is_due || taken.framing == Framing::Empty, "who waits is told to go on");
        }
        let part = self.requests.part();
        let wanted_bytes = self.requests.make_room(self.rules);
        if wanted_bytes > READ_BYTES_KEPT && self.world.how & 8 != 0 {
            self.denied = true;
            return self.requests.refuse(Refusal::new(RefusedReason::Memory, ""), self.rules);
        }
        let mut buffer = self.requests.take_buffer(wanted_bytes);
        let capacity = buffer.capacity();
        // What no request is in yet takes what every connection may have.
        let wanted_max = if part == Some(Part::Nothing) { READ_BYTES_KEPT } else { wanted_bytes.max(READ_BYTES_KEPT) };
        assert!(capacity <= wanted_max, "{capacity} bytes, of {wanted_max}");
        // Who has sent little holds little; and no more than the longest head or body that is taken.
        let bytes_max = self.rules.head_bytes_max.max(self.rules.body_bytes_max) + READ_BYTES_MIN;
        assert!(capacity <= READ_BYTES_KEPT.max(2 * self.fed), "{capacity} bytes for {}", self.fed);
        assert!(capacity <= READ_BYTES_KEPT.max(bytes_max), "{capacity} bytes, of {bytes_max}");
        let free = buffer.capacity() - buffer.len();
        assert!(free > 0, "there is always room for a read");
        let read = reads.next(bytes.len() - self.fed).min(free);
        buffer.extend_from_slice(&bytes[self.fed..self.fed + read]);
        self.fed += read;
        self.requests.fill(buffer);
    }

    /// The bytes have ended; returns whether that refuses something.
    fn cut_off(&mut self) -> bool {
        let is_begun = matches!(self.requests.part(), Some(Part::Head | Part::Body));
        let reason = match self.world.cut_off() {
            Some(408) => RefusedReason::Timeout,
            Some(_) => RefusedReason::Malformed,
            None => return false,
        };
        if is_begun {
            self.requests.refuse(Refusal::new(reason, ""), self.rules);
        }
        is_begun
    }
}

const fn persistence_of(persistence: Persists) -> Persistence {
    match persistence {
        Persists::Open => Persistence::Open,
        Persists::OpenOnRequest => Persistence::OpenOnRequest,
        Persists::Close => Persistence::Close,
    }
}

const fn path_of(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Metrics { .. } => "/metrics",
        Endpoint::Healthy => "/-/healthy",
        Endpoint::Ready => "/-/ready",
    }
}
