//! What the scan must make of a segment, whatever happened to it.

use dispatcher::limits::BLOCK_BYTES;
use dispatcher::wal::layout::Position;
use dispatcher::wal::record::ALIGNMENT;
use dispatcher::wal::scan::{Found, Scanned, Scanner, Step, scan};
use dispatcher::wal::segment::Sealed;

use super::choices::Choices;

/// What was found, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gist {
    /// Place and length.
    Record(usize, usize),
    /// Place.
    NewerKind(usize),
    /// From, to.
    Damage(usize, usize),
}

fn gist(found: &Found<'_>) -> Gist {
    match found {
        Found::Record { offset, header, payload } => {
            assert!(header.verifies(payload), "nothing damaged is handed out");
            Gist::Record(*offset as usize, header.bytes)
        }
        Found::NewerKind { offset, .. } => Gist::NewerKind(*offset as usize),
        Found::Damage(range) => Gist::Damage(range.start, range.end),
    }
}

/// Scans an image whole and in pieces, and once more with what that has shown: all must agree.
pub fn scan_every_way(
    image: &[u8],
    start: Position,
    sealed: Option<Sealed>,
    choices: &mut Choices<'_>,
) -> (Vec<Gist>, Scanned) {
    let whole = scan_whole(image, start, sealed);
    assert_eq!(scan_in_pieces(image, start, sealed, choices), whole, "whole and in pieces, {sealed:?}");
    let again = scan_whole(image, start, Some(whole.1.sealed));
    assert_eq!(records(&again.0), records(&whole.0), "scanned again with {:?}, first {sealed:?}", whole.1.sealed);
    assert_eq!(again.1.sealed, whole.1.sealed);
    if sealed.is_none() {
        let damage = |found: &[Gist]| found.iter().filter(|one| matches!(one, Gist::Damage(..))).count();
        assert_eq!(damage(&again.0), damage(&whole.0), "scanned again, no damage appears and none goes");
    }
    whole
}

/// Places and lengths of the records.
pub fn records(found: &[Gist]) -> Vec<(usize, usize)> {
    let record = |one: &Gist| match *one {
        Gist::Record(offset, bytes) => Some((offset, bytes)),
        Gist::NewerKind(_) | Gist::Damage(..) => None,
    };
    found.iter().filter_map(record).collect()
}

fn scan_whole(image: &[u8], start: Position, sealed: Option<Sealed>) -> (Vec<Gist>, Scanned) {
    let mut found = Vec::new();
    let scanned = scan(image, start, sealed, &mut |one| found.push(gist(&one)));
    (found, scanned)
}

/// Feeds windows that hold from nothing to blocks more than was asked for.
fn scan_in_pieces(
    image: &[u8],
    start: Position,
    sealed: Option<Sealed>,
    choices: &mut Choices<'_>,
) -> (Vec<Gist>, Scanned) {
    let (mut found, mut known) = (Vec::new(), 0);
    let mut scanner = Scanner::new(start, image.len(), sealed);
    // Each step finds something, or moves on, or is given more.
    for _ in 0..image.len() / ALIGNMENT * 3 + 16 {
        let cursor = scanner.cursor();
        match scanner.step(image.get(cursor..known).unwrap_or_default()) {
            Step::Found(one) => found.push(gist(&one)),
            Step::End(scanned) => return (found, scanned),
            Step::More(bytes) => {
                let wanted = scanner.cursor() + bytes;
                assert!(wanted > known, "asks for something new");
                assert!(wanted <= image.len(), "asks for nothing that is not there");
                known = (wanted + [0, 0, 1, 513, BLOCK_BYTES][choices.below(5)]).min(image.len());
            }
        }
    }
    panic!("the scan of {} bytes does not end", image.len());
}
