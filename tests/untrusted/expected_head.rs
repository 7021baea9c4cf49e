//! What a request's head is, decided over the whole input: the contract of the ingress, field by field.
//!
//! Written apart from `ingress/scan.rs` and `ingress/head.rs`: lines are cut out and looked at again for every question,
//! no parser of HTTP is used, and there is no state. Where two things are wrong, what the bytes show first counts; of a
//! head that is complete, the first in the order of `read`.

use dispatcher::ingress::head::Rules;
use dispatcher::ingress::tokens::Brought;
use dispatcher::limits::{
    CONNECTION_OPTIONS_MAX, FIELDS_MAX, METHOD_BYTES_MAX, REQUEST_LINE_BYTES_MAX, TARGET_BYTES_MAX,
};
use dispatcher::message::{Origin, Scheme};

use super::expected_origin::{self, Destination};
use super::expected_target;
use super::rules::TOKEN;

/// What the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The beginning of a head.
    Incomplete,
    /// Refused with this status, and the connection closed.
    Refused(u16),
    /// A head of so many bytes.
    Head(Box<Head>, usize),
}

/// A head that says where its request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub ask: Ask,
    pub framing: Framing,
    pub persistence: Persistence,
    pub expects_continue: bool,
    pub head_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To be sent on with this head, which for a chunked body has no length.
    Message { origin: String, timeout_ms: Option<u64>, outbound: Vec<u8> },
    /// A path of our own.
    Endpoint(String),
    /// Refused with this status.
    Refused(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Length(usize),
    Chunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Open,
    OpenOnRequest,
    Close,
}

/// A field line: all of it, and its two parts.
#[derive(Clone, Copy)]
struct Field<'a> {
    line: &'a [u8],
    name: &'a str,
    value: &'a [u8],
}

/// Reads the head at the start of `input`.
pub fn head(input: &[u8], rules: &Rules) -> Verdict {
    let rest = input.strip_prefix(b"\r\n").unwrap_or(input);
    let method = rest.iter().take_while(|byte| is_token(**byte)).count();
    if method > METHOD_BYTES_MAX {
        return Verdict::Refused(501);
    }
    match rest.get(method) {
        None => return Verdict::Incomplete,
        Some(b'\r') if input == b"\r" => return Verdict::Incomplete,
        Some(b' ') if method > 0 => {}
        Some(_) => return Verdict::Refused(400),
    }
    let (mut lines, mut at): (Vec<&[u8]>, usize) = (Vec::new(), 0);
    loop {
        let is_first = lines.is_empty();
        // Bytes of the head that this line may end within, its CRLF included.
        let bytes_max =
            if is_first { rules.head_bytes_max.min(REQUEST_LINE_BYTES_MAX + 2) } else { rules.head_bytes_max };
        let is_end = |byte: &u8| byte.is_ascii_control() && (is_first || *byte != b'\t');
        let end = rest[at..].iter().position(is_end).map_or(rest.len(), |end| at + end);
        if end + 2 > bytes_max && (end >= bytes_max || rest.get(end) == Some(&b'\r')) {
            return Verdict::Refused(if is_first { 414 } else { 431 });
        }
        match &rest[end..] {
            [] | [b'\r'] => return Verdict::Incomplete,
            [b'\r', b'\n', ..] => {}
            _ => return Verdict::Refused(400),
        }
        let line = &rest[at..end];
        at = end + 2;
        if line.is_empty() {
            break;
        }
        if is_first && let Err(status) = request_line(line) {
            return Verdict::Refused(status);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Verdict::Refused(400);
        }
        lines.push(line);
    }
    match read(&lines, rules) {
        Ok(head) => Verdict::Head(Box::new(head), input.len() - rest.len() + at),
        Err(status) => Verdict::Refused(status),
    }
}

fn request_line(line: &[u8]) -> Result<(), u16> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [_, target, version] = parts[..] else { return Err(400) };
    match version {
        _ if target.is_empty() => Err(400),
        _ if target.len() > TARGET_BYTES_MAX => Err(414),
        b"HTTP/1.0" | b"HTTP/1.1" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(505),
        _ => Err(400),
    }
}

