//! Measures a closure often and prints how its time is distributed, per item.

use std::io::Write;

use dispatcher::time::monotonic_now;
use hdrhistogram::Histogram;

/// Runs of each measurement under `cargo bench`, after a tenth as many to warm up.
const RUNS: usize = 5_000;
/// Runs where only the working is of interest.
const RUNS_TINY: usize = 3;
/// Longest run told apart, in picoseconds per item: one millisecond.
const PICOSECONDS_MAX: u64 = 1_000_000_000;

/// Whether this is `cargo bench`, which says so; else inputs are tiny.
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Times `run`, which does `items` things to what `prepare` made; preparing is not timed.
///
/// # Panics
/// If stdout is gone.
pub fn measure<T>(name: &str, items: usize, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T)) {
    let runs = if is_bench() { RUNS } else { RUNS_TINY };
    for _ in 0..runs / 10 {
        run(prepare());
    }
    let mut picoseconds = Histogram::<u64>::new_with_max(PICOSECONDS_MAX, 3).expect("bounds and digits are valid");
    for _ in 0..runs {
        let input = prepare();
        let start = monotonic_now();
        run(input);
        let spent = start.elapsed().as_nanos() * 1000 / items as u128;
        picoseconds.saturating_record(u64::try_from(spent).unwrap_or(u64::MAX));
    }
    #[allow(clippy::cast_precision_loss, reason = "for reading")]
    let at = |quantile| picoseconds.value_at_quantile(quantile) as f64 / 1000.0;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name:<44} ns/item  p50 {:>9.1}  p90 {:>9.1}  p99 {:>9.1}", at(0.5), at(0.9), at(0.99))
        .expect("stdout is open");
}
