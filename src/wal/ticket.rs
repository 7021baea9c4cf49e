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
}

impl Ticket {
    /// For a record of the message `id` in the batch behind `gate`; `is_message`: the record is the message itself,
    /// which can be refused, as an outcome cannot.
    pub const fn new(gate: Rc<Gate>, id: MessageId, is_message: bool) -> Self {
        Self { gate, id, is_message }
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

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.gate.fate.get() {
            Some(Fate::Durable) => Poll::Ready(Ok(self.id)),
            Some(Fate::MessagesRefused | Fate::OutcomesDurable) if self.is_message => Poll::Ready(Err(CommitFailed)),
            Some(Fate::OutcomesDurable) => Poll::Ready(Ok(self.id)),
            Some(Fate::MessagesRefused) | None => {
                let mut waiting = self.gate.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
