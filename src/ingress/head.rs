//! A complete request head to what is asked: framing, persistence, control fields, and the outbound head.
//!
//! Pure. Finding the end of the head and refusing bytes no head may contain is `scan.rs`.

use std::mem::MaybeUninit;

use httparse::Header;

use super::control_fields::{self, ControlField, ControlRules, Destination};
use super::endpoint::Endpoint;
use super::framing::{Framing, FramingFields};
use super::outbound::{self, Fate};
use super::refusal::Refusal;
use super::reply::Persistence;
use super::target;
use super::tokens::{Brought, Door};
use crate::limits::{CONNECTION_OPTIONS_MAX, FIELDS_MAX};
use crate::metrics::RefusedReason;
use crate::time::Millis;

/// What a request is measured by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// For the `X-Dispatcher-*` fields.
    pub control: ControlRules,
    /// Longest head in bytes (`MAX_HEAD`).
    pub head_bytes_max: usize,
    /// Longest body in bytes (`MAX_BODY`).
    pub body_bytes_max: usize,
    /// Who may ask (`AUTH_TOKEN`).
    pub door: Door,
}

/// A request whose end is known, whatever else is wrong with it.
#[derive(Clone, Debug)]
pub struct Head {
    /// What it wants.
    pub ask: Ask,
    /// Where its body ends.
    pub framing: Framing,
    /// What becomes of the connection.
    pub persistence: Persistence,
    /// The client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The answer has no content, as the method is HEAD.
    pub head_only: bool,
}

/// What a request wants.
#[derive(Clone, Debug)]
pub enum Ask {
    /// To be sent on; the destination and the outbound head are where [`parse`] was told to put them.
    Message {
        /// `X-Dispatcher-Timeout`.
        timeout: Option<Millis>,
    },
    /// Something of the daemon itself.
    Endpoint(Endpoint),
    /// It is refused, but its end is known, so that the connection may live on.
    Refused(Refusal),
}

/// Reads one head: `bytes` is exactly what the scanner found. For [`Ask::Message`] `destination` holds where it goes,
/// and `outbound` the head as it will be sent: without the fields that differ per attempt, without the final empty
/// line, and for a chunked body without its length ([`outbound::push_content_length`]).
///
/// Errors: what leaves the end of the request in doubt; the connection must be closed.
pub fn parse(
    bytes: &[u8],
    rules: &Rules,
    destination: &mut Option<Destination>,
    outbound: &mut Vec<u8>,
) -> Result<Head, Refusal> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete(end)) => assert_eq!(end, bytes.len(), "the scanner and httparse see one head"),
        Ok(httparse::Status::Partial) => return Err(malformed("The head is not complete (RFC 9112 §2.1).")),
        Err(error) => return Err(refusal_of(error)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(malformed("The head has no request line (RFC 9112 §3)."));
    };
    let target = target::read(method, target)?;

    let mut fates = [Fate::Keep; FIELDS_MAX];
    let mut fields = Fields::default();
    for (header, fate) in request.headers.iter().zip(&mut fates) {
        *fate = fields.take(header)?;
    }
    fields.check_host(minor)?;
    let framing = fields.framing.decide(minor)?;
    if minor == 1 && fields.upgrade && fields.upgrade_option {
        return Err(Refusal::new(RefusedReason::Unsupported, "Upgrade is not offered (RFC 9110 §7.8)."));
    }
    if fields.other_options {
        drop_named(request.headers, &mut fates);
    }
    let message = outbound::Message { bytes, method, target: &target, fields: request.headers, fates: &fates, framing };
    let ask = fields
        .ask(&message, rules, destination)
        .inspect(|ask| {
            if let (Ask::Message { .. }, Some(destination)) = (ask, destination.as_ref()) {
                outbound::write(&message, destination.authority(), outbound);
            }
        })
        .unwrap_or_else(Ask::Refused);
    Ok(Head {
        ask,
        framing,
        persistence: fields.persistence(minor),
        // RFC 9110 §10.1.1: to be ignored in an HTTP/1.0 request.
        expects_continue: fields.expects_continue && minor == 1,
        head_only: method == "HEAD",
    })
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(RefusedReason::Malformed, detail)
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            Refusal::new(RefusedReason::HeadTooLarge, format!("The head has more than {FIELDS_MAX} fields."))
        }
        httparse::Error::HeaderName => malformed(
            "A field line has no name, a name that is not a token, or white space before its colon (RFC 9112 §5.1).",
        ),
        httparse::Error::HeaderValue => malformed("A field value has a byte it may not have (RFC 9110 §5.5)."),
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token | httparse::Error::Version => {
            malformed("The first line is not a request line (RFC 9112 §3).")
        }
    }
}

