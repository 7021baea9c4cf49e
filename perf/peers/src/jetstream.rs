//! A work queue of NATS JetStream: publishes that are confirmed by the stream, a pull consumer, an acknowledgement after
//! delivery.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use super::courier::{Courier, IN_FLIGHT_MAX};
use super::ingress::{SUBMITTED_MAX, Submission};

const STREAM: &str = "messages";
/// Messages taken and not yet acknowledged: enough that the courier never waits for one.
const TAKEN_MAX: usize = 4 * IN_FLIGHT_MAX;
/// With a thousand senders and an fsync each, a confirmation takes longer than the default of five seconds.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);

/// Runs until NATS fails.
pub async fn run(address: &str, submissions: mpsc::Receiver<Submission>, courier: Rc<Courier>) -> io::Result<()> {
    let client = async_nats::connect(format!("nats://{address}")).await.map_err(io::Error::other)?;
    let mut context = async_nats::jetstream::new(client);
    context.set_timeout(CONFIRMED_WITHIN);
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec![STREAM.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        ..Config::default()
    };
    let stream = context.create_stream(config).await.map_err(io::Error::other)?;
    let config = pull::Config {
        durable_name: Some("worker".to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: i64::try_from(2 * TAKEN_MAX).map_err(io::Error::other)?,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(io::Error::other)?;
    let messages = consumer.stream().max_messages_per_batch(TAKEN_MAX).messages().await.map_err(io::Error::other)?;
    tokio::select! {
        biased;
        result = write(context, submissions) => result,
        result = take(messages, courier) => result,
    }
}

/// Publishes without waiting for the one before; each has its own confirmation.
async fn write(context: Context, mut submissions: mpsc::Receiver<Submission>) -> io::Result<()> {
    let unconfirmed = Arc::new(Semaphore::new(SUBMITTED_MAX));
    while let Some(Submission { message, durable }) = submissions.recv().await {
        let place = Arc::clone(&unconfirmed).acquire_owned().await.map_err(io::Error::other)?;
        let confirmed = context.publish(STREAM, message).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            if confirmed.await.is_ok() {
                let _ = durable.send(());
            }
            drop(place);
        });
    }
    Ok(())
}

async fn take(mut messages: pull::Stream, courier: Rc<Courier>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(TAKEN_MAX));
    while let Some(message) = messages.next().await {
        let message = message.map_err(io::Error::other)?;
        let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        let courier = Rc::clone(&courier);
        tokio::task::spawn_local(async move {
            if courier.deliver(message.payload.clone()).await.is_ok() {
                let _ = message.ack().await;
            }
            drop(place);
        });
    }
    Ok(())
}
