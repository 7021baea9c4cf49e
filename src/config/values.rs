//! What an operator writes to what the program uses: sizes, durations, addresses.

use std::net::{IpAddr, SocketAddr};

use crate::time::Millis;

const SIZE_UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Bytes, or `64KiB`, `16MiB`, `2GiB`.
pub fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZE_UNITS)
}

/// Milliseconds as a bare number, or `500ms`, `10s`, `5m`, `2h`, `7d`.
pub fn duration(text: &str) -> Option<Millis> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    scaled(text, &units).map(Millis)
}

/// A size as an operator would write it: the largest unit that states it exactly.
pub fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().rev().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    unit.map_or_else(|| bytes.to_string(), |(name, scale)| format!("{}{name}", bytes / scale))
}

/// Digits and nothing else.
pub fn whole(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// Digits with or without a decimal point: no sign, no exponent, no infinity.
pub fn decimal(text: &str) -> Option<f64> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// Digits and perhaps a unit; without one they count as they are.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let scale = if unit.is_empty() { 1 } else { units.iter().find(|(name, _)| *name == unit)?.1 };
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
                // A zone (`fe80::1%2`) would be lost below.
                let has_zone = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
                (!has_zone).then_some(Self { host: Some(address.ip()), port: address.port() })
            }
        }
    }

    /// Whether the two cannot both be listened on. Port 0 meets nothing.
    pub fn overlaps(self, other: Self) -> bool {
        let covers = |host: Option<IpAddr>| host.is_none_or(|host| host.is_unspecified());
        let same_host = self.host == other.host || covers(self.host) || covers(other.host);
        self.port != 0 && self.port == other.port && same_host
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
        assert_eq!(
            [0, 1, 4096, 65_536, 16 << 20, 3 << 30].map(size_text),
            ["0", "1", "4KiB", "64KiB", "16MiB", "3GiB"]
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
        for bad in ["[fe80::1%2]:80", "", "80", ":", ":x", ":65536", "localhost:80", ":+80"] {
            assert_eq!(Listen::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn numbers_have_neither_sign_nor_exponent() {
        assert_eq!(["0", "10", "4294967295"].map(whole), [0, 10, u32::MAX].map(Some));
        assert_eq!(["0", "1.5", "0.20", ".5"].map(decimal), [0.0, 1.5, 0.2, 0.5].map(Some));
        for bad in ["", "+1", "-1", "1e3", "inf", "NaN", "1,5", " 1", "."] {
            assert_eq!((whole(bad), decimal(bad)), (None, None), "{bad:?}");
        }
        assert_eq!(["1.0", "4294967296"].map(whole), [None; 2]);
    }

    #[test]
    fn two_listeners_meet_where_port_and_address_do() {
        for (a, b, expected) in [
            (":80", ":80", true),
            (":80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            (":80", ":81", false),
            (":0", ":0", false),
        ] {
            let (a, b) = (Listen::parse(a).expect("valid"), Listen::parse(b).expect("valid"));
            assert_eq!((a.overlaps(b), b.overlaps(a)), (expected, expected), "{a} {b}");
        }
    }
}
