//! Every bound in the program that no variable sets, with its unit and its reason.

// Of a command.
pub mod doctor;
// Of dead letters.
mod letters;
// What holds between them.
mod relations;

pub use letters::*;

/// Alignment and granularity of every log write, in bytes: the largest logical block size in common use, so that
/// `O_DIRECT` is satisfied on every disk.
pub const BLOCK_BYTES: usize = 4096;

/// A batch is closed for further records at this size, in bytes, unless one record alone is larger. A 64 KiB write
/// costs what a 4 KiB one costs and a 1 MiB one about 2.5 times as much: past this, latency grows faster than
/// throughput.
pub const BATCH_BYTES: usize = 1 << 20;

/// Smallest buffer of a batch, in bytes. A batch starts with what those before needed, so that at a low rate a message
/// does not hold a large buffer in the cache, and at a high rate none has to grow.
pub const BATCH_START_BYTES: usize = 8 << 10;

/// Memory of buffers that a thread keeps for the next ones: so many, and so many bytes in all. Batches come in two or three
/// sizes at a time.
pub const BUFFERS_KEPT_MAX: usize = 4;
/// See [`BUFFERS_KEPT_MAX`].
pub const BUFFERS_KEPT_BYTES: usize = 1 << 20;

/// Longest that ends of attempts are gathered before they are written, in milliseconds, unless something that is waited
/// for takes them along; while no segment can be added, that waits as well. After a crash what was delivered in this time
/// is delivered again, so it is short; but the disk is free for the next message that would have waited for them, and a
/// batch costs the disk the same whatever is in it.
pub const GATHER_MS: u64 = 10;

/// Smallest and largest `SEGMENT_BYTES`.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// See [`SEGMENT_BYTES_MIN`]. Offsets within a segment are 32-bit in the index.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Spares that a log keeps beyond its reserve; more are given back to the filesystem.
pub const SPARES_MAX: usize = 2;

/// Segments of one log from the oldest to the newest, those between them that are gone included: the index tells them
/// apart by their numbers modulo this. 4 TiB per core at the smallest `SEGMENT_BYTES`, 256 TiB at the default.
pub const SEGMENTS_MAX: u32 = 1 << 22;

/// One write while blocks are written beforehand, in bytes: large enough to stream, small enough not to hold up the
/// commits that share the disk.
pub const PREWRITE_BYTES: usize = 1 << 20;

/// One read during recovery, in bytes: between two of them the shard serves, so this is also how long it is held up.
pub const RECOVERY_READ_BYTES: usize = 256 << 10;
/// Reads in flight during recovery. They fill the disk as well as more would, and commits do not wait behind them.
pub const RECOVERY_READS_MAX: usize = 4;

/// How often `dispatcher log` reads on to the present end of a log, segments of which were reused while it read: each
/// time there is less left to read, unless the log turns over faster than it can be read.
pub const INSPECT_ROUNDS_MAX: u32 = 16;
/// How often, and after how long in milliseconds, `dispatcher log` looks again at a last batch that is not whole: as long
/// as it takes a running daemon to write it.
pub const INSPECT_SETTLES_MAX: u32 = 4;
/// See [`INSPECT_SETTLES_MAX`].
pub const INSPECT_SETTLE_MS: u64 = 50;

/// Segments that one log keeps open for reading messages back, at most and at least: a descriptor each, however long the
/// log is.
pub const SEGMENTS_OPEN_MAX: usize = 64;
/// See [`SEGMENTS_OPEN_MAX`].
pub const SEGMENTS_OPEN_MIN: u64 = 4;

/// Descriptors that are neither connections nor segments that are kept open: of the process (standard streams, locks, the
/// admin listener and its connections), and of each core (its rings or poller, its listener, segments being made, name
/// servers that are asked, directories being synced).
pub const DESCRIPTORS_PER_PROCESS: u64 = 32;
/// See [`DESCRIPTORS_PER_PROCESS`].
pub const DESCRIPTORS_PER_CORE: u64 = 24;
/// Inbound connections that are accepted however few descriptors there are.
pub const CONNECTIONS_LEAST: u64 = 8;

