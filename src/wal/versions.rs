//! Whether a log is of a version that this program reads: looked at before anything in it is touched.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::files::segment_of_name;
use super::recovery::RecoveryError;
use super::segment::{SegmentHeader, SegmentHeaderRead};
use crate::disk::while_doing;
use crate::limits::BLOCK_BYTES;

/// Looks at the header of each segment of each shard of the log at `root`, whoever may own it now; blocks meanwhile.
///
/// Errors: the first file of another version, or one that cannot be read. A log that is not there has no version.
pub fn check(root: &Path) -> Result<(), RecoveryError> {
    for shard_name in names(root)? {
        let Some(shard) = shard_name.strip_prefix("shard-").and_then(|number| number.parse().ok()) else { continue };
        let dir = root.join(shard_name);
        for name in names(&dir)? {
            let Some(segment) = segment_of_name(&name) else { continue };
            let path = dir.join(name);
            let block = first_block(&path).map_err(while_doing("reading the header of", &path))?;
            if let SegmentHeaderRead::OtherVersion(found) = SegmentHeader::read(&block, shard, segment) {
                return Err(RecoveryError::Version { path, found });
            }
        }
    }
    Ok(())
}

/// In order, so that it is always the same file that is named. What is no text is no name of ours.
fn names(dir: &Path) -> Result<Vec<String>, RecoveryError> {
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let listed: Vec<_> = match listed {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        listed => listed.map_err(while_doing("listing", dir))?,
    };
    let mut names: Vec<String> = listed.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

fn first_block(path: &Path) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    File::open(path)?.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
    Ok(block)
}
