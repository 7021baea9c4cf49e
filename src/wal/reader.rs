//! Streams segments from the disk through the scanner: several reads at a time, in constant memory.

use std::io;
use std::ops::Range;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use super::files::Files;
use super::scan::{Found, Scanned, Scanner, Step};
use super::survey::Surveyed;
use crate::disk::aligned::AlignedBuf;
use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{RECOVERY_READ_BYTES, to_usize};

/// A part of a segment, as it was read.
pub struct Piece {
    segment: u32,
    offset: usize,
    bytes: AlignedBuf,
}

/// Segments being read in order. Reads run ahead of what is taken, beyond the ends of segments too; memory is what is
/// in flight and one record.
pub struct Reader<'a, D: Disk, S> {
    files: &'a Files<D>,
    pieces: S,
    window: Window,
}

/// Reads `segments`, which are then taken one by one, in their order; `ahead` reads are in flight.
pub fn reader<'a, D: Disk>(
    files: &'a Files<D>,
    segments: &'a [Surveyed],
    ahead: usize,
) -> Reader<'a, D, impl Stream<Item = Result<Piece, DiskError>> + Unpin + 'a> {
    let offsets = |one: &'a Surveyed| {
        let length = to_usize(one.length);
        let starts = (0..length).step_by(RECOVERY_READ_BYTES);
        starts.map(move |offset| (one.segment, offset, (length - offset).min(RECOVERY_READ_BYTES)))
    };
    let reads = segments.iter().flat_map(offsets).map(|(segment, offset, bytes)| read(files, segment, offset, bytes));
    Reader { files, pieces: stream::iter(reads).buffered(ahead), window: Window::default() }
}

async fn read<D: Disk>(files: &Files<D>, segment: u32, offset: usize, bytes: usize) -> Result<Piece, DiskError> {
    let file = files.get(segment).await?;
    let (result, mut piece) = files.disk().read_at(&file, AlignedBuf::with_capacity(bytes), offset as u64).await;
    // What a short read left out must not be taken for damage, nor for the end of the log.
    let whole = result.and_then(|read| if read >= bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
    whole.map_err(while_doing("reading", &files.path(segment)))?;
    piece.set_len(bytes);
    Ok(Piece { segment, offset, bytes: piece })
}

/// A segment that is being scanned, piece by piece.
pub struct Reading {
    segment: u32,
    scanner: Scanner,
}

impl Reading {
    /// What is missing from a torn tail, once the end was met.
    pub fn torn(&self) -> Option<Range<usize>> {
        self.scanner.torn()
    }
}

impl<D: Disk, S: Stream<Item = Result<Piece, DiskError>> + Unpin> Reader<'_, D, S> {
    /// Begins the next segment, which must be `one`.
    pub fn begin(&mut self, one: &Surveyed) -> Reading {
        self.window = Window::default();
        let start = self.files.position(one.segment, 0);
        Reading { segment: one.segment, scanner: Scanner::new(start, to_usize(one.length), one.sealed) }
    }

    /// Waits for a piece and hands over what is found in it; `None`: there is more.
    pub async fn advance(
        &mut self,
        reading: &mut Reading,
        visit: &mut dyn FnMut(Found<'_>),
    ) -> Result<Option<Scanned>, DiskError> {
        let mut filled = false;
        loop {
            let cursor = reading.scanner.cursor();
            match reading.scanner.step(self.window.from(cursor)) {
                Step::Found(found) => visit(found),
                Step::End(scanned) => return Ok(Some(scanned)),
                Step::More(_) if filled => return Ok(None),
                Step::More(bytes) => {
                    self.window.advance(reading.scanner.cursor());
                    self.fill(reading.segment, bytes).await?;
                    filled = true;
                }
            }
        }
    }

    /// Scans the next segment, which must be `one`; lets other tasks run between its pieces.
    pub async fn scan(&mut self, one: &Surveyed, visit: &mut dyn FnMut(Found<'_>)) -> Result<Scanned, DiskError> {
        let mut reading = self.begin(one);
        loop {
            if let Some(scanned) = self.advance(&mut reading, visit).await? {
                return Ok(scanned);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads until the window holds `bytes` bytes of `segment`. What is left of the segments before is dropped.
    async fn fill(&mut self, segment: u32, bytes: usize) -> Result<(), DiskError> {
        while self.window.bytes.len() < bytes {
            let piece = self.pieces.try_next().await?;
            let piece = piece.expect("a scanner asks for no more than its file holds");
            if piece.segment == segment {
                self.window.push(&piece);
            }
        }
        Ok(())
    }
}

/// Scans one segment.
pub async fn scan<D: Disk>(
    files: &Files<D>,
    one: &Surveyed,
    visit: &mut dyn FnMut(Found<'_>),
) -> Result<Scanned, DiskError> {
    reader(files, std::slice::from_ref(one), files.reads_max()).scan(one, visit).await
}

/// Bytes of one segment that were read and are not used up.
#[derive(Default)]
struct Window {
    start: usize,
    bytes: Vec<u8>,
}

impl Window {
    fn from(&self, cursor: usize) -> &[u8] {
        self.bytes.get(cursor - self.start..).unwrap_or_default()
    }

    /// Forgets what stands before `cursor`.
    fn advance(&mut self, cursor: usize) {
        let used = (cursor - self.start).min(self.bytes.len());
        self.bytes.drain(..used);
        self.start = if self.bytes.is_empty() { cursor } else { self.start + used };
    }

    /// Appends a piece, but for what stands before the window's end.
    fn push(&mut self, piece: &Piece) {
        let end = self.start + self.bytes.len();
        let needed = end.checked_sub(piece.offset).expect("pieces come in order and none is left out");
        self.bytes.extend_from_slice(piece.bytes.get(needed..).unwrap_or_default());
    }
}