/// Survivors are written again at this rate at least, in bytes per second, and twice as fast as others write: a small
/// part of what any disk can do.
pub const RELOCATE_BYTES_PER_SECOND: u64 = 16 << 20;
/// Reads in flight while a segment is emptied. Each zeroes its buffer first, which for as many as a recovery has takes
/// milliseconds in one go, and all stand in the disk's queue before the next commit; one read ahead keeps up with the rest.
pub const RELOCATE_READS_MAX: usize = 2;
/// Segments of what is not alive that are not worth relocating anything for, beside half of what is.
pub const RELOCATE_SLACK_SEGMENTS: u64 = 3;
/// Longest wait between two looks at whether relocation may go on, in milliseconds.
pub const RELOCATE_WAIT_MS_MAX: u64 = 20;
/// A segment whose last messages are about to end is looked at again after this long, in milliseconds.
pub const RELOCATE_RETRY_MS: u64 = 100;

/// Records read at the same time while another shard's log is adopted.
pub const ADOPT_READS_MAX: usize = 64;

/// Recently written batches that a shard keeps in memory so that a delivery need not read the disk, in bytes.
pub const CACHE_BYTES_MAX: usize = 16 << 20;

/// What the process takes whatever it is told to do, in bytes: its code, the main thread, the admin listener.
pub const PROCESS_BYTES: u64 = 24 << 20;
/// What each core takes besides what is shared out to it, in bytes: its stack, ring, histograms, and buffers for batches
/// and for writing segments beforehand.
pub const CORE_BYTES: u64 = 2 << 20;
/// What a core keeps of a part of the memory that was given back to it, in bytes, up to twice as much for a while: a few
/// tens of usual messages, for which it need not ask what other cores have taken.
pub const MEMORY_KEPT_BYTES: usize = 64 << 10;
/// A pending message in bytes: 32 of index, 20 of schedule, 8 of hash table (ARCHITECTURE.md, P5).
pub const PENDING_BYTES: u64 = 60;
/// An origin that messages wait for, in bytes: its name, its lane, its gate.
pub const ORIGIN_BYTES: u64 = 512;
/// A dead letter in bytes: index and hash table.
pub const LETTER_BYTES: u64 = 40;
/// In which steps a core tells the others what its index takes, in bytes.
pub const INDEX_STEP_BYTES: u64 = 64 << 10;

/// Entries of a shard's submission queue. A full one is only an earlier `io_uring_enter`: it bounds nothing in flight.
pub const RING_ENTRIES: u32 = 1024;

/// Entries of the queue of a shard's ring for writes. Each is submitted at once, so that they bound nothing.
pub const WRITE_RING_ENTRIES: u32 = 8;

/// Cores that may be configured.
pub const CORES_MAX: usize = 1024;

/// First and smallest size of a connection's read buffer, in bytes: an idle connection holds this much.
pub const READ_BYTES_MIN: usize = 8 << 10;

/// Requests that one connection may have submitted and not answered (pipelining depth); then it is not read.
pub const PIPELINE_MAX: usize = 128;

/// Connections of a core that have requests between their bytes and their answers at a time: enough to fill the batch
/// that is next while the one before it is written, and few enough that deliveries get their share of the core.
pub const SEATS_MAX: usize = 64;
/// How long a connection waits for a seat, in milliseconds: so that a 503 is there within 100 ms.
pub const SEAT_WAIT_MS_MAX: u64 = 80;
/// Requests that one connection may have submitted and not answered while others wait for a seat.
pub const PIPELINE_CONTENDED_MAX: usize = 8;

/// Header fields of one request.
pub const FIELDS_MAX: usize = 256;

/// Options in the `Connection` fields of one request: each is compared with every field.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// Request target in bytes, for 414 (RFC 9110 §4.1 recommends to support at least 8000).
pub const TARGET_BYTES_MAX: usize = 8 << 10;

/// One chunk-size line with its extensions, and all trailers together, in bytes: nothing of them is kept, so an
/// honest client needs little (CVE-2023-39326 is an endless extension).
pub const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// See [`CHUNK_LINE_BYTES_MAX`].
pub const TRAILER_BYTES_MAX: usize = 16 << 10;

/// Method in bytes; longer ones are answered 501 (RFC 9112 §3).
pub const METHOD_BYTES_MAX: usize = 64;

/// A request line in bytes: the method, the target, two spaces, the version and the line end.
pub const REQUEST_LINE_BYTES_MAX: usize = METHOD_BYTES_MAX + TARGET_BYTES_MAX + 12;

