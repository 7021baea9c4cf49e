//! The table over sockets: what is answered, what the origin gets, and that nothing else ever gets there.

use std::collections::HashMap;

use crate::support::{Client, Daemon, Origin, on_all};
use crate::table::{Place, Row, Verdict, rows};

/// How the bytes of a row are sent.
#[derive(Clone, Copy)]
enum Manner {
    /// In one write, with the request behind it.
    Whole,
    /// One at a time; of a long row only those at its two ends.
    ByteByByte,
    /// In two pieces, the first of so many bytes.
    CutAt(usize),
}

/// Of a long row, so many bytes at its start and at its end are sent one at a time.
const SINGLE_BYTES: usize = 300;

fn send(client: &mut Client, bytes: &[u8], manner: Manner) {
    match manner {
        Manner::Whole => client.send(bytes),
        Manner::ByteByByte => {
            let (start, rest) = bytes.split_at(bytes.len().min(SINGLE_BYTES));
            let (middle, end) = rest.split_at(rest.len().saturating_sub(SINGLE_BYTES));
            start.chunks(1).chain(middle.chunks(1009)).chain(end.chunks(1)).for_each(|piece| client.send(piece));
        }
        Manner::CutAt(cut) => {
            client.send(&bytes[..cut]);
            client.send(&bytes[cut..]);
        }
    }
}

/// What an origin must get, by message id, with the name of its row.
#[derive(Default)]
pub struct Expected(HashMap<String, (&'static str, Vec<u8>)>);

impl Expected {
    pub fn add(&mut self, name: &'static str, head: &[u8], body: &[u8], id: String) {
        let added = format!("X-Dispatcher-Message-Id: {id}\r\nX-Dispatcher-Attempt: 1\r\n\r\n");
        self.0.insert(id, (name, [head, added.as_bytes(), body].concat()));
    }

    /// Asserts that each message arrives once, byte for byte, and nothing else at all.
    pub fn assert_arrived(&self, daemon: &Daemon, origin: &Origin) {
        for request in origin.requests_when(self.0.len()) {
            let text = String::from_utf8_lossy(&request);
            let id = text.split("\r\nX-Dispatcher-Message-Id: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let (name, expected) = id.and_then(|id| self.0.get(id)).unwrap_or_else(|| panic!("sent: {text}"));
            assert!(request == *expected, "{name}: {text}\ninstead of {}", String::from_utf8_lossy(expected));
        }
        daemon.assert_metric("dispatcher_accepted_total", self.0.len() as f64);
        assert_eq!(origin.requests().len(), self.0.len(), "each arrives once, and nothing else does");
    }
}

/// Sends a row and the request behind it, and reads what must be answered.
fn exchange(client: &mut Client, place: &Place, row: &Row, manner: Manner, expected: &mut Expected) {
    send(client, &[place.request(row), place.behind()].concat(), manner);
    let answer = place.assert_answer(client, row);
    if let Some((head, body)) = place.sent(row) {
        expected.add(row.name, &head, &body, answer.message_id());
    }
    if row.lives {
        expected.add(row.name, &place.behind_head(), b"", client.answer().message_id());
    } else {
        assert!(client.is_closed(), "{}", row.name);
    }
}

/// The rows but those whose messages would leave this machine: they are tested in process.
pub fn rows_within_reach() -> Vec<Row> {
    let stays = |row: &Row| !matches!(row.verdict, Verdict::Sent { arrives: false, .. });
    rows().into_iter().filter(stays).collect()
}

/// Runs every row against a daemon, each on a connection of its own.
fn run(daemon: &Daemon, manner: Manner) {
    let origin = Origin::start();
    let place = Place { origin: origin.address, own: daemon.data };
    let mut expected = Expected::default();
    for row in rows_within_reach() {
        exchange(&mut daemon.connect(), &place, &row, manner, &mut expected);
    }
    expected.assert_arrived(daemon, &origin);
}

/// Variables that make the daemon the one that the table speaks of.
pub const VARIABLES: [(&str, &str); 1] = [("MAX_HEAD", "64KiB")];

#[test]
fn every_row_has_its_answer_and_nothing_behind_a_request_that_closes_is_taken() {
    on_all(&VARIABLES, |daemon| run(daemon, Manner::Whole));
}

#[test]
fn every_row_has_the_same_answer_when_its_bytes_come_one_at_a_time() {
    on_all(&VARIABLES, |daemon| run(daemon, Manner::ByteByByte));
}

#[test]
fn a_row_that_comes_in_two_pieces_has_the_same_answer_wherever_it_is_cut() {
    on_all(&VARIABLES, |daemon| {
        let origin = Origin::start();
        let place = Place { origin: origin.address, own: daemon.data };
        let mut expected = Expected::default();
        // A few: the others are cut everywhere in process.
        for row in rows_within_reach().iter().filter(|row| row.request.len() < 200).step_by(25) {
            for cut in 0..place.request(row).len() {
                exchange(&mut daemon.connect(), &place, row, Manner::CutAt(cut), &mut expected);
            }
        }
        expected.assert_arrived(daemon, &origin);
    });
}

#[test]
fn leave_is_given_to_who_waits_for_it_and_to_nobody_else() {
    on_all(&VARIABLES, |daemon| {
        let origin = Origin::start();
        let place = Place { origin: origin.address, own: daemon.data };
        let mut expected = Expected::default();
        for row in rows().iter().filter(|row| row.request.windows(6).any(|name| name.eq_ignore_ascii_case(b"expect"))) {
            let mut client = daemon.connect();
            let request = place.request(row);
            let (head, body) = request.split_at(crate::support::position(&request, b"\r\n\r\n").unwrap() + 4);
            client.send(head);
            if row.waits {
                let interim = client.answer();
                assert_eq!((interim.status, interim.head.as_str()), (100, "HTTP/1.1 100 Continue"), "{}", row.name);
            }
            client.send([body, &place.behind()].concat());
            // A second 100 would be taken for the answer.
            let answer = place.assert_final_answer(&mut client, row);
            if let Some((head, body)) = place.sent(row) {
                expected.add(row.name, &head, &body, answer.message_id());
            }
            if row.lives {
                expected.add(row.name, &place.behind_head(), b"", client.answer().message_id());
            } else {
                assert!(client.is_closed(), "{}", row.name);
            }
        }
        expected.assert_arrived(daemon, &origin);
    });
}
