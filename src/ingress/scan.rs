//! Finds the end of a head byte by byte, in linear time however the bytes were split, and refuses at once what must
//! not stand in one. Stricter than httparse, which takes bare LF as a line end. Pure.

use super::reply::Refusal;
use crate::limits::TARGET_BYTES_MAX;

/// Longest first line without its target: method, two spaces, version.
const FIRST_LINE_REST: usize = 256;

/// How far a head has been looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    at: usize,
    line_start: usize,
    first_line: bool,
}

impl Scanner {
    /// Looks at what has arrived since the last call. `head` starts where the head does and has only grown.
    ///
    /// `Some`: the length of the head, final empty line included. The verdict does not depend on how `head` grew.
    /// Rules: RFC 9112 §2.2 (line ends are CRLF, a bare CR is invalid), RFC 9110 §5.5 (no controls).
    pub fn scan(&mut self, head: &[u8], head_bytes_max: usize) -> Result<Option<usize>, Refusal> {
        while let Some(byte) = head.get(self.at) {
            let after_cr = self.at > self.line_start && head[self.at - 1] == b'\r';
            match byte {
                b'\n' if !after_cr => return Err(Refusal::malformed("a line ends with LF alone; CRLF was expected")),
                b'\n' => {
                    if self.at == self.line_start + 1 {
                        return if self.at < head_bytes_max {
                            Ok(Some(self.at + 1))
                        } else {
                            Err(Refusal::head_too_large())
                        };
                    }
                    if !self.first_line {
                        check_first_line(&head[..self.at - 1])?;
                        self.first_line = true;
                    }
                    self.line_start = self.at + 1;
                }
                _ if after_cr => return Err(Refusal::malformed("a CR without LF; CRLF was expected")),
                b'\t' | b'\r' | b' '..=b'~' | 0x80.. => {}
                _ => return Err(Refusal::malformed("a control character stands in the head")),
            }
            self.at += 1;
            if !self.first_line && self.at > TARGET_BYTES_MAX + FIRST_LINE_REST {
                return Err(Refusal::target_too_long());
            }
            if self.at >= head_bytes_max {
                return Err(Refusal::head_too_large());
            }
        }
        Ok(None)
    }
}

/// Refuses a first line that is not a request's, before the rest of the head is waited for.
fn check_first_line(line: &[u8]) -> Result<(), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let shaped = method.is_some_and(|method| !method.is_empty())
        && target.is_some_and(|target| !target.is_empty())
        && parts.next().is_none();
    let Some(version) = version.and_then(|version| version.strip_prefix(b"HTTP/")).filter(|_| shaped) else {
        return Err(Refusal::malformed("the first line is not `METHOD target HTTP/1.1`"));
    };
    match version {
        b"1.1" | b"1.0" => Ok(()),
        [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => Err(Refusal::version()),
        _ => Err(Refusal::malformed("the version is not `HTTP/1.1`")),
    }
}
