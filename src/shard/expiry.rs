//! Messages that have outlived `MESSAGE_TTL` while they waited: for their due time, for a slot, for a circuit to close.
//!
//! No queue of ends is kept, which would cost memory for every message: the table of messages is looked through, a
//! piece at a time. What is about to be attempted is judged then, too, so nothing is ever sent after its time.

use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::Shard;
use crate::disk::Disk;
use crate::limits::{ADOPT_READS_MAX, EXPIRY_SLOTS_MAX, EXPIRY_TICK_MS};
use crate::message::MessageId;
use crate::time::UnixMillis;

impl<D: Disk> Shard<D> {
    /// Ends what has outlived `MESSAGE_TTL`, for as long as the shard lives.
    pub async fn expiry_loop(&self) {
        let Some(ttl) = self.settings.retry.message_ttl else { return };
        let mut from = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(EXPIRY_TICK_MS)).await;
            if !self.is_recovered() || self.draining() {
                continue;
            }
            let now = self.settings.clock.now();
            let before = UnixMillis(now.0.saturating_sub(ttl.0));
            let overdue = self.state.borrow().overdue(&mut from, EXPIRY_SLOTS_MAX, before);
            stream::iter(overdue).for_each_concurrent(ADOPT_READS_MAX, |id| self.expire_waiting(id)).await;
        }
    }

    /// Makes a dead letter of a message that waits, unless it is attempted meanwhile.
    async fn expire_waiting(&self, id: MessageId) {
        let waiting = || self.state.borrow().find_waiting(id);
        // Found in both logs after a crash: that is settled when its turn comes.
        let Some(slot) = waiting().filter(|_| !self.dead_letters.contains(id)) else { return };
        let stored = match self.fetch(slot).await {
            Ok(stored) => stored,
            // It has ended meanwhile, and its place may be in use for something else.
            Err(_) if waiting() != Some(slot) => return,
            Err(error) => {
                let (shard, origin) = (self.number(), Rc::clone(self.state.borrow().origin(slot)));
                tracing::error!(%id, %origin, shard, %error, "a message that has expired could not be read from the log");
                return;
            }
        };
        let message = stored.message();
        if waiting() != Some(slot) || !self.can_bury(message.head.len() + message.body.len()) {
            return;
        }
        if !self.state.borrow_mut().take_from_schedule(id, None) {
            return;
        }
        self.give_up_expired(slot, &stored).await;
    }
}
