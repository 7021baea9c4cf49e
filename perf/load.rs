//! The load generator: open loop (`--rate`) or closed loop, latencies, and with `--verify` a count of what was lost.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dispatcher::time::monotonic_now;

#[path = "load/answer.rs"]
mod answer;
#[path = "load/arrivals.rs"]
mod arrivals;
mod clock;
mod get;
#[path = "load/message.rs"]
mod message;
#[path = "load/pace.rs"]
mod pace;
#[path = "load/series.rs"]
mod series;
mod table;
#[path = "load/tally.rs"]
mod tally;
#[path = "load/thread.rs"]
mod thread;
#[path = "load/tls.rs"]
mod tls;
#[path = "load/verify.rs"]
mod verify;

use message::{Mix, Template};
use pace::{Pace, Plan};
use series::Series;
use tally::Tally;
use thread::{Route, Thread};
use tls::Tls;

/// Sends messages to a dispatcher and reports how long its acknowledgements took.
#[derive(Parser, Clone, Debug)]
struct Options {
    /// The dispatcher (or whatever is measured), as host:port.
    #[arg(long)]
    target: String,
    /// The origin the messages are for, as host:port; several take turns; without one, plain requests are sent.
    #[arg(long)]
    origin: Vec<String>,
    /// An origin, as host:port, that takes little or nothing: what is sent there is not looked for by --verify; several take
    /// turns.
    #[arg(long, value_name = "ORIGIN")]
    beside: Vec<String>,
    /// One of so many messages is for an origin of --beside.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    beside_every: u64,
    /// A PEM file with the root of the target's certificate: TLS is spoken to it.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The request target.
    #[arg(long, default_value = "/hook?from=load")]
    path: String,
    /// Connections, kept alive, over all threads.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Requests in flight on one connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pipeline: u16,
    /// Messages per second, open loop: latency counts from when a message was due. Without it a closed loop.
    #[arg(long)]
    rate: Option<f64>,
    /// How long, in seconds; 10 if neither this nor --messages is given.
    #[arg(long)]
    duration: Option<f64>,
    /// How many messages.
    #[arg(long)]
    messages: Option<u64>,
    /// Body size in bytes.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Writes latencies second by second to this file.
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// The summary of the sink; waits until it has seen all that was acknowledged.
    #[arg(long, value_name = "URL")]
    verify: Option<String>,
    /// How long --verify waits, in seconds.
    #[arg(long, default_value_t = 60)]
    verify_seconds: u64,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Bound on a run that is given as a number of messages.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing that was acknowledged is missing.
fn run(options: &Options) -> io::Result<bool> {
    if options.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "--rate must be above zero"));
    }
    let (tally, elapsed) = generate(options)?;
    let mut summary = tally.summary(elapsed);
    summary["cpu_seconds"] = cpu_seconds().into();
    if let (Some(file), Some(series)) = (&options.series, &tally.series) {
        std::fs::write(file, series.table())?;
    }
    let mut complete = true;
    if let Some(url) = &options.verify {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let limit = Duration::from_secs(options.verify_seconds);
        let verdict = runtime.block_on(verify::verify(url, &tally, limit))?;
        complete = verdict["lost"] == 0 && verdict["checksum_errors"] == 0;
        summary["verify"] = verdict;
    }
    print(&summary, options.json)?;
    Ok(complete)
}

/// CPU time of this process so far: on a core that it shares, what it had of it.
fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default().as_secs_f64()
}

fn generate(options: &Options) -> io::Result<(Tally, Duration)> {
    let duration = match (options.duration, options.messages) {
        (Some(seconds), _) => Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?,
        (None, Some(_)) => DURATION_MAX,
        (None, None) => Duration::from_secs(10),
    };
    let threads = options.threads.min(options.connections);
    let messages = options.messages.unwrap_or(u64::MAX / 2);
    let plan = Plan { rate: options.rate, duration, messages, threads: threads.into() };
    let tls = options.tls_ca.as_ref().map(|roots| Tls::new(roots, &options.target)).transpose()?;
    let route = Route { target: options.target.clone(), tls, pipeline: options.pipeline.into() };
    let series = options.series.as_ref().map(|_| Series::new());
    let mix = mix(options);
    let start = monotonic_now();
    let handles: Vec<_> = (0..threads)
        .map(|number| {
            let (route, mix) = (route.clone(), mix.clone());
            let tally = Tally::with(series.clone());
            let connections = options.connections / threads + u16::from(number < options.connections % threads);
            std::thread::spawn(move || {
                let pace = Pace::new(plan, number.into(), start);
                Thread::new(route, mix, pace, tally).run(connections.into(), duration)
            })
        })
        .collect();
    let mut all = Tally::with(series);
    for handle in handles {
        all.merge(&handle.join().map_err(|_| io::Error::other("a thread panicked"))??);
    }
    Ok((all, start.elapsed()))
}

fn mix(options: &Options) -> Mix {
    let body = message::body(options.body);
    let template = |origin: Option<&str>| Template::new(&options.target, origin, &options.path, body.clone());
    let mut templates: Vec<_> = options.origin.iter().map(|origin| template(Some(origin))).collect();
    if templates.is_empty() {
        templates.push(template(None));
    }
    let beside = options.beside.iter().map(|origin| template(Some(origin))).collect();
    Mix::new(templates, beside, options.beside_every)
}

fn print(summary: &serde_json::Value, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        return writeln!(out, "{summary}");
    }
    for (name, value) in summary.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
                writeln!(out, "{name:<24} {}", fields.join("  "))?;
            }
            None => writeln!(out, "{name:<24} {value}")?,
        }
    }
    Ok(())
}
