//! Tests of the wire: payloads pass, and nothing else, however writes are cut.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;
use tokio::task::LocalSet;

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
    seems_readable: bool,
    fails_to_flush: bool,
}

impl Peek for Mock {
    fn check_quiet(&self) -> io::Result<()> {
        if self.has_unread { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
        if self.seems_readable { Poll::Ready(()) } else { Poll::Pending }
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
        Poll::Ready(if self.fails_to_flush { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn wire(steps: impl IntoIterator<Item = Step>, encrypted: bool) -> Wire<Mock> {
    let mock = Mock { steps: steps.into_iter().collect(), ..Mock::default() };
    Wire::new(mock, encrypted, Rc::default(), Rc::default())
}

impl Wire<Mock> {
    fn begin(&self, payload: Payload) {
        self.line.meter.begin(payload);
    }

    fn sent(&self) -> bool {
        self.line.meter.sent()
    }

    fn is_complete(&self) -> bool {
        self.line.meter.is_complete()
    }

    fn taken(&self) -> Vec<u8> {
        self.line.socket.borrow().taken.clone()
    }
}

/// hyper writes the head of a request that has begun.
fn queue(wire: &mut Wire<Mock>, waker: &Waker) {
    // Where the queue's task may be spawned. The tests are that task.
    let local = LocalSet::new();
    let _entered = local.enter();
    assert!(Pin::new(wire).poll_write(&mut Context::from_waker(waker), HEAD).is_pending());
}

/// hyper's next write, as often as it takes: the first ends with the queue's.
fn write(wire: &mut Wire<Mock>) -> Poll<io::Result<usize>> {
    if wire.line.meter.stage.get() == Stage::Unwritten {
        queue(wire, Waker::noop());
        assert!(!wire.sent());
        wire.queue.send_all();
        if !wire.is_complete() && wire.line.fault.borrow().is_none() {
            return Poll::Pending;
        }
    }
    Pin::new(wire).poll_write(&mut Context::from_waker(Waker::noop()), HEAD)
}

fn read(wire: &mut Wire<Mock>) -> Option<Vec<u8>> {
    let mut bytes = [0; 16];
    let mut buffer = ReadBuf::new(&mut bytes);
    let polled = Pin::new(wire).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
    polled.is_ready().then(|| buffer.filled().to_vec())
}

fn wrote_all(polled: Poll<io::Result<usize>>) -> bool {
    matches!(polled, Poll::Ready(Ok(bytes)) if bytes == HEAD.len())
}

#[test]
fn in_the_place_of_hypers_head_the_whole_request_is_sent_in_one_write() {
    let mut wire = wire([], false);
    let expected = whole(payload(b"head", b"body"));
    for _ in 0..2 {
        wire.begin(payload(b"head", b"body"));
        assert!(!wire.sent() && !wire.is_complete());
        assert!(wrote_all(write(&mut wire)));
        assert!(wire.sent() && wire.is_complete());
    }
    assert_eq!(wire.taken(), [expected.clone(), expected].concat());
    assert_eq!(wire.line.socket.borrow().writes, 2);
}

#[test]
fn a_request_counts_as_sent_from_its_first_byte_and_as_complete_behind_its_last() {
    let mut wire = wire([Step::Pend, Step::Take(1), Step::Pend], false);
    wire.begin(payload(b"head", b""));
    assert!(write(&mut wire).is_pending());
    assert!(!wire.sent());
    assert!(write(&mut wire).is_pending());
    assert!(wire.sent() && !wire.is_complete());
    assert!(wrote_all(write(&mut wire)));
    assert!(wire.is_complete());
}

#[test]
fn a_peer_that_hung_up_can_still_be_read() {
    for (kind, encrypted) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::ConnectionReset, true)] {
        let mut wire = wire([Step::Fail(kind)], encrypted);
        wire.begin(payload(b"head", b""));
        for _ in 0..2 {
            assert!(write(&mut wire).is_pending());
        }
        assert!(wire.taken().is_empty());
        assert_eq!(wire.sent(), encrypted, "part of a failed write may have been sent only under TLS");
        assert_eq!(read(&mut wire).as_deref(), Some(&b"answer"[..]));
        assert!(wire.line.meter.received() && !wire.is_complete());
    }
}

#[test]
fn no_request_begins_where_something_unread_would_be_its_answer() {
    for encrypted in [false, true] {
        let mut wire = wire([Step::Take(3), Step::Pend], encrypted);
        wire.line.socket.borrow_mut().has_unread = encrypted;
        wire.begin(payload(b"head", b""));
        // An answer may come while the rest is still to be written.
        assert!(write(&mut wire).is_pending());
        wire.line.socket.borrow_mut().has_unread = true;
        assert!(wrote_all(write(&mut wire)));
        let taken = wire.taken();
        wire.begin(payload(b"head", b""));
        assert!(matches!(write(&mut wire), Poll::Ready(Err(_))));
        assert!(!wire.sent());
        assert_eq!(wire.taken(), taken);
    }
    let mut wire = wire([], false);
    wire.line.socket.borrow_mut().has_unread = true;
    wire.begin(payload(b"head", b""));
    assert!(matches!(write(&mut wire), Poll::Ready(Err(_))), "nor on a new connection");
}

#[test]
fn a_peer_that_hung_up_while_tls_still_held_something_can_still_be_read() {
    let mut wire = wire([], true);
    wire.line.socket.borrow_mut().fails_to_flush = true;
    wire.begin(payload(b"head", b""));
    assert!(write(&mut wire).is_pending());
    assert_eq!(read(&mut wire).as_deref(), Some(&b"answer"[..]));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_comes_while_a_request_waits_for_its_turn_is_not_read_before_it_is_sent() {
    for (seems_readable, has_unread, wakes) in [(false, false, 0), (true, false, 1), (true, true, 1)] {
        let mut wire = wire([], false);
        (wire.line.socket.borrow_mut().seems_readable, wire.line.socket.borrow_mut().has_unread) =
            (seems_readable, has_unread);
        wire.begin(payload(b"head", b""));
        let woken = Arc::<Woken>::default();
        queue(&mut wire, &Waker::from(Arc::clone(&woken)));
        assert_eq!(read(&mut wire), None);
        wire.queue.send_all();
        // Whom the poller will not wake, as it has said already that there is something.
        assert_eq!(woken.0.load(Ordering::Relaxed), wakes);
        let answer = read(&mut wire);
        assert_eq!(wire.sent(), !has_unread);
        assert_eq!(answer.is_some(), !has_unread);
    }
}

#[test]
fn a_request_that_was_given_up_before_its_turn_is_not_sent() {
    let mut wire = wire([], false);
    let (meter, queued) = (Rc::clone(&wire.line.meter), Rc::clone(&wire.queue));
    wire.begin(payload(b"head", b""));
    queue(&mut wire, Waker::noop());
    drop(wire);
    queued.send_all();
    assert!(!meter.sent() && !meter.is_complete());
}

#[test]
fn a_socket_that_takes_nothing_ends_the_request() {
    let mut wire = wire([Step::Take(0)], false);
    wire.begin(payload(b"head", b""));
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
            wire.begin(payload(head, body));
            while !wire.is_complete() {
                let polled = write(&mut wire);
                prop_assert!(polled.is_pending() || wrote_all(polled));
            }
        }
        prop_assert_eq!(&wire.taken(), &expected);
    }
}
