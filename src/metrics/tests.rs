//! Shards add up, and nothing grows.

use super::*;

fn lived(scale: u64) -> ShardMetrics {
    let metrics = ShardMetrics::default();
    for step in 1..=scale {
        let took = Duration::from_micros(step * 37);
        metrics.accepted(2);
        metrics.accept(took);
        metrics.commit(took, 2);
        metrics.attempt(Outcome::Delivered, took);
        metrics.delivered(Millis(step));
        metrics.maybe_duplicate();
        metrics.corrupt_record();
        metrics.connection_opened(Side::In);
        RefusedReason::ALL.into_iter().for_each(|reason| metrics.refused(reason));
        for failure in Failure::ALL {
            metrics.attempt(Outcome::Failed(failure), took);
            metrics.dead_letter(failure);
        }
    }
    metrics.connection_closed(Side::In);
    metrics.recovered(Duration::from_secs(scale), scale, 1);
    metrics
}

#[test]
fn merged_shards_are_the_sum_of_their_counts_and_the_largest_of_their_ages() {
    let gauges = |n| Gauges {
        ready: n,
        in_flight: n,
        delayed: n,
        dead_letters: n,
        log_bytes: n,
        log_spare_bytes: n,
        log_live_bytes: n,
        oldest_pending: Millis(n),
    };
    let mut merged = lived(3).snapshot(gauges(3));
    merged.merge(&lived(5).snapshot(gauges(5)));
    let counts = merged.counts;
    assert_eq!((counts.accepted, counts.delivered, counts.maybe_duplicates), (16, 8, 8));
    assert_eq!((counts.recovered_messages, counts.corrupt_records), (8, 10));
    assert_eq!((counts.connections_opened, counts.connections), ([8, 0], [6, 0]));
    assert_eq!(counts.refused, [8; RefusedReason::ALL.len()]);
    assert_eq!(counts.attempts, [8; CLASSES]);
    assert_eq!((counts.dead_letters[0], &counts.dead_letters[1..]), (0, &[8; Failure::ALL.len()][..]));
    assert_eq!(merged.gauges, Gauges { oldest_pending: Millis(5), ..gauges(8) });
    assert_eq!(merged.recovery, Duration::from_secs(5));
    let distributions = merged.distributions;
    assert_eq!((distributions.accept.values.len(), distributions.accept.sum), (8, 37 * (6 + 15)));
    assert_eq!((distributions.commit.values.len(), distributions.commit_batch.sum), (8, 16));
    assert_eq!(distributions.attempt.values.len(), 8 * CLASSES as u64);
    assert_eq!((distributions.delivery.values.len(), distributions.delivery.sum), (8, 1000 * (6 + 15)));
}

#[test]
fn a_latency_beyond_the_largest_counts_and_makes_nothing_grow() {
    let metrics = ShardMetrics::default();
    let places = |metrics: &ShardMetrics| metrics.distributions.borrow().accept.values.distinct_values();
    let before = places(&metrics);
    for took in [Duration::ZERO, Duration::from_secs(10_000), Duration::MAX] {
        metrics.accept(took);
    }
    metrics.delivered(Millis(u64::MAX));
    metrics.commit(Duration::ZERO, usize::MAX);
    assert_eq!(places(&metrics), before);
    assert!(!metrics.distributions.borrow().accept.values.is_auto_resize());
    let snapshot = metrics.snapshot(Gauges::default());
    assert_eq!((snapshot.distributions.accept.values.len(), snapshot.distributions.accept.sum), (3, u64::MAX));
}

#[test]
fn a_shard_keeps_its_histograms_in_less_than_256_kib() {
    let distributions = Distributions::default();
    let all = [
        &distributions.accept,
        &distributions.commit,
        &distributions.commit_batch,
        &distributions.attempt,
        &distributions.delivery,
    ];
    let places: usize = all.iter().map(|distribution| distribution.values.distinct_values()).sum();
    assert!(places * size_of::<u64>() < 256 << 10, "{places} places");
}

#[test]
fn every_reason_has_a_label_and_a_place_of_its_own() {
    for (place, reason) in RefusedReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, place);
        assert_eq!(RefusedReason::ALL.iter().filter(|other| other.as_str() == reason.as_str()).count(), 1);
    }
}