/// What the fields say, gathered in one pass.
#[derive(Default)]
struct Fields<'b> {
    framing: FramingFields,
    has_length: bool,
    host: Option<&'b [u8]>,
    /// Any origin field in either spelling: its name as given, and its value.
    origin: Option<(&'b str, &'b [u8])>,
    alias: Option<(&'b str, &'b [u8])>,
    timeout: Option<&'b [u8]>,
    accept: Option<&'b [u8]>,
    /// `X-Dispatcher-Authorization`, and the one that is the destination's.
    token: Brought<'b>,
    authorization: Brought<'b>,
    expects_continue: bool,
    upgrade: bool,
    /// Connection options (RFC 9110 §7.6.1).
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    other_options: bool,
    options: usize,
    /// The first thing wrong with a control field. Held back until the framing is known, so that the connection can
    /// survive it.
    fault: Option<Refusal>,
}

impl<'b> Fields<'b> {
    /// Takes one field and says what becomes of it. The length of the name narrows the choice, so that most fields
    /// cost no comparison.
    fn take(&mut self, header: &Header<'b>) -> Result<Fate, Refusal> {
        let Header { name, value } = *header;
        let is = |field: &str| name.eq_ignore_ascii_case(field);
        let fate = match name.len() {
            4 if is("Host") => {
                if self.host.replace(value).is_some() {
                    return Err(malformed("More than one Host (RFC 9112 §3.2)."));
                }
                Fate::Host
            }
            14 if is("Content-Length") => {
                let plain = self.framing.content_length(value)?;
                match (std::mem::replace(&mut self.has_length, true), plain) {
                    (false, true) => Fate::KeepAlways,
                    (false, false) => Fate::Length,
                    (true, _) => Fate::Drop,
                }
            }
            17 if is("Transfer-Encoding") => {
                self.framing.transfer_encoding(value)?;
                Fate::Drop
            }
            10 if is("Connection") => {
                self.take_options(value)?;
                Fate::Drop
            }
            7 if is("Upgrade") => {
                self.upgrade = true;
                Fate::Drop
            }
            6 if is("Expect") => {
                // RFC 9110 §10.1.1: another expectation may be answered 417; we ignore it, as the origin never sees it.
                self.expects_continue |= options(value).any(|one| one.eq_ignore_ascii_case(b"100-continue"));
                Fate::Drop
            }
            6 if is("Accept") => {
                self.accept = Some(value);
                Fate::Keep
            }
            13 if is("Authorization") => {
                self.authorization.take(value);
                Fate::Keep
            }
            2 if is("TE") => Fate::Drop,
            7 if is("Trailer") => Fate::Drop,
            10 if is("Keep-Alive") => Fate::Drop,
            16 if is("Proxy-Connection") => Fate::Drop,
            18 if is("Proxy-Authenticate") => Fate::Drop,
            19 if is("Proxy-Authorization") => Fate::Drop,
            _ => match ControlField::of(name) {
                None => Fate::Keep,
                Some(field) => {
                    self.take_control(field, name, value);
                    Fate::Drop
                }
            },
        };
        Ok(fate)
    }

    fn take_control(&mut self, field: ControlField, name: &'b str, value: &'b [u8]) {
        let repeated = match field {
            ControlField::Ours => false,
            ControlField::Authorization => {
                self.token.take(value);
                false
            }
            ControlField::Unknown => {
                self.fault.get_or_insert_with(|| control_fields::unknown(name, value));
                false
            }
            ControlField::Origin => self.origin.replace((name, value)).is_some(),
            ControlField::OriginAlias => self.alias.replace((name, value)).is_some(),
            ControlField::Timeout => self.timeout.replace(value).is_some(),
        };
        if repeated {
            self.fault.get_or_insert_with(|| control_fields::repeated(name, value));
        }
    }