/// Reads complete lines.
fn read(lines: &[&[u8]], rules: &Rules) -> Result<Head, u16> {
    let line = std::str::from_utf8(lines[0]).map_err(|_| 400_u16)?;
    let parts: Vec<&str> = line.split(' ').collect();
    let (method, is_11) = (parts[0], parts[2] == "HTTP/1.1");
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let field = field(line).ok_or(400_u16)?;
        if fields.len() == FIELDS_MAX {
            return Err(431);
        }
        fields.push(field);
    }
    let target = expected_target::target(method, parts[1])?;
    check_each(&fields)?;
    let values = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    match values("Host")[..] {
        [] if is_11 => return Err(400),
        [host] if !std::str::from_utf8(host).is_ok_and(expected_target::is_host) => return Err(400),
        _ => {}
    }
    let framing = framing(&values("Content-Length"), &values("Transfer-Encoding"), is_11)?;
    let has = |option: &str| options(&fields).iter().any(|named| named.eq_ignore_ascii_case(option.as_bytes()));
    if is_11 && !values("Upgrade").is_empty() && has("upgrade") {
        return Err(501);
    }
    let persistence = match (has("close"), is_11, has("keep-alive")) {
        (true, _, _) | (_, false, false) => Persistence::Close,
        (_, false, true) => Persistence::OpenOnRequest,
        (_, true, _) => Persistence::Open,
    };
    let ask = match ask(&fields, method, &target, framing, rules) {
        Ok(ask) => ask,
        Err(status) => Ask::Refused(status),
    };
    let expectations = values("Expect").join(&b","[..]).to_ascii_lowercase();
    let expects_continue =
        is_11 && expectations.split(|byte| *byte == b',').any(|one| one.trim_ascii() == b"100-continue");
    Ok(Head { ask, framing, persistence, expects_continue, head_only: method == "HEAD" })
}

fn field(line: &[u8]) -> Option<Field<'_>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = &line[..colon];
    let is_name = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let name = is_name.then(|| std::str::from_utf8(name).ok())??;
    Some(Field { line, name, value: line[colon + 1..].trim_ascii() })
}

/// What each field shows by itself, or with those before it.
fn check_each(fields: &[Field<'_>]) -> Result<(), u16> {
    for (index, Field { name, value, .. }) in fields.iter().enumerate() {
        match name.to_ascii_lowercase().as_str() {
            "host" if fields[..index].iter().any(|before| before.name.eq_ignore_ascii_case("Host")) => return Err(400),
            "content-length" if lengths(&values_of(&fields[..=index], "Content-Length")).is_none() => return Err(400),
            "transfer-encoding" if value.split(|byte| *byte == b',').any(|item| item.trim_ascii().is_empty()) => {
                return Err(400);
            }
            "connection" if options(&fields[..=index]).len() > CONNECTION_OPTIONS_MAX => return Err(431),
            _ => {}
        }
    }
    Ok(())
}

fn values_of<'a>(fields: &[Field<'a>], name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
}

/// The one length that all of them state: a number too large for a size is the largest.
fn lengths(values: &[&[u8]]) -> Option<usize> {
    let joined = values.join(&b","[..]);
    let mut found = Vec::new();
    for item in joined.split(|byte| *byte == b',') {
        let digits = std::str::from_utf8(item.trim_ascii()).ok()?;
        let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
        let number = is_number.then(|| digits.trim_start_matches('0'))?;
        found.push(if number.is_empty() { 0 } else { number.parse().unwrap_or(usize::MAX) });
    }
    found.dedup();
    if let [length] = found[..] { Some(length) } else { None }
}

fn framing(lengths_given: &[&[u8]], codings_given: &[&[u8]], is_11: bool) -> Result<Framing, u16> {
    if codings_given.is_empty() {
        return Ok(lengths(lengths_given).map_or(Framing::Empty, Framing::Length));
    }
    if !lengths_given.is_empty() || !is_11 {
        return Err(400);
    }
    let joined = codings_given.join(&b","[..]).to_ascii_lowercase();
    let codings: Vec<&[u8]> = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    let chunked = codings.iter().filter(|coding| **coding == b"chunked").count();
    match (chunked, codings.last(), codings.len()) {
        (1, Some(&b"chunked"), 1) => Ok(Framing::Chunked),
        (1, Some(&b"chunked"), _) => Err(501),
        _ => Err(400),
    }
}

fn options<'a>(fields: &[Field<'a>]) -> Vec<&'a [u8]> {
    let values = values_of(fields, "Connection");
    let items = values.into_iter().flat_map(|value| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    items.filter(|option| !option.is_empty()).collect()
}

