//! Tests of the wire: payloads pass, and nothing else, however writes are cut.

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::delivery::payload::testing::{payload, whole};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// A socket that takes as many bytes per write as it is told, or none, or fails.
#[derive(Debug, Default)]
struct Mock {
    steps: VecDeque<Step>,
    taken: Vec<u8>,
    writes: usize,
    has_unread: bool,
}

impl Peek for Mock {
    fn check_quiet(&self) -> io::Result<()> {
        if self.has_unread { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    Pend,
    Fail(io::ErrorKind),
}

impl AsyncRead for Mock {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        into.put_slice(b"answer");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Mock {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes += 1;
        let bytes = slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>();
        let limit = match self.steps.pop_front() {
            None => bytes.len(),
            Some(Step::Take(limit)) => limit.min(bytes.len()),
            Some(Step::Pend) => return Poll::Pending,
            Some(Step::Fail(kind)) => return Poll::Ready(Err(kind.into())),
        };
        self.taken.extend_from_slice(&bytes[..limit]);
        Poll::Ready(Ok(limit))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn wire(steps: impl IntoIterator<Item = Step>, encrypted: bool) -> Wire<Mock> {
    let mock = Mock { steps: steps.into_iter().collect(), ..Mock::default() };
    Wire::new(mock, encrypted, Rc::default())
}

/// hyper's next write, as often as it takes.
fn write(wire: &mut Wire<Mock>) -> Poll<io::Result<usize>> {
    Pin::new(wire).poll_write(&mut Context::from_waker(Waker::noop()), HEAD)
}

fn wrote_all(polled: Poll<io::Result<usize>>) -> bool {
    matches!(polled, Poll::Ready(Ok(bytes)) if bytes == HEAD.len())
}

#[test]
fn in_the_place_of_hypers_head_the_whole_request_is_sent_in_one_write() {
    let mut wire = wire([], false);
    let expected = whole(payload(b"head", b"body"));
    for _ in 0..2 {
        wire.meter.begin(payload(b"head", b"body"));
        assert!(!wire.meter.sent() && !wire.meter.is_complete());
        assert!(wrote_all(write(&mut wire)));
        assert!(wire.meter.sent() && wire.meter.is_complete());
    }
    assert_eq!(wire.socket.taken, [expected.clone(), expected].concat());
    assert_eq!(wire.socket.writes, 2);
}

#[test]
fn a_request_counts_as_sent_from_its_first_byte_and_as_complete_behind_its_last() {
    let mut wire = wire([Step::Pend, Step::Take(1), Step::Pend], false);
    wire.meter.begin(payload(b"head", b""));
    assert!(write(&mut wire).is_pending());
    assert!(!wire.meter.sent());
    assert!(write(&mut wire).is_pending());
    assert!(wire.meter.sent() && !wire.meter.is_complete());
    assert!(wrote_all(write(&mut wire)));
    assert!(wire.meter.is_complete());
}

#[test]
fn a_peer_that_hung_up_can_still_be_read() {
    for (kind, encrypted) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::ConnectionReset, true)] {
        let mut wire = wire([Step::Fail(kind)], encrypted);
        wire.meter.begin(payload(b"head", b""));
        for _ in 0..2 {
            assert!(write(&mut wire).is_pending());
        }
        assert!(wire.socket.taken.is_empty());
        assert_eq!(wire.meter.sent(), encrypted, "part of a failed write may have been sent only under TLS");
        let mut bytes = [0; 16];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wire).poll_read(&mut cx, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), b"answer");
        assert!(wire.meter.received() && !wire.meter.is_complete());
    }
}

#[test]
fn no_request_begins_where_something_unread_would_be_its_answer() {
    for encrypted in [false, true] {
        let mut wire = wire([Step::Take(3), Step::Pend], encrypted);
        wire.socket.has_unread = encrypted;
        wire.meter.begin(payload(b"head", b""));
        // An answer may come while the rest is still to be written.
        assert!(write(&mut wire).is_pending());
        wire.socket.has_unread = true;
        assert!(wrote_all(write(&mut wire)));
        let taken = wire.socket.taken.clone();
        wire.meter.begin(payload(b"head", b""));
        assert!(matches!(write(&mut wire), Poll::Ready(Err(_))));
        assert!(!wire.meter.sent());
        assert_eq!(wire.socket.taken, taken);
    }
    let mut wire = wire([], false);
    wire.socket.has_unread = true;
    wire.meter.begin(payload(b"head", b""));
    assert!(matches!(write(&mut wire), Poll::Ready(Err(_))), "nor on a new connection");
}

#[test]
fn a_socket_that_takes_nothing_ends_the_request() {
    let mut wire = wire([Step::Take(0)], false);
    wire.meter.begin(payload(b"head", b""));
    assert!(matches!(write(&mut wire), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WriteZero));
}

proptest! {
    #[test]
    fn however_writes_are_cut_exactly_the_payloads_arrive(
        parts in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..40)),
            1..4,
        ),
        steps in prop::collection::vec(prop_oneof![(1_usize..90).prop_map(Step::Take), Just(Step::Pend)], 0..200),
    ) {
        let mut wire = wire(steps, false);
        let mut expected = Vec::new();
        for (head, body) in &parts {
            expected.extend(whole(payload(head, body)));
            wire.meter.begin(payload(head, body));
            while !wire.meter.is_complete() {
                let polled = write(&mut wire);
                prop_assert!(polled.is_pending() || wrote_all(polled));
            }
        }
        prop_assert_eq!(&wire.socket.taken, &expected);
    }
}