/// Connection buffers above this size, in bytes, are given back when their content has been used; between it and
/// [`READ_BYTES_MIN`] they are kept, so that a client with bodies a little larger does not allocate per message.
pub const READ_BYTES_KEPT: usize = 2 * READ_BYTES_MIN;

/// A connection's other buffers (the outbound head, the answers) are given back above this size, in bytes.
pub const SCRATCH_BYTES_KEPT: usize = READ_BYTES_MIN / 2;

/// What a connection may take without asking, in bytes: its read buffer, an outbound head and an answer, the answers that
/// are due, and its task.
pub const CONNECTION_BYTES: u64 = 32 << 10;

/// A message, head and body, that a connection's own buffer holds, in bytes.
pub const SMALL_MESSAGE_BYTES: usize = READ_BYTES_KEPT;

/// Body of a refused request that is read so that its connection can be used again, in bytes: it fits the first buffer.
pub const REFUSED_BODY_BYTES_MAX: usize = READ_BYTES_MIN / 2;

/// Answers collected before they are written, in bytes: so much a peer that does not read them can make a connection hold.
pub const ANSWERS_BYTES_MAX: usize = SCRATCH_BYTES_KEPT;

/// Answers that may have been due at a time and are remembered room for by a connection that is idle.
pub const DUE_KEPT: usize = 8;

/// A body must arrive at this rate at least, in bytes per second, after `BODY_TIMEOUT`: else one byte every now and
/// then would hold its memory for ever.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 8 << 10;

/// What a closing connection still reads and discards so that the peer sees the answer (RFC 9112 §9.6), in bytes:
/// enough for a client that sends a body of twice the default `MAX_BODY` before it looks for the answer.
pub const LINGER_BYTES_MAX: usize = 32 << 20;
/// The same in milliseconds.
pub const LINGER_MS_MAX: u64 = 5_000;

/// A request that needs memory waits for it this long in all, in milliseconds: a refusal is of use only if it comes soon.
pub const MEMORY_WAIT_MS_MAX: u64 = 100;

/// When all connections are taken and none is idle, one that has waited for its peer this long, in milliseconds, may have to
/// make room: a peer that means it sends its head, or takes its answer, in less.
pub const PATIENCE_MS: u64 = 1_000;

/// Lines about a lack of descriptors come no more often than this, in milliseconds.
pub const EXHAUSTED_LINE_MS: u64 = 10_000;

/// How often a shard looks for overdue connections, in milliseconds, at most and at least: a quarter of the shortest
/// timeout between these.
pub const SWEEP_MS_MAX: u64 = 250;
/// See [`SWEEP_MS_MAX`].
pub const SWEEP_MS_MIN: u64 = 10;

/// What a TLS session holds of answers that the peer's buffers have not taken yet, in bytes: two records.
pub const TLS_UNSENT_BYTES_MAX: usize = 32 << 10;

/// What a connection takes more under TLS, in bytes: the session, a record that is not complete, one that is decrypted and
/// not read yet (16 KiB each, and what frames them), and what is unsent.
pub const TLS_CONNECTION_BYTES: usize = 80 << 10;

/// A file of certificates or keys, in bytes: a bundle of all public roots has a quarter of that.
pub const TLS_FILE_BYTES_MAX: u64 = 1 << 20;

/// Connections the kernel holds for a listener that is not quick enough; it takes the lesser of this and
/// `net.core.somaxconn`.
pub const ACCEPT_BACKLOG: i32 = 4096;

/// Pause after an accept that failed for want of descriptors or memory, in milliseconds: doubles from the first to
/// the second.
pub const ACCEPT_PAUSE_MS_MIN: u64 = 5;
/// See [`ACCEPT_PAUSE_MS_MIN`].
pub const ACCEPT_PAUSE_MS_MAX: u64 = 1_000;

/// Tokens that `AUTH_TOKEN_FILE` may hold: what a request brings is compared with each, some 50 ns for one.
pub const AUTH_TOKENS_MAX: usize = 64;
/// The same file in bytes: the longest tokens, and as much again for comments.
pub const AUTH_TOKEN_FILE_BYTES_MAX: usize = 64 << 10;

/// A field value is shown in a problem report to this length, in bytes.
pub const SHOWN_VALUE_BYTES_MAX: usize = 128;

/// A response body is drained to this size, in bytes, so that its connection can be used again; a longer one costs
/// the connection.
pub const DRAIN_BYTES_MAX: usize = 64 << 10;

