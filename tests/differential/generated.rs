//! Requests that are nearly good: made of parts, most of them right, and now and then with a byte changed.

/// Makes requests, the same ones from the same seed.
pub struct Generator {
    state: u64,
}

/// The field that every request has, and that no byte is changed in: what it says is not the question here.
const ORIGIN: &[u8] = b"X-Dispatcher-Origin-Host: b.example\r\n";

const METHODS: &[&str] = &["GET", "POST", "HEAD", "OPTIONS", "PUT", "get", "M-1", "TRACE", "CONNECT", "G(T", ""];
const TARGETS: &[&str] = &[
    "/",
    "/p?q=1",
    "/%zz?%",
    "//x",
    "/a;b=c",
    "http://a/x",
    "http://a",
    "http://a:80?q",
    "HTTPS://a.b/x",
    "*",
    "/p?a?b",
    "/|",
    "/^{}`",
    "/\"",
    "/<a>",
    "/\\",
    "/\u{fc}",
    "/?\u{fc}",
    "/a#b",
    "/a b",
    "p",
    "a:80",
    "http://u@a/",
    "http://:80/",
    "http:///p",
    "ftp://a/",
    "http://a:b/",
    "http://[::1]/",
    "http://[::1/",
    "http://a|b/",
    "?q",
];
const VERSIONS: &[&str] = &["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.10", "HTTP/1", ""];
const LINE_ENDS: &[&str] = &["\n", "\r", "\r\r\n", "\n\n", " \r\n"];
const FIELDS: &[&str] = &[
    "A: 1",
    "a: 2",
    "B:",
    "B:  x y  ",
    "C: \u{fc}",
    "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: X-Hop",
    "X-Hop: 1",
    "Connection: keep-alive, close",
    "Connection: Upgrade",
    "Connection: \u{e9}, close",
    "Upgrade: x",
    "Expect: 100-continue",
    "Expect: x",
    "TE: trailers",
    "Keep-Alive: 5",
    "Trailer: T",
    "Proxy-Connection: close",
];
const BAD_FIELDS: &[&str] = &[
    "A : 1",
    "A\t: 1",
    "A",
    ": 1",
    "A(: 1",
    "A: \x01",
    "A: \0",
    "A: x\x7f",
    " A: 1",
    "\tfold",
    "A: b\n",
    "Host: b",
    "Host: a/b",
    "Host: a:b",
    "A\u{fc}: 1",
    "Content-Length : 5",
    "Transfer-Encoding : chunked",
];
const LENGTHS: &[&str] = &[
    "+5",
    "-5",
    "0x5",
    "5,5",
    "5, 5",
    "5,6",
    "05",
    "0000000000000000000005",
    "",
    "5 5",
    "5.0",
    "18446744073709551621",
    "18446744073709551615",
    "99999999",
];
const CODINGS: &[&str] = &[
    "Chunked",
    "gzip, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "xchunked",
    "identity",
    "",
    ",chunked",
    "chunked,",
    "\"chunked\"",
    "chunked;a=b",
];
const SIZES: &[&str] = &[
    "05",
    "5;a",
    "5;a=\"b;c\"",
    "5 ",
    "5\t",
    "5 ;a",
    "5;",
    " 5",
    "+5",
    "0x5",
    "5g",
    "",
    "00000000000000005",
    "10000000000000005",
    "5;\x01",
    "5;a\x7f",
    "ffffff",
];
const TRAILERS: &[&str] = &[
    "T: x\r\n",
    "T:\r\nU: y\r\n",
    "T\r\n",
    ": x\r\n",
    "T : x\r\n",
    "T: x\r\n y\r\n",
    "T: x\n",
    "T: \0\r\n",
    "T: \x01\r\n",
    "T: x\ry\r\n",
    "T(: x\r\n",
    " T: x\r\n",
    "T: \u{fc}\r\n",
    "A: 1",
];
const BYTES: &[u8] = b"\r\n\t \0:;,\"/aZ059#?*\x0b\x7f\x80\xff";

impl Generator {
    /// From a seed, which is not zero.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from((self.state >> 11) % bound as u64).unwrap()
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    /// Whether something that happens once in `times` does now.
    fn rarely(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn line_end(&mut self) -> &'static str {
        if self.rarely(60) { self.one(LINE_ENDS) } else { "\r\n" }
    }

