//! A Redis stream: XADD in pipelines, a consumer group, XACK and XDEL after delivery.
//!
//! With `appendfsync always` Redis answers a pipeline after one fsync for all of it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Semaphore, mpsc};

use super::courier::{Courier, IN_FLIGHT_MAX};
use super::ingress::Submission;

const STREAM: &str = "messages";
const GROUP: &str = "workers";
/// Messages in one pipeline.
const BATCH_MAX: usize = 256;
/// Messages taken from the stream and not yet removed: twice what is in flight, so that none waits for a round trip.
const TAKEN_MAX: usize = 2 * IN_FLIGHT_MAX;
/// How long a read waits at the server when there is nothing, in milliseconds.
const BLOCK_MS: usize = 5000;

/// Entries of one stream: id, and name and value of the one field.
type Entries = Vec<(String, (String, Bytes))>;

/// Runs until Redis fails.
pub async fn run(address: &str, submissions: mpsc::Receiver<Submission>, courier: Rc<Courier>) -> io::Result<()> {
    let client = redis::Client::open(format!("redis://{address}/")).map_err(io::Error::other)?;
    // No bound on answers: a read blocks at the server, and a write takes as long as the disk.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connect = || client.get_multiplexed_async_connection_with_config(&config);
    let writer = connect().await.map_err(io::Error::other)?;
    let mut reader = connect().await.map_err(io::Error::other)?;
    let mut create = redis::cmd("XGROUP");
    create.arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM");
    create.exec_async(&mut reader).await.map_err(io::Error::other)?;
    let (remove, delivered) = mpsc::channel(TAKEN_MAX);
    tokio::select! {
        biased;
        result = write(writer.clone(), submissions) => result,
        result = take(reader, courier, remove) => result,
        result = acknowledge(writer, delivered) => result,
    }
    .map_err(io::Error::other)
}

async fn write(
    mut redis: MultiplexedConnection,
    mut submissions: mpsc::Receiver<Submission>,
) -> redis::RedisResult<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while submissions.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut pipeline = redis::pipe();
        for submission in &batch {
            pipeline.cmd("XADD").arg(STREAM).arg("*").arg("m").arg(&submission.message[..]).ignore();
        }
        pipeline.exec_async(&mut redis).await?;
        for submission in batch.drain(..) {
            let _ = submission.durable.send(());
        }
    }
    Ok(())
}

async fn take(
    mut redis: MultiplexedConnection,
    courier: Rc<Courier>,
    remove: mpsc::Sender<String>,
) -> redis::RedisResult<()> {
    let room = Arc::new(Semaphore::new(TAKEN_MAX));
    loop {
        drop(room.acquire().await);
        let count = room.available_permits();
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("worker").arg("COUNT").arg(count).arg("BLOCK").arg(BLOCK_MS);
        read.arg("STREAMS").arg(STREAM).arg(">");
        let streams: Option<Vec<(String, Entries)>> = read.query_async(&mut redis).await?;
        for (id, (_, message)) in streams.into_iter().flatten().flat_map(|(_, entries)| entries) {
            let (courier, remove) = (Rc::clone(&courier), remove.clone());
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
            tokio::task::spawn_local(async move {
                if courier.deliver(message).await.is_ok() {
                    let _ = remove.send(id).await;
                }
                drop(place);
            });
        }
    }
}

async fn acknowledge(
    mut redis: MultiplexedConnection,
    mut delivered: mpsc::Receiver<String>,
) -> redis::RedisResult<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while delivered.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut pipeline = redis::pipe();
        pipeline.cmd("XACK").arg(STREAM).arg(GROUP).arg(&batch).ignore();
        pipeline.cmd("XDEL").arg(STREAM).arg(&batch).ignore();
        pipeline.exec_async(&mut redis).await?;
        batch.clear();
    }
    Ok(())
}
