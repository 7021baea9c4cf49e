//! How often a message allocates, counted on the thread of a core that runs the whole path over real sockets and a real
//! log. No clock is in it: what is counted is what one message more costs once everything is warm.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "allocations/core.rs"]
mod core;
#[path = "allocations/peers.rs"]
mod peers;

use std::net::SocketAddr;
use std::time::Duration;

use core::Core;
use peers::Client;

/// Allocations of a message of 1 KiB that is accepted alone in its batch.
const ACCEPTED_ALONE_MAX: u64 = 6;
/// Of so many that come at once over one connection, whose buffer and the log's batches may take them in several parts.
const TOGETHER: usize = 16;
const ACCEPTED_TOGETHER_MAX: u64 = 20;
/// Of one that is accepted and delivered over kept connections: alone in its batch, and so is its outcome.
const DELIVERED_ALONE_MAX: u64 = 20;

/// Rounds of each measurement. What grows by doubling does so in few of them, so that the median is the steady state.
const ROUNDS: usize = 101;

/// The median of what a round of `messages` allocates on the core's thread; `None` where the kernel forbids rings, which
/// the daemon itself then does without.
fn allocations(messages: usize, origin: Option<SocketAddr>) -> Option<u64> {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).ok()?;
    let dir = tempfile::tempdir().unwrap();
    let core = runtime.block_on(Core::start(dir.path(), origin.is_some()));
    let client = Client::connect(core.address, origin.unwrap_or_else(|| "127.0.0.1:1".parse().unwrap()));
    let round = || {
        runtime.block_on(async {
            client.send(messages).await;
            // The outcome is written after the 202, and a batch it shared with the next message would be a batch less.
            // To yield would not do: a loop that does not sleep does not submit to its ring.
            while origin.is_some() && !core.shard.is_settled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    };
    (0..ROUNDS).for_each(|_| round());
    let mut counts: Vec<u64> = (0..ROUNDS).map(|_| allocation_counter::measure(round).count_total).collect();
    counts.sort_unstable();
    Some(counts[ROUNDS / 2])
}

#[track_caller]
fn at_most(counted: Option<u64>, most: u64) {
    let Some(counted) = counted else { return };
    assert!(counted <= most, "{counted} allocations, and at most {most} are allowed");
}

#[test]
fn a_message_that_is_accepted_alone_in_its_batch_allocates_no_more_than_stated() {
    at_most(allocations(1, None), ACCEPTED_ALONE_MAX);
}

#[test]
fn messages_that_come_together_share_what_their_batches_allocate() {
    at_most(allocations(TOGETHER, None), ACCEPTED_TOGETHER_MAX);
}

#[test]
fn a_message_that_is_accepted_and_delivered_allocates_no_more_than_stated() {
    at_most(allocations(1, Some(peers::origin())), DELIVERED_ALONE_MAX);
}
