//! A table in PostgreSQL: one INSERT for all requests that wait, and workers that take batches with SKIP LOCKED.
//!
//! A worker deletes a batch in a transaction that it commits when all of it is delivered: until then the rows are locked and
//! there, and a worker that dies leaves them to the others.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::{Notify, mpsc};
use tokio_postgres::{Client, NoTls};

use super::courier::Courier;
use super::ingress::Submission;

/// Messages in one INSERT.
const INSERT_MAX: usize = 256;
/// Messages that one worker takes at a time, and workers. On one core more and smaller transactions cost more CPU and bring
/// nothing: measured with 1, 2, 4 and 8 workers and 16 to 128 messages.
const TAKE_MAX: i64 = 128;
const WORKERS: usize = 1;
/// A worker that found nothing looks again when it is told to, or after this long.
const POLL: Duration = Duration::from_secs(1);

const TABLE: &str = "DROP TABLE IF EXISTS messages; \
    CREATE TABLE messages (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message bytea NOT NULL); \
    ALTER TABLE messages ALTER message SET STORAGE EXTERNAL";
const INSERT: &str = "INSERT INTO messages (message) SELECT unnest($1::bytea[])";
const TAKE: &str = "DELETE FROM messages WHERE id = ANY (ARRAY(SELECT id FROM messages ORDER BY id \
    FOR UPDATE SKIP LOCKED LIMIT $1)) RETURNING message";
/// A removal that a crash undoes is a message delivered twice, which is allowed; so it waits for no disk.
const WORKER: &str = "SET synchronous_commit = off";

/// Runs until PostgreSQL fails. `address` is host:port.
pub async fn run(address: &str, submissions: mpsc::Receiver<Submission>, courier: Rc<Courier>) -> io::Result<()> {
    let writer = connect(address).await.map_err(io::Error::other)?;
    writer.batch_execute(TABLE).await.map_err(io::Error::other)?;
    let news = Notify::new();
    let workers = try_join_all((0..WORKERS).map(|_| work(address, &courier, &news)));
    tokio::select! {
        biased;
        result = write(writer, submissions, &news) => result.map_err(io::Error::other),
        result = workers => result.map(drop),
    }
}

async fn connect(address: &str) -> Result<Client, tokio_postgres::Error> {
    let (host, port) = address.split_once(':').unwrap_or((address, "5432"));
    let (client, connection) =
        tokio_postgres::connect(&format!("host={host} port={port} user=postgres dbname=postgres"), NoTls).await?;
    tokio::task::spawn_local(connection);
    Ok(client)
}

async fn write(
    client: Client,
    mut submissions: mpsc::Receiver<Submission>,
    news: &Notify,
) -> Result<(), tokio_postgres::Error> {
    let insert = client.prepare(INSERT).await?;
    let mut batch = Vec::with_capacity(INSERT_MAX);
    while submissions.recv_many(&mut batch, INSERT_MAX).await > 0 {
        let messages: Vec<&[u8]> = batch.iter().map(|submission: &Submission| &submission.message[..]).collect();
        client.execute(&insert, &[&messages]).await?;
        for submission in batch.drain(..) {
            let _ = submission.durable.send(());
        }
        news.notify_one();
    }
    Ok(())
}

async fn work(address: &str, courier: &Courier, news: &Notify) -> io::Result<()> {
    let client = connect(address).await.map_err(io::Error::other)?;
    client.batch_execute(WORKER).await.map_err(io::Error::other)?;
    let take = client.prepare(TAKE).await.map_err(io::Error::other)?;
    loop {
        // Both are sent at once, and answered in order.
        let taken = tokio::try_join!(client.batch_execute("BEGIN"), client.query(&take, &[&TAKE_MAX]));
        let (_, rows) = taken.map_err(io::Error::other)?;
        if i64::try_from(rows.len()).is_ok_and(|count| count == TAKE_MAX) {
            news.notify_one();
        }
        let found = !rows.is_empty();
        let message = |row: tokio_postgres::Row| Bytes::copy_from_slice(row.get(0));
        try_join_all(rows.into_iter().map(|row| courier.deliver(message(row)))).await?;
        client.batch_execute("COMMIT").await.map_err(io::Error::other)?;
        if !found {
            let _ = tokio::time::timeout(POLL, news.notified()).await;
        }
    }
}