    /// The next request. One whose origin a changed byte has cut off is none: what is asked of whom is not the question.
    pub fn request(&mut self) -> Vec<u8> {
        loop {
            let bytes = self.draw();
            let head = bytes.trim_ascii_start();
            let end = position(head, b"\r\n\r\n").unwrap_or(head.len());
            if position(head, ORIGIN).is_some_and(|origin| origin < end) {
                return bytes;
            }
        }
    }

    fn draw(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.rarely(30) {
            let before = self.one(&["\r\n", "\n", "\r\n\r\n", " ", "\r"]);
            bytes.extend_from_slice(before.as_bytes());
        }
        let method = if self.rarely(2) { self.one(METHODS) } else { "POST" };
        let target = if self.rarely(3) { self.one(TARGETS) } else { "/p" };
        let version = if self.rarely(8) { self.one(VERSIONS) } else { "HTTP/1.1" };
        let space = if self.rarely(60) { self.one(&["  ", "\t", ""]) } else { " " };
        for part in [method, space, target, " ", version, self.line_end()] {
            bytes.extend_from_slice(part.as_bytes());
        }
        let host = if self.rarely(20) {
            self.one(&["", "Host:\r\n", "Host: a\r\nHost: a\r\n", "Host: [::1]:1\r\n"])
        } else {
            "Host: a\r\n"
        };
        bytes.extend_from_slice(host.as_bytes());
        for _ in 0..self.below(3) {
            let field = if self.rarely(8) { self.one(BAD_FIELDS) } else { self.one(FIELDS) };
            bytes.extend_from_slice(field.as_bytes());
            bytes.extend_from_slice(self.line_end().as_bytes());
        }
        let body = self.framing(&mut bytes);
        let origin = bytes.len();
        bytes.extend_from_slice(ORIGIN);
        bytes.extend_from_slice(self.line_end().as_bytes());
        bytes.extend_from_slice(&body);
        if self.rarely(4) {
            self.change(&mut bytes, origin);
        }
        bytes
    }

    /// Adds the fields that frame the body, and returns the body.
    fn framing(&mut self, bytes: &mut Vec<u8>) -> Vec<u8> {
        let (length, coding) = match self.below(8) {
            0 | 1 => return Vec::new(),
            2 | 3 => (true, false),
            4..=6 => (false, true),
            _ => (self.rarely(2), self.rarely(2)),
        };
        for _ in 0..if self.rarely(12) { 2 } else { 1 } {
            if length {
                let value = if self.rarely(3) { self.one(LENGTHS) } else { "5" };
                bytes.extend_from_slice(format!("Content-Length: {value}\r\n").as_bytes());
            }
            if coding {
                let value = if self.rarely(4) { self.one(CODINGS) } else { "chunked" };
                bytes.extend_from_slice(format!("Transfer-Encoding: {value}\r\n").as_bytes());
            }
        }
        if coding { self.chunks() } else { b"hello".to_vec() }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut chunks = Vec::new();
        for _ in 0..self.below(3) {
            let size = if self.rarely(4) { self.one(SIZES) } else { "5" };
            for part in [size, self.line_end(), "hello", self.line_end()] {
                chunks.extend_from_slice(part.as_bytes());
            }
        }
        let last = if self.rarely(10) { self.one(&["000", "0;a", "-0", "", "0 ", "0x0"]) } else { "0" };
        for part in [last, self.line_end()] {
            chunks.extend_from_slice(part.as_bytes());
        }
        if self.rarely(4) {
            let trailers = self.one(TRAILERS);
            chunks.extend_from_slice(trailers.as_bytes());
        }
        chunks.extend_from_slice(self.line_end().as_bytes());
        chunks
    }

    /// Changes, adds or takes away a byte, but none of the origin's field.
    fn change(&mut self, bytes: &mut Vec<u8>, origin: usize) {
        let at = self.below(bytes.len());
        if (origin.saturating_sub(2)..origin + ORIGIN.len()).contains(&at) {
            return;
        }
        let byte = BYTES[self.below(BYTES.len())];
        match self.below(3) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
