//! The requests that are sent in one turn of the loop, one behind the other by one task, and not each where it was made.
//!
//! Why: making a request and sending it through the kernel are two stretches of code that a core's first cache does not
//! hold both. In turns each is loaded anew for every message, and in two runs once for all of them.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// What waits in the queue.
pub(super) trait Queued {
    /// Sends it, or as much of it as goes now.
    fn send(&self);
}

/// What is due in this turn, in the order in which it is sent. Belongs to one thread.
#[derive(Default)]
pub(super) struct SendQueue {
    /// Who has gone meanwhile sends nothing.
    due: RefCell<Vec<Weak<dyn Queued>>>,
}

impl SendQueue {
    /// Has `one` sent behind all tasks that are ready to run. Must be called where `spawn_local` can.
    pub(super) fn push(self: &Rc<Self>, one: Weak<dyn Queued>) {
        let mut due = self.due.borrow_mut();
        if due.is_empty() {
            let queue = Rc::clone(self);
            tokio::task::spawn_local(async move { queue.send_all() });
        }
        due.push(one);
    }

    /// Sends what is due.
    pub(super) fn send_all(&self) {
        let mut due = self.due.take();
        for one in due.drain(..) {
            if let Some(one) = one.upgrade() {
                one.send();
            }
        }
        let more = self.due.replace(due);
        assert!(more.is_empty(), "sending makes no requests");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::LocalSet;

    use super::*;

    struct One(u32, Rc<RefCell<Vec<u32>>>);

    impl Queued for One {
        fn send(&self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[tokio::test]
    async fn what_is_due_in_a_turn_is_sent_in_its_order_behind_all_that_was_ready() {
        let (queue, sent, ran) =
            (Rc::<SendQueue>::default(), Rc::<RefCell<Vec<u32>>>::default(), Rc::new(Cell::new(0)));
        let made = [1, 2, 3].map(|number| Rc::new(One(number, Rc::clone(&sent))));
        let local = LocalSet::new();
        for one in made.clone() {
            let (queue, sent, ran) = (Rc::clone(&queue), Rc::clone(&sent), Rc::clone(&ran));
            let task = async move {
                assert!(sent.borrow().is_empty());
                ran.set(ran.get() + 1);
                let one: Weak<One> = Rc::downgrade(&one);
                queue.push(one);
            };
            local.spawn_local(task);
        }
        local.await;
        assert_eq!((ran.get(), &*sent.borrow()), (3, &vec![1, 2, 3]));
    }

    #[tokio::test]
    async fn who_has_gone_sends_nothing() {
        let (queue, sent) = (Rc::<SendQueue>::default(), Rc::<RefCell<Vec<u32>>>::default());
        let local = LocalSet::new();
        let queued = Rc::clone(&queue);
        let gone: Weak<One> = Rc::downgrade(&Rc::new(One(1, Rc::clone(&sent))));
        local.spawn_local(async move { queued.push(gone) });
        local.await;
        assert!(sent.borrow().is_empty());
    }
}
