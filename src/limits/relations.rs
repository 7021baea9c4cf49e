//! How bounds relate: what does not hold does not compile.

use super::*;

const _: () = assert!(BATCH_START_BYTES.is_multiple_of(BLOCK_BYTES), "buffers are whole blocks");
const _: () = assert!(BATCH_BYTES >= BATCH_START_BYTES, "a batch grows from its first buffer");
const _: () = assert!(PREWRITE_BYTES.is_multiple_of(BLOCK_BYTES), "writes are whole blocks");
const _: () = assert!(RECOVERY_READ_BYTES.is_multiple_of(BLOCK_BYTES), "reads are whole blocks");
const _: () = assert!(to_usize(SEGMENT_BYTES_MIN) >= BATCH_START_BYTES * 4, "a segment holds several batches");
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64, "offsets in a segment fit the index");
const _: () = assert!(
    HISTORY_MAX > RETRIES_MAX as usize + SPARED_KEPT_MAX,
    "every attempt of a message that counts is in its history"
);
const _: () =
    assert!(SETTING_BYTES_MAX * 4 <= u64::MAX / CORES_MAX as u64, "sums of settings, for every core, are sizes");
const _: () = assert!(WORKERS_MAX.checked_mul(IN_FLIGHT_MAX).is_some(), "slots in all are a number");
const _: () = assert!(POOL_IDLE_PER_ORIGIN_MAX <= POOL_IDLE_MAX, "one origin's share is part of the whole");
const _: () = assert!(ANSWER_BYTES_MAX <= DRAIN_BYTES_MAX, "what is kept of an answer is drained");
const _: () = assert!(REFUSED_BODY_BYTES_MAX < READ_BYTES_MIN, "a refused body fits the smallest buffer");
const _: () = assert!(READ_BYTES_KEPT >= READ_BYTES_MIN, "a buffer of the first size is kept");
const _: () = assert!(
    TLS_CONNECTION_BYTES >= TLS_UNSENT_BYTES_MAX + 2 * (16 << 10),
    "a session's buffers are counted among the memory of a connection"
);
const _: () = assert!(SWEEP_MS_MIN <= SWEEP_MS_MAX, "a sweep has an interval");
const _: () = assert!(usize::BITS == 64, "sizes on disk and sizes in memory convert without loss");
