//! Tests of the wire: only payloads pass, however writes are cut.

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 7\r\n\r\n";

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
    Wire::new(mock, encrypted, Rc::new(Meter::new()))
}

fn write(wire: &mut Wire<Mock>, slices: &[&[u8]]) -> Poll<io::Result<usize>> {
    let slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    Pin::new(wire).poll_write_vectored(&mut Context::from_waker(Waker::noop()), &slices)
}

#[test]
fn hypers_head_is_dropped_and_a_whole_request_is_one_write() {
    let mut wire = wire([], false);
    for _ in 0..2 {
        wire.meter.begin(7);
        assert!(!wire.meter.sent());
        assert!(matches!(write(&mut wire, &[HEAD, b"he", b"ad", b"bod"]), Poll::Ready(Ok(n)) if n == HEAD.len() + 7));
        assert!(wire.meter.sent());
    }
    assert_eq!(wire.socket.taken, b"headbodheadbod");
    assert_eq!(wire.socket.writes, 2);
}

#[test]
fn a_head_that_could_be_dropped_but_not_followed_counts_as_unsent() {
    let mut wire = wire([Step::Pend, Step::Take(1)], false);
    wire.meter.begin(7);
    assert!(matches!(write(&mut wire, &[HEAD, b"payload"]), Poll::Ready(Ok(n)) if n == HEAD.len()));
    assert!(!wire.meter.sent());
    assert!(matches!(write(&mut wire, &[b"payload"]), Poll::Ready(Ok(1))));
    assert!(wire.meter.sent());
}

#[test]
fn a_peer_that_hung_up_can_still_be_read() {
    for (kind, encrypted) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::ConnectionReset, true)] {
        let mut wire = wire([Step::Fail(kind)], encrypted);
        wire.meter.begin(7);
        assert!(matches!(write(&mut wire, &[HEAD, b"payload"]), Poll::Ready(Ok(n)) if n == HEAD.len()));
        assert!(write(&mut wire, &[b"payload"]).is_pending());
        assert!(wire.socket.taken.is_empty());
        assert_eq!(wire.meter.sent(), encrypted, "part of a failed write may have been sent only under TLS");
        let mut bytes = [0; 16];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wire).poll_read(&mut cx, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), b"answer");
        assert!(wire.meter.received());
    }
}

#[test]
fn no_request_begins_where_something_unread_would_be_its_answer() {
    for encrypted in [false, true] {
        let mut wire = wire([Step::Take(3)], encrypted);
        wire.socket.has_unread = encrypted;
        wire.meter.begin(7);
        // An answer may come while the rest is still to be written.
        assert!(matches!(write(&mut wire, &[HEAD, b"payload"]), Poll::Ready(Ok(n)) if n == HEAD.len() + 3));
        wire.socket.has_unread = true;
        assert!(matches!(write(&mut wire, &[b"load"]), Poll::Ready(Ok(4))));
        wire.meter.begin(7);
        assert!(matches!(write(&mut wire, &[HEAD, b"payload"]), Poll::Ready(Err(_))));
        assert!(!wire.meter.sent());
        assert_eq!(wire.socket.taken, b"payload");
    }
    let mut wire = wire([], false);
    wire.socket.has_unread = true;
    wire.meter.begin(7);
    assert!(matches!(write(&mut wire, &[HEAD, b"payload"]), Poll::Ready(Err(_))), "nor on a new connection");
}

#[test]
#[should_panic(expected = "hyper wrote 8 bytes where 7 of the payload were left")]
fn bytes_past_the_payload_are_never_sent() {
    let mut wire = wire([], false);
    wire.meter.begin(7);
    let _ = write(&mut wire, &[HEAD, b"payload!"]);
}

proptest! {
    #[test]
    fn however_writes_are_cut_exactly_the_payloads_arrive(
        payloads in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"\r\n:ab"[..]), 1..40), 1..4),
        steps in prop::collection::vec(prop_oneof![(1_usize..9).prop_map(Step::Take), Just(Step::Pend)], 0..200),
        cuts in prop::collection::vec((0_usize..30, 1_usize..60), 1..50),
    ) {
        let mut wire = wire(steps, false);
        let mut cuts = cuts.iter().cycle();
        for payload in &payloads {
            wire.meter.begin(payload.len());
            let request = [HEAD, payload].concat();
            let mut done = 0;
            while done < request.len() {
                let (first, second) = cuts.next().copied().unwrap();
                let offered = &request[done..request.len().min(done + first + second)];
                let (one, two) = offered.split_at(first.min(offered.len()));
                if let Poll::Ready(result) = write(&mut wire, &[one, two]) {
                    done += result.unwrap();
                }
            }
            prop_assert_eq!(wire.meter.phase.get(), Phase::Idle);
        }
        prop_assert_eq!(&wire.socket.taken, &payloads.concat());
    }
}
