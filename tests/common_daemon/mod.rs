//! The daemon as a child process, a sender, an origin and the log on disk: the world of the tests of the real binary.

/// The child process.
pub mod daemon;
/// What is on disk.
pub mod log;
/// Who receives.
pub mod origin;
/// Who sends.
pub mod sender;

use std::time::Duration;

use dispatcher::time::monotonic_now;
use tokio::task::LocalSet;

/// No condition that a passing test waits for takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(5);

/// Runs a test on one thread with local tasks, within a bound.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(PATIENCE * 3, test).await.expect("a test ends in time") };
    LocalSet::new().block_on(&runtime, bounded)
}

/// Polls until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let start = monotonic_now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "{caller}: in vain waited until {what}");
            tokio::time::sleep(POLL).await;
        }
    }
}
