//! What the fuzz targets of the ingress and of the configuration check: one function each, of the fuzzer's bytes.

// Where decisions come from: the fuzzer's bytes, or a seed.
#[path = "../damaged_logs/choices.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
pub mod choices;
// One target each.
pub mod chunked;
pub mod config;
pub mod connection;
pub mod head;
pub mod origin;
// What they are compared with: the contract over whole inputs.
pub mod expected_body;
pub mod expected_head;
pub mod expected_origin;
pub mod expected_stream;
pub mod expected_target;
// How input arrives, what it is measured by, and inputs that are nearly right.
pub mod reads;
pub mod requests_text;
pub mod rules;
