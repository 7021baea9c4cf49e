//! The request that is sent over and over: built once, then copied with its changing fields patched.

use dispatcher::message::Xorshift;

const ID_DIGITS: usize = 12;
const CRC_DIGITS: usize = 8;

/// One request with holes for the sequence number and the checksum.
pub struct Template {
    bytes: Vec<u8>,
    id_at: usize,
    crc_at: usize,
    body_at: usize,
}

impl Template {
    /// A POST to `target`, to be delivered to `origin` (without one it is an ordinary request, for comparison with a
    /// proxy), with `body_bytes` of incompressible content.
    pub fn new(target: &str, origin: Option<&str>, path: &str, body_bytes: usize) -> Self {
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
        let framing = format!("Content-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\r\n");
        bytes.extend_from_slice(framing.as_bytes());
        let body_at = bytes.len();
        let mut random = Xorshift::new(42);
        while bytes.len() < body_at + body_bytes {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        bytes.truncate(body_at + body_bytes);
        Self { bytes, id_at, crc_at, body_at }
    }

    /// Appends message `id`. The id stands in the body as well, if there is room, so that no two bodies are equal and
    /// the checksum notices one that came with the wrong head.
    pub fn append(&self, id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let message = &mut out[start..];
        let digits = decimal(id);
        message[self.id_at..][..ID_DIGITS].copy_from_slice(&digits);
        let (head, body) = message.split_at_mut(self.body_at);
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
            let template = Template::new("a:1", Some("b:2"), "/p", body_bytes);
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
}
