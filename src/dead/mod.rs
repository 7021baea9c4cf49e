//! `dispatcher dead`: lists, shows, replays and deletes dead letters of a running daemon, over its admin listener.

// Requests to the admin listener.
pub mod client;
// Answers for people.
mod print;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::config::{Loaded, Secret};
use client::{Client, ClientError, CommandError, exit_code};

/// Letters that one request of `ls` asks for.
const PAGE: u64 = 200;
/// How often a replay is asked how far it is.
const POLL: Duration = Duration::from_millis(200);

const HELP: &str = "\
The daemon must be running: it alone may change its dead letters. `dispatcher log cat --dead-letters` reads them without it.
It is found by ADMIN_LISTEN, or --admin; where it has an ADMIN_TOKEN, this needs it in its environment too.

Exit status:
  0  done
  1  there is no such letter, a letter could not be read, or a replay did not come to its end
  2  the daemon cannot be reached or refuses, or an argument cannot be used";

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = HELP)]
pub enum DeadCommand {
    /// Lists them by id, which is by time of acceptance
    #[command(after_help = HELP)]
    Ls(LsOptions),
    /// Shows all that one holds: request, last answer, every attempt. Header values and bodies may be secret
    #[command(after_help = HELP)]
    Show(ShowOptions),
    /// Makes them messages again, no faster than their origins take them, and shows how far it is; Ctrl-C ends it
    #[command(after_help = HELP)]
    Replay(ReplayOptions),
    /// Deletes them, at once and for good
    #[command(after_help = HELP)]
    Rm(RmOptions),
}

/// Where the daemon is, and how answers are printed.
#[derive(Clone, Debug, Args)]
pub struct Daemon {
    /// The admin listener, as http://127.0.0.1:8081 [default: ADMIN_LISTEN]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Prints JSON: a line for each letter or answer
    #[arg(long)]
    pub json: bool,
}

/// Which letters; all of what is given must be so.
#[derive(Clone, Debug, Args)]
pub struct Filters {
    /// Ids of messages
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// For this origin, as b.example:8080
    #[arg(long)]
    pub origin: Option<String>,
    /// Given up for this reason, as http_5xx
    #[arg(long)]
    pub class: Option<String>,
    /// Given up then or later: an RFC 3339 time, or so long ago, as 30s 5m 2h 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Given up before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Options of `dispatcher dead ls`.
#[derive(Clone, Debug, Args)]
pub struct LsOptions {
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    filters: Filters,
    /// At most so many
    #[arg(long, value_name = "LETTERS")]
    limit: Option<u64>,
}

/// Options of `dispatcher dead show`.
#[derive(Clone, Debug, Args)]
pub struct ShowOptions {
    #[command(flatten)]
    daemon: Daemon,
    /// The id of its message
    #[arg(value_name = "ID")]
    id: String,
}

/// Which letters something is to be done to.
#[derive(Clone, Debug, Args)]
struct Chosen {
    #[command(flatten)]
    filters: Filters,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Only counts them, by origin and class
    #[arg(long)]
    dry_run: bool,
}

/// Options of `dispatcher dead replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    chosen: Chosen,
    /// Letters per second, at most
    #[arg(long)]
    rate: Option<u32>,
    /// Leaves as soon as it has begun
    #[arg(long)]
    detach: bool,
}

/// Options of `dispatcher dead rm`.
#[derive(Clone, Debug, Args)]
pub struct RmOptions {
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    chosen: Chosen,
}

/// Runs a command.
pub fn run(command: &DeadCommand) -> ExitCode {
    exit_code(try_run(command))
}

/// `false`: something that was asked for is not there, or did not come to its end.
fn try_run(command: &DeadCommand) -> Result<bool, CommandError> {
    let daemon = match command {
        DeadCommand::Ls(LsOptions { daemon, .. })
        | DeadCommand::Show(ShowOptions { daemon, .. })
        | DeadCommand::Replay(ReplayOptions { daemon, .. })
        | DeadCommand::Rm(RmOptions { daemon, .. }) => daemon,
    };
    let config = Loaded::from_env()?.config;
    let token = config.admin_token.as_ref().map(Secret::reveal);
    let client = match &daemon.admin {
        Some(url) => Client::of_url(url, token)?,
        None => Client::of_listen(config.admin_listen, token),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            DeadCommand::Ls(options) => ls(&client, options).await,
            DeadCommand::Show(options) => show(&client, options).await,
            DeadCommand::Replay(options) => replay(&client, options).await,
            DeadCommand::Rm(options) => rm(&client, options).await,
        }
    })
}

impl Filters {
    /// As parameters of a query.
    fn parameters(&self) -> form_urlencoded::Serializer<'static, String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for id in &self.ids {
            query.append_pair("id", id);
        }
        let Self { origin, class, since, until, .. } = self;
        for (name, value) in [("origin", origin), ("class", class), ("since", since), ("until", until)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query
    }
}

impl Chosen {
    fn parameters(&self) -> form_urlencoded::Serializer<'static, String> {
        let mut query = self.filters.parameters();
        for (name, flag) in [("all", self.all), ("dry_run", self.dry_run)] {
            if flag {
                query.append_pair(name, "true");
            }
        }
        query
    }
}

