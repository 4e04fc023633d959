//! Quantiles of what a histogram counted between two moments.

use std::time::Duration;

use plimsoll_meter::HistogramSnapshot;

/// The duration that a part `q` of those recorded between `earlier` and `later` did not exceed; `None` if nothing
/// was recorded. Without `earlier`, of all those up to `later`.
///
/// Within a bucket the durations are taken to be spread evenly, as `histogram_quantile` of Prometheus does it. In
/// the bucket above the last bound there is no width to spread over: the answer is the last bound.
///
/// `q` is from 0 to 1. Linear in the number of buckets.
pub(crate) fn quantile(
    earlier: Option<&HistogramSnapshot>,
    later: &HistogramSnapshot,
    q: f64,
) -> Option<Duration> {
    let before = |bucket: usize| earlier.map_or(0, |snapshot| snapshot.cumulative()[bucket]);
    let cumulative: Vec<u64> = (later.cumulative().iter().enumerate())
        .map(|(bucket, &count)| count.saturating_sub(before(bucket)))
        .collect();
    interpolate(later.bounds(), &cumulative, q)
}

fn interpolate(bounds: &[Duration], cumulative: &[u64], q: f64) -> Option<Duration> {
    let count = *cumulative.last()?;
    if count == 0 {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * count as f64;
    let bucket = cumulative
        .iter()
        .position(|&below| below > 0 && below as f64 >= rank)?;
    let Some(&upper) = bounds.get(bucket) else {
        return bounds.last().copied();
    };
    let (lower, below) = match bucket.checked_sub(1) {
        Some(previous) => (bounds[previous], cumulative[previous]),
        None => (Duration::ZERO, 0),
    };
    // Not zero: the bucket is the first that reaches the rank.
    let within = (cumulative[bucket] - below) as f64;
    Some(lower + (upper - lower).mul_f64(((rank - below as f64) / within).clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use plimsoll_meter::Histogram;

    use super::*;

    fn millis(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn histogram() -> Histogram {
        Histogram::new(&[millis(10), millis(20), millis(40)]).expect("rising bounds")
    }

    #[test]
    fn ranks_are_interpolated_within_their_bucket() {
        let bounds = [millis(10), millis(20), millis(40)];
        for (cumulative, q, expected) in [
            // ten evenly in the first bucket
            ([10, 10, 10, 10], 0.5, Some(5.0)),
            ([10, 10, 10, 10], 1.0, Some(10.0)),
            // half in the first, half in the third, none between
            ([50, 50, 100, 100], 0.5, Some(10.0)),
            ([50, 50, 100, 100], 0.75, Some(30.0)),
            ([50, 50, 100, 100], 0.99, Some(39.6)),
            // an empty first bucket is skipped, even for rank 0
            ([0, 4, 4, 4], 0.0, Some(10.0)),
            ([0, 4, 4, 4], 0.5, Some(15.0)),
            // above the last bound there is only that bound
            ([0, 0, 1, 100], 0.99, Some(40.0)),
            ([0, 0, 0, 1], 0.5, Some(40.0)),
            // nothing recorded is nothing known
            ([0, 0, 0, 0], 0.5, None),
        ] {
            let found = interpolate(&bounds, &cumulative, q).map(|d| d.as_secs_f64() * 1e3);
            match (found, expected) {
                (Some(found), Some(expected)) => {
                    assert!(
                        (found - expected).abs() < 1e-6,
                        "{cumulative:?} {q}: {found}"
                    );
                }
                _ => assert_eq!(found, expected, "{cumulative:?} {q}"),
            }
        }
    }

    #[test]
    fn only_what_came_between_counts() {
        let histogram = histogram();
        (0..1_000).for_each(|_| histogram.record(millis(35)));
        let earlier = histogram.snapshot();
        assert_eq!(quantile(Some(&earlier), &earlier, 0.5), None);
        (0..10).for_each(|_| histogram.record(millis(3)));
        let later = histogram.snapshot();
        assert_eq!(quantile(Some(&earlier), &later, 0.5), Some(millis(5)));
        assert!(quantile(None, &later, 0.5) > Some(millis(20)));
    }

    #[test]
    fn a_higher_rank_is_never_a_shorter_time() {
        let histogram = histogram();
        for value in [1, 9, 11, 11, 25, 39, 50, 70] {
            histogram.record(millis(value));
        }
        let snapshot = histogram.snapshot();
        let quantiles: Vec<_> = (0..=100)
            .map(|percent| quantile(None, &snapshot, f64::from(percent) / 100.0))
            .collect();
        assert!(
            quantiles.is_sorted() && quantiles[0].is_some(),
            "{quantiles:?}"
        );
    }
}
