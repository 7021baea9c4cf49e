//! Host names to addresses: the hosts file, then the name servers, IPv4 and IPv6 at the same time.
//!
//! What is tried for a name, and in which order, is as resolv.conf(5) has it, so that a name leads where it leads for other
//! programs. Not asked: whatever else nsswitch.conf(5) may name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::names::{Known, Names};
use crate::limits;

/// Where a host leads to.
pub(super) struct Found {
    /// What was found first, in the order in which to try it. Empty only if the rest may have something.
    pub(super) addresses: Vec<IpAddr>,
    /// The addresses of the other family, for which the first need not wait.
    pub(super) rest: Option<Rest>,
}

/// The rest of a lookup; whatever goes wrong with it, it has no address then.
pub(super) type Rest = Pin<Box<dyn Future<Output = Vec<IpAddr>>>>;

/// Why a host leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("the name does not exist, or has no address")]
    NotFound,
    #[error("asking the name servers")]
    Servers(#[source] NetError),
    #[error("reading the system's settings")]
    Settings(#[source] io::Error),
    #[error("not answered in time")]
    Timeout,
}

/// The addresses of `host`; an address is its own. Cancel-safe.
pub(super) async fn resolve(host: &str, names: &Names) -> Result<Found, ResolveError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Found { addresses: vec![address], rest: None });
    }
    // RFC 6761 §6.3: nobody is asked where localhost is.
    let name = host.strip_suffix('.').unwrap_or(host);
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(Found { addresses: vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()], rest: None });
    }
    let known = names.known().await.map_err(ResolveError::Settings)?;
    let Ok(name) = Name::from_ascii(host) else { return Err(ResolveError::NotFound) };
    let in_hosts = in_hosts(&name, &known);
    if !in_hosts.is_empty() {
        return Ok(Found { addresses: in_hosts, rest: None });
    }
    for name in candidates(name, &known) {
        // A failure ends the search: what a name is short for must not depend on which server fails at the moment.
        if let Some(found) = ask_both(&known.dns, name).await.map_err(ResolveError::Servers)? {
            return Ok(found);
        }
    }
    Err(ResolveError::NotFound)
}

fn in_hosts(name: &Name, known: &Known) -> Vec<IpAddr> {
    let of = |kind| known.hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let addresses = |kind| {
        of(kind).into_iter().flat_map(|found| found.answers().to_vec()).filter_map(|record| record.data.ip_addr())
    };
    alternate(addresses(RecordType::AAAA), addresses(RecordType::A))
}

/// What `name` may be short for, in the order in which to try it (resolv.conf(5), `search` and `ndots`).
fn candidates(name: Name, known: &Known) -> Vec<Name> {
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    if name.is_fqdn() {
        return vec![absolute];
    }
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    let searched = known.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
    if dots >= known.ndots {
        std::iter::once(absolute).chain(searched).collect()
    } else {
        searched.chain(std::iter::once(absolute)).collect()
    }
}

/// Asks for the addresses of both families at once. What comes first is taken; only for IPv6, which is to be tried first,
/// an answer for IPv4 waits a little (RFC 8305 §3). `None` if there is no address of either.
async fn ask_both(dns: &TokioResolver, name: Name) -> Result<Option<Found>, NetError> {
    let six = Box::pin(ask(dns.clone(), name.clone(), RecordType::AAAA));
    let four = Box::pin(ask(dns.clone(), name, RecordType::A));
    let (six, four) = match select(six, four).await {
        Either::Left((Ok(six), four)) if !six.is_empty() => return Ok(Some(early(six, four))),
        Either::Left((six, four)) => (six, four.await),
        Either::Right((Ok(four), mut six)) if !four.is_empty() => {
            match tokio::time::timeout(Duration::from_millis(limits::RESOLUTION_DELAY_MS), &mut six).await {
                Ok(six) => (six, Ok(four)),
                Err(_elapsed) => return Ok(Some(early(four, six))),
            }
        }
        Either::Right((four, six)) => (six.await, four),
    };
    let addresses = match (six, four) {
        (Ok(six), Ok(four)) => alternate(six, four),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => found,
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    Ok((!addresses.is_empty()).then_some(Found { addresses, rest: None }))
}

fn early(addresses: Vec<IpAddr>, rest: impl Future<Output = Result<Vec<IpAddr>, NetError>> + 'static) -> Found {
    Found { addresses, rest: Some(Box::pin(async move { rest.await.unwrap_or_default() })) }
}

/// The addresses of one family; none if the servers say that there are none.
async fn ask(dns: TokioResolver, name: Name, kind: RecordType) -> Result<Vec<IpAddr>, NetError> {
    match dns.lookup(name, kind).await {
        Ok(found) => Ok(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect()),
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// One of each in turn (RFC 8305 §4): a family that is broken here then costs one step, not one for each of its addresses.
pub(super) fn alternate<T>(first: impl IntoIterator<Item = T>, second: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut second = second.into_iter();
    let mut order = Vec::new();
    for one in first {
        order.push(one);
        order.extend(second.next());
    }
    order.extend(second);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_families_alternate() {
        let table: [(&[u8], &[u8], &[u8]); 5] = [
            (&[], &[], &[]),
            (&[1, 2], &[], &[1, 2]),
            (&[], &[1, 2], &[1, 2]),
            (&[1, 3], &[2, 4, 5], &[1, 2, 3, 4, 5]),
            (&[1, 3, 4], &[2], &[1, 2, 3, 4]),
        ];
        for (first, second, order) in table {
            assert_eq!(alternate(first, second), order.iter().collect::<Vec<_>>());
        }
    }
}
