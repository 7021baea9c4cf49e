//! A client that means it: one message after another, each on time or noted as late.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use dispatcher::time::monotonic_now;

use crate::common::sender::Sender;

/// What it has seen since it was last asked.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    accepted: u32,
    refused: u32,
    broken: u32,
}

impl Seen {
    fn note(&mut self, took: Duration, status: Option<u16>) {
        self.times.push(took);
        *match status {
            Some(202) => &mut self.accepted,
            Some(_) => &mut self.refused,
            None => &mut self.broken,
        } += 1;
    }
}

/// It sends until it is dropped.
pub struct Honest {
    seen: Rc<RefCell<Seen>>,
    stop: Rc<Cell<bool>>,
}

/// How it fared for a while.
#[derive(Clone, Copy, Debug)]
pub struct Fared {
    pub p99: Duration,
    pub accepted: u32,
    /// Answered, and not with 202.
    pub refused: u32,
    /// Not answered: the connection was closed, or could not be made.
    pub broken: u32,
}

impl Honest {
    /// Sends to `origin` through the daemon at `address`, a message every few milliseconds; after a failure over a new
    /// connection.
    pub fn start(address: SocketAddr, origin: &str) -> Self {
        let honest = Self { seen: Rc::default(), stop: Rc::default() };
        let (seen, stop, origin) = (Rc::clone(&honest.seen), Rc::clone(&honest.stop), origin.to_owned());
        tokio::task::spawn_local(async move {
            let mut sender = None;
            while !stop.get() {
                let began = monotonic_now();
                let status = send(&mut sender, address, &origin).await;
                if status != Some(202) {
                    sender = None;
                }
                seen.borrow_mut().note(began.elapsed(), status);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        honest
    }

    /// How it fared since this was last asked.
    pub fn fared(&self) -> Fared {
        let mut seen = self.seen.take();
        seen.times.sort_unstable();
        let p99 = seen.times.get(seen.times.len() * 99 / 100).copied().unwrap_or_default();
        Fared { p99, accepted: seen.accepted, refused: seen.refused, broken: seen.broken }
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.stop.set(true);
    }
}

async fn send(sender: &mut Option<Sender>, address: SocketAddr, origin: &str) -> Option<u16> {
    if sender.is_none() {
        *sender = Sender::connect(address).await.ok();
    }
    Some(sender.as_mut()?.try_post(origin, "", &[b'h'; 500]).await.ok()?.status)
}
