//! The contract of the data listener as a table: raw request bytes, the verdict on them, and the rule it rests on.
//!
//! In a request and in what is sent on, `{o}` stands for the origin's authority, `{op}` for its port, `{own}` and `{port}`
//! for the daemon's own authority and port, and `{fill}` for as many bytes as make the head as long as the row says.

mod chunks;
mod connection_options;
mod content_length;
mod control_fields;
mod expect;
mod fields;
mod host;
mod lengths;
mod line_ends;
mod methods;
mod origins;
mod own_paths;
mod persistence;
mod request_line;
mod run;
mod targets;
mod trailers;
mod transfer_encoding;

pub use run::Place;

/// One row.
pub struct Row {
    /// The rule: a section of an RFC or of the contract (SPEC), or an advisory.
    pub rule: &'static str,
    /// What is special about the request.
    pub name: &'static str,
    /// As it is sent, from its first byte to its last.
    pub request: Vec<u8>,
    /// How it ends.
    pub verdict: Verdict,
    /// Whether the next request on its connection is taken.
    pub lives: bool,
    /// Whether a client that sends only the head is told to send the body: a 100.
    pub waits: bool,
    /// `{fill}` makes the head so long, in bytes.
    pub head_bytes: Option<usize>,
}

/// How a request ends.
pub enum Verdict {
    /// 202: the receiver gets this, before the fields that are added, and the body.
    Sent {
        /// Request line and fields.
        head: Vec<u8>,
        /// The body.
        body: Vec<u8>,
        /// Whether the test's origin is the one it names, so that it arrives.
        arrives: bool,
    },
    /// 200, with a document of the daemon itself that begins so.
    Served(&'static str),
    /// A problem: the receiver gets nothing.
    Refused {
        /// The status.
        status: u16,
        /// The field that is named as at fault, and the value that is shown.
        fault: Option<(&'static str, String)>,
    },
}

impl Row {
    fn new(rule: &'static str, name: &'static str, request: impl AsRef<[u8]>, verdict: Verdict, lives: bool) -> Self {
        Self { rule, name, request: request.as_ref().to_vec(), verdict, lives, waits: false, head_bytes: None }
    }

    /// The same, and the connection ends.
    fn closing(self) -> Self {
        Self { lives: false, ..self }
    }

    /// The same, and a client that sends the head alone is told to go on.
    fn waiting(self) -> Self {
        Self { waits: true, ..self }
    }

    /// The same, with a head of so many bytes.
    fn filled_to(self, head_bytes: usize) -> Self {
        Self { head_bytes: Some(head_bytes), ..self }
    }

    /// The same, with a destination that the test cannot receive at.
    fn elsewhere(mut self) -> Self {
        if let Verdict::Sent { arrives, .. } = &mut self.verdict {
            *arrives = false;
        }
        self
    }

    /// The same, and the answer names this field.
    fn blaming(mut self, header: &'static str, value: &str) -> Self {
        if let Verdict::Refused { fault, .. } = &mut self.verdict {
            *fault = Some((header, value.to_owned()));
        }
        self
    }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    [
        request_line::rows(),
        line_ends::rows(),
        methods::rows(),
        targets::rows(),
        host::rows(),
        fields::rows(),
        content_length::rows(),
        transfer_encoding::rows(),
        chunks::rows(),
        trailers::rows(),
        lengths::rows(),
        connection_options::rows(),
        expect::rows(),
        persistence::rows(),
        control_fields::rows(),
        origins::rows(),
        own_paths::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Refused, and the connection ends.
fn refused(status: u16, rule: &'static str, name: &'static str, request: impl AsRef<[u8]>) -> Row {
    Row::new(rule, name, request, Verdict::Refused { status, fault: None }, false)
}

/// Refused, and the connection lives on.
fn survived(status: u16, rule: &'static str, name: &'static str, request: impl AsRef<[u8]>) -> Row {
    Row::new(rule, name, request, Verdict::Refused { status, fault: None }, true)
}

/// Sent on as `head` and `body`, and the connection lives on.
fn sent(
    rule: &'static str,
    name: &'static str,
    request: impl AsRef<[u8]>,
    head: impl AsRef<[u8]>,
    body: impl AsRef<[u8]>,
) -> Row {
    let verdict = Verdict::Sent { head: head.as_ref().to_vec(), body: body.as_ref().to_vec(), arrives: true };
    Row::new(rule, name, request, verdict, true)
}

/// Answered by the daemon itself, and the connection lives on.
fn served(rule: &'static str, name: &'static str, request: impl AsRef<[u8]>, content: &'static str) -> Row {
    Row::new(rule, name, request, Verdict::Served(content), true)
}

/// A good POST without fields of its own is sent on so.
const POST: &str = "POST /p HTTP/1.1\r\nHost: {o}\r\n";

/// A good POST's head with `fields` on top.
fn post(fields: impl AsRef<[u8]>) -> Vec<u8> {
    let start = b"POST /p HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n";
    [start, fields.as_ref(), b"\r\n"].concat()
}

/// A request whose first line is `line`, with everything else a good one needs.
fn line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n"].concat()
}

/// A good chunked POST whose body is `chunks`.
fn chunked(chunks: impl AsRef<[u8]>) -> Vec<u8> {
    [&post("Transfer-Encoding: chunked\r\n"), chunks.as_ref()].concat()
}

/// A POST with `fields` is sent on with `kept`.
fn passed(rule: &'static str, name: &'static str, fields: impl AsRef<[u8]>, kept: impl AsRef<[u8]>) -> Row {
    sent(rule, name, post(fields), [POST.as_bytes(), kept.as_ref()].concat(), "")
}

/// A request line is sent on as another, or the same.
fn carried(rule: &'static str, name: &'static str, received: impl AsRef<[u8]>, outbound: impl AsRef<[u8]>) -> Row {
    sent(rule, name, line(received), [outbound.as_ref(), b"\r\nHost: {o}\r\n"].concat(), "")
}

/// Chunks are sent on as `body`.
fn decoded(rule: &'static str, name: &'static str, chunks: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Row {
    let body = body.as_ref();
    sent(rule, name, chunked(chunks), format!("{POST}Content-Length: {}\r\n", body.len()), body)
}

#[test]
fn every_row_has_a_rule_and_differs_from_every_other() {
    let rows = rows();
    assert!(rows.len() >= 500, "{} rows", rows.len());
    let sources = ["RFC ", "SPEC ", "CVE-", "RUSTSEC-", "GHSA-"];
    for row in &rows {
        assert!(sources.iter().any(|source| row.rule.starts_with(source)), "{}: {}", row.name, row.rule);
    }
    let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
    let mut requests: Vec<_> = rows.iter().map(|row| (&row.request, row.head_bytes)).collect();
    names.sort_unstable();
    requests.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "a name stands for one row");
    }
    for pair in requests.windows(2) {
        assert_ne!(pair[0], pair[1], "a request stands in one row");
    }
}
