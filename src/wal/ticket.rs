//! Waiting for a batch to become durable: one gate per batch, one ticket per record.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::message::MessageId;

/// The record is not durable and never will be: its batch could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log could not be written")]
pub struct CommitFailed;

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
    MessagesRefused,
    /// The messages of the batch are refused; its outcomes are durable.
    OutcomesDurable,
}

impl Gate {
    /// Every record is durable.
    pub fn open(&self) {
        self.settle(None, Fate::Durable);
    }

    /// No message of the batch is durable, nor will be.
    pub fn refuse_messages(&self) {
        self.settle(None, Fate::MessagesRefused);
    }

    /// The outcomes of a batch whose messages were refused are durable.
    pub fn open_outcomes(&self) {
        self.settle(Some(Fate::MessagesRefused), Fate::OutcomesDurable);
    }

    fn settle(&self, before: Option<Fate>, fate: Fate) {
        assert_eq!(self.fate.replace(Some(fate)), before, "a batch has one fate");
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
    /// which can be refused, as an outcome cannot.
    pub const fn new(gate: Rc<Gate>, id: MessageId, is_message: bool) -> Self {
        Self { gate, id, is_message, place: None }
    }

    /// Whether it resolves at once.
    pub fn is_settled(&self) -> bool {
        match self.gate.fate.get() {
            None => false,
            Some(Fate::Durable | Fate::OutcomesDurable) => true,
            Some(Fate::MessagesRefused) => self.is_message,
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
            Some(Fate::MessagesRefused | Fate::OutcomesDurable) if self.is_message => {
                return Poll::Ready(Err(CommitFailed));
            }
            Some(Fate::OutcomesDurable) => return Poll::Ready(Ok(self.id)),
            Some(Fate::MessagesRefused) | None => {}
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
        gate.refuse_messages();
        assert_eq!(poll(message, 0), Poll::Ready(Err(CommitFailed)));
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
