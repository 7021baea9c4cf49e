//! `dispatcher doctor`: whether this machine can keep what the daemon promises, asked before it runs or while it does.

// What a check found.
mod finding;
// Addresses, names, trust.
mod network;
// The place of the log.
mod storage;
// What the kernel allows.
mod system;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::config::{Config, Loaded};
use crate::telemetry::chain;
use crate::wal::lock;
use finding::{Finding, Verdict};

const HELP: &str = "\
It looks with the variables of its environment, as the daemon would: run it as the same user, with the same limits. It writes
a file without a name beside the log, touches nothing of the log, and leaves nothing behind; a running daemon is left alone.

Examples:
  TRANSACTION_LOG=/var/lib/dispatcher dispatcher doctor
  dispatcher doctor --json | jq '.[] | select(.verdict != \"ok\")'

Exit status:
  0  no problem; warnings may be told
  1  a problem
  2  a variable cannot be used";

/// Options of `dispatcher doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub struct Options {
    /// Prints an array of JSON objects
    #[arg(long)]
    json: bool,
}

/// Looks at everything and prints what it found.
pub fn run(options: &Options) -> ExitCode {
    let config = match Loaded::from_env() {
        Ok(loaded) => loaded.config,
        Err(error) => {
            eprintln!("dispatcher: {error}");
            return ExitCode::from(2);
        }
    };
    let findings = findings(&config);
    match print(&findings, options.json) {
        // Who reads has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("dispatcher: {error}");
            ExitCode::from(2)
        }
        _ if finding::count(&findings, Verdict::Problem) > 0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn print(findings: &[Finding], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, findings)?;
        writeln!(out)
    } else {
        out.write_all(finding::text(findings).as_bytes())
    }
}

fn findings(config: &Config) -> Vec<Finding> {
    let holder = lock::holder(&config.transaction_log);
    let holder = holder.as_deref();
    let mut findings = vec![system::io_uring(config), system::seccomp()];
    findings.extend(system::division(config));
    findings.extend([system::memory(config), system::processors(config), system::clock()]);
    match storage::Place::of(config) {
        Ok(place) => {
            findings.extend([place.log(holder), place.filesystem(), place.space(config)]);
            findings.extend(place.writes(config));
        }
        Err(error) => findings.push(Finding::problem("log", chain(&error), "a TRANSACTION_LOG that can be reached")),
    }
    findings.extend(network::ports(config, holder));
    findings.push(network::names());
    findings.extend(network::trust(config));
    findings
}
