//! A ring for the writes of a core's logs alone, which hands each to the kernel in the middle of a turn.
//!
//! The runtime's own ring is submitted when its turn ends: a write that is pushed while sixty tasks wait for theirs
//! would wait for all of them, and the disk would stand still meanwhile.
#![allow(unsafe_code, reason = "a submission holds the address of what the kernel is to read")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::task::{Poll, Waker};

use bytes::Bytes;
use io_uring::{IoUring, opcode, types};
use slab::Slab;
use tokio::io::unix::AsyncFd;

use crate::limits::WRITE_RING_ENTRIES;

/// The ring of one thread, and what is in flight on it.
pub struct WriteRing {
    ring: AsyncFd<IoUring>,
    writes: RefCell<Slab<Write>>,
    /// An entry was refused.
    broken: Cell<bool>,
}

struct Write {
    /// What the kernel may read until it has told the result. Not dropped with the ring, as writes in flight are not ended
    /// by its end.
    blocks: ManuallyDrop<Bytes>,
    /// Bytes written, or an error's number below zero (`io_uring_enter(2)`, `res`).
    result: Option<i32>,
    waker: Option<Waker>,
    /// Nobody waits for the result any more.
    abandoned: bool,
}

impl WriteRing {
    /// A ring for the current thread, inside its runtime. `modern`: the kernel knows `COOP_TASKRUN` and `SINGLE_ISSUER`
    /// (Linux 6.0).
    ///
    /// Errors: those of `io_uring_setup(2)`.
    pub fn new(modern: bool) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        if modern {
            builder.setup_coop_taskrun().setup_single_issuer();
        }
        let ring = builder.build(WRITE_RING_ENTRIES)?;
        // SAFETY: an IoUring owns its descriptor and never changes it.
        let ring = unsafe { AsyncFd::register(ring) }?;
        Ok(Self { ring, writes: RefCell::default(), broken: Cell::new(false) })
    }

    /// Writes at an offset with `pwrite(2)`'s meaning; returns the bytes written, which may be fewer.
    ///
    /// Submitted when it is first polled. Not cancel-safe: a write that is dropped still happens.
    pub async fn write_at(&self, file: &impl AsRawFd, blocks: Bytes, offset: u64) -> io::Result<usize> {
        let waiting = Waiting { ring: self, key: self.submit(file, blocks, offset)? };
        loop {
            tokio::select! {
                biased;
                result = poll_fn(|context| self.poll_result(waiting.key, context.waker())) => {
                    return usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                }
                ready = self.ring.readable() => {
                    let mut ready = ready?;
                    self.reap();
                    ready.clear_ready();
                }
            }
        }
    }

    /// The result of a write, or `waker` is woken when it has been reaped: by whom does not matter, and the ring is not
    /// readable any more then.
    fn poll_result(&self, key: usize, waker: &Waker) -> Poll<i32> {
        let write = &mut self.writes.borrow_mut()[key];
        if write.result.is_none() {
            write.waker = Some(waker.clone());
        }
        write.result.map_or(Poll::Pending, Poll::Ready)
    }

    /// Gives a write to the kernel. After an error the ring takes no more: the entry that it did not take is still in its
    /// queue, and would be taken with the next one, when its descriptor may be another file's.
    fn submit(&self, file: &impl AsRawFd, blocks: Bytes, offset: u64) -> io::Result<usize> {
        if self.broken.get() {
            return Err(io::Error::other("the ring refused a write before"));
        }
        let length = u32::try_from(blocks.len()).expect("batches are bounded by SEGMENT_BYTES_MAX");
        let entry = opcode::Write::new(types::Fd(file.as_raw_fd()), blocks.as_ptr(), length).offset(offset).build();
        let write = Write { blocks: ManuallyDrop::new(blocks), result: None, waker: None, abandoned: false };
        let key = self.writes.borrow_mut().insert(write);
        let entry = entry.user_data(key as u64);
        let ring = self.ring.get_ref();
        // SAFETY: there is one submission queue at a time, as the ring does not leave its thread and nothing is awaited
        // here; what the entry points to is kept, unmoved, until its completion has come.
        unsafe { ring.submission_shared().push(&entry) }.expect("each entry is taken before the next comes");
        loop {
            match ring.submit() {
                Ok(_) => return Ok(key),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken.set(true);
                    self.abandon(key);
                    return Err(error);
                }
            }
        }
    }

    fn reap(&self) {
        let ring = self.ring.get_ref();
        loop {
            let mut writes = self.writes.borrow_mut();
            // SAFETY: there is one completion queue at a time, for the same reasons.
            for completion in unsafe { ring.completion_shared() } {
                let key = usize::try_from(completion.user_data()).expect("it was a key");
                let write = &mut writes[key];
                write.result = Some(completion.result());
                if let Some(waker) = write.waker.take() {
                    waker.wake();
                }
                if write.abandoned {
                    drop(ManuallyDrop::into_inner(writes.remove(key).blocks));
                }
            }
            // SAFETY: there is one submission queue at a time.
            if !unsafe { ring.submission_shared() }.cq_overflow() {
                return;
            }
            // More than the queue holds: the kernel has the others, and gives them out when it is entered.
            let _ = ring.submit();
        }
    }

    fn abandon(&self, key: usize) {
        let mut writes = self.writes.borrow_mut();
        if writes[key].result.is_some() {
            drop(ManuallyDrop::into_inner(writes.remove(key).blocks));
        } else {
            writes[key].abandoned = true;
        }
    }
}

/// Somebody who waits for a result.
struct Waiting<'a> {
    ring: &'a WriteRing,
    key: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.ring.abandon(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    /// Where the kernel forbids rings there is nothing to test: the daemon itself falls back.
    async fn on_a_ring(test: impl AsyncFnOnce(&WriteRing, &File)) {
        if let Ok(ring) = WriteRing::new(false) {
            test(&ring, &tempfile::tempfile().expect("a temporary file")).await;
            let left = ring.writes.borrow().iter().filter(|(_, write)| !write.abandoned).count();
            assert_eq!(left, 0, "what has a result is forgotten");
        }
    }

    fn block(fill: u8) -> Bytes {
        Bytes::from(vec![fill; 512])
    }

    #[tokio::test]
    async fn more_writes_at_a_time_than_the_queue_has_entries_all_land_where_they_should() {
        on_a_ring(async |ring, file| {
            let count = 4 * u8::try_from(WRITE_RING_ENTRIES).unwrap();
            let writes = (0..count).map(|place| ring.write_at(file, block(place), u64::from(place) * 512));
            for written in join_all(writes).await {
                assert_eq!(written.expect("written"), 512);
            }
            for place in 0..count {
                let mut found = [0xff; 512];
                file.read_exact_at(&mut found, u64::from(place) * 512).expect("read");
                assert_eq!(found, [place; 512]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_write_is_with_the_kernel_after_one_poll_and_happens_though_nobody_waits() {
        on_a_ring(async |ring, file| {
            assert!(matches!(ring.write_at(file, block(7), 0).now_or_never(), None | Some(Ok(512))));
            // Its result is taken with that of one that is waited for, or it is still kept.
            ring.write_at(file, block(8), 512).await.expect("written");
            let mut found = [0; 512];
            while found != [7; 512] {
                tokio::task::yield_now().await;
                let _ = file.read_at(&mut found, 0);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_the_kernel_refuses_is_an_error_with_its_number() {
        on_a_ring(async |ring, _| {
            let unwritable = File::open("/proc/self/stat").expect("opened for reading");
            let error = ring.write_at(&unwritable, block(1), 0).await.expect_err("not open for writing");
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
        })
        .await;
    }
}
