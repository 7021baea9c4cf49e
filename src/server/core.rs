//! One core from start to drain: recover, adopt, build the shard, run its loops, stop in order.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;

use super::adopt::{self, Orphan, shard_dir};
use super::start::CoreStart;
use crate::config::Config;
use crate::control::{Phase, ShardRequest, ShardStatus};
use crate::delivery::client::HyperTransport;
use crate::delivery::worker;
use crate::disk::{Disk, DiskError, while_doing};
use crate::message::IdSource;
use crate::metrics::ShardMetrics;
use crate::schedule::backoff::Backoff;
use crate::schedule::scheduler::Limits;
use crate::shard::dead_letters::DeadLetters;
use crate::shard::state::State;
use crate::shard::{Settings, Shard, message_bytes_max};
use crate::time::{Millis, monotonic_now};
use crate::wal::files::Files;
use crate::wal::index::Index;
use crate::wal::log::Log;
use crate::wal::recovery::{self, Recovered, RecoveryError, Visit};
use crate::wal::segment::Sealed as SegmentEnd;
use crate::wal::spare::Space;

/// How often a core looks after its pool, its clock and its status.
const TICK: Duration = Duration::from_secs(1);
