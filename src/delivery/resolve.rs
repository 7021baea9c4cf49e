//! Host names to addresses. The only file that asks a resolver, so that a caching one can take its place.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::limits;

/// The addresses of `host`, in the order in which to try them; at least one, at most [`limits::ADDRESSES_MAX`].
///
/// An address is its own answer; for a name the system's resolver is asked, on a thread of tokio's blocking pool.
/// Cancel-safe; the thread is busy until the resolver gives up, however. Errors: the resolver's, or no address.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = interleave(tokio::net::lookup_host((host, port)).await?);
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

/// Alternates between the address families, beginning with the one the resolver prefers (RFC 8305 §4): a family that is
/// broken here then costs one step, not one for each of its addresses.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.peekable();
    let Some(first) = addresses.peek().copied() else {
        return Vec::new();
    };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.partition(|address| address.is_ipv6() == first.is_ipv6());
    let mut other = other.into_iter();
    let mut order = Vec::with_capacity(limits::ADDRESSES_MAX);
    for address in preferred {
        order.push(address);
        order.extend(other.next());
    }
    order.extend(other);
    order.truncate(limits::ADDRESSES_MAX);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_beginning_with_the_resolvers_choice() {
        let table: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["10.0.0.1:1", "10.0.0.2:1"], &["10.0.0.1:1", "10.0.0.2:1"]),
            (
                &["[::1]:1", "[::2]:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"],
                &["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "10.0.0.3:1"],
            ),
            (&["10.0.0.1:1", "[::1]:1", "[::2]:1"], &["10.0.0.1:1", "[::1]:1", "[::2]:1"]),
        ];
        for (found, order) in table {
            assert_eq!(interleave(addresses(found).into_iter()), addresses(order));
        }
        let many = vec!["10.0.0.1:1"; 3 * limits::ADDRESSES_MAX];
        assert_eq!(interleave(addresses(&many).into_iter()).len(), limits::ADDRESSES_MAX);
    }
}