    fn take_options(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in options(value) {
            self.options += 1;
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.upgrade_option |= option.eq_ignore_ascii_case(b"upgrade");
                self.other_options = true;
            }
        }
        if self.options > CONNECTION_OPTIONS_MAX {
            let detail = format!("Connection has more than {CONNECTION_OPTIONS_MAX} options.");
            return Err(Refusal::new(RefusedReason::HeadTooLarge, detail));
        }
        Ok(())
    }

    /// RFC 9112 §3.2: exactly one on HTTP/1.1, at most one on HTTP/1.0, and only what a host can be.
    fn check_host(&self, minor: u8) -> Result<(), Refusal> {
        match self.host {
            None if minor == 0 => Ok(()),
            None => Err(malformed("No Host, which HTTP/1.1 requires (RFC 9112 §3.2).")),
            Some(host) if target::is_host(host) => Ok(()),
            Some(host) => {
                let refusal = malformed("This is not a host (RFC 9110 §7.2).");
                Err(refusal.blame("Host", host, "host or host:port"))
            }
        }
    }

    /// RFC 9112 §9.3.
    const fn persistence(&self, minor: u8) -> Persistence {
        match (minor, self.close, self.keep_alive) {
            (_, true, _) | (0, _, false) => Persistence::Close,
            (0, false, true) => Persistence::OpenOnRequest,
            (_, false, _) => Persistence::Open,
        }
    }

    /// The one rule: with an origin it is data, whatever its path; else one of our paths; else an error.
    fn ask(
        &mut self,
        message: &outbound::Message<'_>,
        rules: &Rules,
        destination: &mut Option<Destination>,
    ) -> Result<Ask, Refusal> {
        let origin = self.origin.or(self.alias);
        let endpoint = if origin.is_none() {
            Endpoint::asked_for(message.method, message.target.path(), self.accept)
        } else {
            None
        };
        if !self.is_let_in(endpoint, &rules.door) {
            return Err(control_fields::unauthorized());
        }
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let timeout_max = rules.control.timeout_max;
        let timeout = self.timeout.map(|value| control_fields::parse_timeout(value, timeout_max)).transpose()?;
        let Some((name, value)) = origin else {
            let no_origin = || {
                target::no_origin(
                    message.method,
                    message.target,
                    rules.control.own_scheme,
                    self.host.unwrap_or_default(),
                )
            };
            return endpoint.map(Ask::Endpoint).ok_or_else(no_origin);
        };
        let destination = Destination::read(name, value, &rules.control, destination)?;
        if let (Some(_), Some((alias, other))) = (self.origin, self.alias) {
            let other = control_fields::parse_origin(alias, other, &rules.control)?;
            if other != *destination.origin() {
                return Err(control_fields::repeated(name, value));
            }
        }
        destination.check_loop()?;
        if let Framing::Length(bytes) = message.framing
            && bytes > rules.body_bytes_max
        {
            return Err(body_too_large(rules.body_bytes_max));
        }
        Ok(Ask::Message { timeout })
    }

    /// Judged before all else that is not framing, so that a stranger learns nothing but that a token is needed. A load
    /// balancer cannot bring one, and Prometheus only in the field that is its own.
    fn is_let_in(&self, endpoint: Option<Endpoint>, door: &Door) -> bool {
        match endpoint {
            Some(Endpoint::Healthy | Endpoint::Ready) if self.fault.is_none() && self.timeout.is_none() => true,
            Some(Endpoint::Metrics { .. }) => door.admits(self.token.or(self.authorization)),
            Some(Endpoint::Healthy | Endpoint::Ready) | None => door.admits(self.token),
        }
    }
}

/// The body is longer than `MAX_BODY`.
pub fn body_too_large(body_bytes_max: usize) -> Refusal {
    Refusal::new(RefusedReason::BodyTooLarge, format!("The body is longer than MAX_BODY, {body_bytes_max} bytes."))
}

/// The elements of a list (RFC 9110 §5.6.1).
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

/// Removes the fields that `Connection` names (RFC 9110 §7.6.1). It cannot name away what frames or routes a message:
/// Host and Content-Length are not up to the client, and those of ours are gone already.
fn drop_named(fields: &[Header<'_>], fates: &mut [Fate; FIELDS_MAX]) {
    for connection in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("Connection")) {
        for option in options(connection.value) {
            for (field, fate) in fields.iter().zip(&mut *fates) {
                if *fate == Fate::Keep && field.name.as_bytes().eq_ignore_ascii_case(option) {
                    *fate = Fate::Drop;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
