//! The few things the sink wants to know of a request, and where the request ends.

/// Fields of one request.
const FIELDS_MAX: usize = 64;
/// Bytes of one request, head and body.
const REQUEST_BYTES_MAX: usize = 256 << 20;

/// A complete request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its target.
    pub path: &'a str,
    /// `X-Dispatcher-Message-Id`, as it stands there; empty if it does not.
    pub message_id: &'a [u8],
    /// `X-Load-Id`: the load generator's sequence number.
    pub load_id: Option<u64>,
    /// `X-Load-Crc`: CRC-32C of the body, as hexadecimal digits.
    pub crc: Option<u32>,
    /// `X-Dispatcher-Maybe-Duplicate` is there.
    pub maybe_duplicate: bool,
    /// The client closes after this one.
    pub close: bool,
    /// The body.
    pub body: &'a [u8],
    /// Head and body, in bytes.
    pub bytes: usize,
}

/// What stands at the start of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A request.
    Complete(Request<'a>),
    /// The start of one, of this many bytes if that is known (else 0).
    Partial(usize),
    /// What the sink does not speak, and its answer to it.
    Bad(&'static str),
}

const BAD: Parsed<'static> = Parsed::Bad("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");

/// Reads the request at the start of `input`.
pub fn parse(input: &[u8]) -> Parsed<'_> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let head_bytes = match head.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Parsed::Partial(0),
        Err(_) => return BAD,
    };
    let path = head.path.unwrap_or("/");
    let mut request = Request {
        path,
        message_id: b"",
        load_id: None,
        crc: None,
        maybe_duplicate: false,
        close: head.version == Some(0),
        body: &[],
        bytes: head_bytes,
    };
    let mut body_bytes = 0;
    for field in head.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default();
        // By length first: most names are settled by one comparison.
        match field.name.len() {
            10 if named(field, "connection") => request.close |= value.eq_ignore_ascii_case("close"),
            14 if named(field, "content-length") => match value.parse() {
                Ok(bytes) if bytes <= REQUEST_BYTES_MAX => body_bytes = bytes,
                _ => return BAD,
            },
            17 if named(field, "transfer-encoding") => return BAD,
            9 if named(field, "x-load-id") => request.load_id = value.parse().ok(),
            10 if named(field, "x-load-crc") => request.crc = u32::from_str_radix(value, 16).ok(),
            23 if named(field, "x-dispatcher-message-id") => request.message_id = field.value,
            28 if named(field, "x-dispatcher-maybe-duplicate") => request.maybe_duplicate = true,
            _ => {}
        }
    }
    request.bytes += body_bytes;
    match input.get(head_bytes..request.bytes) {
        Some(body) => Parsed::Complete(Request { body, ..request }),
        None => Parsed::Partial(request.bytes),
    }
}

impl Request<'_> {
    /// The id that the dispatcher gave it; parsed here, because only requests without a sequence number are told apart by it.
    pub fn message_id(&self) -> Option<u128> {
        uuid::Uuid::try_parse_ascii(self.message_id).ok().map(|id| id.as_u128())
    }
}

fn named(field: &httparse::Header<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"POST /x HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Message-Id: \
        01890a5d-ac96-774b-bcce-b302099a8057\r\nx-load-id: 000000000042\r\nX-Load-Crc: 00c0ffee\r\n\
        X-Dispatcher-Maybe-Duplicate: true\r\ncontent-length: 3\r\n\r\nabcGET";

    #[test]
    fn a_request_ends_with_its_body_however_it_is_cut() {
        let whole = REQUEST.len() - "GET".len();
        for cut in 0..whole {
            assert!(matches!(parse(&REQUEST[..cut]), Parsed::Partial(_)), "cut at {cut}");
        }
        let Parsed::Complete(request) = parse(REQUEST) else { panic!("complete") };
        assert_eq!((request.bytes, request.body, request.path), (whole, b"abc".as_slice(), "/x"));
        assert_eq!((request.load_id, request.crc, request.maybe_duplicate), (Some(42), Some(0x00C0_FFEE), true));
        assert_eq!(request.message_id(), Some(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057));
    }

    #[test]
    fn what_the_sink_does_not_speak_is_refused_and_not_guessed_at() {
        for bad in [
            "nonsense\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Parsed::Bad(_)), "{bad:?}");
        }
    }
}
