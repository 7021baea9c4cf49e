//! The data of the rules: edit this when a module lands, and say why in a word where it is an exception.

/// Longest file, in lines.
pub const LINES_MAX: usize = 400;

/// Each module and what it may import: rows further down only, so there is no cycle. `a::b` allows that part of `a`.
pub const STACK: &[(&str, &[&str])] = &[
    ("main", &["cli", "doctor", "server", "demo", "inspect", "stat", "dead", "config", "telemetry"]),
    ("cli", &["doctor", "demo", "inspect", "stat", "dead", "config", "memory"]),
    // Looks with the very code that the daemon starts with.
    (
        "doctor",
        &["server", "ingress", "delivery", "wal", "disk", "net", "telemetry", "config", "message", "time", "limits"],
    ),
    ("demo", &["message", "time"]),
    ("stat", &["dead::client", "telemetry", "config", "time"]),
    ("dead", &["telemetry", "config"]),
    ("inspect", &["wal", "disk", "config", "message", "time", "limits"]),
    (
        "server",
        &[
            "admin",
            "ingress",
            "delivery",
            "control",
            "shard",
            "wal",
            "metrics",
            "schedule",
            "disk",
            "net",
            "telemetry",
            "config",
            "memory",
            "message",
            "reload",
            "time",
            "limits",
        ],
    ),
    (
        "admin",
        &[
            "control",
            "shard::letter",
            "schedule::attempt",
            "metrics::exposition",
            "config",
            "message",
            "time",
            "limits",
        ],
    ),
    // The two ends of a message: they never meet.
    (
        "ingress",
        &[
            "control",
            "shard",
            "wal::ticket",
            "metrics",
            "disk",
            "net",
            "config",
            "memory",
            "message",
            "reload",
            "time",
            "limits",
        ],
    ),
    ("delivery", &["shard", "schedule", "metrics", "disk", "net", "config", "memory", "message", "time", "limits"]),
    // Of shards only the nouns that questions are about.
    (
        "control",
        &[
            "shard::letter",
            "shard::replay",
            "metrics",
            "schedule::attempt",
            "schedule::gate",
            "config",
            "memory",
            "message",
            "time",
            "limits",
        ],
    ),
    ("shard", &["wal", "metrics", "schedule", "disk", "memory", "message", "time", "limits"]),
    // *Where* a message is. Of *when*, only the noun that its records name.
    ("wal", &["schedule::attempt", "disk", "message", "time", "limits"]),
    // Of deliveries and of sockets only the nouns that are labels, and what is counted of origins.
    ("metrics", &["schedule::attempt", "schedule::busiest", "net::handshake", "message", "time", "limits"]),
    ("schedule", &["message", "time", "limits"]),
    ("disk", &["time", "limits"]),
    ("net", &["time", "limits"]),
    ("telemetry", &["config", "limits"]),
    ("config", &["memory", "message", "time", "limits"]),
    // What it is divided into, and who has how much of it: nothing of what it is for.
    ("memory", &["limits"]),
    ("message", &["time", "limits"]),
    ("reload", &[]),
    ("time", &[]),
    ("limits", &[]),
];

/// The files that may hold `unsafe`: what the kernel is given to read and write, and the descriptor of a socket that tokio-uring
/// owns and does not lend.
pub const UNSAFE: &[&str] = &["src/disk/aligned.rs", "src/disk/ring.rs", "src/net/uring.rs"];

/// Files that start tasks or threads, and what of: each has an owner that outlives it.
pub const SPAWNS: &[(&str, &str)] = &[
    ("src/delivery/worker.rs", "a task per delivery"),
    (
        "src/delivery/send_queue.rs",
        "a task per turn of the loop that has requests to send, which ends when they are sent",
    ),
    ("src/delivery/names.rs", "blocking reads of resolv.conf and the hosts file"),
    (
        "src/delivery/http2/connection.rs",
        "a task per HTTP/2 connection, which ends with it, or soon after the transport and its deliveries have left it",
    ),
    ("src/ingress/listener.rs", "a task per connection"),
    ("src/server/core.rs", "the loops of a core, which end with its runtime"),
    ("src/server/mod.rs", "a thread per core, the admin listener, and who makes the scrapes of cores"),
    ("src/server/reload.rs", "the thread that reads files again"),
    ("src/telemetry.rs", "the thread that tells what was left out of the log"),
    ("src/disk/names.rs", "blocking calls on names and files"),
    ("src/server/backend.rs", "the probe for io_uring, which must not spoil a core's own thread"),
    ("src/demo/daemon.rs", "the child process"),
    ("src/demo/receiver.rs", "a task per connection of the demo's receiver"),
    ("src/demo/sender.rs", "a task per connection of the demo's sender"),
];

/// What a pure file does not do: async, clocks, randomness, input and output, logging.
pub const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "unix_now",
    "monotonic_now",
    "getrandom",
    "std::fs",
    "rustix",
    "trace!",
    "debug!",
    "info!",
    "warn!",
    "error!",
];

/// Left for later.
pub const LEFTOVER_MACROS: &[&str] = &["todo!", "unimplemented!", "dbg!"];
/// The same in comments.
pub const LEFTOVER_WORDS: &[&str] = &["TODO", "FIXME", "XXX"];
