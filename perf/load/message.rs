//! The request that is sent over and over: built once, then copied with its changing fields patched.

use std::sync::Arc;

use dispatcher::message::Xorshift;

const ID_DIGITS: usize = 12;
const CRC_DIGITS: usize = 8;

/// What is sent: messages for some origins in turns, and now and then one for an origin that is not verified.
#[derive(Clone)]
pub struct Mix {
    templates: Vec<Template>,
    beside: Vec<Template>,
    beside_every: u64,
}

impl Mix {
    /// Of `beside_every` messages one is for an origin of `beside`, if there is one..
    pub fn new(templates: Vec<Template>, beside: Vec<Template>, beside_every: u64) -> Self {
        assert!(!templates.is_empty(), "there is something to send");
        assert!(beside_every > 0, "one of so many");
        Self { templates, beside, beside_every }
    }

    /// Appends message `id` and returns whether it is for one of those beside.
    pub fn append(&self, id: u64, out: &mut Vec<u8>) -> bool {
        let beside = !self.beside.is_empty() && id % self.beside_every == self.beside_every - 1;
        // Divided, or with as many origins as messages between two only some of them would ever have a turn.
        let (templates, turn) = if beside { (&self.beside, id / self.beside_every) } else { (&self.templates, id) };
        let turn = turn % u64::try_from(templates.len()).expect("a count");
        templates[usize::try_from(turn).expect("below a length")].append(id, out);
        beside
    }
}

/// One request with holes for the sequence number and the checksum.
#[derive(Clone)]
pub struct Template {
    head: Vec<u8>,
    /// One for all, so that a thousand of them fit the processor's cache.
    body: Arc<[u8]>,
    id_at: usize,
    crc_at: usize,
}

/// `bytes` of incompressible content.
pub fn body(bytes: usize) -> Arc<[u8]> {
    let mut random = Xorshift::new(42);
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    words.flatten().take(bytes).collect()
}

impl Template {
    /// A POST to `target`, to be delivered to `origin` (without one it is an ordinary request, for comparison with a
    /// proxy).
    pub fn new(target: &str, origin: Option<&str>, path: &str, body: Arc<[u8]>) -> Self {
        let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(origin) = origin {
            bytes.extend_from_slice(format!("X-Dispatcher-Origin-Host: {origin}\r\n").as_bytes());
        }
        let mut hole = |name: &str, digits: usize| {
            bytes.extend_from_slice(name.as_bytes());
            let at = bytes.len();
            bytes.resize(at + digits, b'0');
            bytes.extend_from_slice(b"\r\n");
            at
        };
        let id_at = hole("X-Load-Id: ", ID_DIGITS);
        let crc_at = hole("X-Load-Crc: ", CRC_DIGITS);
        let framing = format!("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n", body.len());
        bytes.extend_from_slice(framing.as_bytes());
        Self { head: bytes, body, id_at, crc_at }
    }

    /// Appends message `id`. The id stands in the body as well, if there is room, so that no two bodies are equal and
    /// the checksum notices one that came with the wrong head.
    pub fn append(&self, id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.body);
        let digits = decimal(id);
        let (head, body) = out[start..].split_at_mut(self.head.len());
        head[self.id_at..][..ID_DIGITS].copy_from_slice(&digits);
        if let Some(room) = body.first_chunk_mut() {
            *room = digits;
        }
        head[self.crc_at..][..CRC_DIGITS].copy_from_slice(&hexadecimal(crc32c::crc32c(body)));
    }
}

fn decimal(mut number: u64) -> [u8; ID_DIGITS] {
    let mut digits = [b'0'; ID_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
    digits
}

fn hexadecimal(number: u32) -> [u8; CRC_DIGITS] {
    let mut digits = [b'0'; CRC_DIGITS];
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place) & 0xF) as usize];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_carries_its_id_and_the_checksum_of_its_body() {
        for body_bytes in [0, 5, 12, 1024] {
            let template = Template::new("a:1", Some("b:2"), "/p", body(body_bytes));
            let mut out = b"before".to_vec();
            template.append(7_042, &mut out);
            let text = String::from_utf8_lossy(&out);
            assert!(text.starts_with("beforePOST /p HTTP/1.1\r\nHost: a:1\r\nX-Dispatcher-Origin-Host: b:2\r\n"));
            assert!(text.contains("\r\nX-Load-Id: 000000007042\r\n"));
            let body = &out[out.len() - body_bytes..];
            assert!(text.contains(&format!("\r\nX-Load-Crc: {:08x}\r\n", crc32c::crc32c(body))));
            assert_eq!(body.starts_with(b"000000007042"), body_bytes >= 12);
        }
    }

    #[test]
    fn all_origins_have_their_turns() {
        let templates = |origins: [&str; 2]| origins.map(|origin| Template::new("a", Some(origin), "/", body(0)));
        let mix = Mix::new(templates(["one:1", "two:1"]).into(), templates(["dead:1", "down:1"]).into(), 4);
        let origins: Vec<_> = (0..8)
            .map(|id| {
                let mut out = Vec::new();
                let beside = mix.append(id, &mut out);
                let text = String::from_utf8(out).unwrap();
                (text.split("Host: ").nth(2).and_then(|rest| rest.split(':').next()).unwrap().to_owned(), beside)
            })
            .collect();
        let names: Vec<&str> = origins.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "two", "one", "dead", "one", "two", "one", "down"]);
        assert!(origins.iter().all(|(name, beside)| *beside == name.starts_with('d')));
    }
}
