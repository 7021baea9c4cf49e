//! The write-ahead log: what is durable, and where.

/// Records on their way to the disk together.
pub mod batch;
/// Names and open files.
pub mod files;
/// Where live messages stand.
pub mod index;
/// Fields and positions.
pub mod layout;
/// One process per directory.
pub mod lock;
/// Appending and committing.
pub mod log;
/// What records say.
pub mod payload;
/// The frame of a record.
pub mod record;
/// A directory to its records.
pub mod recovery;
/// Segments, batches and the scan.
pub mod segment;
/// The next segment.
pub mod spare;
/// Waiting for a batch.
pub mod ticket;
/// The end of the log.
pub mod writer;
