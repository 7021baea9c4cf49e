//! Which directories a command reads: the log that was named, or the one of the environment.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::InspectError;
use crate::config::table::VARIABLES;
use crate::message::Scheme;

/// Which log a directory is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// `TRANSACTION_LOG`, or whatever was named.
    Transaction,
    /// `DEAD_LETTER`.
    DeadLetter,
}

/// The directory of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which log it is part of.
    pub log: Log,
    /// The shard's number, to which every checksum is bound.
    pub shard: u32,
    /// Where it is.
    pub dir: PathBuf,
}

/// Whether dead letters are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// They are not.
    Not,
    /// If there is a log of them.
    IfThere,
    /// They were asked for.
    Wanted,
}

/// The shards of the log in `dir`, else of the one that `TRANSACTION_LOG` names, in order; then those of its dead letters.
///
/// Of all variables only those two are looked at: a configuration that cannot be used is no reason not to read a log.
pub fn find(dir: Option<&Path>, dead_letters: DeadLetters) -> Result<Vec<Place>, InspectError> {
    let root = dir.map_or_else(|| PathBuf::from(set("TRANSACTION_LOG").unwrap_or_else(default_dir)), Path::to_owned);
    let mut places = shards(&root, Log::Transaction)?;
    if places.is_empty() {
        let place = single(&root)?.ok_or_else(|| InspectError::NoShards { dir: root.clone() })?;
        if dead_letters == DeadLetters::Wanted {
            return Err(InspectError::OneShard { dir: root });
        }
        return Ok(vec![place]);
    }
    let beside = root.join("dead-letter");
    let variable = set("DEAD_LETTER").map(PathBuf::from);
    // What is named by hand may be a copy: its own dead letters come first.
    let letters = match variable {
        Some(variable) if dir.is_none() || !beside.is_dir() => variable,
        _ => beside,
    };
    match dead_letters {
        DeadLetters::Not => {}
        DeadLetters::IfThere if !letters.is_dir() => {}
        DeadLetters::IfThere | DeadLetters::Wanted => places.append(&mut shards(&letters, Log::DeadLetter)?),
    }
    Ok(places)
}

/// The scheme of an origin that names none: `ORIGIN_SCHEME`.
pub fn bare_scheme() -> Scheme {
    if set("ORIGIN_SCHEME").is_some_and(|scheme| scheme == "https") { Scheme::Https } else { Scheme::Http }
}

fn set(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn default_dir() -> std::ffi::OsString {
    let variable = VARIABLES.iter().find(|variable| variable.name == "TRANSACTION_LOG");
    variable.expect("the table lists every variable").default.into()
}

fn shards(root: &Path, log: Log) -> Result<Vec<Place>, InspectError> {
    let listed = fs::read_dir(root).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let listed = listed.map_err(|source| InspectError::Directory { dir: root.to_owned(), source })?;
    let place = |entry: fs::DirEntry| {
        let shard = shard_of_name(entry.file_name().to_str()?)?;
        entry.path().is_dir().then(|| Place { log, shard, dir: entry.path() })
    };
    let mut places: Vec<Place> = listed.into_iter().filter_map(place).collect();
    places.sort_by_key(|place| place.shard);
    Ok(places)
}

/// A directory that is itself a shard's.
fn single(dir: &Path) -> Result<Option<Place>, InspectError> {
    let whole = dir.canonicalize().map_err(|source| InspectError::Directory { dir: dir.to_owned(), source })?;
    let shard = whole.file_name().and_then(|name| shard_of_name(name.to_str()?));
    Ok(shard.map(|shard| Place { log: Log::Transaction, shard, dir: dir.to_owned() }))
}

fn shard_of_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("shard-")?;
    (digits.len() >= 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}
