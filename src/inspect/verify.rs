//! `dispatcher log verify`: reads a log and its dead letters to their ends and sums up what was found.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::ControlFlow;

use super::places::{self, DeadLetters, Place};
use super::report::{Report, Shard};
use super::walk::{Event, walk};
use super::{InspectError, Verdict, VerifyOptions};
use crate::disk::portable::PortableDisk;
use crate::message::MessageId;
use crate::wal::files::Files;
use crate::wal::payload::Payload;
use crate::wal::recovery::{RecoveryError, Visit};

/// Checks what `options` name.
pub async fn verify(options: &VerifyOptions) -> Result<Verdict, InspectError> {
    let mut shards = Vec::new();
    for place in places::find(options.dir.as_deref(), DeadLetters::IfThere)? {
        shards.push(shard(&place).await?);
    }
    let report = Report::new(shards);
    let text = if options.json {
        serde_json::to_string(&report).map_err(|error| InspectError::Output(error.into()))? + "\n"
    } else {
        report.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(InspectError::Output(error)),
        _ => {}
    }
    Ok(if report.is_intact() { Verdict::Intact } else { Verdict::Damaged })
}

async fn shard(place: &Place) -> Result<Shard, RecoveryError> {
    let files = Files::new(PortableDisk, place.dir.clone(), place.shard);
    let (mut found, mut live) = (Shard::new(place), Live::default());
    let mut note = |event: Event<'_>| {
        match event {
            Event::Record(visit) => {
                found.add_record(visit.payload.kind());
                live.apply(visit);
            }
            Event::Segment(segment) => found.add_segment(segment),
            Event::Missing(segments) => found.add_missing(&segments),
            Event::Recycled => found.add_recycled(),
            Event::Overtaken => found.overtake(),
        }
        ControlFlow::Continue(())
    };
    let _ = walk(&files, &mut note).await?;
    Ok(found.end(live.bytes_of.len() as u64, live.bytes_of.values().map(|bytes| u64::from(*bytes)).sum()))
}

/// Live messages and the bytes of their records: what a shard's state would hold after a start.
#[derive(Default)]
struct Live {
    bytes_of: HashMap<MessageId, u32>,
}

impl Live {
    fn apply(&mut self, visit: &Visit<'_>) {
        match visit.payload {
            // Written again, it stands where it was written last.
            Payload::Accepted(_) | Payload::DeadLetter(..) => _ = self.bytes_of.insert(visit.id, visit.at.bytes),
            Payload::Retry(_) => {}
            Payload::Delivered { .. }
            | Payload::DeadLettered { .. }
            | Payload::Lost { .. }
            | Payload::Removed { .. } => {
                self.bytes_of.remove(&visit.id);
            }
        }
    }
}
