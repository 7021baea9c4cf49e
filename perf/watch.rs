//! Looks at a running dispatcher once a second, from outside: its log's files, and every few seconds its metrics.
//! What the machine itself lost to its hypervisor stands beside them.
//!
//! It writes what happened in which second of the wall clock, so that it can be laid beside latencies second by second. Files are
//! looked at in their directory, because a scrape is itself one of the events, and must not be in every second.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dispatcher::time::{monotonic_now, unix_now};
use tokio::signal::unix::{SignalKind, signal};

mod get;
#[path = "watch/scrape.rs"]
mod scrape;

use scrape::Scrape;

/// Prints a line for each second until it is told to stop.
#[derive(Parser, Clone, Debug)]
struct Options {
    /// The directory of a core's segments.
    #[arg(long)]
    log: PathBuf,
    /// The metrics of the dispatcher.
    #[arg(long, value_name = "URL")]
    metrics: String,
    /// They are scraped in every second of the wall clock that this divides.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

const SECOND_MS: u64 = 1000;
/// The unit of /proc/stat on every architecture that Rust runs on under Linux: USER_HZ is 100.
const TICK_MS: u64 = 10;
/// When in its second a scrape is made: far from the look at the files.
const SCRAPE_AT_MS: u64 = 500;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watch: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok(()),
        ended = watch(options) => ended,
    }
}

async fn watch(options: &Options) -> io::Result<()> {
    say("unix_s\trolled\treleased\tscrape_ms\tslowest_commit_ms\tpending\tlive_bytes\tlog_bytes\tstolen_ms")?;
    let mut last = Scrape::default();
    let mut second = until(SECOND_MS).await;
    let mut files = Files::look(&options.log)?;
    let mut stolen_ms = stolen_ms_so_far()?;
    loop {
        let mut scraped = "-\t-\t-\t-\t-".to_owned();
        if second.is_multiple_of(options.every) {
            until(SCRAPE_AT_MS).await;
            let start = monotonic_now();
            let (authority, path) = get::split(&options.metrics)?;
            let scrape = Scrape::read(&String::from_utf8_lossy(&get::body(authority, path).await?));
            let ms = start.elapsed().as_secs_f64() * 1e3;
            let slowest = scrape.slowest_commit_ms(&last);
            let Scrape { pending, live_bytes, log_bytes, .. } = &scrape;
            scraped = format!("{ms:.3}\t{slowest}\t{pending}\t{live_bytes}\t{log_bytes}");
            last = scrape;
        }
        let next = until(SECOND_MS).await;
        let now = Files::look(&options.log)?;
        let (rolled, released) = (now.newest - files.newest, now.oldest - files.oldest);
        let stolen_ms_now = stolen_ms_so_far()?;
        say(&format!("{second}\t{rolled}\t{released}\t{scraped}\t{}", stolen_ms_now - stolen_ms))?;
        (second, files, stolen_ms) = (next, now, stolen_ms_now);
    }
}

/// Milliseconds of all cores that a hypervisor gave to others while something wanted to run here; 0 where there is none.
fn stolen_ms_so_far() -> io::Result<u64> {
    // proc_stat(5): "cpu", then user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
    let stat = std::fs::read_to_string("/proc/stat")?;
    Ok(stat.split_whitespace().nth(8).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default() * TICK_MS)
}

/// Sleeps to the next moment that is `ms` after a full second, and returns which second it is then.
async fn until(ms: u64) -> u64 {
    let now = unix_now().0;
    let wait = (SECOND_MS + ms - now % SECOND_MS - 1) % SECOND_MS + 1;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    (now + wait) / SECOND_MS
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The numbers of the oldest and the newest segment.
struct Files {
    oldest: u64,
    newest: u64,
}

impl Files {
    fn look(folder: &Path) -> io::Result<Self> {
        let mut files = Self { oldest: u64::MAX, newest: 0 };
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".wal")?.parse().ok());
            if let Some(number) = number {
                files.oldest = files.oldest.min(number);
                files.newest = files.newest.max(number);
            }
        }
        if files.oldest > files.newest {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no segments in {}", folder.display())));
        }
        Ok(files)
    }
}
