//! `dispatcher stat`: what a running daemon does now, from its metrics, as a live view or as plain text.

// Two scrapes to figures.
mod figures;
// Figures to lines.
mod print;
// Text to series.
mod scrape;
// The live view.
mod screen;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::config::Loaded;
use crate::config::values;
use crate::dead::client::{Client, ClientError, CommandError, exit_code};
use crate::telemetry::chain;
use crate::time::{Millis, Rfc3339, UnixMillis, monotonic_now, unix_now};
use figures::Figures;
use scrape::Scrape;

/// For an answer: a daemon answers a scrape within two seconds, or with what it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest interval, in milliseconds: each scrape costs the daemon a copy of its histograms.
const INTERVAL_MS_MIN: u64 = 100;
/// Longest interval, in milliseconds.
const INTERVAL_MS_MAX: u64 = 86_400_000;

const HELP: &str = "\
On a terminal this is a live view: q or Ctrl-C ends it. Elsewhere it prints a block for each interval, with --json a line.
Rates and latencies are those of the last interval. Latencies are exact to the bucket they fall into. The daemon is found by
ADMIN_LISTEN, or --admin.

Examples:
  dispatcher stat
  dispatcher stat --interval 10s --count 6 > figures.txt
  dispatcher stat --json --count 1 | jq .rates.delivered

Exit status:
  0  done
  1  the daemon was gone at the end
  2  there is no daemon at the start, or an argument cannot be used";

/// Options of `dispatcher stat`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// The admin listener, as http://127.0.0.1:8081 [default: ADMIN_LISTEN]
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Between two looks, as 500ms 2s 1m; at least 100ms
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Ends after so many intervals
    #[arg(long, value_name = "INTERVALS")]
    count: Option<u64>,
    /// Prints a line of JSON for each interval
    #[arg(long)]
    json: bool,
    /// Prints text, on a terminal too
    #[arg(long)]
    plain: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let parsed = values::duration(text).filter(|span| (INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&span.0));
    parsed.map(Millis::duration).ok_or_else(|| "expected 100ms to 1d, such as 500ms or 2s".to_owned())
}

/// Runs it.
pub fn run(options: &Options) -> ExitCode {
    exit_code(try_run(options))
}

/// `false`: the daemon was gone at the end.
fn try_run(options: &Options) -> Result<bool, CommandError> {
    let config = Loaded::from_env()?.config;
    let client = match &options.admin {
        Some(url) => Client::of_url(url, None)?,
        None => Client::of_listen(config.admin_listen, None),
    };
    let mut watch = Watch::start(client)?;
    if !options.json && !options.plain && io::stdout().is_terminal() {
        return Ok(screen::run(&mut watch, options.interval, options.count)?);
    }
    let mut out = io::stdout().lock();
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        left -= 1;
        watch.runtime.block_on(async { tokio::time::sleep(options.interval).await });
        let was_gone = watch.gone.is_some();
        match watch.look() {
            Ok(figures) => {
                if was_gone {
                    eprintln!("dispatcher: {} answers again", watch.place());
                }
                if options.json {
                    let line = serde_json::to_string(&Told { at: Rfc3339(watch.at), figures: &figures });
                    writeln!(out, "{}", line.map_err(io::Error::from)?)?;
                } else {
                    let lines = watch.lines(&figures, print::ORIGINS_SHOWN);
                    writeln!(out, "{}\n", lines.join("\n"))?;
                }
                out.flush()?;
            }
            Err(error) if !was_gone => eprintln!("dispatcher: {}; it is looked for again", chain(&error)),
            Err(_) => {}
        }
    }
    Ok(watch.gone.is_none())
}

/// A line of JSON.
#[derive(serde::Serialize)]
struct Told<'f> {
    at: Rfc3339,
    #[serde(flatten)]
    figures: &'f Figures,
}

/// A daemon that is looked at again and again.
struct Watch {
    client: Client,
    runtime: tokio::runtime::Runtime,
    before: Option<(Scrape, Instant)>,
    /// When it was last looked at.
    at: UnixMillis,
    /// Why the last look was in vain.
    gone: Option<String>,
}

impl Watch {
    /// Looks for the first time. Errors: there is no daemon.
    fn start(client: Client) -> Result<Self, CommandError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut watch = Self { client, runtime, before: None, at: UnixMillis(0), gone: None };
        watch.look()?;
        Ok(watch)
    }

    fn place(&self) -> &str {
        self.client.authority()
    }

    /// Looks again. After an outage there is nothing to compare with at first.
    fn look(&mut self) -> Result<Figures, ClientError> {
        self.at = unix_now();
        let asked = async { tokio::time::timeout(ANSWER_TIMEOUT, self.client.read("/metrics")).await };
        let read = self.runtime.block_on(asked).unwrap_or(Err(ClientError::Late));
        let scrape = read
            .map(|text| Scrape::parse(&text))
            .and_then(|scrape| scrape.sum("dispatcher_build_info").map(|_| scrape).ok_or(ClientError::Stranger));
        match scrape {
            Ok(scrape) => {
                let now = monotonic_now();
                let before = self.before.as_ref().map(|(before, then)| (before, (now - *then).as_secs_f64()));
                let figures = Figures::of(&scrape, before, self.unix_seconds());
                (self.before, self.gone) = (Some((scrape, now)), None);
                Ok(figures)
            }
            Err(error) => {
                (self.before, self.gone) = (None, Some(chain(&error)));
                Err(error)
            }
        }
    }

    fn lines(&self, figures: &Figures, origins_max: usize) -> Vec<String> {
        // Whole seconds: it is for people.
        let time = Rfc3339(UnixMillis(self.at.0 / 1000 * 1000)).to_string().replace(".000", "");
        print::lines(figures, self.place(), &time, origins_max)
    }

    fn unix_seconds(&self) -> f64 {
        Duration::from_millis(self.at.0).as_secs_f64()
    }
}