async fn ls(client: &Client, options: &LsOptions) -> Result<bool, CommandError> {
    let mut out = io::stdout().lock();
    let (mut after, mut left) = (None::<String>, options.limit.unwrap_or(u64::MAX));
    if !options.daemon.json {
        writeln!(out, "{}", print::HEADING)?;
    }
    while left > 0 {
        let mut query = options.filters.parameters();
        query.append_pair("limit", &left.min(PAGE).to_string());
        if let Some(after) = &after {
            query.append_pair("after", after);
        }
        let page = client.ask(Method::GET, &format!("/-/dead-letters?{}", query.finish())).await?;
        for letter in page["letters"].as_array().into_iter().flatten() {
            left -= 1;
            if options.daemon.json { writeln!(out, "{letter}")? } else { writeln!(out, "{}", print::row(letter))? }
        }
        let Some(next) = page["next"].as_str() else { break };
        after = Some(next.to_owned());
    }
    Ok(true)
}

async fn show(client: &Client, options: &ShowOptions) -> Result<bool, CommandError> {
    let path: String = form_urlencoded::byte_serialize(options.id.as_bytes()).collect();
    let letter = match client.ask(Method::GET, &format!("/-/dead-letters/{path}")).await {
        Ok(letter) => letter,
        Err(ClientError::Refused { status: StatusCode::NOT_FOUND, detail }) => {
            eprintln!("dispatcher: {detail}");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    let text = if options.daemon.json { format!("{letter}\n") } else { print::letter(&letter) };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(true)
}

async fn rm(client: &Client, options: &RmOptions) -> Result<bool, CommandError> {
    let query = options.chosen.parameters().finish();
    let answer = client.ask(Method::POST, &format!("/-/dead-letters/delete?{query}")).await?;
    if options.chosen.dry_run {
        return told(&answer, options.daemon.json, &print::tally(&answer)).map(|()| true);
    }
    let (removed, unreadable) = (number(&answer, "removed"), number(&answer, "unreadable"));
    let kept = if unreadable > 0 { format!(", {unreadable} could not be read and are kept") } else { String::new() };
    told(&answer, options.daemon.json, &format!("{removed} deleted{kept}\n"))?;
    let asked_for = options.chosen.filters.ids.len() as u64;
    Ok(unreadable == 0 && removed >= asked_for)
}

async fn replay(client: &Client, options: &ReplayOptions) -> Result<bool, CommandError> {
    let mut query = options.chosen.parameters();
    if let Some(rate) = options.rate {
        query.append_pair("rate", &rate.to_string());
    }
    let answer = client.ask(Method::POST, &format!("/-/dead-letters/replay?{}", query.finish())).await?;
    if options.chosen.dry_run {
        return told(&answer, options.daemon.json, &print::tally(&answer)).map(|()| true);
    }
    let job = number(&answer, "job");
    if options.detach {
        return told(&answer, options.daemon.json, &format!("replay {job} has begun\n")).map(|()| true);
    }
    let ended = tokio::select! {
        biased;
        // Without a way to be told of Ctrl-C there is none.
        Ok(()) = tokio::signal::ctrl_c() => {
            client.ask(Method::DELETE, &format!("/-/replays/{job}")).await?;
            watch(client, job, false).await?
        }
        ended = watch(client, job, true) => ended?,
    };
    let Some(ended) = ended else {
        eprintln!(
            "dispatcher: the daemon knows nothing of replay {job} any more: what it had not moved is still a dead letter"
        );
        return Ok(false);
    };
    told(&ended, options.daemon.json, &print::replay(&ended))?;
    let came_to_its_end = ended["cancelled"] == false && number(&ended, "unreadable") == 0;
    Ok(came_to_its_end && number(&ended, "replayed") >= options.chosen.filters.ids.len() as u64)
}

/// Waits until a replay has ended; `None`: there is none. Shows how far it is, on a terminal.
async fn watch(client: &Client, job: u64, shown: bool) -> Result<Option<Value>, CommandError> {
    let bar = if shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} looked at, {msg}") {
        bar.set_style(style);
    }
    loop {
        let answer = client.ask(Method::GET, "/-/replays").await?;
        let jobs = answer["replays"].as_array().into_iter().flatten();
        let Some(status) = jobs.into_iter().find(|status| number(status, "job") == job) else { return Ok(None) };
        if status["running"] == false {
            bar.finish_and_clear();
            return Ok(Some(status.clone()));
        }
        bar.set_length(number(status, "letters"));
        bar.set_position(number(status, "looked_at"));
        bar.set_message(format!("{} replayed, {} wait", number(status, "replayed"), number(status, "waiting")));
        tokio::time::sleep(POLL).await;
    }
}

fn told(answer: &Value, json: bool, text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    let written = if json { writeln!(out, "{answer}") } else { out.write_all(text.as_bytes()) };
    Ok(written?)
}

fn number(answer: &Value, name: &str) -> u64 {
    answer[name].as_u64().unwrap_or_default()
}
