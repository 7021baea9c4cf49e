//! The command line: what to run, and the help that explains every variable.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Loaded;
use crate::config::table::{VARIABLES, Variable};
use crate::config::values::size_text;
use crate::memory::Memory;

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
    /// Prints the effective value of every variable, whether the environment set it, and how MAX_MEMORY is divided
    CheckConfig,
    /// Reads a log, with the daemon running or not: what is in it, and whether it is intact
    #[command(subcommand)]
    Log(crate::inspect::LogCommand),
    /// Shows what a running daemon does: rates, latencies, backlog and circuits by destination, space
    Stat(crate::stat::Options),
    /// Lists, shows, replays and deletes dead letters of a running daemon
    #[command(subcommand)]
    Dead(crate::dead::DeadCommand),
}

impl Cli {
    /// From the process's arguments; prints help, version or an error and exits where those are due.
    pub fn read() -> Self {
        Self::from_arg_matches(&described().get_matches()).unwrap_or_else(|error| error.exit())
    }
}

fn described() -> clap::Command {
    Cli::command().after_help(variables_help())
}

/// The table of variables and exit codes, as `--help` prints it.
pub fn variables_help() -> String {
    let widest = |text: fn(&Variable) -> &str| VARIABLES.iter().map(|variable| text(variable).len()).max();
    let names = widest(|variable| variable.name).unwrap_or_default();
    let defaults = widest(|variable| variable.default).unwrap_or_default();
    let mut help = "Environment variables, with their defaults. An empty one has its default. Sizes are bytes, or as \
                    64KiB 16MiB 2GiB;\ndurations are milliseconds, or as 500ms 10s 5m 2h 7d.\n"
        .to_owned();
    for Variable { name, alias, default, meaning, .. } in VARIABLES {
        let alias = alias.map(|alias| format!(" (alias {alias})")).unwrap_or_default();
        help.push_str(&format!("  {name:names$}  {default:defaults$}  {meaning}{alias}\n"));
    }
    help.push_str(
        "\nExit status:\n  0  stopped as asked\n  2  a variable, an address or the log cannot be used\n  \
         3  the log cannot be written any more\n",
    );
    help
}

/// The effective values, as `check-config` prints them, and how `MAX_MEMORY` is divided.
pub fn effective(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let memory = config.memory(config.max_connections.into()).map(Memory::new);
    let parts = memory.iter().flat_map(|memory| memory.parts(0));
    let parts = parts.map(|(part, _, bytes)| format!("# memory: {part} {}\n", size_text(bytes)));
    let line = |(name, value, set): &(&str, String, bool)| {
        format!("{name}={value}  # {}\n", if *set { "environment" } else { "default" })
    };
    loaded.effective.iter().map(line).chain(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_says_what_it_is_and_explains_every_variable_and_exit_status() {
        let help = described().render_long_help().to_string();
        for variable in VARIABLES {
            let line = help.lines().find(|line| line.split_whitespace().next() == Some(variable.name));
            let line = line.unwrap_or_else(|| panic!("{}", variable.name));
            assert!(line.contains(variable.default) && line.contains(variable.meaning), "{line}");
            assert!(line.contains(variable.alias.unwrap_or_default()), "{line}");
        }
        for part in
            ["answers 202", "Usage:", "demo", "check-config", "log", "--version", "\n  0  ", "\n  2  ", "\n  3  "]
        {
            assert!(help.contains(part), "{part:?}");
        }
    }

    #[test]
    fn check_config_prints_each_effective_value_with_its_origin() {
        let vars = [("WORKER", "3"), ("RETRY_LIMIT", "4"), ("LISTEN", "")];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = effective(&Loaded::from_vars(vars).expect("valid"));
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), VARIABLES.len());
        for part in ["fixed", "connections", "messages", "deliveries", "index"] {
            assert!(text.contains(&format!("\n# memory: {part} ")), "{part}\n{text}");
        }
        for line in [
            "WORKER=3  # environment",
            "RETRYLIMIT=4  # environment",
            "LISTEN=:80  # default",
            "TLS_CA=  # default",
            "DEAD_LETTER=transaction.log/dead-letter  # default",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_commands_are_serve_demo_check_config_log_and_dead() {
        described().debug_assert();
        let parsed = |args: &[&str]| Cli::try_parse_from(args).map(|cli| cli.command);
        assert!(matches!(parsed(&["dispatcher"]), Ok(None)));
        assert!(matches!(parsed(&["dispatcher", "check-config"]), Ok(Some(Command::CheckConfig))));
        assert!(matches!(parsed(&["dispatcher", "demo"]), Ok(Some(Command::Demo(_)))));
        for reads in ["cat", "verify"] {
            assert!(matches!(parsed(&["dispatcher", "log", reads]), Ok(Some(Command::Log(_)))));
        }
        for acts in [&["ls"][..], &["show", "x"], &["replay", "--all"], &["rm", "x"]] {
            let args = [&["dispatcher", "dead"], acts].concat();
            assert!(matches!(parsed(&args), Ok(Some(Command::Dead(_)))), "{args:?}");
        }
        assert_eq!(parsed(&["dispatcher", "srve"]).expect_err("unknown").exit_code(), 2);
    }
}
