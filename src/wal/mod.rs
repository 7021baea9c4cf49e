//! The write-ahead log: what is durable, and where. This is the specification of its format, version 2.
//!
//! # Constraints
//!
//! - A record is durable when the `O_DSYNC` write of its batch has returned; nothing else makes it so.
//! - A write may be torn: any subset of its blocks may have landed, in any order. Blocks that were not written are as
//!   they were. A durable block is never written again while its segment is part of the log.
//! - One batch per log is in flight, so only the last batch of a log can be torn.
//! - One flipped bit may cost the one record it is in, and nothing else.
//! - Bytes of a file's former life, of another shard, or at another offset never pass for current: every header's
//!   checksum starts from its *position* (shard, segment, offset).
//! - Nor does a body that imitates a record, where the log is damaged: checksums are salted with what no sender knows.
//!
//! # Files
//!
//! ```text
//! <TRANSACTION_LOG>/LOCK                        pid of the holder, locked with flock(2)
//! <TRANSACTION_LOG>/shard-NN/NNNNNNNNNNNN.wal   segments of core NN, numbered without gaps
//! <DEAD_LETTER>/shard-NN/NNNNNNNNNNNN.wal       the same, for messages that were given up
//! <TRANSACTION_LOG>/corrupt/*.damaged           what recovery set aside
//! *.new                                         unfinished, removed at start
//! shard-03/000000000042.rested                  an empty directory: the process that wrote segment 42 last had nothing
//!                                               in flight when it ended; removed at start, before anything is attempted
//! *.adopted                                     a directory whose messages stand elsewhere, removed at start
//! ```
//!
//! A segment is created complete: its blocks are written once with zeros under a `.new` name, synced, renamed, and its
//! directory synced. One whose messages have all ended is renamed to the next free number and used again.
//!
//! # Layout
//!
//! Little-endian; offsets and lengths in bytes; `crc` is CRC-32C. `crc(position, b)` is the CRC of shard `u32`, segment
//! `u32`, offset `u32`, salt `u32` and then `b`; in the segment's header, which carries the salt, it is without the salt.
//!
//! ```text
//! segment   block 0: header | batch | batch | ... | zeros, or a former life
//!   0  8    "DISPWAL\n"
//!   8  2    version, 2
//!  10  2    0
//!  12  4    shard
//!  16  4    segment, equal to the file's name
//!  20  4    salt, random, the same in every segment of a log
//!  24  8    when it was begun, Unix milliseconds
//!  32  4    batches of the segment before that are part of the log; 0xFFFFFFFF: there is none before
//!  36  1    1: the last of those batches is torn
//!  37  3    0
//!  40 16    floor: no message in the segments before has a greater id
//!  56  4    0
//!  60  4    crc(position, bytes 0..60)
//! 2048 64   the same once more: a lost sector does not cost the salt; 0 between and behind, up to 4096
//!
//! batch     at a multiple of 4096, padded with zeros to the next: header | record | record | ...
//!   0  4    0xBA7CD15C
//!   4  4    number in the segment, from 0
//!   8  4    bytes, header included, padding excluded
//!  12  4    records
//!  16 12    0
//!  28  4    crc(position, bytes 0..28)
//!
//! record    at a multiple of 8 from the batch's start: header | payload
//!   0  2    0xD15C
//!   2  1    kind: 1 accepted, 2 retry, 3 delivered, 4 dead-lettered, 5 dead letter, 6 lost,
//!              7 removed
//!   3  1    0
//!   4  4    bytes, header included, padding to 8 excluded
//!   8 16    message id, UUIDv7
//!  24  4    crc of the payload
//!  28  4    crc(position, bytes 0..28)
//!
//! accepted, dead letter
//!   0  8    accepted at, Unix milliseconds
//!   8  8    due at, Unix milliseconds; 0: at once
//!  16  4    timeout of an attempt, milliseconds; 0: the default
//!  20  2    attempts made
//!  22  1    1: an earlier attempt may have reached the origin; 2: written again, relocated or taken over
//!  23  1    scheme: 0 http, 1 https
//!  24  2    port
//!  26  2    bytes of the host
//!  28  4    bytes of the head
//!  32  4    bytes of the body
//!  36  4    bytes of the tagged fields
//!  40 ..    host | tagged fields | head | body
//!
//! retry              0 8 due at   8 2 attempts made   10 1 maybe duplicate   11 5 0   16 .. tagged fields
//! delivered          0 8 at       8 2 attempts made   10 2 status
//! dead-lettered      0 8 at       8 1 class            9 3 0
//! lost               0 8 at; the message was found damaged when it was read back, and set aside
//! removed            0 8 at; a dead letter no more: deleted, or replayed, that is accepted again in the other log
//!
//! tagged field       0 2 tag      2 2 0                4 4 bytes of the value   8 .. value
//!   1 history        12 bytes per failed attempt: at 8, class 1, flags 1, status 2 (0: none);
//!                    flags: 1 it met an open circuit and does not count against RETRYLIMIT
//!   2 death          12 bytes, the same layout, flags 0: when, why, last status   (dead letter only)
//!   3 answer         start of the last answer's body                     (dead letter only)
//!   4 replays        2 bytes, not 0: how often it was a dead letter and was accepted again; no field: never
//! ```
//!
//! The head is stored as it will be sent, but for the fields that differ per attempt and the final empty line. Classes
//! are the codes of [`Failure`](crate::schedule::attempt::Failure). A tag, a kind, a flag or a code that a later version
//! adds is refused by this one with a message that names it; nothing is skipped silently.
//!
//! # Recovery
//!
//! Segments are read oldest first. The header of each says how the one before ended, so what a crash left behind the
//! end of a segment, or what a failed write wrote to it, is told from what was acknowledged. The table of verdicts is
//! with [`scan`]. A header with another salt than the one begun last is of another log, whose file has come here: it
//! tells nothing of this one, and nothing in that file is read. Recovery never continues a segment: it begins a new
//! one, whose header seals the last. The headers and the newest segment tell all that is needed for that ([`survey`]);
//! the rest is read while the shard takes messages.
//!
//! # One message in two logs
//!
//! A dead letter is durable before the `dead-lettered` of its message is written; a replay is durable as `accepted`, with
//! `replays` one more than the letter has, before the letter's `removed` is written. Where a crash left both, the one
//! with more `replays` came later, and at the same number the letter did.
//!
//! # Changing the format
//!
//! Raise [`segment::VERSION`], keep reading the old one, add a golden file, and change this text in the same commit.
//! Version 1 differs in its segments' headers, which have zeros for salt, floor and copy, and in that no checksum is
//! salted; it knows neither `lost` nor the flag 2. Version 2 got `removed` and the field `replays` later: a program of
//! that version that does not know them refuses a log that has them, as it does anything newer.
//!
//! The first twelve bytes of a segment are the same in every version, so that any program can tell what it does not know from
//! damage. All headers are looked at before anything is touched ([`versions`]); a kind, tag, flag or code that is not known is
//! refused where it is met, which may be in the middle of a log of which newer messages are being delivered: raise the version
//! instead where an older program should not come as far.

// Records on their way to the disk together.
pub mod batch;
// Names and open files.
pub mod files;
// Ids to slots.
mod ids;
// Where live messages stand.
pub mod index;
// Fields and positions.
pub mod layout;
// One process per directory.
pub mod lock;
// Appending and committing.
pub mod log;
// What records say.
pub mod payload;
// The index's places, packed.
mod place;
// Segments streamed from the disk.
pub mod reader;
// The frame of a record.
pub mod record;
// A directory to its records.
pub mod recovery;
// What is intact in a segment.
pub mod scan;
// Headers of segments and batches.
pub mod segment;
// The next segment.
pub mod spare;
// A first look at a directory.
pub mod survey;
// Waiting for a batch.
pub mod ticket;
// Live counts per segment.
mod usage;
// Whether this program may touch a log at all.
pub mod versions;
// The end of the log.
pub mod writer;
