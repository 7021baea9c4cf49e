//! What a service manager such as systemd is told (`sd_notify(3)`): ready, reloading, stopping, and that the cores turn.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::control::Control;
use crate::limits::{MANAGER_LOOK_MS, MANAGER_PATIENCE_MS};
use crate::time::{Millis, monotonic_now};

/// The service manager, if there is one: `NOTIFY_SOCKET` names its socket, `WATCHDOG_USEC` how often it must hear of us.
///
/// May be told things from any thread. A manager that does not read holds up its teller; that is never a core.
#[derive(Debug)]
pub struct Manager {
    told: Mutex<Told>,
}

/// The last of what it was told.
#[derive(Debug, Default)]
struct Told {
    ready: bool,
    stopping: bool,
    status: String,
}

impl Manager {
    /// The one of the environment; `None`: nobody asked to be told.
    pub fn from_env() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").map(|_| Self { told: Mutex::default() })
    }

    /// Tells of `control` until the process ends: `READY=1` once every shard takes messages, which is the answer of `/-/ready`;
    /// before that, that a start which reads a long log or waits for space is no failed one; then what holds messages up.
    pub async fn attend(&self, control: &Control) {
        let mut watchdog = sd_notify::watchdog_enabled().map(|period| Watchdog::new(period, monotonic_now()));
        loop {
            let ready = control.ready();
            let status = match &ready {
                Ok(()) => "Taking messages".to_owned(),
                Err(reason) => format!("Not taking all messages: {reason}"),
            };
            self.tell_of(ready.is_ok(), status);
            if let Some(watchdog) = &mut watchdog
                && watchdog.is_due(control, monotonic_now())
            {
                send(&[NotifyState::Watchdog]);
            }
            tokio::time::sleep(Duration::from_millis(MANAGER_LOOK_MS)).await;
        }
    }

    fn tell_of(&self, ready: bool, status: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.stopping {
            return;
        }
        let mut states = Vec::new();
        if ready && !told.ready {
            states.push(NotifyState::Ready);
            told.ready = true;
        }
        if !told.ready {
            states.push(extended(Millis(MANAGER_PATIENCE_MS)));
        }
        if told.status != status {
            told.status = status;
            states.push(NotifyState::Status(&told.status));
        }
        if !states.is_empty() {
            send(&states);
        }
    }

    /// Does `reload`, and tells when it begins and ends. One before it is ready is part of the start.
    pub fn reloading(&self, reload: impl FnOnce()) {
        let running = |told: &Told| told.ready && !told.stopping;
        let begun = self.tell_while(running, || {
            // The protocol asks for the time, to tell this reload from the one before. This clock always answers.
            let states = [Some(NotifyState::Reloading), NotifyState::monotonic_usec_now().ok()];
            send(&states.into_iter().flatten().collect::<Vec<_>>());
        });
        reload();
        if begun {
            self.tell_while(running, || send(&[NotifyState::Ready]));
        }
    }

    fn tell_while(&self, holds: fn(&Told) -> bool, tell: impl FnOnce()) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = holds(&told);
        if holds {
            tell();
        }
        holds
    }

    /// Tells that the daemon stops, within `longest`, however short a time the manager thought of.
    pub fn stopping(&self, longest: Millis) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        let status = "Stopping: answering what was accepted, waiting for attempts in flight";
        send(&[NotifyState::Stopping, NotifyState::Status(status), extended(longest)]);
    }
}

fn extended(by: Millis) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(by.0.saturating_mul(1000)).unwrap_or(u32::MAX))
}

/// A message that is not sent costs no more than what the manager then makes of it.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told (NOTIFY_SOCKET)");
    }
}

/// When the manager's watchdog is to be told that all is alive.
struct Watchdog {
    period: Duration,
    next: Instant,
}

impl Watchdog {
    /// One that bites after `period` without a word.
    const fn new(period: Duration, now: Instant) -> Self {
        Self { period, next: now }
    }

    /// Whether to tell it now: three times in its period, and only if every core has turned since it was told last.
    fn is_due(&mut self, control: &Control, now: Instant) -> bool {
        let due = now >= self.next && control.has_turned();
        if due {
            self.next = now + self.period / 3;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Phase, Shared};

    #[test]
    fn the_watchdog_hears_of_us_three_times_in_its_period_while_all_cores_turn_and_else_not() {
        let (control, inboxes) = Control::new(2, Shared::in_root());
        inboxes.iter().for_each(|inbox| inbox.status.set(Phase::Ready));
        let (second, begin) = (Duration::from_secs(1), monotonic_now());
        let mut watchdog = Watchdog::new(second * 30, begin);
        let mut heard = |seconds, turning: &[usize]| {
            turning.iter().for_each(|core| inboxes[*core].status.turn());
            watchdog.is_due(&control, begin + second * seconds)
        };
        assert!(heard(0, &[0, 1]) && !heard(9, &[0, 1]) && heard(10, &[0, 1]));
        // From here on the second one stands still.
        let last: Vec<u32> = (11..60).filter(|at| heard(*at, &[0])).collect();
        assert!(last.is_empty(), "{last:?}");
        assert!(heard(60, &[0, 1]), "it was only slow");
    }
}
