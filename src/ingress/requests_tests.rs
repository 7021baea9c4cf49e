//! Bytes in, events out: what a connection's bytes ask for does not depend on how they came.

use proptest::prelude::*;

use super::*;
use crate::ingress::harness_tests::SETTINGS;
use crate::metrics::RefusedReason;

/// Feeds `bytes` in pieces that end at `cuts`, admits whatever `is_admitted`, and tells what came out, a line each.
fn told(bytes: &[u8], cuts: impl IntoIterator<Item = usize>, is_admitted: bool) -> Vec<String> {
    let rules = &SETTINGS.rules;
    let (mut requests, mut told, mut fed) = (Requests::default(), Vec::new(), 0);
    let mut cuts = cuts.into_iter();
    loop {
        match requests.next(rules) {
            Event::Read => {
                let Some(cut) = cuts.next() else { break };
                while fed < cut {
                    let wanted_bytes = requests.make_room(rules);
                    let mut buffer = requests.take_buffer(wanted_bytes);
                    let piece = &bytes[fed..cut.min(fed + buffer.capacity() - buffer.len())];
                    assert!(!piece.is_empty(), "there is always room for a read");
                    buffer.extend_from_slice(piece);
                    requests.fill(buffer);
                    fed += piece.len();
                }
            }
            Event::Admit { .. } if is_admitted => requests.admit(rules),
            Event::Admit { .. } => requests.refuse(Refusal::new(RefusedReason::Memory, ""), rules),
            // Whether one is due depends on whether the client has waited for it.
            Event::Continue => {}
            Event::Message { draft: Draft { origin, head, body, .. }, reply } => {
                told.push(format!("{origin} {} {} {reply:?}", head.escape_ascii(), body.escape_ascii()));
            }
            Event::Endpoint { endpoint, reply } => told.push(format!("{endpoint:?} {reply:?}")),
            Event::Refused { refusal, reply } => told.push(format!("{} {reply:?}", refusal.status())),
            Event::End { .. } => {
                told.push("end".to_owned());
                break;
            }
        }
    }
    told
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\n{fields}\r\n{body}")
}

#[test]
fn every_request_comes_out_once_in_order_and_nothing_behind_the_last() {
    let bytes = [
        post("Content-Length: 2\r\n", "hi"),
        "GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        post("Transfer-Encoding: chunked\r\nConnection: close\r\n", "2\r\nho\r\n0\r\n\r\n"),
        post("", ""),
    ]
    .concat();
    let head = r"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n";
    let stays = |head_only| format!("Reply {{ persistence: Open, head_only: {head_only} }}");
    let expected = [
        format!("http://b {head} hi {}", stays(false)),
        format!("Ready {}", stays(false)),
        format!("400 {}", stays(true)),
        format!("http://b {head} ho Reply {{ persistence: Close, head_only: false }}"),
        "end".to_owned(),
    ];
    assert_eq!(told(bytes.as_bytes(), [bytes.len()], true), expected);
}

#[test]
fn a_message_that_is_not_admitted_costs_its_connection_only_if_its_body_is_long() {
    for (fields, body, expected) in [
        ("Content-Length: 2\r\n", "hi", vec!["503 ", "503 "]),
        ("Content-Length: 2\r\nExpect: 100-continue\r\n", "hi", vec!["503 ", "end"]),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", vec!["503 ", "end"]),
    ] {
        let bytes = [post(fields, body), post("", "")].concat();
        let told = told(bytes.as_bytes(), [bytes.len()], false);
        assert!(told.iter().zip(&expected).all(|(told, expected)| told.starts_with(expected)), "{told:?}");
        assert_eq!(told.len(), expected.len(), "{told:?}");
    }
}

proptest! {
    #[test]
    fn what_comes_out_does_not_depend_on_how_the_bytes_came(
        pieces in prop::collection::vec(prop::sample::select(vec![
            post("", ""), post("Content-Length: 3\r\n", "abc"), post("Content-Length: 5000\r\n", "abc"),
            post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nT: t\r\n\r\n"),
            post("X-Dispatcher-Timeot: 1\r\nContent-Length: 3\r\n", "abc"), "GET /metrics HTTP/1.0\r\n\r\n".to_owned(),
            post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "\r\n".to_owned(), "x".to_owned(),
        ]), 0..5),
        cuts in prop::collection::vec(0..600_usize, 0..8),
        is_admitted in any::<bool>(),
    ) {
        let bytes = pieces.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let whole = told(bytes.as_bytes(), [bytes.len()], is_admitted);
        prop_assert_eq!(told(bytes.as_bytes(), cuts, is_admitted), whole.clone());
        prop_assert_eq!(told(bytes.as_bytes(), 0..=bytes.len(), is_admitted), whole);
    }
}
