//! Who may ask what of the admin listener.
//!
//! **Browsers.** A page of another site must not read or change anything through its visitor's browser: neither directly
//! (CSRF) nor under a name of its own that it makes resolve to us (DNS rebinding). A scraper, on the other hand, may come
//! under whatever name its operator gave us, and we cannot know that name. So `Host` is judged only when a browser is
//! evident, by a field that every browser sends, that no page can suppress, and that no scraper or probe sends: see
//! `BROWSER_FIELDS`; or where the listener is for this machine alone and no token is asked for dead letters. (Fetch metadata alone would not do: browsers send it only to trustworthy origins, W3C Fetch
//! Metadata §2, and a rebound plain-HTTP name is none.) A browser reaches us by address or as `localhost`. Whatever
//! another site's page sends us that changes something, a form included, has `Origin` (Fetch §3.1); only browsers from
//! before 2020 send forms without it, so a browser that says nothing of where it comes from changes nothing.
//!
//! **The token.** Dead letters hold what was sent, so where `ADMIN_TOKEN` is set they are told of and changed only to
//! those who bring it. Where it is not, they are changed on loopback alone.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request};

use crate::config::secret::{self, Secret};

/// One of these and the request comes from a browser.
const BROWSER_FIELDS: [&str; 4] = ["origin", "referer", "sec-fetch-site", "accept-language"];

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Reads dead letters.
    Letters,
    /// Changes something.
    Change,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It lacks the token, or brings another one.
    Token,
    /// Nobody may, before there is a token.
    NoToken,
    /// It calls a listener on loopback by a name that may be another site's.
    Host,
}

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Access {
    /// `ADMIN_TOKEN`.
    pub token: Option<Secret>,
    /// Only processes of this machine reach the listener.
    pub is_loopback: bool,
}

impl Access {
    /// Decides whether a request is answered.
    pub fn decide<B>(&self, asked: Asked, request: &Request<B>) -> Result<(), Denied> {
        match (&self.token, asked) {
            (Some(token), Asked::Letters | Asked::Change) => {
                let brought = bearer(request.headers());
                if brought.is_some_and(|brought| token.is(brought)) { Ok(()) } else { Err(Denied::Token) }
            }
            (None, Asked::Letters | Asked::Change) if self.is_loopback && !is_own_name(host(request)) => {
                Err(Denied::Host)
            }
            (None, Asked::Change) if !self.is_loopback => Err(Denied::NoToken),
            (None, Asked::Letters | Asked::Change) => Ok(()),
        }
    }
}

/// The token that a request brings; none if it brings several.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (field, None) = (fields.next()?, fields.next()) else { return None };
    secret::bearer(field.as_bytes())
}

/// Whether another site's page stands behind this request: see the module.
pub fn is_foreign<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    if !BROWSER_FIELDS.iter().any(|field| headers.contains_key(*field)) {
        return false;
    }
    let host = host(request);
    let all = |field: &str, expected: &dyn Fn(&[u8]) -> bool| {
        headers.get_all(field).iter().all(|value| expected(value.as_bytes()))
    };
    let own_origin = format!("http://{host}");
    let own_site = all(ORIGIN.as_str(), &|origin| origin.eq_ignore_ascii_case(own_origin.as_bytes()))
        && all("sec-fetch-site", &|site| matches!(site, b"same-origin" | b"none"));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let says_whence = headers.contains_key(ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    !own_site || !is_own_name(host) || (changes && !says_whence)
}

/// What the request calls us: an authority in the target overrides Host (RFC 9112 §3.2.2).
fn host<B>(request: &Request<B>) -> &str {
    let host = request.uri().authority().map(Authority::as_str);
    host.or_else(|| request.headers().get(HOST)?.to_str().ok()).unwrap_or_default()
}

