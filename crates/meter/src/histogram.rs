//! How long requests took, by classes of duration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::snapshot::HistogramSnapshot;
use crate::sync::{AtomicU64, Ordering};

/// Bounds for the time of a request, from 100 µs to 5 minutes.
///
/// About three to a decade, which tells a doubling of the latency apart, and
/// closer together nowhere, since every bound is a series in Prometheus.
pub const REQUEST_TIME_BOUNDS: [Duration; 19] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// A histogram of durations with fixed upper bounds, as Prometheus has it.
///
/// Recording is lock-free and allocates nothing, from any number of threads. To
/// spare them each other's cache lines give every worker a histogram of its
/// own, and [merge](HistogramSnapshot::merge) the snapshots.
///
/// # Consistency
///
/// The count of a snapshot is by definition the sum of its buckets, so the
/// `+Inf` bucket always equals it. The bucket and the sum of one recording are
/// two independent additions: a snapshot taken between them may lack a duration
/// in its sum that its buckets have, never the reverse. Both only grow, and they
/// agree once the recording threads are done. The order of the two is kept by
/// release and acquire.
pub struct Histogram {
    bounds: Arc<[Duration]>,
    /// The same bounds as nanoseconds, for the search.
    limits: Box<[u64]>,
    /// One per bound, and the last for what exceeds them all. Not cumulative.
    buckets: Box<[AtomicU64]>,
    /// Nanoseconds modulo 2⁶⁴.
    sum: AtomicU64,
}

/// Why a histogram could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HistogramError {
    /// The list of bounds is empty.
    #[error("a histogram needs at least one bound")]
    NoBounds,
    /// There are more than [`Histogram::BOUNDS_MAX`] bounds.
    #[error("{given} bounds are too many for a histogram, at most {max} are accepted", max = Histogram::BOUNDS_MAX)]
    TooManyBounds {
        /// How many there were.
        given: usize,
    },
    /// The first bound is zero.
    #[error("the first bound of a histogram must be greater than zero")]
    ZeroBound,
    /// A bound is not greater than the one before it.
    #[error("bound {index} of a histogram, {bound:?}, is not greater than the one before it")]
    NotRising {
        /// The position of the bound, from zero.
        index: usize,
        /// The bound.
        bound: Duration,
    },
    /// A bound is longer than [`Histogram::BOUND_MAX`].
    #[error("bound {index} of a histogram, {bound:?}, is longer than {max:?}", max = Histogram::BOUND_MAX)]
    BoundTooLong {
        /// The position of the bound, from zero.
        index: usize,
        /// The bound.
        bound: Duration,
    },
}

// === impl Histogram ===

impl Histogram {
    /// The most bounds a histogram may have.
    pub const BOUNDS_MAX: usize = 64;

    /// The longest bound, 292 years. It fits signed 64-bit nanoseconds.
    pub const BOUND_MAX: Duration = Duration::from_nanos(i64::MAX as u64);

    /// A histogram with the upper bounds `bounds`, each inclusive. A bucket for
    /// everything above the last is added.
    ///
    /// # Errors
    ///
    /// The bounds must be at least one and at most [`Self::BOUNDS_MAX`], greater
    /// than zero, at most [`Self::BOUND_MAX`], and strictly rising.
    pub fn new(bounds: &[Duration]) -> Result<Self, HistogramError> {
        check(bounds)?;
        let limits: Box<[u64]> = bounds.iter().copied().map(saturating_nanos).collect();
        Ok(Self {
            bounds: bounds.into(),
            buckets: (0..=limits.len()).map(|_| AtomicU64::new(0)).collect(),
            limits,
            sum: AtomicU64::new(0),
        })
    }

    /// Counts one duration. Above 584 years it counts as 584 years.
    ///
    /// Cost: a binary search among the bounds, two atomic additions.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let nanos = saturating_nanos(duration);
        self.buckets[self.bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
        // Release: whoever sees this sum sees the bucket too.
        self.sum.fetch_add(nanos, Ordering::Release);
    }

    /// The state now. It allocates; its cost is that of reading each bucket.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        // The sum first, see "Consistency".
        let sum = self.sum.load(Ordering::Acquire);
        let counts = self.buckets.iter().map(|b| b.load(Ordering::Relaxed));
        HistogramSnapshot::new(Arc::clone(&self.bounds), counts, Duration::from_nanos(sum))
    }

    /// The upper bounds, rising, without the infinite one.
    #[must_use]
    pub fn bounds(&self) -> &[Duration] {
        &self.bounds
    }

    /// The first bucket whose bound is not below `nanos`.
    ///
    /// The standard binary search, which compiles to no branch that could be
    /// mispredicted. A recording takes 6 ns with it. With a table indexed by the
    /// highest bit and then a walk along the bounds it took 8 ns for durations
    /// that vary, and 4 instead of 5 ns for one and the same duration.
    #[inline]
    fn bucket_of(&self, nanos: u64) -> usize {
        self.limits.partition_point(|&limit| limit < nanos)
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.snapshot()).finish()
    }
}

