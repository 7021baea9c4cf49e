//! Asks the sink whether everything that was acknowledged has arrived.

use std::io;
use std::time::Duration;

use dispatcher::time::monotonic_now;

use super::get;
use super::tally::Tally;

const POLL: Duration = Duration::from_millis(50);

/// Waits until the sink has seen every acknowledged id, or `limit` is over, and reports what it has.
pub async fn verify(url: &str, acknowledged: &Tally, limit: Duration) -> io::Result<serde_json::Value> {
    let end = monotonic_now();
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "expected the URL of a sink's summary");
    let (authority, path) = get::split(url)?;
    let start = monotonic_now();
    loop {
        let summary: serde_json::Value = serde_json::from_slice(&get::body(authority, path).await?)?;
        let seen = summary["unique_load_ids"].as_u64().ok_or_else(invalid)?;
        let late = start.elapsed() > limit;
        if seen >= acknowledged.to_be_seen() || late {
            let missing = acknowledged.missing(&get::body(authority, "/-/seen").await?);
            if missing == 0 || late {
                let mut verdict = serde_json::json!({
                    "waited_seconds": start.elapsed().as_secs_f64(),
                    "delivered": seen,
                    "lost": missing,
                    "duplicates": summary["duplicate_load_ids"],
                    "checksum_errors": summary["checksum_errors"],
                });
                acknowledged.times.summarize(&get::body(authority, "/-/arrivals").await?, end, &mut verdict);
                return Ok(verdict);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