/// Names that no other site can make its own: addresses, and `localhost` (RFC 6761 §6.3).
fn is_own_name(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn scrapers_come_under_any_name_and_browsers_only_from_here() {
        const LANGUAGE: (&str, &str) = ("accept-language", "en");
        for (host, field, foreign) in [
            ("dispatcher.internal:8081", ("user-agent", "Prometheus/3.5.0"), false),
            ("dispatcher.internal:8081", LANGUAGE, true),
            ("", LANGUAGE, true),
            ("127.0.0.1.evil.example", LANGUAGE, true),
            ("localhost.evil.example", LANGUAGE, true),
            ("localhost@evil.example", LANGUAGE, true),
            ("127.0.0.1:8081", LANGUAGE, false),
            ("LocalHost", LANGUAGE, false),
            ("[::1]", LANGUAGE, false),
            ("[::1]:8081", LANGUAGE, false),
            ("10.0.0.7:8081", ("sec-fetch-site", "none"), false),
            ("10.0.0.7:8081", ("sec-fetch-site", "same-origin"), false),
            ("10.0.0.7:8081", ("sec-fetch-site", "cross-site"), true),
            ("10.0.0.7:8081", ("referer", "http://evil.example/"), false),
            ("localhost:8081", ("origin", "http://localhost:8081"), false),
            ("localhost:8081", ("origin", "http://localhost:3000"), true),
            ("localhost:8081", ("origin", "null"), true),
            ("evil.example", ("origin", "http://evil.example"), true),
        ] {
            let request = Request::get("/metrics").header("host", host).header(field.0, field.1).body(());
            assert_eq!(is_foreign(&request.expect("valid")), foreign, "{host} {field:?}");
        }
    }

    /// A browser from before forms had `Origin` sends another site's form with no word of that site.
    #[test]
    fn a_browser_changes_something_only_if_it_says_from_where() {
        for (field, foreign) in [
            (("accept-language", "en"), true),
            (("referer", "http://127.0.0.1:8081/"), true),
            (("sec-fetch-site", "none"), true),
            (("sec-fetch-site", "same-origin"), false),
            (("origin", "http://127.0.0.1:8081"), false),
            (("user-agent", "curl/8.5.0"), false),
        ] {
            let request = Request::post("/-/dead-letters/delete?all=true").header("host", "127.0.0.1:8081");
            let request = request.header(field.0, field.1).body(()).expect("valid");
            assert_eq!(is_foreign(&request), foreign, "{field:?}");
        }
    }

    #[test]
    fn without_a_token_letters_on_loopback_are_for_those_who_call_it_by_a_name_of_its_own() {
        for (has_token, is_loopback, host, allowed) in [
            (false, true, "127.0.0.1:8081", true),
            (false, true, "localhost:8081", true),
            (false, true, "evil.example:8081", false),
            (false, true, "", false),
            (false, false, "dispatcher.internal", true),
            (true, true, "dispatcher.internal", false),
        ] {
            let access = Access { token: has_token.then(|| Secret::new("0123456789abcdef")), is_loopback };
            let request = Request::get("/-/dead-letters").header("host", host).body(()).expect("valid");
            assert_eq!(access.decide(Asked::Letters, &request).is_ok(), allowed, "{host}");
        }
    }

    #[test]
    fn letters_need_the_token_where_there_is_one_and_changes_need_one_off_loopback() {
        const TOKEN: &str = "0123456789abcdef";
        let right = format!("Bearer {TOKEN}");
        let other = format!("bearer {}", TOKEN.replace('f', "e"));
        let lower = format!("bearer {TOKEN}");
        let basic = format!("Basic {TOKEN}");
        for (has_token, is_loopback, fields, letters, change) in [
            (false, true, vec![], Ok(()), Ok(())),
            (false, false, vec![], Ok(()), Err(Denied::NoToken)),
            (false, false, vec![&right], Ok(()), Err(Denied::NoToken)),
            (true, true, vec![], Err(Denied::Token), Err(Denied::Token)),
            (true, true, vec![&right], Ok(()), Ok(())),
            (true, false, vec![&lower], Ok(()), Ok(())),
            (true, false, vec![&other], Err(Denied::Token), Err(Denied::Token)),
            (true, false, vec![&basic], Err(Denied::Token), Err(Denied::Token)),
            (true, false, vec![&right, &right], Err(Denied::Token), Err(Denied::Token)),
        ] {
            let access = Access { token: has_token.then(|| Secret::new(TOKEN)), is_loopback };
            let mut headers = HeaderMap::new();
            for field in &fields {
                headers.append(AUTHORIZATION, HeaderValue::from_str(field).expect("valid"));
            }
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8081"));
            let mut request = Request::new(());
            *request.headers_mut() = headers;
            assert_eq!(access.decide(Asked::Letters, &request), letters, "{fields:?}");
            assert_eq!(access.decide(Asked::Change, &request), change, "{fields:?}");
        }
    }
}
