//! The command line: what to run, and the help that explains every variable.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Loaded;
use crate::config::table::VARIABLES;

/// Takes HTTP requests, puts them on disk, answers 202, and delivers them until they are.
///
/// Send a request exactly as you would send it to its destination, with the header X-Dispatcher-Origin-Host naming
/// the destination. The answer 202 means that the request is on stable storage; it is then delivered, retried, and
/// dead-lettered when its retries are used up. Configured by environment variables alone.
#[derive(Debug, Parser)]
#[command(name = "dispatcher", version)]
pub struct Cli {
    /// What to do; without a command: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Shows the main job on this machine in under a minute: 10,000 messages, a failing receiver, a kill -9 half-way
    Demo(crate::demo::Options),
    /// Prints the effective value of every variable and whether the environment set it
    CheckConfig,
}

impl Cli {
    /// From the process's arguments; prints help, version or an error and exits where those are due.
    pub fn read() -> Self {
        let matches = Self::command().after_help(variables_help()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The table of variables and exit codes, as `--help` prints it.
pub fn variables_help() -> String {
    let width = |text: fn(&crate::config::table::Variable) -> &str| VARIABLES.iter().map(|v| text(v).len()).max().unwrap_or(0);
    let (names, defaults) = (width(|v| v.name), width(|v| v.default));
    let mut help = "Environment variables (sizes: bytes, 64KiB, 16MiB, 2GiB; durations: milliseconds, 500ms, 10s, 5m, 2h, 7d):\n".to_owned();
    for variable in VARIABLES {
        let alias = variable.alias.map(|alias| format!(" (alias {alias})")).unwrap_or_default();
        let line = format!("  {:names$}  {:defaults$}  {}{alias}\n", variable.name, variable.default, variable.meaning);
        help.push_str(&line);
    }
    help.push_str("\nExit status: 0 stopped as asked; 2 a variable, an address or the log cannot be used; 3 the log cannot be written.");
    help
}

/// The effective values, as `check-config` prints them.
pub fn effective(loaded: &Loaded) -> String {
    let line = |(name, value, set): &(&str, String, bool)| {
        format!("{name}={value}  # {}\n", if *set { "environment" } else { "default" })
    };
    loaded.effective.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_explains_every_variable_and_check_config_prints_each() {
        let loaded = Loaded::from_vars([("WORKER".to_owned(), "3".to_owned())]).expect("valid");
        let (help, effective) = (variables_help(), effective(&loaded));
        for variable in VARIABLES {
            assert!(help.contains(&format!("  {} ", variable.name)), "{}", variable.name);
            assert!(effective.lines().any(|line| line.starts_with(&format!("{}=", variable.name))));
        }
        assert!(effective.contains("WORKER=3  # environment\n") && effective.contains("RETRYLIMIT=10  # default\n"));
        Cli::command().debug_assert();
    }
}
