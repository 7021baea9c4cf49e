//! Which fields of a request go on to the origin, which are ours, and which end here. Pure.

/// What a field means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `X-Dispatcher-Origin-Host` or its alias.
    Origin,
    /// `X-Dispatcher-Timeout`.
    Timeout,
    /// What a Dispatcher adds; removed, so that a receiver may copy its headers onward.
    Added,
    /// Another `X-Dispatcher-*`: a typo must not silently lose an instruction.
    UnknownControl,
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Expect`.
    Expect,
    /// `Upgrade`.
    Upgrade,
    /// Another hop-by-hop field (RFC 9110 §7.6.1).
    HopByHop,
    /// Everything else: goes on as it is, unless `Connection` names it.
    EndToEnd,
}

/// Spelling of the origin header, as it is named in answers.
pub const ORIGIN: &str = "X-Dispatcher-Origin-Host";
/// Spelling of the timeout header.
pub const TIMEOUT: &str = "X-Dispatcher-Timeout";

const CONTROL_PREFIX: &str = "x-dispatcher-";

/// Sorts a field by its name; case does not matter (RFC 9110 §5.1).
pub fn sort(name: &str) -> Field {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 if is("te") => Field::HopByHop,
        4 if is("host") => Field::Host,
        6 if is("expect") => Field::Expect,
        7 if is("upgrade") => Field::Upgrade,
        7 if is("trailer") => Field::HopByHop,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::HopByHop,
        14 if is("content-length") => Field::ContentLength,
        16 if is("proxy-connection") => Field::HopByHop,
        17 if is("transfer-encoding") => Field::TransferEncoding,
        18 if is("proxy-authenticate") => Field::HopByHop,
        19 if is("proxy-authorization") => Field::HopByHop,
        13.. if name.as_bytes()[..13].eq_ignore_ascii_case(CONTROL_PREFIX.as_bytes()) => sort_control(name),
        _ => Field::EndToEnd,
    }
}

fn sort_control(name: &str) -> Field {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if is(ORIGIN) || is("X-Dispatcher-Original-Host") {
        Field::Origin
    } else if is(TIMEOUT) {
        Field::Timeout
    } else if is("X-Dispatcher-Message-Id") || is("X-Dispatcher-Attempt") || is("X-Dispatcher-Maybe-Duplicate") {
        Field::Added
    } else {
        Field::UnknownControl
    }
}

/// Whether a comma-separated list (RFC 9110 §5.6.1) holds `token`, case aside.
pub fn lists(value: &[u8], token: &str) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sorted_whatever_their_case() {
        let cases = [
            ("x-dispatcher-origin-host", Field::Origin),
            ("X-DISPATCHER-ORIGINAL-HOST", Field::Origin),
            ("X-Dispatcher-Timeout", Field::Timeout),
            ("x-dispatcher-message-id", Field::Added),
            ("X-Dispatcher-Attempt", Field::Added),
            ("X-Dispatcher-Maybe-Duplicate", Field::Added),
            ("X-Dispatcher-Timeot", Field::UnknownControl),
            ("X-Dispatcher-", Field::UnknownControl),
            ("X-Dispatcher", Field::EndToEnd),
            ("HOST", Field::Host),
            ("Te", Field::HopByHop),
            ("trailer", Field::HopByHop),
            ("Keep-Alive", Field::HopByHop),
            ("Proxy-Connection", Field::HopByHop),
            ("Proxy-Authorization", Field::HopByHop),
            ("proxy-authenticate", Field::HopByHop),
            ("Upgrade", Field::Upgrade),
            ("Authorization", Field::EndToEnd),
            ("Content-Type", Field::EndToEnd),
            ("X-Forwarded-For", Field::EndToEnd),
        ];
        for (name, field) in cases {
            assert_eq!(sort(name), field, "{name}");
        }
    }

    #[test]
    fn lists_are_split_at_commas_and_trimmed() {
        assert!(lists(b"keep-alive, Close", "close") && lists(b"close", "close") && lists(b" ,\tclose", "close"));
        assert!(!lists(b"closed", "close") && !lists(b"", "close"));
    }
}