/// The one rule: with an origin it is data; else one of our paths; else an error.
fn ask(fields: &[Field<'_>], method: &str, target: &str, framing: Framing, rules: &Rules) -> Result<Ask, u16> {
    const OURS: [&str; 7] =
        ["authorization", "origin-host", "original-host", "timeout", "message-id", "attempt", "maybe-duplicate"];
    let control = |name: &str| values_of(fields, &format!("X-Dispatcher-{name}"));
    let names = fields.iter().map(|field| field.name.to_ascii_lowercase());
    let is_unknown = |name: String| name.strip_prefix("x-dispatcher-").is_some_and(|rest| !OURS.contains(&rest));
    let (origins, aliases, timeouts) = (control("Origin-Host"), control("Original-Host"), control("Timeout"));
    let is_faulty =
        names.into_iter().any(is_unknown) || [&origins, &aliases, &timeouts].into_iter().any(|values| values.len() > 1);
    let path = target.split('?').next().unwrap_or_default();
    let is_asked = origins.is_empty() && aliases.is_empty() && ["GET", "HEAD"].contains(&method);
    let is_health = is_asked && ["/-/healthy", "/-/ready"].contains(&path);
    let is_metrics = is_asked && path == "/metrics";
    let is_open = rules.door.admits(Brought::Nothing) || (is_health && !is_faulty && timeouts.is_empty());
    if !is_open {
        let token = control("Authorization");
        let brought = if token.is_empty() && is_metrics { values_of(fields, "Authorization") } else { token };
        if !matches!(brought[..], [value] if is_token_of_ours(value)) {
            return Err(401);
        }
    }
    if is_faulty {
        return Err(400);
    }
    let timeout_ms = match timeouts[..] {
        [value] => Some(expected_origin::timeout_ms(value).ok_or(400_u16)?),
        _ => None,
    };
    let Some(value) = origins.iter().chain(&aliases).next() else {
        return if is_health || is_metrics { Ok(Ask::Endpoint(path.to_owned())) } else { Err(400) };
    };
    let to = destination(value, rules)?;
    if let ([_], [alias]) = (&origins[..], &aliases[..])
        && destination(alias, rules)? != to
    {
        return Err(400);
    }
    if to.is_own() {
        return Err(508);
    }
    if matches!(framing, Framing::Length(bytes) if bytes > rules.body_bytes_max) {
        return Err(413);
    }
    Ok(Ask::Message { origin: to.url(), timeout_ms, outbound: outbound(fields, method, target, framing, &to) })
}

/// The policy is not written twice: `origin.rs` checks it by itself.
fn destination(value: &[u8], rules: &Rules) -> Result<Destination, u16> {
    let text = std::str::from_utf8(value).map_err(|_| 400_u16)?;
    let policy = &rules.control.policy;
    let to = expected_origin::destination(text, rules.control.origin_scheme == Scheme::Https);
    let verdict = match &to {
        Some(to) => policy.judge_host(&to.host),
        None => Origin::host_in(text).map_or(Ok(()), |host| policy.judge_spelling(host)),
    };
    verdict.map_err(|_| 403_u16)?;
    to.ok_or(400)
}

/// The head as it is sent on, without its last line, and for a chunked body without its length.
fn outbound(fields: &[Field<'_>], method: &str, target: &str, framing: Framing, to: &Destination) -> Vec<u8> {
    const HOP_BY_HOP: [&str; 10] = [
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "proxy-authenticate",
        "expect",
    ];
    let named: Vec<Vec<u8>> = options(fields).into_iter().map(<[u8]>::to_ascii_lowercase).collect();
    let mut lines = vec![format!("{method} {target} HTTP/1.1").into_bytes()];
    if values_of(fields, "Host").is_empty() {
        lines.push(format!("Host: {}", to.authority()).into_bytes());
    }
    let mut has_length = false;
    for Field { line, name, value } in fields {
        let lower = name.to_ascii_lowercase();
        match (lower.as_str(), framing) {
            ("host", _) => lines.push(format!("{name}: {}", to.authority()).into_bytes()),
            ("content-length", _) if has_length => {}
            ("content-length", Framing::Length(bytes)) => {
                has_length = true;
                let is_plain = bytes.to_string().as_bytes() == *value;
                lines.push(if is_plain { line.to_vec() } else { format!("{name}: {bytes}").into_bytes() });
            }
            (hop, _) if HOP_BY_HOP.contains(&hop) || hop.starts_with("x-dispatcher-") => {}
            (other, _) if named.iter().any(|name| name == other.as_bytes()) => {}
            _ => lines.push(line.to_vec()),
        }
    }
    lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect()
}

/// `Bearer`, in any case, a space or more, and the token.
fn is_token_of_ours(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.is_some_and(|(_, rest)| rest.trim_start_matches(' ') == TOKEN)
}

/// RFC 9110 §5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
