//! Ingress and worker before a durable queue, as small as they can be: what a user would write who took that queue.
//!
//! Answers 202 when the queue has confirmed that the message is durable; takes messages from the queue, delivers them to the
//! origin over kept connections, and removes them after a 2xx. No retries beyond trying again, no dead letters, no metrics:
//! all of that would cost more.

use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

mod beanstalkd;
mod courier;
mod ingress;
mod jetstream;
mod message;
mod postgres;
mod rabbitmq;
mod redis_stream;

use courier::Courier;
use ingress::{SUBMITTED_MAX, Submission};

/// Accepts requests, queues them durably, and delivers them.
#[derive(Parser, Clone, Debug)]
struct Options {
    /// The kind of queue.
    #[arg(long)]
    queue: Queue,
    /// Where it is, as host:port.
    #[arg(long)]
    address: String,
    /// Where messages go, as host:port.
    #[arg(long)]
    origin: String,
    /// Where to listen; port 0 takes a free one and prints it.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Queue {
    Redis,
    Postgres,
    Rabbitmq,
    Beanstalkd,
    Nats,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // One thread: server, ingress and worker share one core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| tokio::task::LocalSet::new().block_on(&runtime, run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (submit, submissions) = mpsc::channel(SUBMITTED_MAX);
    let courier = Rc::new(Courier::new(&options.origin));
    let mut out = io::stdout().lock();
    writeln!(out, "listening {}", listener.local_addr()?)?;
    out.flush()?;
    tokio::select! {
        biased;
        result = queue(options, submissions, courier) => result,
        result = ingress::serve(listener, submit) => result,
        _ = terminate.recv() => Ok(()),
    }
}

/// Runs the queue's side until it fails.
async fn queue(options: &Options, submissions: mpsc::Receiver<Submission>, courier: Rc<Courier>) -> io::Result<()> {
    let address = &options.address;
    match options.queue {
        Queue::Redis => redis_stream::run(address, submissions, courier).await,
        Queue::Postgres => postgres::run(address, submissions, courier).await,
        Queue::Rabbitmq => rabbitmq::run(address, submissions, courier).await,
        Queue::Beanstalkd => beanstalkd::run(address, submissions, courier).await,
        Queue::Nats => jetstream::run(address, submissions, courier).await,
    }
}
