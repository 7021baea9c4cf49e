//! The daemon's reading of requests compared with that of another strict server, hyper's, on generated requests. Where
//! they differ there is a reason, and the list of them is closed.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "differential/generated.rs"]
mod generated;
#[path = "http_contract/machine.rs"]
mod machine;
#[path = "differential/peer.rs"]
mod peer;
#[path = "differential/reasons.rs"]
mod reasons;

use std::collections::BTreeMap;

use generated::Generator;
use machine::{Machine, Outcome};
use reasons::REASONS;

/// Requests that are compared.
const CASES: usize = 60_000;
const SEED: u64 = 0x5eed_0005;

/// What stands behind every request: whether it is taken shows where its reader saw the end of the one before.
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n";

/// A request as a reader understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query, or `*`.
    pub target: String,
    /// Those that go end to end, sorted by name, which is in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Fields that end here or are replaced, so that they are not compared; what Connection names is not either.
const NOT_COMPARED: [&str; 13] = [
    "host",
    "content-length",
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
    "x-dispatcher-origin-host",
];

impl Seen {
    fn new<'f>(method: &str, target: &str, fields: impl IntoIterator<Item = (&'f str, &'f [u8])>, body: &[u8]) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()));
        let mut fields: Vec<_> = fields.collect();
        let connection = fields.iter().filter(|(name, _)| name == "connection");
        let named = connection.flat_map(|(_, value)| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
        let named: Vec<Vec<u8>> = named.map(<[u8]>::to_ascii_lowercase).collect();
        fields.retain(|(name, _)| !NOT_COMPARED.contains(&&**name) && !named.iter().any(|one| one == name.as_bytes()));
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self { method: method.to_owned(), target: target.to_owned(), fields, body: body.to_vec() }
    }
}

/// Bytes, and what both made of them.
#[derive(Debug)]
pub struct Case {
    /// What was sent, without the request behind.
    pub bytes: Vec<u8>,
    /// What the daemon took.
    pub ours: Vec<Seen>,
    /// What it said of what it did not take.
    pub our_detail: String,
    /// What hyper took.
    pub theirs: Vec<Seen>,
    /// What it said of what it did not take.
    pub their_error: String,
}

impl Case {
    fn run(bytes: &[u8], runtime: &tokio::runtime::Runtime) -> Self {
        let whole = [bytes, BEHIND].concat();
        let machine = Machine::read([&whole[..]]);
        let ours = machine.verdicts.iter().filter_map(|verdict| match &verdict.outcome {
            Outcome::Sent { head, body } => Some(taken(head, body)),
            Outcome::Served(_) | Outcome::Refused { .. } => None,
        });
        let (theirs, their_error) = runtime.block_on(peer::read(&whole));
        Self { bytes: bytes.to_vec(), ours: ours.collect(), our_detail: machine.detail.clone(), theirs, their_error }
    }
}

/// What is sent on, understood again.
fn taken(head: &[u8], body: &[u8]) -> Seen {
    let bytes = [head, b"\r\n"].concat();
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    assert!(request.parse(&bytes).unwrap().is_complete());
    let fields = request.headers.iter().map(|field| (field.name, field.value));
    Seen::new(request.method.unwrap(), request.path.unwrap(), fields, body)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn both_read_the_same_but_for_reasons_that_are_known_and_each_of_them_occurs() {
    let (runtime, mut generator) = (runtime(), Generator::new(SEED));
    let (mut met, mut taken_by_both) = (vec![0; REASONS.len()], 0);
    // By what the two said, so that a new kind of difference is one line.
    let mut unexplained: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    for _ in 0..CASES {
        let case = Case::run(&generator.request(), &runtime);
        if case.ours == case.theirs {
            taken_by_both += usize::from(!case.ours.is_empty());
            continue;
        }
        let reasons = REASONS.iter().enumerate().filter(|(_, reason)| reason.explains(&case));
        let found: Vec<usize> = reasons.map(|(index, _)| index).collect();
        found.iter().for_each(|index| met[*index] += 1);
        if found.is_empty() {
            let shown =
                format!("{}\n  ours:   {:?}\n  theirs: {:?}", case.bytes.escape_ascii(), case.ours, case.theirs);
            unexplained.entry((case.our_detail, case.their_error)).or_insert((0, shown)).0 += 1;
        }
    }
    let shown = |((ours, theirs), (count, case)): (&(String, String), &(usize, String))| {
        format!("{count} times: we: {ours:?}, hyper: {theirs:?}, such as\n  {case}")
    };
    let list: Vec<String> = unexplained.iter().map(shown).collect();
    assert!(list.is_empty(), "disagreements without a reason:\n{}", list.join("\n"));
    let rotten: Vec<&str> =
        REASONS.iter().zip(&met).filter(|(_, met)| **met == 0).map(|(reason, _)| reason.name).collect();
    assert!(rotten.is_empty(), "reasons for nothing: {rotten:#?}, {met:?}");
    assert!(taken_by_both > CASES / 5, "{taken_by_both} of {CASES} are taken by both");
}

#[test]
fn each_reason_has_an_example() {
    let runtime = runtime();
    for reason in REASONS {
        let case = Case::run(reason.example, &runtime);
        assert!(case.ours != case.theirs && reason.explains(&case), "{}: {case:?}", reason.name);
        assert!(reason.rule.starts_with("RFC ") || reason.rule.starts_with("SPEC "), "{}", reason.name);
    }
}
