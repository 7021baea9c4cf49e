//! A complete head to a request: whose it is, how its body is framed, and the head that its origin will get. httparse
//! splits it; the rules are ours (RFC 9110, RFC 9112) and strict. Pure.

use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::rc::Rc;

use httparse::Header;

use super::body::Framing;
use super::fields::{self, Field, lists};
use super::reply::{Persistence, Refusal};
use crate::config::values;
use crate::limits::{FIELDS_MAX, TARGET_BYTES_MAX};
use crate::message::{Origin, Scheme};
use crate::metrics::exposition::takes_openmetrics;
use crate::time::Millis;

/// What the configuration says about heads.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `MAX_HEAD`.
    pub head_bytes_max: usize,
    /// `MAX_BODY`.
    pub body_bytes_max: u64,
    /// `MAX_TIMEOUT`.
    pub timeout_max: Millis,
    /// `ORIGIN_SCHEME`.
    pub origin_scheme: Scheme,
    /// The port of the data listener, to notice what is sent to itself.
    pub own_port: u16,
}

/// What a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A message for an origin.
    Data {
        /// Where it is to go.
        origin: Rc<Origin>,
        /// `X-Dispatcher-Timeout`.
        timeout: Option<Millis>,
    },
    /// `/metrics`, in OpenMetrics if that was asked for.
    Metrics {
        /// The client accepts OpenMetrics.
        openmetrics: bool,
    },
    /// `/-/healthy`
    Healthy,
    /// `/-/ready`
    Ready,
}

/// A head that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What the request is.
    pub purpose: Purpose,
    /// How its body is framed.
    pub framing: Framing,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// What happens to the connection afterwards.
    pub persistence: Persistence,
    /// A HEAD request: answers have no body.
    pub head_only: bool,
}

/// The origin that the last request on a connection named, so that the next need not parse it again.
#[derive(Debug, Default)]
pub struct LastOrigin(Option<(Box<[u8]>, Rc<Origin>)>);

/// What the fields say, before it is decided what the request is.
struct Survey<'h> {
    host: usize,
    content_length: Option<u64>,
    chunked: bool,
    transfer_encoding: bool,
    connection: Vec<&'h [u8]>,
    expect: bool,
    origin: Option<Rc<Origin>>,
    origin_spellings: [bool; 2],
    timeout: Option<Millis>,
    openmetrics: bool,
}

/// Reads a complete head and writes the outbound head to `outbound`: request line and fields, each with its CRLF,
/// without the final empty line; a chunked body's length is added by [`finish_chunked`] when it is known.
///
/// `head` ends with its empty line and went through [`super::scan::Scanner`]. `local` is the address that the client
/// connected to.
pub fn parse(
    head: &[u8],
    rules: &Rules,
    local: IpAddr,
    last_origin: &mut LastOrigin,
    outbound: &mut Vec<u8>,
) -> Result<RequestHead, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    request.parse_with_uninit_headers(head, &mut fields).map_err(refuse_parse)?;
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let http_10 = request.version == Some(0);
    if method.eq_ignore_ascii_case("CONNECT") {
        return Err(Refusal::unsupported("CONNECT is not offered"));
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::target_too_long());
    }
    let survey = survey(request.headers, rules, last_origin)?;
    if survey.host > 1 || (survey.host == 0 && !http_10) {
        return Err(Refusal::malformed("Host is missing or repeated"));
    }
    let framing = frame(&survey, http_10, rules)?;
    let closes = survey.connection.iter().any(|value| lists(value, "close"));
    let keeps = survey.connection.iter().any(|value| lists(value, "keep-alive"));
    let persistence = match (http_10, closes) {
        (_, true) => Persistence::Close,
        (false, false) => Persistence::Keep,
        (true, false) => {
            if keeps {
                Persistence::KeepSaid
            } else {
                Persistence::Close
            }
        }
    };
    let purpose = match &survey.origin {
        Some(origin) => {
            if is_own(origin, local, rules.own_port) {
                return Err(Refusal::to_itself());
            }
            let origin_target = origin_form(method, target)?;
            write_outbound(outbound, method, origin_target, request.headers, &survey, origin);
            Purpose::Data { origin: Rc::clone(origin), timeout: survey.timeout }
        }
        None => control_purpose(method, target, survey.openmetrics)
            .ok_or_else(|| Refusal::no_origin(method, target, rules.own_port))?,
    };
    let expects_continue = survey.expect && !http_10 && framing != Framing::None;
    Ok(RequestHead { purpose, framing, expects_continue, persistence, head_only: method == "HEAD" })
}

