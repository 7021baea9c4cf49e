//! beanstalkd: puts in a pipeline over one connection, and a connection for each delivery in flight.
//!
//! The protocol is a few lines of text (`/usr/share/doc/beanstalkd/protocol.txt`). A connection that reserves is busy until a
//! job comes, and only it may delete that job: hence one each.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::courier::{Courier, IN_FLIGHT_MAX};
use super::ingress::{SUBMITTED_MAX, Submission};

/// Puts in one write.
const BATCH_MAX: usize = 256;
/// Seconds for which a job is reserved: far more than a delivery takes.
const RESERVED_SECONDS: u32 = 3600;

/// Runs until beanstalkd fails.
pub async fn run(address: &str, submissions: mpsc::Receiver<Submission>, courier: Rc<Courier>) -> io::Result<()> {
    let (answers, puts) = connect(address).await?.into_split();
    let (asked, waiting) = mpsc::channel(SUBMITTED_MAX);
    let workers = try_join_all((0..IN_FLIGHT_MAX).map(|_| work(address, &courier)));
    tokio::select! {
        biased;
        result = confirm(answers, waiting) => result,
        result = write(puts, submissions, asked) => result,
        result = workers => result.map(drop),
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn write(
    mut beanstalkd: OwnedWriteHalf,
    mut submissions: mpsc::Receiver<Submission>,
    asked: mpsc::Sender<VecDeque<oneshot::Sender<()>>>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut output = Vec::new();
    while submissions.recv_many(&mut batch, BATCH_MAX).await > 0 {
        output.clear();
        let mut durable = VecDeque::with_capacity(batch.len());
        for submission in batch.drain(..) {
            let head = format!("put 0 0 {RESERVED_SECONDS} {}\r\n", submission.message.len());
            for part in [head.as_bytes(), &submission.message, b"\r\n"] {
                output.extend_from_slice(part);
            }
            durable.push_back(submission.durable);
        }
        asked.send(durable).await.map_err(io::Error::other)?;
        beanstalkd.write_all(&output).await?;
    }
    Ok(())
}

/// Answers to puts come in order, each when its job is on the disk.
async fn confirm(
    beanstalkd: OwnedReadHalf,
    mut waiting: mpsc::Receiver<VecDeque<oneshot::Sender<()>>>,
) -> io::Result<()> {
    let mut answers = BufReader::new(beanstalkd);
    let mut line = String::new();
    while let Some(batch) = waiting.recv().await {
        for durable in batch {
            if read(&mut answers, &mut line).await?.starts_with("INSERTED ") {
                let _ = durable.send(());
            }
        }
    }
    Ok(())
}

/// Delivers one job after the other.
async fn work(address: &str, courier: &Courier) -> io::Result<()> {
    let mut beanstalkd = BufReader::new(connect(address).await?);
    let mut line = String::new();
    beanstalkd.write_all(b"reserve\r\n").await?;
    loop {
        let unexpected = |line: &str| io::Error::other(format!("beanstalkd says {line:?}"));
        let answer = read(&mut beanstalkd, &mut line).await?;
        let job = answer.strip_prefix("RESERVED ").and_then(|job| job.split_once(' '));
        let (id, bytes) = job.ok_or_else(|| unexpected(answer))?;
        let mut message = vec![0; bytes.parse::<usize>().map_err(io::Error::other)? + "\r\n".len()];
        let next = format!("delete {id}\r\nreserve\r\n");
        beanstalkd.read_exact(&mut message).await?;
        message.truncate(message.len() - "\r\n".len());
        courier.deliver(Bytes::from(message)).await?;
        beanstalkd.write_all(next.as_bytes()).await?;
        let answer = read(&mut beanstalkd, &mut line).await?;
        if answer != "DELETED" {
            return Err(unexpected(answer));
        }
    }
}

/// The next line, without its end.
async fn read<'a>(input: &mut (impl AsyncBufReadExt + Unpin), line: &'a mut String) -> io::Result<&'a str> {
    line.clear();
    if input.read_line(line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end())
}
