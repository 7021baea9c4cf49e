//! Attempts and jitter to the wait before the next attempt, or to giving up.

use crate::time::Millis;

/// How long to wait between attempts, and how many to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Wait before the first retry.
    pub base: Millis,
    /// Each wait is this many times the one before; at least 1.
    pub factor: f64,
    /// No wait is longer, jitter excluded.
    pub max: Millis,
    /// Waits are spread over ± this share, 0 to 1.
    pub jitter: f64,
    /// Retries before a message is given up.
    pub retries_max: u16,
}

impl Backoff {
    /// The wait after the `attempts`-th attempt failed, or `None` when no retry is left.
    ///
    /// `random` is uniform over all values; it alone decides the jitter.
    pub fn wait(&self, attempts: u16, random: u64) -> Option<Millis> {
        if attempts > self.retries_max {
            return None;
        }
        let exponent = i32::from(attempts.saturating_sub(1));
        let wait = (to_f64(self.base.0) * self.factor.powi(exponent)).min(to_f64(self.max.0));
        let spread = 2.0 * (to_f64(random >> 11) / to_f64((1 << 53) - 1)) - 1.0;
        Some(Millis(to_millis(wait * self.jitter.mul_add(spread, 1.0))))
    }

    /// The longest wait that [`Backoff::wait`] can return.
    pub fn longest(&self) -> Millis {
        Millis(to_millis(to_f64(self.max.0) * (1.0 + self.jitter)))
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of any configured span are exact in 53 bits")]
const fn to_f64(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; saturates")]
const fn to_millis(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Backoff =
        Backoff { base: Millis(1000), factor: 3.0, max: Millis::from_secs(6 * 3600), jitter: 0.0, retries_max: 10 };

    #[test]
    fn the_defaults_span_eight_hours_in_ten_retries() {
        let waits: Vec<u64> = (1..=10).filter_map(|attempts| DEFAULT.wait(attempts, 0)).map(|wait| wait.0).collect();
        assert_eq!(waits[..4], [1000, 3000, 9000, 27_000]);
        let total_s = waits.iter().sum::<u64>() / 1000;
        assert_eq!((waits.len(), total_s), (10, 29_524), "8.2 hours");
        assert_eq!(DEFAULT.wait(11, 0), None);
    }

    #[test]
    fn without_retries_the_first_failure_gives_up() {
        assert_eq!(Backoff { retries_max: 0, ..DEFAULT }.wait(1, 0), None);
    }

    #[test]
    fn jitter_spreads_over_its_share_and_no_wait_passes_the_longest() {
        let backoff = Backoff { jitter: 0.2, ..DEFAULT };
        assert_eq!(backoff.wait(1, 0), Some(Millis(800)));
        assert_eq!(backoff.wait(1, u64::MAX), Some(Millis(1200)));
        assert_eq!(Backoff { retries_max: 1000, ..backoff }.wait(1000, u64::MAX), Some(backoff.longest()));
    }
}