/// Whether a refused head is certainly followed by the next one on a connection that stays: HTTP/1.1, not told to
/// close, and no word of a body.
pub fn is_kept_and_bodiless(head: &[u8]) -> bool {
    let head = head.to_ascii_lowercase();
    let mentions = |name: &[u8]| head.windows(name.len()).any(|window| window == name);
    let http_11 = head.split(|byte| *byte == b'\r').next().is_some_and(|line| line.ends_with(b"http/1.1"));
    http_11 && ![&b"\ncontent-length:"[..], b"\ntransfer-encoding:", b"\nconnection:"].into_iter().any(mentions)
}

/// Adds the length of a body that came in chunks; its origin gets it whole.
pub fn finish_chunked(outbound: &mut Vec<u8>, body_bytes: usize) {
    outbound.extend_from_slice(format!("Content-Length: {body_bytes}\r\n").as_bytes());
}

fn refuse_parse(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::head_too_large(),
        httparse::Error::Version => Refusal::version(),
        httparse::Error::HeaderName => Refusal::malformed("a field name is not a token followed by a colon"),
        httparse::Error::HeaderValue => Refusal::malformed("a field value holds what it must not"),
        httparse::Error::NewLine => Refusal::malformed("a line does not end with CRLF"),
        httparse::Error::Token | httparse::Error::Status => Refusal::malformed("the request line cannot be read"),
    }
}

fn survey<'h>(headers: &[Header<'h>], rules: &Rules, last: &mut LastOrigin) -> Result<Survey<'h>, Refusal> {
    let mut survey = Survey {
        host: 0,
        content_length: None,
        chunked: false,
        transfer_encoding: false,
        connection: Vec::new(),
        expect: false,
        origin: None,
        origin_spellings: [false; 2],
        timeout: None,
        openmetrics: false,
    };
    for header in headers {
        let value = header.value;
        match fields::sort(header.name) {
            Field::Host => survey.host += 1,
            Field::ContentLength => {
                let length = content_length(value)?;
                if survey.content_length.is_some_and(|other| other != length) {
                    return Err(Refusal::malformed("Content-Length is repeated with another value"));
                }
                survey.content_length = Some(length);
            }
            Field::TransferEncoding => survey.transfer_coding(value)?,
            Field::Connection => survey.connection.push(value),
            Field::Expect if value.eq_ignore_ascii_case(b"100-continue") => survey.expect = true,
            Field::Expect => return Err(Refusal::expectation()),
            Field::Upgrade => return Err(Refusal::unsupported("Upgrade is not offered")),
            Field::Origin => survey.name_origin(header.name, value, rules, last)?,
            Field::Timeout => survey.set_timeout(value, rules)?,
            Field::UnknownControl => {
                let known = "one of X-Dispatcher-Origin-Host and X-Dispatcher-Timeout";
                return Err(Refusal::control_header("X-Dispatcher-*", header.name.as_bytes(), known));
            }
            Field::EndToEnd => {
                survey.openmetrics |= header.name.eq_ignore_ascii_case("accept")
                    && std::str::from_utf8(value).is_ok_and(takes_openmetrics);
            }
            Field::Added | Field::HopByHop => {}
        }
    }
    Ok(survey)
}

impl Survey<'_> {
    /// RFC 9112 §6.1: `chunked` is last, once, and the only coding we can undo.
    fn transfer_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.transfer_encoding = true;
        for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if self.chunked {
                return Err(Refusal::malformed("Transfer-Encoding does not end with chunked, or names it twice"));
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else if lists(value, "chunked") {
                return Err(Refusal::unsupported("chunked is the only transfer coding that is understood"));
            }
        }
        Ok(())
    }

    fn name_origin(&mut self, name: &str, value: &[u8], rules: &Rules, last: &mut LastOrigin) -> Result<(), Refusal> {
        let alias = usize::from(!name.eq_ignore_ascii_case(fields::ORIGIN));
        let expected = "host, host:port, http://host[:port] or https://host[:port]";
        if std::mem::replace(&mut self.origin_spellings[alias], true) {
            return Err(Refusal::control_header(fields::ORIGIN, value, format!("{expected}, once")));
        }
        let origin = last
            .get(value, rules.origin_scheme)
            .map_err(|why| Refusal::control_header(fields::ORIGIN, value, format!("{expected}; {why}")))?;
        if self.origin.as_ref().is_some_and(|other| *other != origin) {
            let same = format!("the same destination as {}", if alias == 1 { fields::ORIGIN } else { "its alias" });
            return Err(Refusal::control_header(fields::ORIGIN, value, same));
        }
        self.origin = Some(origin);
        Ok(())
    }

    fn set_timeout(&mut self, value: &[u8], rules: &Rules) -> Result<(), Refusal> {
        let parsed = std::str::from_utf8(value).ok().and_then(values::duration);
        let in_range = parsed.filter(|timeout| timeout.0 >= 1 && *timeout <= rules.timeout_max);
        let (Some(timeout), None) = (in_range, self.timeout) else {
            let expected = format!("whole milliseconds, or 500ms, 10s, 5m, from 1ms to {}, once", rules.timeout_max);
            return Err(Refusal::control_header(fields::TIMEOUT, value, expected));
        };
        self.timeout = Some(timeout);
        Ok(())
    }

    /// Whether `Connection` names this field, so that it ends here. Naming one on which framing or routing rests has
    /// no effect: a sender must not (RFC 9110 §7.6.1), and dropping it would change the request.
    fn ends_here(&self, name: &str) -> bool {
        self.connection.iter().any(|value| lists(value, name))
    }
}

