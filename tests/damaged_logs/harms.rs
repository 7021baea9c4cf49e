//! What disks, filesystems and operators do to a log: bits, sectors, blocks, whole files.

use std::collections::BTreeMap;

use dispatcher::limits::{BLOCK_BYTES, SEGMENTS_MAX};
use dispatcher::wal::files::segment_name;
use dispatcher::wal::layout::Position;
use dispatcher::wal::record;
use dispatcher::wal::segment::{Sealed, SegmentHeader, VERSION};

use super::choices::Choices;
use super::memory::MemoryDisk;
use super::written::{NOW, SECTOR_BYTES, Written, dir};

/// Harms done to one log at most.
const HARMS_MAX: usize = 5;

/// A log directory after something happened to it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The files that are named like segments.
    pub segments: BTreeMap<u32, Vec<u8>>,
    /// Other files.
    pub others: Vec<(String, Vec<u8>)>,
    /// A newer version wrote something of it.
    pub newer: bool,
    /// What was done, for whoever reads a failure.
    pub harms: Vec<String>,
}

impl Image {
    /// Its files by name.
    pub fn named(&self) -> impl Iterator<Item = (String, &Vec<u8>)> {
        let segments = self.segments.iter().map(|(number, contents)| (segment_name(*number), contents));
        segments.chain(self.others.iter().map(|(name, contents)| (name.clone(), contents)))
    }

    pub fn to_disk(&self) -> MemoryDisk {
        let disk = MemoryDisk::default();
        for (name, contents) in self.named() {
            disk.put(&dir().join(name), contents.clone());
        }
        disk
    }
}

/// The directory as it was left.
pub fn unharmed(written: &Written) -> Image {
    let segments = written.segments.iter().map(|(number, segment)| (*number, segment.left.clone())).collect();
    Image { segments, ..Image::default() }
}

/// The directory after up to a few harms.
pub fn harmed(written: &Written, choices: &mut Choices<'_>) -> Image {
    let mut image = unharmed(written);
    for _ in 0..choices.below(HARMS_MAX + 1) {
        harm(&mut image, written, choices);
    }
    image
}

/// One harm to the bytes of one segment, or to the files of the directory.
fn harm(image: &mut Image, written: &Written, choices: &mut Choices<'_>) {
    let Some(number) = any(&image.segments, choices) else { return };
    let done = if choices.below(4) < 3 {
        in_segment(image, written, number, choices)
    } else {
        in_directory(image, written, number, choices)
    };
    image.harms.push(done);
}

fn any(segments: &BTreeMap<u32, Vec<u8>>, choices: &mut Choices<'_>) -> Option<u32> {
    let numbers: Vec<u32> = segments.keys().copied().collect();
    (!numbers.is_empty()).then(|| *choices.one_of(&numbers))
}

/// A run of sectors or blocks, often a short one; headers are hit more often than their share.
fn run_of(length: usize, choices: &mut Choices<'_>) -> (usize, usize) {
    let unit = if choices.one_in(2) { SECTOR_BYTES } else { BLOCK_BYTES };
    let units = length.div_ceil(unit);
    let start = if choices.one_in(6) { 0 } else { choices.below(units) };
    let count = if choices.one_in(4) { 1 + choices.below(units) } else { 1 };
    (start * unit, ((start + count) * unit).min(length))
}

fn in_segment(image: &mut Image, written: &Written, number: u32, choices: &mut Choices<'_>) -> String {
    let length = image.segments[&number].len();
    if length == 0 {
        return "nothing left to harm".to_owned();
    }
    let (start, end) = run_of(length, choices);
    // What may have been written in its place by mistake.
    let from = {
        let all = match choices.below(4) {
            0 => &written.generation_before,
            1 => &written.other_shard,
            _ => &image.segments,
        };
        let source = if choices.one_in(2) && all.contains_key(&number) { Some(number) } else { any(all, choices) };
        source.map(|source| all[&source].clone()).unwrap_or_default()
    };
    let contents = image.segments.get_mut(&number).unwrap();
    match choices.below(9) {
        0 | 1 => {
            for _ in 0..1 + choices.below(3) {
                let bit = choices.below(length * 8);
                contents[bit / 8] ^= 1 << (bit % 8);
            }
            format!("bits flipped in segment {number}")
        }
        2 => {
            contents[start..end].fill(0);
            format!("zeros in segment {number} at {start}..{end}")
        }
        3 => {
            contents[start..end].copy_from_slice(&choices.garbage(end - start));
            format!("garbage in segment {number} at {start}..{end}")
        }
        4 | 5 => {
            let at = if choices.one_in(2) { start } else { run_of(from.len().max(1), choices).0 };
            let there = from.get(at..).unwrap_or_default();
            let bytes = there.len().min(end - start);
            contents[start..start + bytes].copy_from_slice(&there[..bytes]);
            format!("other bytes in segment {number} at {start}..{}", start + bytes)
        }
        6 => {
            let to = run_of(length, choices).0;
            let bytes = (end - start).min(length - to);
            if choices.one_in(2) {
                let moved = contents[start..start + bytes].to_vec();
                contents.copy_within(to..to + bytes, start);
                contents[to..to + bytes].copy_from_slice(&moved);
            } else {
                contents.copy_within(start..start + bytes, to);
            }
            format!("bytes of segment {number} moved or swapped, {start} and {to}, {bytes} of them")
        }
        7 => {
            contents.truncate(choices.below(length));
            format!("segment {number} cut to {}", contents.len())
        }
        _ => newer_record(image, written, number, choices),
    }
}

