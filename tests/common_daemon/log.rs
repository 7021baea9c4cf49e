//! The log as it stands on disk: its files, its records, and damage done to it on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use dispatcher::message::MessageId;
use dispatcher::wal::files::segment_of_name;
use dispatcher::wal::layout::Position;
use dispatcher::wal::record::{self, Kind};
use dispatcher::wal::scan::{Found, scan};
use dispatcher::wal::segment::{SegmentHeader, SegmentHeaderRead};

/// A record, and where it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub file: PathBuf,
    pub offset: usize,
    pub kind: Kind,
    pub id: String,
    pub payload: Vec<u8>,
}

/// Segments of every shard in `root`, in order, with the shard's and their own number.
pub fn segments(root: &Path) -> Vec<(PathBuf, u32, u32)> {
    let mut found = Vec::new();
    for shard in names(root) {
        let Some(number) = shard.strip_prefix("shard-").and_then(|number| number.parse().ok()) else { continue };
        for name in names(&root.join(&shard)) {
            if let Some(segment) = segment_of_name(&name) {
                found.push((root.join(&shard).join(name), number, segment));
            }
        }
    }
    found.sort();
    found
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Every intact record in the log at `root`, in the order of each shard.
pub fn records(root: &Path) -> Vec<Standing> {
    let mut found = Vec::new();
    for (file, shard, number) in segments(root) {
        let image = fs::read(&file).unwrap();
        let SegmentHeaderRead::Known(SegmentHeader { salt, .. }) = SegmentHeader::read(&image, shard, number) else {
            continue;
        };
        let start = Position { shard, segment: number, salt, offset: 0 };
        scan(&image, start, None, &mut |thing| {
            if let Found::Record { offset, header, payload } = thing {
                let (file, payload) = (file.clone(), payload.to_vec());
                found.push(Standing { file, offset: offset as usize, kind: header.kind, id: text(header.id), payload });
            }
        });
    }
    found
}

/// The file of a record with another kind in the record's header, which is sealed again.
pub fn with_kind(standing: &Standing, kind: u8) -> Vec<u8> {
    let root = standing.file.ancestors().nth(2).unwrap();
    let (_, shard, segment) = segments(root).into_iter().find(|(file, ..)| *file == standing.file).unwrap();
    let mut image = fs::read(&standing.file).unwrap();
    let SegmentHeaderRead::Known(header) = SegmentHeader::read(&image, shard, segment) else {
        panic!("a record stands in a segment")
    };
    image[standing.offset + 2] = kind;
    let place = Position { shard, segment, salt: header.salt, offset: 0 }.at(standing.offset);
    record::seal(&mut image[standing.offset..], place);
    image
}

/// Ids of all dead letters under the log of `dir`, sorted, each once.
pub fn dead_letters(dir: &Path) -> Vec<String> {
    let standing = records(&dir.join("log/dead-letter"));
    let mut ids: Vec<String> = standing.into_iter().map(|record| record.id).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Bytes of all files of the transaction log, dead letters aside. A file that goes while it is looked at counts 0.
pub fn bytes(dir: &Path) -> u64 {
    segments(&dir.join("log")).iter().map(|(file, ..)| fs::metadata(file).map_or(0, |file| file.len())).sum()
}

/// Ranges that were set aside.
pub fn set_aside(dir: &Path) -> usize {
    names(&dir.join("log/corrupt")).len()
}

fn text(id: MessageId) -> String {
    String::from_utf8(id.text().to_vec()).unwrap()
}
