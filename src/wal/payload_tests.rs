//! Payloads survive their encoding; what is cut or newer is refused.

use proptest::prelude::*;

use super::*;
use crate::message::{OriginRef, Scheme};
use crate::time::Millis;

fn progress() -> impl Strategy<Value = Progress> {
    let tried = (any::<u64>(), 0..Failure::ALL.len(), prop::option::of(1..1000_u16), any::<bool>()).prop_map(
        |(at, which, status, spared)| Tried { at: UnixMillis(at), failure: Failure::ALL[which], status, spared },
    );
    (any::<u64>(), any::<u16>(), any::<bool>(), prop::collection::vec(tried, 0..5)).prop_map(
        |(due, attempts, maybe_duplicate, history)| Progress {
            due: UnixMillis(due),
            attempts,
            maybe_duplicate,
            history,
        },
    )
}

fn encoded(payload: &Payload<'_>) -> Vec<u8> {
    let mut out = AlignedBuf::with_capacity(0);
    payload.encode(&mut out);
    out.to_vec()
}

proptest! {
    #[test]
    fn every_payload_survives_its_encoding_and_no_cut_of_it_panics(
        progress in progress(),
        (accepted, timeout) in (any::<u64>(), prop::option::of(1..=u64::from(u32::MAX))),
        (https, host, port) in (any::<bool>(), "[a-z0-9.:-]{1,253}", any::<u16>()),
        (head, body, answer) in (any::<Vec<u8>>(), any::<Vec<u8>>(), any::<Vec<u8>>()),
        (again, replays) in (any::<bool>(), any::<u16>()),
        (at, failure, status) in (any::<u64>(), 0..Failure::ALL.len(), prop::option::of(1..1000_u16)),
    ) {
        let (at, failure) = (UnixMillis(at), Failure::ALL[failure]);
        let message = Accepted {
            accepted: UnixMillis(accepted),
            timeout: timeout.map(Millis),
            origin: OriginRef { scheme: if https { Scheme::Https } else { Scheme::Http }, host: &host, port },
            again,
            replays,
            progress: progress.clone(),
            head: &head,
            body: &body,
        };
        let payloads = [
            Payload::Accepted(message.clone()),
            Payload::Retry(progress),
            Payload::Delivered { at, attempts: 3, status: 204 },
            Payload::DeadLettered { at, failure },
            Payload::Lost { at },
            Payload::Removed { at },
            Payload::DeadLetter(message, Death { at, failure, status, answer: &answer }),
        ];
        for payload in payloads {
            let bytes = encoded(&payload);
            prop_assert!(bytes.len() <= payload.bytes() && payload.bytes() <= bytes.len() + 64);
            prop_assert_eq!(Payload::decode(payload.kind(), &bytes), Ok(payload.clone()));
            for length in 0..bytes.len().min(400) {
                let _ = Payload::decode(payload.kind(), &bytes[..length]);
            }
        }
    }
}

#[test]
fn a_field_of_a_newer_version_is_refused_by_its_tag() {
    let mut bytes = encoded(&Payload::Retry(Progress::default()));
    bytes.extend_from_slice(&[77, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Payload::decode(Kind::Retry, &bytes), Err(PayloadError::Tag(77)));
}

#[test]
fn flags_of_a_newer_version_are_refused() {
    let mut bytes = encoded(&Payload::Retry(Progress::default()));
    bytes[10] = 4;
    assert_eq!(Payload::decode(Kind::Retry, &bytes), Err(PayloadError::Flags(4)));
}

/// Nothing is skipped: not what stands behind a payload, not a field where none belongs, twice or out of order.
#[test]
fn bytes_that_no_payload_is_written_as_are_refused() {
    let at = UnixMillis(1);
    let tried = Tried { at, failure: Failure::Reset, status: None, spared: false };
    let progress = Progress { history: vec![tried], ..Progress::default() };
    let host = OriginRef { scheme: Scheme::Http, host: "b", port: 80 };
    let message = Accepted {
        accepted: at,
        timeout: None,
        origin: host,
        again: false,
        replays: 0,
        progress: progress.clone(),
        head: b"",
        body: b"",
    };
    let death = Death { at, failure: Failure::Reset, status: None, answer: b"" };
    let retry = encoded(&Payload::Retry(progress));
    let accepted = encoded(&Payload::Accepted(message.clone()));
    let replayed = encoded(&Payload::Accepted(Accepted { replays: 1, ..message.clone() }));
    let letter = encoded(&Payload::DeadLetter(message, death));
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    let fields = 41;
    let refused = [
        (Kind::Delivered, encoded(&Payload::Delivered { at, attempts: 1, status: 200 }), vec![0]),
        (Kind::DeadLettered, encoded(&Payload::DeadLettered { at, failure: Failure::Reset }), vec![0]),
        (Kind::DeadLettered, with(&encoded(&Payload::DeadLettered { at, failure: Failure::Reset }), 11, 1), vec![]),
        (Kind::Lost, encoded(&Payload::Lost { at }), vec![0]),
        (Kind::Removed, encoded(&Payload::Removed { at }), vec![0]),
        (Kind::Accepted, with(&replayed, fields + 20 + 8, 0), vec![]),
        (Kind::Accepted, with(&replayed, fields + 20 + 4, 1), vec![]),
        (Kind::Retry, with(&retry, 11, 1), vec![]),
        (Kind::Retry, with(&retry, 16 + 2, 1), vec![]),
        (Kind::Retry, with(&retry, 16 + 8 + 9, 2), vec![]),
        (Kind::Retry, retry.clone(), retry[16..].to_vec()),
        (Kind::Retry, retry[..16].to_vec(), vec![1, 0, 0, 0, 0, 0, 0, 0]),
        (Kind::Retry, retry, vec![3, 0, 0, 0, 0, 0, 0, 0]),
        (Kind::Accepted, with(&accepted, fields, 3), vec![]),
        (Kind::Accepted, letter.clone(), vec![]),
        (Kind::DeadLetter, with(&letter, fields + 20 + 20, 2), vec![]),
        (Kind::DeadLetter, with(&letter, fields + 20 + 8 + 9, 1), vec![]),
        (Kind::DeadLetter, accepted, vec![]),
    ];
    for (row, (kind, mut bytes, behind)) in refused.into_iter().enumerate() {
        bytes.extend(behind);
        assert!(Payload::decode(kind, &bytes).is_err(), "row {row}, a payload of {kind:?}");
    }
}
