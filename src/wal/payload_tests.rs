//! Payloads survive their encoding; what is cut or newer is refused.

use proptest::prelude::*;

use super::*;

fn progress() -> impl Strategy<Value = Progress> {
    let tried = (any::<u64>(), 0..Failure::ALL.len(), prop::option::of(1..1000_u16))
        .prop_map(|(at, which, status)| Tried { at: UnixMillis(at), failure: Failure::ALL[which], status });
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
        again in any::<bool>(),
        (at, failure, status) in (any::<u64>(), 0..Failure::ALL.len(), prop::option::of(1..1000_u16)),
    ) {
        let (at, failure) = (UnixMillis(at), Failure::ALL[failure]);
        let message = Accepted {
            accepted: UnixMillis(accepted),
            timeout: timeout.map(Millis),
            origin: OriginRef { scheme: if https { Scheme::Https } else { Scheme::Http }, host: &host, port },
            again,
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