impl LastOrigin {
    fn get(&mut self, value: &[u8], scheme: Scheme) -> Result<Rc<Origin>, String> {
        if let Some((known, origin)) = &self.0
            && **known == *value
        {
            return Ok(Rc::clone(origin));
        }
        let text = std::str::from_utf8(value).map_err(|_| "it is not text".to_owned())?;
        let origin = Rc::new(Origin::parse(text, scheme).map_err(|why| why.to_string())?);
        self.0 = Some((value.into(), Rc::clone(&origin)));
        Ok(origin)
    }
}

/// RFC 9110 §8.6: digits and nothing else; a list of equal values is refused too.
fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let Some(digits) = digits else { return Err(Refusal::malformed("Content-Length is not a number")) };
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// RFC 9112 §6.3, without its leniencies.
fn frame(survey: &Survey<'_>, http_10: bool, rules: &Rules) -> Result<Framing, Refusal> {
    match (survey.transfer_encoding, survey.content_length) {
        (true, _) if http_10 => Err(Refusal::malformed("Transfer-Encoding does not exist in HTTP/1.0")),
        (true, Some(_)) => Err(Refusal::malformed("Content-Length and Transfer-Encoding contradict")),
        (true, None) if !survey.chunked => Err(Refusal::malformed("Transfer-Encoding does not end with chunked")),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) if length > rules.body_bytes_max => Err(Refusal::body_too_large(rules.body_bytes_max)),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::None),
    }
}

fn control_purpose(method: &str, target: &str, openmetrics: bool) -> Option<Purpose> {
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET" | "HEAD", "/metrics") => Some(Purpose::Metrics { openmetrics }),
        ("GET" | "HEAD", "/-/healthy") => Some(Purpose::Healthy),
        ("GET" | "HEAD", "/-/ready") => Some(Purpose::Ready),
        _ => None,
    }
}

/// Whether a message for `origin` would come back to this listener: it would never end. Names are not resolved here.
fn is_own(origin: &Origin, local: IpAddr, own_port: u16) -> bool {
    let address = origin.host().parse::<IpAddr>().map(|address| address.to_canonical());
    let ours = match address {
        Ok(address) => address.is_loopback() || address.is_unspecified() || address == local.to_canonical(),
        Err(_) => origin.host() == "localhost",
    };
    ours && origin.port() == own_port
}

/// What goes into the outbound request line: path and query of an absolute target, whose authority is not the origin
/// (RFC 9112 §3.2).
fn origin_form<'t>(method: &str, target: &'t str) -> Result<&'t str, Refusal> {
    let absolute = target
        .split_once("://")
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"));
    match absolute {
        _ if target.starts_with('/') || (target == "*" && method == "OPTIONS") => Ok(target),
        Some((_, rest)) => match rest.find(['/', '?']) {
            Some(at) if rest.as_bytes()[at] == b'/' => Ok(&rest[at..]),
            None if method == "OPTIONS" => Ok("*"),
            None => Ok("/"),
            Some(_) => Err(Refusal::malformed("the target has a query but no path")),
        },
        None => Err(Refusal::malformed("the target is neither a path nor a URL")),
    }
}

fn write_outbound(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    headers: &[Header<'_>],
    survey: &Survey<'_>,
    origin: &Origin,
) {
    out.clear();
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    if survey.host == 0 {
        field("Host", origin.authority().as_bytes());
    }
    let mut length_written = false;
    for header in headers {
        match fields::sort(header.name) {
            Field::Host => field(header.name, origin.authority().as_bytes()),
            Field::ContentLength if !length_written => {
                field(header.name, header.value);
                length_written = true;
            }
            Field::EndToEnd if !survey.ends_here(header.name) => field(header.name, header.value),
            Field::EndToEnd
            | Field::ContentLength
            | Field::Origin
            | Field::Timeout
            | Field::Added
            | Field::UnknownControl
            | Field::TransferEncoding
            | Field::Connection
            | Field::Expect
            | Field::Upgrade
            | Field::HopByHop => {}
        }
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
