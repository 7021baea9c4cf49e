//! What operators do to dead letters, checked: one that is removed is gone for good, one that is replayed is a message
//! again, and none is lost.

use dispatcher::message::MessageId;

use super::super::message::Fate;
use super::Checker;

impl Checker {
    /// A replay of these letters is asked for; empty: of all there are, and of those that are about to be.
    pub fn replay_asked(&mut self, ids: &[MessageId]) {
        let life = self.life;
        self.is_reordered = true;
        // What is given up in the same millisecond is meant too.
        self.all_replayed_at = self.all_replayed_at.max(ids.is_empty().then_some(self.at));
        for (id, message) in &mut self.messages {
            let is_letter = message.buried || message.fate == Fate::GivenUp || message.has_expired;
            if is_letter && !message.removed && (ids.is_empty() || ids.contains(id)) {
                message.replay_asked_in = Some(life);
                // Its time may begin anew from now on.
                message.has_expired |= message.is_mortal;
            }
        }
    }

    /// The removal of a letter begins.
    pub fn removal_begins(&mut self, id: MessageId) {
        let life = self.life;
        if let Some(message) = self.messages.get_mut(&id) {
            message.removals = if message.removing_in == Some(life) { message.removals + 1 } else { 1 };
            message.removing_in = Some(life);
        }
    }

    /// It has ended. `is_removed`: the letter is said to be gone for good.
    pub fn removal_ends(&mut self, id: MessageId, is_removed: bool) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        message.removals = message.removals.saturating_sub(1);
        if message.removals == 0 {
            message.removing_in = None;
        }
        let may_be_letter = message.buried || message.was_given_up || message.has_expired;
        if is_removed && !may_be_letter {
            self.objections.push(format!("{id} was removed, and was no dead letter: {:?}", message.fate));
        }
        if is_removed {
            message.remove();
        }
    }

    /// A dead letter was read back.
    pub fn dead_letter(&mut self, id: MessageId, body: &[u8]) {
        if self.messages.get(&id).is_none_or(|message| message.sent.body != body) {
            object!(self, "{id} is not what was sent, as a dead letter");
        }
    }

    /// What are dead letters, as far as is known.
    pub fn letters(&self) -> Vec<MessageId> {
        self.messages.iter().filter(|(_, message)| message.buried).map(|(id, _)| *id).collect()
    }

    /// A dead letter says why it is one.
    pub fn letter_class(&mut self, id: MessageId, is_expired: bool) {
        let Some(message) = self.messages.get(&id) else { return };
        if is_expired && !message.has_expired {
            object!(self, "{id} is said to have expired");
        }
        if !is_expired && !message.was_given_up {
            object!(self, "{id} is said to have failed");
        }
    }

    /// Looks for the dead letters alone.
    pub fn look_dead(&mut self, dead: impl Fn(MessageId) -> bool) {
        for (id, _) in self.messages.iter().filter(|(id, message)| message.buried != dead(**id)) {
            object!(self, "{id} became or ceased to be a dead letter while nothing ran");
        }
    }
}
