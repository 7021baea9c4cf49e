//! What an answer says besides its status: `X-Dispatcher-Verdict` and `Retry-After` out of its fields.

use std::time::UNIX_EPOCH;

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

use crate::schedule::attempt::{Advice, RetryAfter, Verdict, may_ask_to_wait};
use crate::time::{Millis, UnixMillis};

/// The origin's own judgement.
pub(super) const VERDICT: HeaderName = HeaderName::from_static("x-dispatcher-verdict");

/// Reads both fields. What is repeated or cannot be understood says nothing: of two judgements none is taken. Also tells
/// whether there is a verdict that says nothing, which somebody should be told about.
pub(super) fn of_answer(status: u16, fields: &HeaderMap) -> (Advice, bool) {
    let (verdict, is_unclear) = match fields.get(VERDICT) {
        None => (None, false),
        Some(_) => {
            let verdict = only(fields, VERDICT).and_then(|value| Verdict::parse(value.as_bytes()));
            (verdict, verdict.is_none())
        }
    };
    let retry_after = if may_ask_to_wait(status) {
        only(fields, RETRY_AFTER).and_then(|value| parse_retry_after(value.as_bytes()))
    } else {
        None
    };
    (Advice { verdict, retry_after }, is_unclear)
}

fn only(fields: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = fields.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_none() { Some(value) } else { None }
}

/// The value of `Retry-After` (RFC 9110 §10.2.3): whole seconds, of which more than there are is for ever, or a date in
/// any of its three forms.
fn parse_retry_after(value: &[u8]) -> Option<RetryAfter> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return None;
    }
    if value.iter().all(u8::is_ascii_digit) {
        let seconds =
            value.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add((digit - b'0').into()));
        return Some(RetryAfter::Wait(Millis(seconds.saturating_mul(1000))));
    }
    let date = httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(RetryAfter::At(UnixMillis(u64::try_from(since.as_millis()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let pairs =
            lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()));
        // Not collect: that replaces what is repeated.
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(name, value);
        }
        fields
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_in_any_of_its_forms() {
        // 1994-11-06T08:49:37Z, the date of RFC 9110 §5.6.7.
        let date = Some(RetryAfter::At(UnixMillis(784_111_777_000)));
        let wait = |seconds| Some(RetryAfter::Wait(Millis::from_secs(seconds)));
        let table: [(&[u8], Option<RetryAfter>); 24] = [
            (b"0", wait(0)),
            (b"120", wait(120)),
            (b"007", wait(7)),
            (b" 5\t", wait(5)),
            (b"18446744073709551615", Some(RetryAfter::Wait(Millis(u64::MAX)))),
            (b"99999999999999999999999999", Some(RetryAfter::Wait(Millis(u64::MAX)))),
            (b"", None),
            (b"-1", None),
            (b"+1", None),
            (b"1.5", None),
            (b"1s", None),
            (b"1, 2", None),
            (b"0x10", None),
            (b"soon", None),
            (b"\xff", None),
            (b"Sun, 06 Nov 1994 08:49:37 GMT", date),
            (b"Sunday, 06-Nov-94 08:49:37 GMT", date),
            (b"Sun Nov  6 08:49:37 1994", date),
            (b"Sat, 06 Nov 1994 08:49:37 GMT", None),
            (b"Sun, 06 Nov 1994 08:49:37", None),
            (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
            (b"Sun, 31 Feb 1994 08:49:37 GMT", None),
            (b"Thu, 01 Jan 1970 00:00:00 GMT", Some(RetryAfter::At(UnixMillis(0)))),
            (b"Fri, 31 Dec 9999 23:59:59 GMT", Some(RetryAfter::At(UnixMillis(253_402_300_799_000)))),
        ];
        for (value, expected) in table {
            assert_eq!(parse_retry_after(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn only_some_statuses_may_ask_to_wait() {
        let fields = fields(&[("retry-after", b"1")]);
        for status in 100..=599 {
            let asks = matches!(status, 300..=399 | 413 | 429 | 503);
            assert_eq!(of_answer(status, &fields).0.retry_after.is_some(), asks, "{status}");
        }
    }

    #[test]
    fn a_verdict_counts_once_and_on_any_status() {
        let table: [(HeaderMap, Option<Verdict>, bool); 6] = [
            (fields(&[]), None, false),
            (fields(&[("x-dispatcher-verdict", b"dead")]), Some(Verdict::Dead), false),
            (fields(&[("x-dispatcher-verdict", b"OK")]), Some(Verdict::Ok), false),
            (fields(&[("x-dispatcher-verdict", b"perhaps")]), None, true),
            (fields(&[("x-dispatcher-verdict", b"ok"), ("x-dispatcher-verdict", b"dead")]), None, true),
            (fields(&[("x-dispatcher-verdict", b"ok"), ("x-dispatcher-verdict", b"ok")]), None, true),
        ];
        for status in [200, 302, 404, 500] {
            for (fields, verdict, unclear) in &table {
                let (advice, is_unclear) = of_answer(status, fields);
                assert_eq!((advice.verdict, is_unclear), (*verdict, *unclear), "{fields:?}");
            }
        }
    }

    #[test]
    fn of_repeated_waits_none_is_taken() {
        assert_eq!(of_answer(503, &fields(&[("retry-after", b"1"), ("retry-after", b"1")])).0, Advice::default());
    }
}
