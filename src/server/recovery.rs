//! What a core reads while it serves: its own logs, then those of shards that no core owns any more.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::adopt;
use super::core::{CoreError, CoreStart, phase};
use super::shares::{corrupt_dir, limits, origin_rules};
use crate::config::Config;
use crate::control::ShardStatus;
use crate::disk::Disk;
use crate::schedule::gate::Gates;
use crate::schedule::scheduler::Limits;
use crate::shard::Shard;
use crate::shard::state::State;
use crate::time::{monotonic_now, unix_now};
use crate::wal::recovery::{RecoveryError, Replayed};
use crate::wal::survey::Survey;

/// A recovery of one core.
pub struct Recovery<D: Disk> {
    /// What it recovers.
    pub shard: Rc<Shard<D>>,
    /// Its transaction log.
    pub messages: Survey,
    /// Its dead letter log.
    pub dead: Survey,
    /// When the core began to start.
    pub began: Instant,
    /// Where it is told that the core is ready.
    pub status: Arc<ShardStatus>,
}

impl<D: Disk> Recovery<D> {
    /// Reads the transaction log.
    pub async fn replay(&self) -> Result<Replayed, RecoveryError> {
        self.shard.recover_messages(&self.messages).await
    }

    /// Reads the transaction log unless it has been `replayed`, then the dead letters, which tell what needs no attempt
    /// any more; then takes over `orphans`. Errors: what cannot be read, or is of a newer version.
    pub async fn run(self, mut replayed: Replayed, orphans: Orphans<D>) -> Result<(), CoreError> {
        if self.messages.newest.is_some() {
            replayed = self.replay().await?;
        }
        let dead = self.shard.recover_dead_letters(&self.dead).await?;
        let messages = self.shard.recovered_messages();
        // What an earlier start took over of an orphan that is still there must wait for the rest of it.
        if orphans.are_none().await? {
            self.shard.settle();
        }
        let adopted = orphans.adopt(&self.shard).await?;
        self.shard.settle();
        self.shard.note_all_known();
        let took = monotonic_now() - self.began;
        self.shard.metrics().recovered(took, messages, replayed.damaged + dead.damaged);
        self.status.set(phase(&self.shard));
        tracing::info!(
            shard = orphans.shard,
            messages,
            adopted,
            bytes = replayed.bytes,
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "recovered"
        );
        Ok(())
    }
}

/// The orphans that fall to one core.
pub struct Orphans<D: Disk> {
    disk: D,
    config: Arc<Config>,
    shard: u32,
    shards: u32,
    limits: Limits,
}

impl<D: Disk> Orphans<D> {
    /// For the core that is starting.
    pub fn new(disk: D, start: &CoreStart) -> Self {
        let config = Arc::clone(&start.config);
        Self { disk, config, shard: start.shard, shards: start.shards, limits: limits(start) }
    }

    /// Whether there is no transaction log to take over.
    async fn are_none(&self) -> Result<bool, CoreError> {
        let root = &self.config.transaction_log;
        Ok(adopt::orphans(&self.disk, root, self.shard, self.shards).await?.is_empty())
    }

    /// Takes over each of them; returns how many messages that were.
    async fn adopt(&self, shard: &Shard<D>) -> Result<u64, CoreError> {
        let Self { disk, config, .. } = self;
        let corrupt = corrupt_dir(config);
        let mut adopted = 0;
        // Dead letters first: a message that stands in both logs is then known to be dead when it is met.
        for orphan in adopt::orphans(disk, &config.dead_letter, self.shard, self.shards).await? {
            adopt::dead_letters(disk, &orphan, &corrupt, shard).await?;
        }
        for orphan in adopt::orphans(disk, &config.transaction_log, self.shard, self.shards).await? {
            let theirs = State::new(self.limits, Gates::new(origin_rules(config)), unix_now());
            adopted += adopt::messages(disk, &orphan, &corrupt, shard, theirs).await?;
        }
        Ok(adopted)
    }
}
