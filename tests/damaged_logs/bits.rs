//! Each bit and each length of a small log that the writer left, headers included, through survey and replay.

use dispatcher::limits::BLOCK_BYTES;

use super::choices::Choices;
use super::harms::{Image, unharmed};
use super::verdict::check_once;
use super::written::Written;

/// Bits between two that are flipped where nothing was written.
const EMPTY_STEP: usize = 61;

/// A log of a few small segments, none of them torn or refused; and one in its middle that has a few batches.
fn small() -> (Written, u32) {
    for seed in 0.. {
        let written = Written::new(&mut Choices::of_seed(seed), 2);
        let bytes: usize = written.segments.values().map(|segment| segment.left.len()).sum();
        let plain = written.segments.values().all(|segment| !segment.unsalted && segment.left == segment.image);
        let middle = written.segments.iter().find(|(number, segment)| {
            let is_first = written.segments.keys().next() == Some(*number);
            !is_first && written.segments.contains_key(&(**number + 1)) && segment.acknowledged > 2
        });
        if let Some((number, _)) = middle.filter(|_| plain && bytes < 24 * BLOCK_BYTES) {
            let number = *number;
            return (written, number);
        }
    }
    unreachable!("seeds do not end");
}

/// Where the last record of a segment ends.
fn used(written: &Written, number: u32) -> usize {
    let records = &written.segments[&number].records;
    records.iter().map(|record| record.offset + record.bytes).max().unwrap()
}

fn found(written: &Written, image: &Image) -> (usize, u64) {
    let recovered = check_once(written, image, &image.to_disk()).expect("a flipped bit is no reason to refuse a log");
    (recovered.places.len(), recovered.damaged)
}

#[test]
fn no_flipped_bit_of_a_segment_costs_more_than_the_record_it_is_in() {
    let (written, number) = small();
    let mut image = unharmed(&written);
    let (all, _) = found(&written, &image);
    let (end, length) = (used(&written, number), image.segments[&number].len());
    for bit in (0..end * 8).chain((end * 8..length * 8).step_by(EMPTY_STEP)) {
        let flip = |image: &mut Image| image.segments.get_mut(&number).unwrap()[bit / 8] ^= 1 << (bit % 8);
        flip(&mut image);
        let (left, damaged) = found(&written, &image);
        let records = &written.segments[&number].records;
        let hit = records.iter().any(|record| (record.offset..record.offset + record.bytes).contains(&(bit / 8)));
        assert_eq!(left, all - usize::from(hit), "bit {bit}");
        assert!(damaged > 0 || !hit, "bit {bit}: what is lost is reported");
        assert!(damaged == 0 || bit / 8 >= BLOCK_BYTES, "bit {bit}: the header stands twice");
        flip(&mut image);
    }
}

#[test]
fn a_segment_cut_at_any_byte_gives_what_is_whole_before_the_cut_and_its_neighbours_all() {
    let (written, middle) = small();
    let last = *written.segments.keys().next_back().unwrap();
    for number in [middle, last] {
        let mut image = unharmed(&written);
        let whole = image.segments[&number].clone();
        for length in (0..=used(&written, number)).rev() {
            image.segments.get_mut(&number).unwrap().truncate(length);
            check_once(&written, &image, &image.to_disk()).expect("a cut is no reason to refuse a log");
        }
        image.segments.insert(number, whole);
    }
}
