//! A row in a place: its bytes with the test's own addresses in them, and the verdict that they must lead to.

use std::net::SocketAddr;

use super::{Row, Verdict};
use crate::machine;
use crate::support::{Answer, Client};

/// What stands for what in a row.
pub struct Place {
    /// The origin's authority and port.
    pub origin: SocketAddr,
    /// The daemon's own.
    pub own: SocketAddr,
}

/// What is sent behind each row: a request that is good.
const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n";

impl Place {
    /// The request behind a row.
    pub fn behind(&self) -> Vec<u8> {
        self.filled_in(BEHIND.as_bytes())
    }

    /// What its origin gets of the request behind a row.
    pub fn behind_head(&self) -> Vec<u8> {
        self.filled_in(b"GET /behind HTTP/1.1\r\nHost: {o}\r\n")
    }

    /// A row's request.
    pub fn request(&self, row: &Row) -> Vec<u8> {
        let request = self.filled_in(&row.request);
        replaced(&request, b"{fill}", &vec![b'f'; self.fill(row)])
    }

    /// How many bytes `{fill}` stands for.
    fn fill(&self, row: &Row) -> usize {
        let Some(head_bytes) = row.head_bytes else { return 0 };
        let request = self.filled_in(&row.request);
        let request = request.strip_prefix(b"\r\n").unwrap_or(&request);
        head_bytes - (request.len() - b"{fill}".len())
    }

    /// The head and the body that a row's origin gets, if any.
    pub fn sent(&self, row: &Row) -> Option<(Vec<u8>, Vec<u8>)> {
        match &row.verdict {
            Verdict::Sent { head, body, .. } => {
                let head = replaced(&self.filled_in(head), b"{fill}", &vec![b'f'; self.fill(row)]);
                Some((head, body.clone()))
            }
            Verdict::Served(_) | Verdict::Refused { .. } => None,
        }
    }

    /// The verdict that the machine must come to; a field is only named where the row does.
    pub fn verdict(&self, row: &Row) -> machine::Verdict {
        let outcome = match &row.verdict {
            Verdict::Sent { .. } => {
                let (head, body) = self.sent(row).unwrap();
                machine::Outcome::Sent { head, body }
            }
            Verdict::Served("") => machine::Outcome::Served("ready\n"),
            Verdict::Served(content) => machine::Outcome::Served(content),
            Verdict::Refused { status, fault } => {
                let fault = fault.as_ref().map(|(header, value)| ((*header).to_owned(), self.text(value)));
                machine::Outcome::Refused { status: *status, fault }
            }
        };
        machine::Verdict { outcome, lives: row.lives }
    }

    fn text(&self, text: &str) -> String {
        String::from_utf8(self.filled_in(text.as_bytes())).unwrap()
    }

    fn filled_in(&self, bytes: &[u8]) -> Vec<u8> {
        let pairs = [
            ("{o}", self.origin.to_string()),
            ("{op}", self.origin.port().to_string()),
            ("{own}", self.own.to_string()),
            ("{port}", self.own.port().to_string()),
        ];
        pairs.iter().fold(bytes.to_vec(), |bytes, (mark, value)| replaced(&bytes, mark.as_bytes(), value.as_bytes()))
    }

    /// Reads the answer to a row, behind a 100 if it may have one, and asserts that it is the one it must be.
    #[track_caller]
    pub fn assert_answer(&self, client: &mut Client, row: &Row) -> Answer {
        let answer = client.answer_to(method(row));
        if row.waits && answer.status == 100 {
            return self.assert_final_answer(client, row);
        }
        self.assert_is_answer(row, &answer);
        answer
    }

    /// The same without a 100.
    #[track_caller]
    pub fn assert_final_answer(&self, client: &mut Client, row: &Row) -> Answer {
        let answer = client.answer_to(method(row));
        self.assert_is_answer(row, &answer);
        answer
    }

    #[track_caller]
    fn assert_is_answer(&self, row: &Row, answer: &Answer) {
        let name = row.name;
        assert_eq!(answer.closes(), !row.lives, "{name}: {}", answer.head);
        assert!(answer.field("Date").is_some(), "{name}: {}", answer.head);
        match &row.verdict {
            Verdict::Sent { .. } => {
                assert!(answer.status == 202 && answer.body.is_empty(), "{name}: {answer:?}");
            }
            Verdict::Served(content) => {
                assert!(answer.status == 200 && answer.text().starts_with(content), "{name}: {answer:?}");
            }
            Verdict::Refused { status, fault } => {
                assert_eq!(answer.status, *status, "{name}: {} {}", answer.head, answer.text());
                if method(row) != "HEAD" {
                    self.assert_problem(row, answer, fault.as_ref());
                }
            }
        }
    }

    /// Every error is a problem (RFC 9457) that repeats its status, and names the field at fault.
    #[track_caller]
    fn assert_problem(&self, row: &Row, answer: &Answer, fault: Option<&(&'static str, String)>) {
        let (name, problem) = (row.name, answer.json());
        assert_eq!(answer.field("Content-Type"), Some("application/problem+json"), "{name}");
        assert!(answer.field("X-Dispatcher-Message-Id").is_none(), "{name}");
        assert_eq!(problem["status"], answer.status, "{name}: {problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{name}: {member} in {problem}");
        }
        if let Some((header, value)) = fault {
            assert_eq!(problem["header"], *header, "{name}: {problem}");
            assert_eq!(problem["value"], self.text(value), "{name}: {problem}");
            assert!(problem["expected"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {problem}");
        }
    }
}

/// The method, as far as it matters to how its answer is framed.
fn method(row: &Row) -> &'static str {
    let request = row.request.strip_prefix(b"\r\n").unwrap_or(&row.request);
    if request.starts_with(b"HEAD ") { "HEAD" } else { "" }
}

/// `bytes` with every `mark` replaced.
fn replaced(bytes: &[u8], mark: &[u8], value: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (bytes, Vec::with_capacity(bytes.len()));
    while let Some(at) = crate::support::position(rest, mark) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value);
        rest = &rest[at + mark.len()..];
    }
    out.extend_from_slice(rest);
    out
}
