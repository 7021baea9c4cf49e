//! Tasks that have nothing to do, and are given something later: cheaper than a new task for each.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits::WORKERS_IDLE_MAX;

/// The idle tasks of one kind, which work on values of `T`.
pub struct IdleTasks<T>(RefCell<Vec<Rc<Place<T>>>>);

struct Place<T> {
    given: Cell<Option<T>>,
    waker: RefCell<Waker>,
}

impl<T> Default for IdleTasks<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> IdleTasks<T> {
    /// Gives `work` to the task that has been idle for the shortest time, or back if there is none.
    pub fn give(&self, work: T) -> Result<(), T> {
        let Some(place) = self.0.borrow_mut().pop() else { return Err(work) };
        place.given.set(Some(work));
        place.waker.borrow().wake_by_ref();
        Ok(())
    }

    /// Waits to be given something; `None` where enough others wait already. Not cancel-safe: what was given to a dropped
    /// future is dropped.
    pub async fn wait(&self) -> Option<T> {
        let mut place: Option<Rc<Place<T>>> = None;
        poll_fn(|cx| match &place {
            Some(place) => match place.given.take() {
                Some(work) => Poll::Ready(Some(work)),
                None => {
                    place.waker.borrow_mut().clone_from(cx.waker());
                    Poll::Pending
                }
            },
            None if self.0.borrow().len() >= WORKERS_IDLE_MAX => Poll::Ready(None),
            None => {
                let waiting = Rc::new(Place { given: Cell::new(None), waker: RefCell::new(cx.waker().clone()) });
                self.0.borrow_mut().push(Rc::clone(&waiting));
                place = Some(waiting);
                Poll::Pending
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn work_goes_to_the_task_that_is_idle_for_the_shortest_time_and_back_without_one() {
        let idle = IdleTasks::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(idle.give(0), Err(0));
        let (mut long, mut short) = (pin!(idle.wait()), pin!(idle.wait()));
        assert!(long.as_mut().poll(&mut cx).is_pending() && short.as_mut().poll(&mut cx).is_pending());
        assert_eq!(idle.give(1), Ok(()));
        assert!(long.as_mut().poll(&mut cx).is_pending());
        assert_eq!(short.poll(&mut cx), Poll::Ready(Some(1)));
        assert_eq!((idle.give(2), idle.give(3)), (Ok(()), Err(3)));
        assert_eq!(long.poll(&mut cx), Poll::Ready(Some(2)));
    }

    #[test]
    fn past_the_bound_nobody_waits() {
        let idle = IdleTasks::<u8>::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..WORKERS_IDLE_MAX).map(|_| Box::pin(idle.wait())).collect();
        assert!(waiting.iter_mut().all(|wait| wait.as_mut().poll(&mut cx).is_pending()));
        assert_eq!(pin!(idle.wait()).poll(&mut cx), Poll::Ready(None));
    }
}
