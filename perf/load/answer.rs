//! Where an answer ends and what its status is, found with as little work as possible.

/// The answer at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Head and body, in bytes.
    pub bytes: usize,
    /// The server closes after it.
    pub close: bool,
    /// Seconds for which the server asks to be left alone; 0: it does not.
    pub retry_after: u64,
}

/// An answer that is not HTTP/1.x with a `Content-Length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHttp;

/// Longest head that is waited for, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

impl Answer {
    /// Reads the answer at the start of `input`; `None` if it is not complete yet.
    pub fn read(input: &[u8]) -> Result<Option<Self>, NotHttp> {
        let Some(end) = head_end(input) else {
            return if input.len() > HEAD_BYTES_MAX { Err(NotHttp) } else { Ok(None) };
        };
        let status = input.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).ok_or(NotHttp)?;
        let status = status.iter().try_fold(0, |status, digit| match digit {
            b'0'..=b'9' => Ok(status * 10 + u16::from(digit - b'0')),
            _ => Err(NotHttp),
        })?;
        let (mut body_bytes, mut close, mut retry_after) = (None, input[7] == b'0', 0);
        for line in input[..end].split(|byte| *byte == b'\n').skip(1) {
            match line.first() {
                Some(b'C' | b'c') => {
                    if let Some(value) = value_of(line, b"content-length:") {
                        body_bytes = Some(value.parse::<usize>().map_err(|_| NotHttp)?);
                    } else if let Some(value) = value_of(line, b"connection:") {
                        close |= value.eq_ignore_ascii_case("close");
                    }
                }
                Some(b'R' | b'r') => {
                    if let Some(value) = value_of(line, b"retry-after:") {
                        retry_after = value.parse().map_err(|_| NotHttp)?;
                    }
                }
                Some(b'T' | b't') if value_of(line, b"transfer-encoding:").is_some() => return Err(NotHttp),
                _ => {}
            }
        }
        let bodiless = status < 200 || status == 204 || status == 304;
        // Without a length the body ends with the connection: nothing behind it could be told apart.
        let bytes = match body_bytes {
            _ if bodiless => end,
            Some(bytes) => end + bytes,
            None => return Err(NotHttp),
        };
        Ok((input.len() >= bytes).then_some(Self { status, bytes, close, retry_after }))
    }
}

fn head_end(input: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = input[from..].iter().position(|byte| *byte == b'\r') {
        let rest = &input[from + at..];
        if rest.starts_with(b"\r\n\r\n") {
            return Some(from + at + 4);
        }
        from += at + 1;
    }
    None
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let (start, value) = line.split_at_checked(name.len())?;
    if start.eq_ignore_ascii_case(name) { std::str::from_utf8(value).ok().map(str::trim) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_body_however_it_is_cut() {
        for (text, status, close, retry_after) in [
            ("HTTP/1.1 202 Accepted\r\nX-Dispatcher-Message-Id: 0\r\ncontent-length: 0\r\n\r\n", 202, false, 0),
            (
                "HTTP/1.1 503 No\r\nContent-Length: 12\r\nRetry-After: 30\r\nConnection: close\r\n\r\nabc\r\n\r\ndef\r\n",
                503,
                true,
                30,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, false, 0),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, true, 0),
        ] {
            let answer = Answer { status, bytes: text.len(), close, retry_after };
            for cut in 0..text.len() {
                assert_eq!(Answer::read(&text.as_bytes()[..cut]), Ok(None), "{text:?} cut at {cut}");
            }
            assert_eq!(Answer::read(format!("{text}HTTP/1.1 400").as_bytes()), Ok(Some(answer)));
        }
    }

    #[test]
    fn what_cannot_be_framed_is_an_error_and_not_a_guess() {
        for bad in [
            "hello\r\n\r\n",
            "HTTP/1.1 2x2 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert_eq!(Answer::read(bad.as_bytes()), Err(NotHttp), "{bad:?}");
        }
    }
}
