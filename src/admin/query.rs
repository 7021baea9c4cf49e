//! The query of a request about dead letters: what each parameter may say, and that there is no other.

use crate::config::values;
use crate::limits::{LETTER_IDS_MAX, LETTER_PAGE_MAX};
use crate::message::{MessageId, Origin, Scheme};
use crate::schedule::attempt::Failure;
use crate::shard::letter::Selection;
use crate::time::{Rfc3339, UnixMillis};

/// Letters on a page, unless the request says how many.
const PAGE: usize = 100;
/// Largest `rate`, in letters per second.
const RATE_MAX: u32 = 1_000_000;

/// The filters, by which every request may choose.
pub const FILTERS: [&str; 5] = ["id", "origin", "class", "since", "until"];

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The letters that are meant.
    pub selection: Selection,
    /// All of them are, expressly.
    pub all: bool,
    /// Nothing is to be done, only counted.
    pub dry_run: bool,
    /// Letters per second, at most.
    pub rate: Option<u32>,
    /// Letters on a page.
    pub limit: usize,
    /// Only letters with greater ids.
    pub after: Option<MessageId>,
}

/// A parameter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Which.
    pub parameter: String,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub expected: String,
}

impl Query {
    /// Reads a query in which only filters and `others` may stand. A bare origin has scheme `scheme`; a span of time is
    /// one before `now`.
    pub fn parse(text: &str, others: &[&str], scheme: Scheme, now: UnixMillis) -> Result<Self, Bad> {
        let mut query =
            Self { selection: Selection::default(), all: false, dry_run: false, rate: None, limit: PAGE, after: None };
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let bad = |expected: String| Bad { parameter: name.to_string(), value: value.to_string(), expected };
            if !FILTERS.contains(&&*name) && !others.contains(&&*name) {
                let known: Vec<_> = FILTERS.iter().chain(others).copied().collect();
                return Err(bad(format!("one of the parameters {}", known.join(" "))));
            }
            if name != "id" && seen.contains(&name) {
                return Err(bad("it once".to_owned()));
            }
            query.take(&name, &value, scheme, now).map_err(bad)?;
            seen.push(name);
        }
        Ok(query)
    }

    /// Takes one parameter in; `Err`: what it may say.
    fn take(&mut self, name: &str, value: &str, scheme: Scheme, now: UnixMillis) -> Result<(), String> {
        let flag = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        };
        let number = |most: u32| {
            let number = values::whole(value).filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("a whole number from 1 to {most}"))
        };
        let id = || MessageId::parse(value).ok_or_else(|| "the id of a message".to_owned());
        match name {
            "id" if self.selection.ids.len() == LETTER_IDS_MAX => return Err(format!("at most {LETTER_IDS_MAX} ids")),
            "id" => self.selection.ids.push(id()?),
            "origin" => {
                let origin = Origin::parse(value, scheme);
                self.selection.origin = Some(origin.map_err(|_| "host, host:port, or a URL of these".to_owned())?);
            }
            "class" => {
                let class = Failure::ALL.into_iter().find(|class| class.as_str() == value);
                let known = || Failure::ALL.map(Failure::as_str).join(" ");
                self.selection.class = Some(class.ok_or_else(|| format!("one of {}", known()))?);
            }
            "since" => self.selection.since = Some(time(value, now)?),
            "until" => self.selection.until = Some(time(value, now)?),
            "all" => self.all = flag()?,
            "dry_run" => self.dry_run = flag()?,
            "rate" => self.rate = Some(number(RATE_MAX)?),
            "limit" => self.limit = number(u32::try_from(LETTER_PAGE_MAX).unwrap_or(u32::MAX))? as usize,
            "after" => self.after = Some(id()?),
            unknown => panic!("{unknown} is allowed and not read"),
        }
        Ok(())
    }

    /// What a request that changes something lacks: a choice, which may be all, but expressly.
    pub fn choice(&self) -> Result<(), Bad> {
        let bad = |value: &str, expected: &str| {
            let (parameter, value, expected) = ("all".to_owned(), value.to_owned(), expected.to_owned());
            Err(Bad { parameter, value, expected })
        };
        let has_filter = self.selection != Selection::default();
        match (self.all, has_filter) {
            (false, false) => bad("", "true, as there is no filter; or one of the filters id origin class since until"),
            (true, true) => bad("true", "no filter beside it"),
            (true, false) | (false, true) => Ok(()),
        }
    }
}

fn time(text: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    let ago = values::duration(text).map(|ago| UnixMillis(now.0.saturating_sub(ago.0)));
    ago.or_else(|| Rfc3339::parse(text))
        .ok_or_else(|| "an RFC 3339 time such as 2026-11-24T04:30:00Z, or so long ago, as 30s, 5m, 2h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
    const ID: &str = "01a20bd2-02f3-7548-aec6-07ca29d3aca6";

    fn parse(text: &str) -> Result<Query, Bad> {
        Query::parse(text, &["all", "limit", "after", "rate"], Scheme::Https, NOW)
    }

    #[test]
    fn each_parameter_is_read() {
        let text = format!(
            "id={ID}&id={ID}&origin=b.example%3A81&class=http_5xx&since=2h&until=2023-11-14T22:13:20Z&limit=7&after={ID}&rate=5"
        );
        let query = parse(&text).expect("valid");
        let id = MessageId::parse(ID).expect("an id");
        assert_eq!(query.selection.ids, [id, id]);
        assert_eq!(query.selection.origin.map(|origin| origin.to_string()).as_deref(), Some("https://b.example:81"));
        assert_eq!(query.selection.class, Some(Failure::Http5xx));
        assert_eq!(query.selection.since, Some(UnixMillis(NOW.0 - 7_200_000)));
        assert_eq!(query.selection.until, Some(NOW));
        assert_eq!((query.limit, query.after, query.rate, query.all), (7, Some(id), Some(5), false));
        assert_eq!(parse("").expect("nothing is needed").limit, PAGE);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_was_expected() {
        for (text, parameter, part) in [
            ("orign=b", "orign", "id origin class since until all limit after rate"),
            ("dry_run=true", "dry_run", "one of the parameters"),
            ("id=7", "id", "the id of a message"),
            ("origin=b/path", "origin", "host, host:port"),
            ("class=5xx", "class", "http_5xx"),
            ("since=yesterday", "since", "2026-11-24T04:30:00Z"),
            ("until=", "until", "RFC 3339"),
            ("limit=0", "limit", "from 1 to 1000"),
            ("limit=1001", "limit", "from 1 to 1000"),
            ("rate=-1", "rate", "from 1 to"),
            ("all=yes", "all", "true or false"),
            ("class=dns&class=tls", "class", "once"),
        ] {
            let bad = parse(text).expect_err(text);
            assert_eq!(bad.parameter, parameter);
            assert!(bad.expected.contains(part), "{text}: {}", bad.expected);
        }
    }

    #[test]
    fn everything_is_meant_only_expressly() {
        for (text, good) in
            [("", false), ("all=false", false), ("all=true", true), ("class=dns", true), ("all=true&class=dns", false)]
        {
            assert_eq!(parse(text).expect("valid").choice().is_ok(), good, "{text}");
        }
    }
}
