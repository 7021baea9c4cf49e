//! Waiting for a batch to become durable: one gate per batch, one ticket per record.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::message::MessageId;

/// The record is not durable and never will be: its batch could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitFailed {
    /// The disk refused.
    #[error("the log could not be written")]
    Unwritten,
    /// There is no space for it.
    #[error("there is no log space")]
    NoSpace,
}

/// Opens once, when the fate of a batch is known.
#[derive(Debug, Default)]
pub struct Gate {
    fate: Cell<Option<Fate>>,
    waiting: RefCell<Vec<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Every record is durable.
    Durable,
    /// The messages of the batch are refused; its outcomes are being written again elsewhere.
    MessagesRefused(CommitFailed),
    /// The messages of the batch are refused; its outcomes are durable.
    OutcomesDurable(CommitFailed),
}

impl Gate {
    /// Every record is durable.
    pub fn open(&self) {
        assert_eq!(self.fate.get(), None, "a batch has one fate");
        self.settle(Fate::Durable);
    }

    /// No message of the batch is durable, nor will be.
    pub fn refuse_messages(&self, why: CommitFailed) {
        assert_eq!(self.fate.get(), None, "a batch has one fate");
        self.settle(Fate::MessagesRefused(why));
    }

    /// The outcomes of a batch whose messages were refused are durable.
    pub fn open_outcomes(&self) {
        let Some(Fate::MessagesRefused(why)) = self.fate.get() else {
            panic!("outcomes are written again when the messages have been refused")
        };
        self.settle(Fate::OutcomesDurable(why));
    }

    fn settle(&self, fate: Fate) {
        self.fate.set(Some(fate));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

/// Resolves when the fate of a record is known. Cancel-safe: dropping it loses the answer, not the record.
#[derive(Debug)]
pub struct Ticket {
    gate: Rc<Gate>,
    id: MessageId,
    is_message: bool,
    /// Where its waker stands among those that wait for the same news.
    place: Option<(Option<Fate>, usize)>,
}

impl Ticket {
    /// For a record of the message `id` in the batch behind `gate`; `is_message`: the record is the message itself,
    /// which can be refused, as outcomes and
    /// what is written again cannot.
    pub const fn new(gate: Rc<Gate>, id: MessageId, is_message: bool) -> Self {
        Self { gate, id, is_message, place: None }
    }

    /// Whether it resolves at once.
    pub fn is_settled(&self) -> bool {
        match self.gate.fate.get() {
            None => false,
            Some(Fate::Durable | Fate::OutcomesDurable(_)) => true,
            Some(Fate::MessagesRefused(_)) => self.is_message,
        }
    }

    /// The message's id.
    pub const fn id(&self) -> MessageId {
        self.id
    }
}

impl Future for Ticket {
    type Output = Result<MessageId, CommitFailed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let fate = self.gate.fate.get();
        match fate {
            Some(Fate::Durable) => return Poll::Ready(Ok(self.id)),
            Some(Fate::MessagesRefused(why) | Fate::OutcomesDurable(why)) if self.is_message => {
                return Poll::Ready(Err(why));
            }
            Some(Fate::OutcomesDurable(_)) => return Poll::Ready(Ok(self.id)),
            Some(Fate::MessagesRefused(_)) | None => {}
        }
        let gate = Rc::clone(&self.gate);
        let mut waiting = gate.waiting.borrow_mut();
        match self.place {
            Some((waited_for, place)) if waited_for == fate => waiting[place].clone_from(context.waker()),
            // All were woken by the messages' fate, so an outcome that waits on enters again.
            _ => {
                self.place = Some((fate, waiting.len()));
                waiting.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn refused_messages_learn_it_at_once_and_outcomes_when_they_are_durable_elsewhere() {
        let (gate, id) = (Rc::<Gate>::default(), MessageId([1; 16]));
        let woken: Vec<Arc<Woken>> = (0..3).map(|_| Arc::default()).collect();
        let mut message = pin!(Ticket::new(Rc::clone(&gate), id, true));
        let mut outcomes = [Ticket::new(Rc::clone(&gate), id, false), Ticket::new(Rc::clone(&gate), id, false)];
        let poll = |ticket: Pin<&mut Ticket>, number: usize| {
            ticket.poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken[number]))))
        };
        assert!(poll(message.as_mut(), 0).is_pending());
        for (number, outcome) in outcomes.iter_mut().enumerate() {
            assert!(poll(Pin::new(outcome), number + 1).is_pending());
        }
        gate.refuse_messages(CommitFailed::NoSpace);
        assert_eq!(poll(message, 0), Poll::Ready(Err(CommitFailed::NoSpace)));
        for (number, outcome) in outcomes.iter_mut().enumerate().rev() {
            assert!(poll(Pin::new(outcome), number + 1).is_pending());
        }
        gate.open_outcomes();
        for (number, outcome) in outcomes.iter_mut().enumerate() {
            assert_eq!(poll(Pin::new(outcome), number + 1), Poll::Ready(Ok(id)));
            assert_eq!(woken[number + 1].0.load(Ordering::Relaxed), 2, "woken for each piece of news");
        }
    }
}
