//! What an operator writes to what the program uses: sizes, durations, addresses.

use std::net::{IpAddr, SocketAddr};

use crate::time::Millis;

/// Bytes, or `64KiB`, `16MiB`, `2GiB`.
pub fn size(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    scaled(text, &units, 1)
}

/// Milliseconds as a bare number, or `500ms`, `10s`, `5m`, `2h`, `7d`.
pub fn duration(text: &str) -> Option<Millis> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    scaled(text, &units, 1).map(Millis)
}

fn scaled(text: &str, units: &[(&str, u64)], bare: u64) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let scale = if unit.is_empty() { bare } else { units.iter().find(|(name, _)| *name == unit)?.1 };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `None`: every address, IPv4 and IPv6.
    pub host: Option<IpAddr>,
    /// 0: any free port.
    pub port: u16,
}

impl Listen {
    /// `:port`, `address:port` or `[address]:port`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(':') {
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
                Some(Self { host: None, port: port.parse().ok()? })
            }
            _ => {
                let address: SocketAddr = text.parse().ok()?;
                Some(Self { host: Some(address.ip()), port: address.port() })
            }
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host {
            None => write!(f, ":{}", self.port),
            Some(host) => SocketAddr::new(host, self.port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_in_their_units_and_nothing_else() {
        assert_eq!(["0", "4096", "64KiB", "16MiB", "2GiB"].map(size), [0, 4096, 65_536, 16 << 20, 2 << 30].map(Some));
        assert_eq!(
            ["10000", "500ms", "10s", "5m", "2h", "7d"].map(duration),
            [10_000, 500, 10_000, 300_000, 7_200_000, 604_800_000].map(|ms| Some(Millis(ms)))
        );
        for bad in
            ["", "x", "-1", "+1", "1.5s", "1 s", "KiB", "1kib", "99999999999999999999", "18446744073709551615GiB"]
        {
            assert_eq!((size(bad), duration(bad)), (None, None), "{bad:?}");
        }
    }

    #[test]
    fn listeners_are_read_and_printed_alike() {
        for text in [":80", ":0", "127.0.0.1:8081", "[::1]:9000"] {
            assert_eq!(Listen::parse(text).map(|listen| listen.to_string()).as_deref(), Some(text));
        }
        for bad in ["", "80", ":", ":x", ":65536", "localhost:80", ":+80"] {
            assert_eq!(Listen::parse(bad), None, "{bad:?}");
        }
    }
}
