//! Values that may change while the daemon runs: one thread publishes them, each core reads a copy of its own.

use std::cell::RefCell;

use tokio::sync::watch;

/// Where new values come from.
#[derive(Debug)]
pub struct Publisher<T>(watch::Sender<T>);

impl<T: Clone> Publisher<T> {
    /// With the value that holds from the start.
    pub fn new(first: T) -> Self {
        Self(watch::Sender::new(first))
    }

    /// From now on `value` holds; each core takes it over when it next looks.
    pub fn publish(&self, value: T) {
        self.0.send_replace(value);
    }

    /// For one core.
    pub fn subscribe(&self) -> Current<T> {
        let news = self.0.subscribe();
        let value = news.borrow().clone();
        Current(RefCell::new(Held { news, value }))
    }
}

/// The value that holds now, as one core has it. Reading costs one atomic load while nothing is published: there is no
/// lock and no count that cores share.
#[derive(Debug)]
pub struct Current<T>(RefCell<Held<T>>);

#[derive(Debug)]
struct Held<T> {
    news: watch::Receiver<T>,
    value: T,
}

impl<T: Clone> Current<T> {
    /// Reads it. Panics: if `read` reads it too.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let held = &mut *self.0.borrow_mut();
        // An error means that nothing more will be published: what was last taken over stands.
        if held.news.has_changed().unwrap_or(false) {
            held.value = held.news.borrow_and_update().clone();
        }
        read(&held.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_holds_for_every_core_from_its_next_look_on() {
        let publisher = Publisher::new("old");
        let (one, other) = (publisher.subscribe(), publisher.subscribe());
        assert_eq!(one.with(|value| *value), "old");
        publisher.publish("new");
        assert_eq!([&one, &other].map(|core| core.with(|value| *value)), ["new"; 2]);
        drop(publisher);
        assert_eq!(one.with(|value| *value), "new", "the last value stands");
    }
}