/// Dead letters leave one part in so many of a segment to the notes that letters are removed.
pub const LETTER_NOTES_SHARE: usize = 16;

/// Kept of the last answer for the dead letter, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4 << 10;

/// How long a response body may take to be drained, in milliseconds: past this, the next message is better off with a
/// new connection than the outcome of this one with waiting.
pub const DRAIN_MS_MAX: u64 = 1000;

/// A response head, in bytes.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 << 10;

/// What a delivery takes besides its message, in bytes: the head of an answer, and its task.
pub const DELIVERY_BYTES: usize = RESPONSE_HEAD_BYTES_MAX + (16 << 10);
/// A record whose delivery waits only for those of other small ones to give memory back, in bytes.
pub const SMALL_DELIVERY_BYTES: usize = 64 << 10;
/// An idle connection to an origin, in bytes.
pub const LINK_BYTES: u64 = 16 << 10;

/// What an origin may send on one HTTP/2 connection before deliveries have read it, in bytes: so much answers can take in
/// memory. A stream's own share is the protocol's default, 64 KiB less one.
pub const HTTP2_WINDOW_BYTES: u32 = 1 << 20;

/// Tasks of a core that wait for an order after their last: what one takes is kept for as long. So many are woken by a
/// batch of a busy core; of more that go idle each ends.
pub const WORKERS_IDLE_MAX: usize = 64;
/// A pooled connection is closed after this long without use, in milliseconds.
pub const POOL_IDLE_MS_MAX: u64 = 60_000;
/// A pooled connection is not used again past this age, in milliseconds, so that DNS changes are seen.
pub const POOL_AGE_MS_MAX: u64 = 600_000;

/// Idle connections a core keeps to one origin, and in all. They cost a file descriptor and a read buffer each.
pub const POOL_IDLE_PER_ORIGIN_MAX: usize = 256;
/// See [`POOL_IDLE_PER_ORIGIN_MAX`].
pub const POOL_IDLE_MAX: usize = 1024;

/// Entries of `ORIGIN_ALLOW`, and of `ORIGIN_DENY`: each is compared with each address that is connected to.
pub const POLICY_RULES_MAX: usize = 1000;

/// A look at whether resolv.conf or the hosts file has changed at most this often, in milliseconds.
pub const NAME_SOURCES_LOOK_MS: u64 = 2_000;
/// What is read of each of them, in bytes: lists of hosts to be blocked have a few million.
pub const NAME_SOURCE_BYTES_MAX: u64 = 16 << 20;
/// Name servers that are used, as in the C library.
pub const NAME_SERVERS_MAX: usize = 3;
/// Search domains that are tried for a name: a query each.
pub const SEARCH_DOMAINS_MAX: usize = 16;
/// Answers of name servers that a core keeps for their TTL, two to a name.
pub const DNS_ANSWERS_MAX: u64 = 4096;
/// What one of them takes, in bytes: a bit over 1 KiB with one address, measured.
pub const DNS_ANSWER_BYTES: u64 = 2 << 10;
/// Longest time for which one is kept, in seconds, whatever its TTL: a mistake in a zone is not kept for a week.
pub const DNS_TTL_SECONDS_MAX: u64 = 3600;
/// The same for the answer that there is no address, so that a name can be used soon after it is made.
pub const DNS_NEGATIVE_TTL_SECONDS_MAX: u64 = 60;
/// IPv4 addresses wait for the answer about IPv6 for this long, in milliseconds (RFC 8305 §8).
pub const RESOLUTION_DELAY_MS: u64 = 50;

/// Addresses of a name that are tried.
pub const ADDRESSES_MAX: usize = 16;
/// The next address is tried beside those before it after this long, in milliseconds (RFC 8305 §8).
pub const CONNECT_STAGGER_MS: u64 = 250;

/// The first probe of an origin whose circuit has opened, in milliseconds after that; each further one after twice as
/// long as the one before.
pub const BREAKER_PROBE_MS_MIN: u64 = 1000;
/// An origin that fails while it is begun with slowly is left alone for this long, in milliseconds, and twice as long
/// after each further failure in a row: one that takes so many a second is then found to take them, and not to be down.
pub const RAMP_PAUSE_MS_MIN: u64 = 10;
/// A core that waits for its turn at an origin which is as busy as it may be looks again after this long, in
/// milliseconds: should the one before it not take its turn.
pub const TURN_MS_MAX: u64 = 20;
/// Messages that are looked at at a time for whether they have outlived `MESSAGE_TTL`: a quarter of a millisecond or so.
/// Five million are looked at in 40 seconds.
pub const EXPIRY_SLOTS_MAX: u32 = 1 << 15;
/// How often that is done, in milliseconds.
pub const EXPIRY_TICK_MS: u64 = 250;

