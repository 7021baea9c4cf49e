//! The daemon's own reading of requests, without sockets: bytes in pieces go in, verdicts come out.

use std::net::IpAddr;

use dispatcher::ingress::control_fields::ControlRules;
use dispatcher::ingress::endpoint::Endpoint;
use dispatcher::ingress::head::Rules;
use dispatcher::ingress::refusal::Refusal;
use dispatcher::ingress::reply::Persistence;
use dispatcher::ingress::requests::{Event, Requests};
use dispatcher::ingress::tokens::Door;
use dispatcher::message::Scheme;
use dispatcher::message::policy::Policy;
use dispatcher::time::Millis;

/// The port that is taken for its own.
pub const OWN_PORT: u16 = 8080;

/// A verdict on one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the next request on its connection is taken.
    pub lives: bool,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is sent on so.
    Sent { head: Vec<u8>, body: Vec<u8> },
    /// It is answered with a document that begins so.
    Served(&'static str),
    /// It is refused; the field at fault, if one is named, and its value.
    Refused { status: u16, fault: Option<(String, String)> },
}

/// One connection, on which every message is admitted.
pub struct Machine {
    rules: Rules,
    requests: Requests,
    /// Verdicts so far, in order.
    pub verdicts: Vec<Verdict>,
    /// What the last refusal said in words.
    pub detail: String,
    /// How often leave was given to send a body.
    pub leaves: usize,
    /// Whether nothing more is taken.
    pub ended: bool,
}

impl Machine {
    /// A new connection.
    pub fn new() -> Self {
        let control = ControlRules {
            origin_scheme: Scheme::Http,
            timeout_max: Millis(1_800_000),
            own_scheme: Scheme::Http,
            own_port: OWN_PORT,
            is_own_address: |address: IpAddr| address.is_loopback(),
            policy: Policy::DEFAULT,
        };
        Self {
            rules: Rules { control, door: Door::OPEN, body_bytes_max: 1 << 20, head_bytes_max: 64 << 10 },
            requests: Requests::default(),
            verdicts: Vec::new(),
            detail: String::new(),
            leaves: 0,
            ended: false,
        }
    }

    /// A connection on which these pieces came.
    pub fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut machine = Self::new();
        pieces.into_iter().for_each(|piece| machine.feed(piece));
        machine
    }

    /// Takes a piece as a socket gives it: as much at a time as there is room.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while !self.ended && !piece.is_empty() {
            let wanted_bytes = self.requests.make_room(&self.rules);
            let mut buffer = self.requests.take_buffer(wanted_bytes);
            let bytes = piece.len().min(buffer.capacity() - buffer.len());
            assert!(bytes > 0, "there is room for a read");
            buffer.extend_from_slice(&piece[..bytes]);
            piece = &piece[bytes..];
            self.requests.fill(buffer);
            while self.step() {}
        }
    }

    fn step(&mut self) -> bool {
        let (outcome, persistence) = match self.requests.next(&self.rules) {
            Event::Read => return false,
            Event::End { .. } => {
                self.ended = true;
                return false;
            }
            Event::Admit { .. } => {
                self.requests.admit(&self.rules);
                return true;
            }
            Event::Continue => {
                self.leaves += 1;
                return true;
            }
            Event::Message { draft, reply } => {
                (Outcome::Sent { head: draft.head.to_vec(), body: draft.body.to_vec() }, reply.persistence)
            }
            Event::Endpoint { endpoint, reply } => (Outcome::Served(start_of(endpoint)), reply.persistence),
            Event::Refused { refusal, reply } => {
                refusal.detail().clone_into(&mut self.detail);
                (refused(&refusal), reply.persistence)
            }
        };
        self.verdicts.push(Verdict { outcome, lives: persistence != Persistence::Close });
        true
    }
}

const fn start_of(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Metrics { .. } => "# HELP ",
        Endpoint::Healthy => "healthy\n",
        Endpoint::Ready => "ready\n",
    }
}

fn refused(refusal: &Refusal) -> Outcome {
    let fault = refusal.fault().map(|fault| (fault.header.clone(), fault.value.clone().unwrap_or_default()));
    Outcome::Refused { status: refusal.status(), fault }
}
