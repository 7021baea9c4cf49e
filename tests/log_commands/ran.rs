//! The binary, run with an environment of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a command said.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// `dispatcher log …`, ready to run.
pub fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
    command.arg("log").args(arguments).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `dispatcher log …` to its end.
pub fn run(arguments: &[&str]) -> Ran {
    command(arguments, &[]).output().unwrap().into()
}

/// Runs `dispatcher log <command> <dir> …` to its end.
pub fn run_on(command: &str, dir: &Path, further: &[&str]) -> Ran {
    run(&[&[command, dir.to_str().unwrap()], further].concat())
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let status = output.status.code().expect("it ends by itself");
        Self { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// It ended well and had nothing to tell on stderr.
    #[track_caller]
    pub fn clean(self) -> Self {
        assert_eq!(
            (self.status, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout.chars().take(2000).collect::<String>()
        );
        self
    }

    /// Every line is a JSON object.
    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Kind and last letters of the id of each line.
    pub fn records(&self) -> Vec<String> {
        let short = |line: &Value| {
            let id = line["id"].as_str().unwrap();
            format!("{} {}", line["record"].as_str().unwrap(), &id[id.len() - 2..])
        };
        self.lines().iter().map(short).collect()
    }

    /// It could not do it, and says so in one line with these parts.
    #[track_caller]
    pub fn refused(&self, parts: &[&str]) {
        assert_eq!(self.status, 2, "{self:?}");
        let first = self.stderr.lines().next().unwrap_or_default();
        assert!(parts.iter().all(|part| first.contains(part)), "{parts:?} in {first}");
    }
}