/// Origins without messages of which something is remembered: failures in a row, an open circuit.
pub const ORIGINS_REMEMBERED_MAX: usize = 4096;
/// Origins that the metrics tell apart; all others are one.
pub const NAMED_ORIGINS_MAX: usize = 50;
/// Counted of the others, for the next names: whichever has more than one in so many of their messages is found.
pub const RISING_ORIGINS_MAX: usize = 256;
/// Names are dealt out anew after so many milliseconds at least, and so many at a time: each is a new series for good.
pub const NAMES_DEALT_MS_MIN: u64 = 60_000;
/// See [`NAMES_DEALT_MS_MIN`].
pub const NAMES_DEALT_MAX: usize = 5;

/// Recovered messages that are entered in the schedule at a time once the log is read: 0.1 ms or so, between which a
/// core does its other work.
pub const RELEASED_MAX: usize = 1024;

/// Messages that are put aside for want of memory at a time, between which a core does its other work: 0.1 ms or so.
pub const STARVED_LOOKS_MAX: usize = 1024;

/// How often the workers look for log space while there is none, in milliseconds.
pub const SPACE_POLL_MS: u64 = 50;

/// A delivery for which there was no descriptor holds its slot for this long, in milliseconds, and its message is due again
/// after as long: so many slots cost next to nothing meanwhile.
pub const EXHAUSTED_PAUSE_MS: u64 = 500;

/// A message that could not be read from the log is tried again after this long, in milliseconds.
pub const POSTPONE_MS: u64 = 10_000;

/// Log lines of one kind that are written in a while of [`LOG_WHILE_MS`]: more than somebody reads, less than fills a disk.
pub const LOG_LINES_MAX: u32 = 100;
/// After this while, in milliseconds, it is told how many were left out.
pub const LOG_WHILE_MS: u64 = 10_000;

/// After `SHUTDOWN_TIMEOUT`, outcomes on their way to the disk get this long, in milliseconds.
pub const DRAIN_FLUSH_MS: u64 = 2000;
/// How often it is looked whether there is something to tell the service manager, in milliseconds.
pub const MANAGER_LOOK_MS: u64 = 200;
/// At each look until the daemon is ready it is asked to wait this long, in milliseconds: a long log is no failed start.
pub const MANAGER_PATIENCE_MS: u64 = 30_000;

/// Attempts kept in a message's history: all that count against the largest `RETRYLIMIT`, and some that do not.
pub const HISTORY_MAX: usize = 1024;
/// Attempts kept that met an open circuit: the newest.
pub const SPARED_KEPT_MAX: usize = 16;
/// Largest `RETRYLIMIT`.
pub const RETRIES_MAX: u16 = 1000;

/// Largest `WORKER`.
pub const WORKERS_MAX: u32 = 10_000;
/// Largest `WORKER_IN_FLIGHT` and `ORIGIN_IN_FLIGHT`: more than the ports of one address could carry.
pub const IN_FLIGHT_MAX: u32 = 100_000;
/// Largest `BREAKER_FAILURES`.
pub const BREAKER_FAILURES_MAX: u32 = 1_000_000;
/// Largest `MAX_CONNECTIONS`.
pub const CONNECTIONS_MAX: u32 = 10_000_000;
/// Largest `BACKOFF_FACTOR`.
pub const BACKOFF_FACTOR_MAX: f64 = 1000.0;
/// Largest size that a variable may state, in bytes: sums of a few, and their multiples by cores, do not overflow.
pub const SETTING_BYTES_MAX: u64 = 1 << 50;
/// Largest duration that a variable may state, in milliseconds: a year.
pub const SETTING_MS_MAX: u64 = 365 * 86_400_000;

/// A size as an index. Lossless: an assertion among the relations holds on every target that compiles.
#[allow(clippy::cast_possible_truncation, reason = "usize has 64 bits, asserted in relations")]
pub const fn to_usize(bytes: u64) -> usize {
    bytes as usize
}
