//! The binary: reads arguments and environment, then runs what was asked.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use dispatcher::cli::{self, Cli, Command};
use dispatcher::config::Loaded;
use dispatcher::inspect::{self, LogCommand, Verdict};
use dispatcher::{dead, demo, doctor, server, stat, telemetry};

/// Each message takes memory that is too large for the quick lists of glibc's allocator (records, buffers of answers).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A variable, an address or the log cannot be used.
const UNUSABLE: u8 = 2;
/// A log was read and something in it is damaged.
const DAMAGED: u8 = 1;

fn main() -> ExitCode {
    let command = Cli::read().command;
    match &command {
        Some(Command::Demo(options)) => return demo::run(options),
        Some(Command::Log(command)) => return read_log(command),
        Some(Command::Dead(command)) => return dead::run(command),
        Some(Command::Doctor(options)) => return doctor::run(options),
        Some(Command::Stat(options)) => return stat::run(options),
        Some(Command::Completions { shell }) => return print(&cli::completions(*shell)),
        Some(Command::Man { directory: None }) => return cli::man().map_or(ExitCode::FAILURE, |page| print(&page)),
        Some(Command::Man { directory: Some(directory) }) => {
            return match cli::man_into(directory) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("dispatcher: {}: {error}", directory.display());
                    ExitCode::from(UNUSABLE)
                }
            };
        }
        Some(Command::CheckConfig) | None => {}
    }
    let loaded = match Loaded::from_env() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("dispatcher: {error}");
            return ExitCode::from(UNUSABLE);
        }
    };
    if let Some(Command::CheckConfig) = command {
        for (name, meant) in &loaded.typos {
            eprintln!("dispatcher: {name} is not a variable of ours: did you mean {meant}?");
        }
        return print(cli::effective(&loaded).as_bytes());
    }
    let telemetry = match telemetry::init(loaded.config.log_level, loaded.config.log_format) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("dispatcher: starting: {error}");
            return ExitCode::from(UNUSABLE);
        }
    };
    for (name, meant) in &loaded.typos {
        tracing::warn!(variable = %name, "not a variable of ours: did you mean {meant}?");
    }
    match server::run(Arc::new(loaded.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry.tell_failure(&telemetry::chain(&error), error.exit_code());
            ExitCode::from(error.exit_code())
        }
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    if std::io::stdout().write_all(bytes).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read_log(command: &LogCommand) -> ExitCode {
    match inspect::run(command) {
        Ok(Verdict::Intact) => ExitCode::SUCCESS,
        Ok(Verdict::Damaged) => ExitCode::from(DAMAGED),
        Err(error) => {
            eprintln!("dispatcher: {}", telemetry::chain(&error));
            ExitCode::from(UNUSABLE)
        }
    }
}
