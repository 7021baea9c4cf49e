//! How one core tells another that lanes of it may have a turn at an origin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

/// The list of a core's lanes that may have a turn.
#[derive(Debug, Default)]
pub struct Bell {
    lanes: Mutex<Vec<u32>>,
    rung: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Bell {
    /// Whom to wake when it is rung. Without one, the core must look for itself.
    pub fn set_waker(&self, waker: Waker) {
        // Set once, when the shard is made.
        let _ = self.waker.set(waker);
    }

    /// The lanes it was rung for since it was last asked.
    pub fn rung(&self) -> Vec<u32> {
        // Mostly it was not, and that costs no lock. What is rung right now is seen the next time: its waker comes after.
        if !self.rung.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.lanes())
    }

    /// Puts a lane on the list, and wakes the core if it is to `wake`.
    pub fn ring(&self, lane: u32, wake: bool) {
        self.lanes().push(lane);
        self.rung.store(true, Ordering::Release);
        if wake && let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<u32>> {
        // Whoever panicked had not changed the list in part.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
