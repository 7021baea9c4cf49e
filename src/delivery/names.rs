//! What this machine says about names: its hosts file and its name servers, read again when their files have changed.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

use crate::limits;
use crate::time::monotonic_now;

/// Where names are looked up.
#[derive(Clone, Debug)]
pub struct NameSources {
    /// In the format of resolv.conf(5). Need not be there.
    pub resolv_conf: PathBuf,
    /// In the format of hosts(5). Need not be there.
    pub hosts: PathBuf,
    /// Port of the name servers, which `resolv_conf` cannot tell.
    pub port: u16,
}

impl Default for NameSources {
    /// The system's.
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into(), port: 53 }
    }
}

/// What the sources said when they were last read.
pub(super) struct Known {
    /// The hosts file.
    pub(super) hosts: Hosts,
    /// The name servers, and what they said lately.
    pub(super) dns: TokioResolver,
    /// Appended to names that are not absolute.
    pub(super) search: Vec<Name>,
    /// With fewer dots than this, a name is tried with a search domain before it is tried as it is.
    pub(super) ndots: usize,
    stamps: Stamps,
}

/// Follows the sources. Belongs to one thread.
pub(super) struct Names {
    sources: NameSources,
    answers_max: u64,
    known: RefCell<Option<Rc<Known>>>,
    looked: Cell<Option<Instant>>,
    /// Held by whoever reads first, so that those who come meanwhile need not.
    turn: tokio::sync::Mutex<()>,
}

impl Names {
    /// Without a look at the sources yet; `answers_max` answers of name servers are kept.
    pub(super) fn new(sources: NameSources, answers_max: u64) -> Self {
        Self {
            sources,
            answers_max,
            known: RefCell::new(None),
            looked: Cell::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// What is known now. Every few seconds one caller waits for a helper thread to look whether a file has changed.
    /// Cancel-safe.
    pub(super) async fn known(&self) -> io::Result<Rc<Known>> {
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let before = self.known.borrow().clone();
        // Before the look, so that one that hangs is not joined by another for each name.
        self.looked.set(before.is_some().then(monotonic_now));
        let (sources, stamps) = (self.sources.clone(), before.as_ref().map(|known| known.stamps));
        let read = tokio::task::spawn_blocking(move || read(&sources, stamps)).await?;
        self.looked.set(Some(monotonic_now()));
        match (read, before) {
            (None, Some(known)) => Ok(known),
            (None, None) => unreachable!("what was never read differs from all"),
            (Some(read), before) => {
                let known = Rc::new(read.known(before, self.sources.port, self.answers_max)?);
                self.known.replace(Some(Rc::clone(&known)));
                Ok(known)
            }
        }
    }

    /// What is known, if it was looked at lately.
    fn fresh(&self) -> Option<Rc<Known>> {
        let looked = self.looked.get()?;
        let age = monotonic_now().saturating_duration_since(looked);
        (age < Duration::from_millis(limits::NAME_SOURCES_LOOK_MS)).then(|| self.known.borrow().clone()).flatten()
    }
}

/// What tells whether a file is still the same; `None` if it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;
/// Of `resolv_conf` and of `hosts`.
type Stamps = (Stamp, Stamp);

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// The content of both files.
struct Sources {
    stamps: Stamps,
    servers: (ResolverConfig, ResolverOpts),
    hosts: Hosts,
}

/// Reads both files, unless they are as they were. Blocks.
fn read(sources: &NameSources, before: Option<Stamps>) -> Option<Sources> {
    // Before the content, so that a change in between is seen the next time.
    let stamps = (stamp(&sources.resolv_conf), stamp(&sources.hosts));
    if before == Some(stamps) {
        return None;
    }
    let mut hosts = Hosts::default();
    // Neither a file that is missing nor a line that is cut off is a reason not to deliver.
    let _ = hosts.read_hosts_conf(content(&sources.hosts).as_slice());
    Some(Sources { stamps, servers: servers(&content(&sources.resolv_conf)), hosts })
}

fn content(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limits::NAME_SOURCE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "names are looked up without this file"),
    }
    bytes
}

/// The name servers that a resolv.conf names. Without one, resolv.conf(5) has the one on this machine asked.
fn servers(text: &[u8]) -> (ResolverConfig, ResolverOpts) {
    let local = NameServerConfig::udp_and_tcp(std::net::Ipv4Addr::LOCALHOST.into());
    parse_resolv_conf(text).or_else(|_| parse_resolv_conf([text, b"\nnameserver 127.0.0.1\n"].concat())).unwrap_or_else(
        |error| {
            tracing::warn!(%error, "resolv.conf cannot be used; names are looked up at 127.0.0.1");
            (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
        },
    )
}

impl Sources {
    /// What follows from the files. What the name servers said is kept if they are as before.
    fn known(self, before: Option<Rc<Known>>, port: u16, answers_max: u64) -> io::Result<Known> {
        let Self { stamps, servers: (mut config, mut options), hosts } = self;
        let mut search = std::mem::take(&mut config.search);
        if search.is_empty() {
            search.extend(config.domain.take());
        }
        search.truncate(limits::SEARCH_DOMAINS_MAX);
        let ndots = options.ndots;
        if let Some(before) = before.filter(|before| before.stamps.0 == stamps.0) {
            return Ok(Known { hosts, dns: before.dns.clone(), search, ndots, stamps });
        }
        config.name_servers.truncate(limits::NAME_SERVERS_MAX);
        config.name_servers.iter_mut().flat_map(|server| &mut server.connections).for_each(|way| way.port = port);
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = answers_max;
        options.positive_max_ttl = Some(Duration::from_secs(limits::DNS_TTL_SECONDS_MAX));
        options.negative_max_ttl = Some(Duration::from_secs(limits::DNS_NEGATIVE_TTL_SECONDS_MAX));
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let dns = builder.with_options(options).build().map_err(io::Error::other)?;
        Ok(Known { hosts, dns, search, ndots, stamps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_usable_name_server_the_one_of_this_machine_is_asked() {
        for text in ["", "search a.example", "# nothing\n", "nameserver x\n", "\0\u{ff}", "options ndots:3"] {
            let (config, _) = servers(text.as_bytes());
            let addresses: Vec<_> = config.name_servers.iter().map(|server| server.ip.to_string()).collect();
            assert_eq!(addresses, ["127.0.0.1"], "{text:?}");
        }
        let (config, options) =
            servers(b"nameserver 10.0.0.1\nnameserver fd00::1\nsearch a b\noptions ndots:2 timeout:3");
        assert_eq!((config.name_servers.len(), config.search.len(), options.ndots), (2, 2, 2));
    }

    #[tokio::test]
    async fn sources_are_read_once_however_many_ask_and_a_missing_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let sources = NameSources { resolv_conf: dir.path().join("none"), hosts: dir.path().join("nor"), port: 1 };
        let names = Names::new(sources, limits::DNS_ANSWERS_MAX);
        let all = futures_util::future::join_all((0..10).map(|_| names.known())).await;
        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        assert!(all.iter().all(|known| Rc::ptr_eq(known, &all[0])));
    }
}
