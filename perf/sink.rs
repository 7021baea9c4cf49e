//! A counting receiver: answers requests as cheaply as it can and says which messages came, how often, and intact.
//!
//! It shares the machine with the daemon under test, so it does no more than it must: one thread, one read and one
//! write per batch of requests, no chunked bodies (the dispatcher always forwards a `Content-Length`).

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use clap::Parser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

mod clock;
#[path = "sink/request.rs"]
mod request;
mod table;
#[path = "sink/tally.rs"]
mod tally;
#[path = "sink/tls.rs"]
mod tls;

use request::{Parsed, Request};
use tally::Tally;

/// Receives messages and counts them. `GET /-/summary`, `/-/seen`, `/-/arrivals` and `/-/reset` are its own.
#[derive(Parser, Clone, Debug)]
struct Options {
    /// Where to listen, may be given several times; port 0 takes a free one and prints it.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: Vec<String>,
    /// A PEM file with its certificate: it then speaks TLS to whoever begins with a handshake, and still plain HTTP to others.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// A PEM file with the key of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Waits this long before it answers, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Answers 503 to this share of the requests.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_percent: u8,
    /// The status of the other answers.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: u16,
}

/// First size of a connection's buffer, in bytes; it grows to one request.
const READ_BYTES: usize = 64 << 10;

struct Sink {
    delay: Duration,
    fail_percent: u8,
    succeeds: bool,
    answer: Vec<u8>,
    tls: Option<TlsAcceptor>,
    tally: RefCell<Tally>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| tokio::task::LocalSet::new().block_on(&runtime, run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sink: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> io::Result<()> {
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    let sink = Rc::new(Sink {
        delay: Duration::from_millis(options.delay_ms),
        fail_percent: options.fail_percent,
        succeeds: (200..300).contains(&options.status),
        answer: answer(options.status),
        tls,
        tally: RefCell::new(Tally::default()),
    });
    for address in &options.listen {
        let listener = TcpListener::bind(address).await?;
        say(&format!("listening {}", listener.local_addr()?))?;
        tokio::task::spawn_local(accept(listener, Rc::clone(&sink)));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let summary = sink.tally.borrow().summary().to_string();
    say(&summary)
}

async fn accept(listener: TcpListener, sink: Rc<Sink>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                sink.tally.borrow_mut().connections += 1;
                tokio::task::spawn_local(greet(stream, Rc::clone(&sink)));
            }
            // Out of descriptors: the backlog holds the others until one is free.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn answer(status: u16) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("HTTP/1.1 {status} {}\r\nContent-Length: 0\r\n\r\n", reason.unwrap_or("Status")).into_bytes()
}

/// One connection from its handshake to its end. Its errors are the dispatcher's to notice.
async fn greet(stream: TcpStream, sink: Rc<Sink>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = &sink.tls else { return serve(stream, &sink).await };
    let mut first = [0];
    if stream.peek(&mut first).await.is_ok() && first == [tls::HANDSHAKE] {
        if let Ok(stream) = tls.accept(stream).await {
            serve(stream, &sink).await;
        }
    } else {
        serve(stream, &sink).await;
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, sink: &Sink) {
    let mut input = BytesMut::with_capacity(READ_BYTES);
    let mut output = Vec::new();
    while stream.read_buf(&mut input).await.is_ok_and(|bytes| bytes > 0) {
        let mut open = true;
        while open {
            let taken = match request::parse(&input) {
                Parsed::Complete(request) => {
                    open = !request.close;
                    let bytes = request.bytes;
                    sink.take(&request, &mut output);
                    bytes
                }
                Parsed::Partial(needed) => {
                    input.reserve(needed.saturating_sub(input.len()).max(READ_BYTES / 4));
                    break;
                }
                Parsed::Bad(why) => {
                    sink.tally.borrow_mut().malformed += 1;
                    output.extend_from_slice(why.as_bytes());
                    open = false;
                    0
                }
            };
            input.advance(taken);
        }
        if !sink.delay.is_zero() {
            tokio::time::sleep(sink.delay).await;
        }
        // The flush matters to TLS alone, which may keep what was written in a buffer of its own.
        if stream.write_all(&output).await.is_err() || stream.flush().await.is_err() || !open {
            return;
        }
        output.clear();
    }
}

impl Sink {
    /// Counts a request and appends its answer.
    fn take(&self, request: &Request<'_>, output: &mut Vec<u8>) {
        let mut tally = self.tally.borrow_mut();
        let own = match request.path {
            "/-/summary" => tally.summary().to_string().into_bytes(),
            "/-/seen" => tally.seen(),
            "/-/arrivals" => tally.arrivals(),
            "/-/reset" => {
                *tally = Tally::default();
                Vec::new()
            }
            _ => {
                if tally.due_to_fail(self.fail_percent) {
                    output.extend_from_slice(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
                } else {
                    tally.receive(request, self.succeeds);
                    output.extend_from_slice(&self.answer);
                }
                return;
            }
        };
        output.extend_from_slice(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", own.len()).as_bytes());
        output.extend_from_slice(&own);
    }
}
