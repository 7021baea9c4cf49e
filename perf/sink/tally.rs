//! What came: counts, the ids seen, and whether bodies were intact.

use hashbrown::HashSet;

use super::clock;
use super::request::Request;
use super::table;

/// Ids told apart. Past these, deliveries are still counted but no longer as unique or duplicate.
const MESSAGE_IDS_MAX: usize = 1 << 24;
const LOAD_IDS_MAX: u64 = 1 << 30;
/// Of so many of them the time of arrival is kept.
const TIMED_MAX: usize = 1 << 24;

/// Everything counted since the start or the last reset.
#[derive(Default)]
pub struct Tally {
    /// Connections accepted.
    pub connections: u64,
    /// Requests refused as not HTTP of the kind the sink speaks.
    pub malformed: u64,
    requests: u64,
    answered_503: u64,
    delivered: u64,
    body_bytes: u64,
    maybe_duplicates: u64,
    checksum_errors: u64,
    /// Only of messages without a sequence number: the bits of those are cheaper than a set.
    message_ids: HashSet<u128>,
    message_id_repeats: u64,
    load_ids: Vec<u64>,
    load_ids_unique: u64,
    load_id_repeats: u64,
    arrived_ns: Vec<u64>,
    failing: u8,
}

impl Tally {
    /// Whether the next answer is a 503: of any hundred in a row exactly `percent` are, evenly spread.
    pub fn due_to_fail(&mut self, percent: u8) -> bool {
        self.failing += percent;
        let fails = self.failing >= 100;
        if fails {
            self.failing -= 100;
            self.requests += 1;
            self.answered_503 += 1;
        }
        fails
    }

    /// Counts a request that is answered with `--status`.
    pub fn receive(&mut self, request: &Request<'_>, succeeds: bool) {
        self.requests += 1;
        self.body_bytes += request.body.len() as u64;
        self.maybe_duplicates += u64::from(request.maybe_duplicate);
        if request.crc.is_some_and(|crc| crc != crc32c::crc32c(request.body)) {
            self.checksum_errors += 1;
        }
        if !succeeds {
            return;
        }
        self.delivered += 1;
        if let Some(id) = request.load_id {
            if id < LOAD_IDS_MAX {
                self.see(id);
            }
        } else if let Some(id) = request.message_id()
            && self.message_ids.len() < MESSAGE_IDS_MAX
        {
            self.message_id_repeats += u64::from(!self.message_ids.insert(id));
        }
    }

    fn see(&mut self, id: u64) {
        let word = usize::try_from(id / 64).expect("bounded by LOAD_IDS_MAX");
        table::grow(&mut self.load_ids, word, TIMED_MAX / 64);
        let bit = 1 << (id % 64);
        if self.load_ids[word] & bit == 0 {
            self.load_ids[word] |= bit;
            self.load_ids_unique += 1;
            self.time(id);
        } else {
            self.load_id_repeats += 1;
        }
    }

    fn time(&mut self, id: u64) {
        let at = usize::try_from(id).expect("bounded by LOAD_IDS_MAX");
        if at >= TIMED_MAX {
            return;
        }
        table::grow(&mut self.arrived_ns, at, TIMED_MAX);
        self.arrived_ns[at] = clock::now_ns();
    }

    /// When each sequence number was first delivered: a little-endian word of 64 bits each, nanoseconds of the monotonic
    /// clock, 0 if it was not.
    pub fn arrivals(&self) -> Vec<u8> {
        self.arrived_ns.iter().flat_map(|ns| ns.to_le_bytes()).collect()
    }

    /// One bit per sequence number that was delivered, least significant first, in little-endian words of 64 bits.
    pub fn seen(&self) -> Vec<u8> {
        self.load_ids.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// As JSON.
    pub fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "connections": self.connections,
            "requests": self.requests,
            "malformed": self.malformed,
            "answered_503": self.answered_503,
            "delivered": self.delivered,
            "body_bytes": self.body_bytes,
            "unique_message_ids": self.message_ids.len(),
            "duplicate_message_ids": self.message_id_repeats,
            "unique_load_ids": self.load_ids_unique,
            "duplicate_load_ids": self.load_id_repeats,
            "maybe_duplicates": self.maybe_duplicates,
            "checksum_errors": self.checksum_errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(message_id: &'static [u8], load_id: Option<u64>, crc: u32) -> Request<'static> {
        Request {
            path: "/",
            message_id,
            load_id,
            crc: Some(crc),
            maybe_duplicate: false,
            close: false,
            body: b"body",
            bytes: 0,
        }
    }

    #[test]
    fn repeats_and_damage_are_counted() {
        let mut tally = Tally::default();
        let crc = crc32c::crc32c(b"body");
        for (load, crc) in [(70, crc), (70, crc), (71, crc ^ 1)] {
            tally.receive(&request(b"", Some(load), crc), true);
        }
        let ids = [b"01890a5d-ac96-774b-bcce-b302099a8057", b"01890a5d-ac96-774b-bcce-b302099a8058"];
        for id in [ids[0], ids[1], ids[0]] {
            tally.receive(&request(id, None, crc), true);
        }
        let summary = tally.summary();
        let counts = [
            "delivered",
            "unique_message_ids",
            "duplicate_message_ids",
            "unique_load_ids",
            "duplicate_load_ids",
            "checksum_errors",
        ]
        .map(|name| summary[name].as_u64());
        assert_eq!(counts, [6, 2, 1, 2, 1, 1].map(Some));
        assert_eq!(tally.seen()[8], 0b1100_0000);
        let arrivals = tally.arrivals();
        let (words, _) = arrivals.as_chunks::<8>();
        assert!(words[69] == [0; 8] && words[70] != [0; 8] && words[71] != [0; 8]);
    }

    #[test]
    fn of_a_hundred_answers_exactly_the_percentage_fails() {
        for percent in [0, 1, 33, 50, 100] {
            let mut tally = Tally::default();
            let failed = (0..100).filter(|_| tally.due_to_fail(percent)).count();
            assert_eq!(failed, usize::from(percent));
        }
    }
}