/// A record of a kind that only a newer version knows, in place of one that was written.
fn newer_record(image: &mut Image, written: &Written, number: u32, choices: &mut Choices<'_>) -> String {
    let contents = image.segments.get_mut(&number).unwrap();
    let Some(segment) = written.segments.get(&number) else { return "no newer record".to_owned() };
    if segment.records.is_empty() || !choices.one_in(8) {
        return "no newer record".to_owned();
    }
    let offset = choices.one_of(&segment.records).offset;
    let salt = (!segment.unsalted).then_some(written.salt);
    let place = Position { shard: written.shard, segment: number, salt, offset: 0 };
    if let Some(record) = contents.get_mut(offset..offset + record::HEADER_BYTES) {
        record[2] = 77;
        record::seal(record, place.at(offset));
    }
    image.newer = true;
    format!("a newer record in segment {number} at {offset}")
}

fn in_directory(image: &mut Image, written: &Written, number: u32, choices: &mut Choices<'_>) -> String {
    match choices.below(8) {
        0 => {
            image.segments.remove(&number);
            format!("segment {number} is missing")
        }
        1 => {
            let to = near_or_far(number, choices);
            let copy = image.segments[&number].clone();
            image.segments.insert(to, copy);
            format!("segment {number} copied to {to}")
        }
        2 => {
            let other = any(&image.segments, choices).unwrap_or(number);
            let contents = image.segments.remove(&number).unwrap();
            if let Some(contents) = image.segments.insert(other, contents) {
                image.segments.insert(number, contents);
            }
            format!("segments {number} and {other} swapped")
        }
        3 => {
            if let Some(before) = written.generation_before.get(&number) {
                image.segments.insert(number, before.clone());
            }
            format!("segment {number} is of the generation before")
        }
        4 => {
            let contents = image.segments.get_mut(&number).unwrap();
            let kept = choices.below(contents.len() / BLOCK_BYTES + 1) * BLOCK_BYTES;
            let tail = contents.len() - kept;
            contents[kept..].copy_from_slice(&vec![0; tail]);
            format!("segment {number} as it was when {kept} bytes of it were written")
        }
        5 => {
            let to = near_or_far(number, choices);
            let contents = stray(written, to, choices);
            image.segments.insert(to, contents);
            format!("a stray segment {to}")
        }
        6 => {
            let names = [
                format!("{}.new", segment_name(number)),
                format!("{:012}.spare", choices.below(3)),
                format!("{}.spare", u32::MAX),
                format!("{number}.wal"),
                "999999999999.wal".to_owned(),
                "lost+found".to_owned(),
            ];
            let name = choices.one_of(&names).clone();
            image.others.push((name.clone(), choices.garbage(64)));
            format!("a stray file {name}")
        }
        _ => {
            let contents = image.segments.get_mut(&number).unwrap();
            let bytes = choices.below(3 * BLOCK_BYTES);
            contents.extend(choices.garbage(bytes));
            format!("segment {number} is {bytes} bytes longer")
        }
    }
}

/// A number of a segment that the log may not have.
fn near_or_far(number: u32, choices: &mut Choices<'_>) -> u32 {
    let to = match choices.below(8) {
        0..=5 => number.saturating_add(4).saturating_sub(u32::try_from(choices.below(9)).unwrap()),
        6 => number.saturating_add(SEGMENTS_MAX),
        _ => u32::MAX,
    };
    // Its next few successors have numbers.
    to.min(u32::MAX - 8)
}

/// A file with the name of a segment that nobody has begun, or that has nothing in it.
fn stray(written: &Written, number: u32, choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(5) {
        0 => Vec::new(),
        1 => vec![0; 3 * BLOCK_BYTES],
        2 => choices.garbage(5000),
        // A log turns from version 1 to salted segments once.
        _ if written.segments.range(number..).any(|(_, segment)| segment.unsalted) => Vec::new(),
        _ if written.segments.contains_key(&number) => Vec::new(),
        _ => begun(written, number),
    }
}

/// A segment of this log that has a header and nothing else.
pub fn begun(written: &Written, number: u32) -> Vec<u8> {
    let ids = written.segments.values().flat_map(|segment| &segment.records).map(|record| record.id);
    let follows = written.segments.contains_key(&number.wrapping_sub(1));
    let header = SegmentHeader {
        shard: written.shard,
        segment: number,
        salt: Some(written.salt),
        begun: NOW,
        before: (!follows).then_some(Sealed { batches: 1, torn: false }),
        floor: ids.max(),
    };
    header.encode().to_vec()
}

/// The header of such a segment in the next version of the format.
pub fn newer_header(written: &Written, number: u32) -> Vec<u8> {
    let mut block = begun(written, number);
    block[8..10].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let crc = Position { shard: written.shard, segment: number, salt: None, offset: 0 }.crc(&block[..60]);
    block[60..64].copy_from_slice(&crc.to_le_bytes());
    block
}
