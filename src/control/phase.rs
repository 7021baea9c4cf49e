//! What a shard is doing, as the other threads see it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Taking messages, while it reads its log.
    Recovering,
    /// Taking messages.
    Ready,
    /// Refusing messages until there is log space.
    LogFull,
    /// Refusing messages because the log could not be written.
    LogFailed,
    /// Stopping.
    Draining,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Recovering, Self::Ready, Self::LogFull, Self::LogFailed, Self::Draining];

    /// The label's value in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Ready => "ready",
            Self::LogFull => "log_full",
            Self::LogFailed => "log_failed",
            Self::Draining => "draining",
        }
    }

    /// Why a shard in this phase is not ready.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Ready => None,
            Self::Starting => Some("starting"),
            Self::Recovering => Some("recovering its log"),
            Self::LogFull => Some("out of log space"),
            Self::LogFailed => Some("unable to write its log"),
            Self::Draining => Some("stopping"),
        }
    }
}

/// A shard's phase, as the other threads see it.
#[derive(Debug)]
pub struct ShardStatus {
    shard: usize,
    phase: AtomicU8,
    /// The log says that it is not ready.
    is_told: AtomicBool,
    /// Its loop has turned since somebody last asked.
    turned: AtomicBool,
}

impl ShardStatus {
    /// Of a shard that has not begun.
    pub fn new(shard: usize) -> Self {
        Self {
            shard,
            phase: AtomicU8::new(Phase::Starting as u8),
            is_told: AtomicBool::new(false),
            turned: AtomicBool::new(true),
        }
    }

    /// Tells the others, and the log if readiness changes for another reason than a start or a stop: those have lines of
    /// their own.
    pub fn set(&self, phase: Phase) {
        if self.phase.swap(phase as u8, Ordering::Relaxed) == phase as u8 {
            return;
        }
        match phase {
            Phase::Ready if self.is_told.swap(false, Ordering::Relaxed) => {
                tracing::info!(shard = self.shard, "ready again");
            }
            Phase::LogFull | Phase::LogFailed => {
                self.is_told.store(true, Ordering::Relaxed);
                tracing::warn!(shard = self.shard, reason = phase.reason(), "not ready: new messages are refused");
            }
            Phase::Starting | Phase::Recovering | Phase::Ready | Phase::Draining => {}
        }
    }

    /// What the shard last told.
    pub fn get(&self) -> Phase {
        let code = self.phase.load(Ordering::Relaxed);
        Phase::ALL.into_iter().find(|phase| *phase as u8 == code).expect("only phases are stored")
    }

    /// Tells that the shard's loop turns.
    pub fn turn(&self) {
        self.turned.store(true, Ordering::Relaxed);
    }

    /// Whether it has turned since [`Self::forget_turn`]. A start and a stop have bounds of their own.
    pub fn has_turned(&self) -> bool {
        matches!(self.get(), Phase::Starting | Phase::Draining) || self.turned.load(Ordering::Relaxed)
    }

    /// From now on it has not turned.
    pub fn forget_turn(&self) {
        self.turned.store(false, Ordering::Relaxed);
    }
}