fn check(bounds: &[Duration]) -> Result<(), HistogramError> {
    if bounds.len() > Histogram::BOUNDS_MAX {
        return Err(HistogramError::TooManyBounds {
            given: bounds.len(),
        });
    }
    if bounds.first().ok_or(HistogramError::NoBounds)?.is_zero() {
        return Err(HistogramError::ZeroBound);
    }
    for (index, &bound) in bounds.iter().enumerate() {
        if index > 0 && bound <= bounds[index - 1] {
            return Err(HistogramError::NotRising { index, bound });
        }
        if bound > Histogram::BOUND_MAX {
            return Err(HistogramError::BoundTooLong { index, bound });
        }
    }
    Ok(())
}

#[inline]
fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NS: Duration = Duration::from_nanos(1);

    fn histogram(bounds: &[u64]) -> Histogram {
        let bounds: Vec<_> = bounds.iter().map(|&b| Duration::from_nanos(b)).collect();
        Histogram::new(&bounds).expect("the test's bounds are rising")
    }

    #[test]
    fn unfit_bounds_are_refused_with_the_reason() {
        use HistogramError as E;
        let too_long = Histogram::BOUND_MAX + NS;
        let long_list: Vec<_> = (1..=65).map(Duration::from_nanos).collect();
        let cases: [(&[Duration], E); 6] = [
            (&[], E::NoBounds),
            (&[Duration::ZERO, NS], E::ZeroBound),
            (
                &[NS, NS],
                E::NotRising {
                    index: 1,
                    bound: NS,
                },
            ),
            (
                &[NS * 3, NS * 5, NS * 4],
                E::NotRising {
                    index: 2,
                    bound: NS * 4,
                },
            ),
            (
                &[NS, too_long],
                E::BoundTooLong {
                    index: 1,
                    bound: too_long,
                },
            ),
            (&long_list, E::TooManyBounds { given: 65 }),
        ];
        for (bounds, error) in cases {
            assert_eq!(Histogram::new(bounds).err(), Some(error));
        }
        assert!(Histogram::new(&long_list[..64]).is_ok());
        assert!(Histogram::new(&[Histogram::BOUND_MAX]).is_ok());
        assert!(Histogram::new(&REQUEST_TIME_BOUNDS).is_ok());
        let message = E::TooManyBounds { given: 65 }.to_string();
        assert_eq!(
            message,
            "65 bounds are too many for a histogram, at most 64 are accepted"
        );
    }

    #[test]
    fn bounds_are_inclusive_and_counts_cumulative() {
        let histogram = histogram(&[10, 12, 100]);
        for nanos in [0, 10, 11, 12, 13, 100, 101, u64::MAX - 250] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.cumulative(), [2, 4, 6, 8]);
        assert_eq!(snapshot.count(), 8);
        assert_eq!(snapshot.bounds(), histogram.bounds());
        assert_eq!(snapshot.sum().as_nanos(), u128::from(u64::MAX - 3));
        assert!(format!("{histogram:?}").contains("cumulative"));
    }

    #[test]
    fn an_endless_duration_is_in_the_last_bucket() {
        let histogram = histogram(&[1]);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.snapshot().cumulative(), [0, 1]);
    }

    fn bounds_and_values() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
        // Powers of two are where the search could go wrong.
        let number = prop_oneof![
            1..=i64::MAX as u64,
            (0..63_u32, -2..=2_i64).prop_map(|(bit, off)| {
                (1_u64 << bit)
                    .saturating_add_signed(off)
                    .clamp(1, i64::MAX as u64)
            }),
            1..2_000_u64,
        ];
        let bounds = prop::collection::btree_set(number.clone(), 1..=64);
        let values = prop::collection::vec(prop_oneof![Just(0), number, any::<u64>()], 1..200);
        (bounds.prop_map(|set| set.into_iter().collect()), values)
    }

    proptest! {
        #[test]
        fn every_value_is_counted_below_each_bound_it_does_not_exceed(
            (bounds, values) in bounds_and_values(),
        ) {
            let histogram = histogram(&bounds);
            let recorded = bounds.iter().chain(&values);
            recorded.clone().for_each(|&v| histogram.record(Duration::from_nanos(v)));
            let snapshot = histogram.snapshot();
            for (bound, &count) in bounds.iter().zip(snapshot.cumulative()) {
                let expected = recorded.clone().filter(|v| *v <= bound).count();
                prop_assert_eq!(count, expected as u64);
            }
            prop_assert_eq!(snapshot.count(), recorded.clone().count() as u64);
            let sum = recorded.fold(0_u64, |sum, &v| sum.wrapping_add(v));
            prop_assert_eq!(snapshot.sum(), Duration::from_nanos(sum));
        }
    }
}
