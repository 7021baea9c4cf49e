//! A durable queue of RabbitMQ: persistent messages, publisher confirms, acknowledgements after delivery.

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::sync::mpsc;

use super::courier::{Courier, IN_FLIGHT_MAX};
use super::ingress::Submission;

const QUEUE: &str = "messages";
/// Messages that RabbitMQ sends ahead of their acknowledgement: enough that the courier never waits for one.
const TAKEN_MAX: u16 = 256;
const PERSISTENT: u8 = 2;

/// Runs until RabbitMQ fails.
pub async fn run(address: &str, submissions: mpsc::Receiver<Submission>, courier: Rc<Courier>) -> io::Result<()> {
    amqp(address, submissions, courier).await.map_err(io::Error::other)
}

async fn amqp(address: &str, submissions: mpsc::Receiver<Submission>, courier: Rc<Courier>) -> lapin::Result<()> {
    let connection = Connection::connect(&format!("amqp://{address}/%2f"), ConnectionProperties::default()).await?;
    let (writer, reader) = (connection.create_channel().await?, connection.create_channel().await?);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    writer.queue_declare(QUEUE.into(), durable, FieldTable::default()).await?;
    writer.confirm_select(ConfirmSelectOptions::default()).await?;
    reader.basic_qos(TAKEN_MAX, BasicQosOptions::default()).await?;
    let consumer = reader
        .basic_consume(QUEUE.into(), "worker".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await?;
    let (done, delivered) = mpsc::channel(IN_FLIGHT_MAX);
    tokio::select! {
        biased;
        result = write(writer, submissions) => result,
        result = take(reader, consumer, courier, done, delivered) => result,
    }
}

async fn write(channel: Channel, mut submissions: mpsc::Receiver<Submission>) -> lapin::Result<()> {
    while let Some(Submission { message, durable }) = submissions.recv().await {
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions::default();
        let confirm = channel.basic_publish("".into(), QUEUE.into(), options, &message, properties).await?;
        tokio::task::spawn_local(async move {
            if matches!(confirm.await, Ok(Confirmation::Ack(None))) {
                let _ = durable.send(());
            }
        });
    }
    Ok(())
}

/// Delivers what comes and acknowledges it: each tag when it and all before it are delivered, several in one frame.
async fn take(
    channel: Channel,
    mut consumer: Consumer,
    courier: Rc<Courier>,
    done: mpsc::Sender<u64>,
    mut delivered: mpsc::Receiver<u64>,
) -> lapin::Result<()> {
    let mut in_flight = BTreeSet::new();
    let (mut last, mut acknowledged) = (0, 0);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            count = delivered.recv_many(&mut batch, TAKEN_MAX.into()) => {
                assert!(count > 0, "we hold a sender");
                for tag in batch.drain(..) {
                    in_flight.remove(&tag);
                }
                let until = in_flight.first().map_or(last, |first| first - 1);
                if until > acknowledged {
                    channel.basic_ack(until, BasicAckOptions { multiple: true }).await?;
                    acknowledged = until;
                }
            }
            delivery = consumer.next() => {
                let Some(delivery) = delivery else { return Ok(()) };
                let delivery = delivery?;
                let (tag, message) = (delivery.delivery_tag, Bytes::from(delivery.data));
                last = tag;
                in_flight.insert(tag);
                let (courier, done) = (Rc::clone(&courier), done.clone());
                tokio::task::spawn_local(async move {
                    if courier.deliver(message).await.is_ok() {
                        let _ = done.send(tag).await;
                    }
                });
            }
        }
    }
}
