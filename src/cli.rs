//! The command line: what to run, and the help that explains every variable.

// Manual pages.
mod manual;

use std::io;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

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

const EXAMPLES: &str = "\
Examples:
  LISTEN=:8080 dispatcher                                      serves; the log is in ./transaction.log
  curl -H 'X-Dispatcher-Origin-Host: b.example' -d '{}' http://localhost:8080/orders
                                                               a message for b.example; 202: it is on the disk
  dispatcher stat                                              what a running daemon does
  dispatcher dead replay --origin b.example                    dead letters, once more
  dispatcher help COMMAND                                      all of one command

";

const CHECK_CONFIG_HELP: &str = "\
Opens none of the files that variables name, and asks nothing of the system: `dispatcher doctor` does.

Example:
  RETRYLIMIT=3 dispatcher check-config | grep -v default

Exit status:
  0  all can be used
  2  a variable cannot be used";

const COMPLETIONS_HELP: &str = "\
Examples:
  dispatcher completions bash > /usr/share/bash-completion/completions/dispatcher
  dispatcher completions zsh > /usr/share/zsh/site-functions/_dispatcher
  dispatcher completions fish > ~/.config/fish/completions/dispatcher.fish
  source <(dispatcher completions bash)";

const MAN_HELP: &str = "\
Examples:
  dispatcher man | man -l -
  dispatcher man /usr/share/man/man1      a page for each command, too";

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Shows the main job on this machine in under a minute: 10,000 messages, a failing receiver, a kill -9 half-way
    Demo(crate::demo::Options),
    /// Prints the effective value of every variable, whether the environment set it, and how MAX_MEMORY is divided
    #[command(after_help = CHECK_CONFIG_HELP)]
    CheckConfig,
    /// Looks whether this machine can keep what the daemon promises: io_uring, limits, disk, clock, ports, each with a remedy
    Doctor(crate::doctor::Options),
    /// Reads a log, with the daemon running or not: what is in it, and whether it is intact
    #[command(subcommand)]
    Log(crate::inspect::LogCommand),
    /// Shows what a running daemon does: rates, latencies, backlog and circuits by destination, space
    Stat(crate::stat::Options),
    /// Lists, shows, replays and deletes dead letters of a running daemon
    #[command(subcommand)]
    Dead(crate::dead::DeadCommand),
    /// Prints what a shell needs to complete commands and options
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Prints the manual page
    #[command(after_help = MAN_HELP)]
    Man {
        /// Writes a page for each command into this directory instead
        #[arg(value_name = "DIRECTORY")]
        directory: Option<std::path::PathBuf>,
    },
}

impl Cli {
    /// From the process's arguments; prints help, version or an error and exits where those are due.
    pub fn read() -> Self {
        Self::from_arg_matches(&described().get_matches()).unwrap_or_else(|error| error.exit())
    }
}

fn described() -> clap::Command {
    Cli::command().after_help(format!("{EXAMPLES}{}", variables_help()))
}

/// What a shell needs to complete a command line.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut described(), "dispatcher", &mut script);
    script
}

/// The manual page of the whole, as roff(7).
pub fn man() -> io::Result<Vec<u8>> {
    manual::page(described())
}

/// Writes a manual page for each command into a directory that is there.
pub fn man_into(directory: &Path) -> io::Result<()> {
    manual::pages_into(described(), directory)
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
        for part in [
            "answers 202",
            "Usage:",
            "demo",
            "check-config",
            "log",
            "Examples:",
            "--version",
            "\n  0  ",
            "\n  2  ",
            "\n  3  ",
        ] {
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
    fn every_command_says_in_its_help_how_it_is_used() {
        let mut waiting = vec![described()];
        while let Some(command) = waiting.pop() {
            let help = command.clone().render_long_help().to_string();
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some_and(|about| about.to_string().len() > 20), "{name}\n{help}");
            if !command.has_subcommands() {
                assert!(help.contains("Example") || help.contains("Exit status"), "{name}\n{help}");
            }
            waiting.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        }
    }

    #[test]
    fn the_commands_are_those_that_the_help_names() {
        described().debug_assert();
        let parsed = |args: &[&str]| Cli::try_parse_from(args).map(|cli| cli.command);
        assert!(matches!(parsed(&["dispatcher"]), Ok(None)));
        assert!(matches!(parsed(&["dispatcher", "check-config"]), Ok(Some(Command::CheckConfig))));
        assert!(matches!(parsed(&["dispatcher", "demo"]), Ok(Some(Command::Demo(_)))));
        assert!(matches!(parsed(&["dispatcher", "doctor"]), Ok(Some(Command::Doctor(_)))));
        assert!(matches!(parsed(&["dispatcher", "stat"]), Ok(Some(Command::Stat(_)))));
        assert!(matches!(parsed(&["dispatcher", "man"]), Ok(Some(Command::Man { directory: None }))));
        for shell in ["bash", "zsh", "fish"] {
            assert!(matches!(parsed(&["dispatcher", "completions", shell]), Ok(Some(Command::Completions { .. }))));
        }
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
