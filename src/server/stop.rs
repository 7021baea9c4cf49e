//! How the daemon is stopped: the first signal drains it, a second one ends it at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::manager::Manager;
use crate::metrics::Snapshot;
use crate::time::Millis;

/// Who is told when the daemon is to stop.
pub struct Stop {
    cores: watch::Sender<bool>,
    manager: Option<Arc<Manager>>,
    longest: Millis,
}

impl Stop {
    /// Tells the cores, and the manager that it takes no longer than `longest`.
    pub const fn new(cores: watch::Sender<bool>, manager: Option<Arc<Manager>>, longest: Millis) -> Self {
        Self { cores, manager, longest }
    }

    /// A signal to stop has come. The second one ends the process at once: everything accepted is in the log.
    pub fn signalled(&self) {
        if self.cores.send_replace(true) {
            tracing::warn!("second signal: stopping at once");
            std::process::exit(130);
        }
        tracing::info!("stopping: answering what was accepted, waiting for attempts in flight");
        if let Some(manager) = &self.manager {
            manager.stopping(self.longest);
        }
    }
}

/// Tells in the log what there was since the start, and what there is for the next one.
pub fn tell_stopped(last: &Snapshot, uptime: Duration) {
    let ((accepted, delivered, dead_lettered), (ready, in_flight, delayed)) = (last.ends(), last.remaining());
    let uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        uptime_ms,
        accepted,
        delivered,
        dead_lettered,
        ready,
        in_flight,
        delayed,
        "stopped: what is ready, in flight or delayed is in the log"
    );
}
