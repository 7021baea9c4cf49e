//! The source: a few kept connections that send numbered messages, and send again what was not acknowledged.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::http::{self, Connection};
use super::receiver::Receiver;
use crate::message::MessageId;
use crate::time::monotonic_now;

const CONNECTIONS: u32 = 16;
/// All messages are spread over this long, so that there is something to see.
const SENDING: Duration = Duration::from_secs(5);
/// Before another try, after a connection that failed or a message that was refused.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest latency told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
const ACCEPTED: u16 = 202;

/// What it has done.
#[derive(Debug)]
pub struct Sender {
    address: Cell<SocketAddr>,
    origin: SocketAddr,
    messages: u32,
    turns: Cell<u32>,
    start: Instant,
    sent: Cell<u64>,
    refused: Cell<Option<u16>>,
    acknowledged: RefCell<Vec<MessageId>>,
    latency_us: RefCell<Histogram<u64>>,
}

/// Sends until every message is acknowledged or the returned set is dropped.
pub fn start(sender: &Rc<Sender>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn_local(send_turns(Rc::clone(sender)));
    }
    tasks
}

async fn send_turns(sender: Rc<Sender>) {
    let mut connection = None;
    while let Some(at) = sender.next_turn() {
        tokio::time::sleep_until(at.into()).await;
        while !sender.send(&mut connection).await {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Sender {
    /// Sends `messages` messages for `origin` to the daemon at `address`.
    pub fn new(address: SocketAddr, origin: SocketAddr, messages: u32) -> Self {
        let histogram = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("bounds and digits are valid");
        Self {
            address: Cell::new(address),
            origin,
            messages,
            turns: Cell::new(0),
            start: monotonic_now(),
            sent: Cell::new(0),
            refused: Cell::new(None),
            acknowledged: RefCell::default(),
            latency_us: RefCell::new(histogram),
        }
    }

    /// Where the daemon is now.
    pub fn set_address(&self, address: SocketAddr) {
        self.address.set(address);
    }

    /// Requests written, whatever came of them.
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// 202s.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.borrow().len() as u64
    }

    /// The status of the last refusal.
    pub fn refused(&self) -> Option<u16> {
        self.refused.get()
    }

    /// Acknowledged messages that the receiver has not seen.
    pub fn missing(&self, receiver: &Receiver) -> u64 {
        self.acknowledged.borrow().iter().filter(|id| !receiver.has(**id)).count() as u64
    }

    /// From request to 202, at this quantile, in microseconds.
    pub fn latency_us(&self, quantile: f64) -> u64 {
        self.latency_us.borrow().value_at_quantile(quantile)
    }

    /// When the next message is to be sent; none if all are taken.
    fn next_turn(&self) -> Option<Instant> {
        let turn = self.turns.get();
        (turn < self.messages).then(|| {
            self.turns.set(turn + 1);
            self.start + SENDING.mul_f64(f64::from(turn) / f64::from(self.messages))
        })
    }

    /// Sends one message; whether it was acknowledged. If not, what is sent next is another message: whether this one
    /// was made durable is not known.
    async fn send(&self, connection: &mut Option<Connection>) -> bool {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::connect(self.address.get()).await {
                Ok(open) => open,
                Err(_) => return false,
            },
        };
        let number = self.sent.get();
        self.sent.set(number + 1);
        let request = http::numbered_request(self.address.get(), self.origin, number);
        let start = monotonic_now();
        if open.write(&request).await.is_err() {
            return false;
        }
        let Ok(answer) = open.answer().await else { return false };
        *connection = Some(open);
        let (ACCEPTED, Some(id)) = (answer.status, answer.message_id) else {
            self.refused.set(Some(answer.status));
            return false;
        };
        let latency_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency_us.borrow_mut().saturating_record(latency_us);
        self.acknowledged.borrow_mut().push(id);
        true
    }
}
