//! The histogram that the writer accepts.

use std::time::Duration;

/// Largest bucket bound: 2⁵³ ns, about 104 days.
///
/// Up to here a count of nanoseconds is exact in an `f64`, so two bounds are
/// never written as the same number of seconds.
pub const MAX_BOUND: Duration = Duration::from_nanos(1 << 53);

/// The parts of a histogram do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// There is not exactly one count to each bound, and one more.
    #[error("{bounds} bounds need one count more than that, not {counts}")]
    Lengths {
        /// The number of bounds.
        bounds: usize,
        /// The number of cumulative counts.
        counts: usize,
    },
    /// A bound is not above the one before it.
    #[error("bounds must increase")]
    BoundsNotIncreasing,
    /// A bound is above [`MAX_BOUND`].
    #[error("a bound is above {MAX_BOUND:?}")]
    BoundTooLarge,
    /// A cumulative count is below the one before it.
    #[error("cumulative counts must not decrease")]
    CountsDecrease,
}

/// A histogram of durations, borrowed from whoever keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramView<'a> {
    bounds: &'a [Duration],
    /// One longer than `bounds`.
    cumulative: &'a [u64],
    sum: Duration,
}

impl<'a> HistogramView<'a> {
    /// A histogram without bounds and without observations.
    pub const EMPTY: HistogramView<'static> = HistogramView {
        bounds: &[],
        cumulative: &[0],
        sum: Duration::ZERO,
    };

    /// Borrows a histogram.
    ///
    /// `bounds` are the inclusive upper bounds of the buckets, rising, without
    /// the infinite one. `cumulative[i]` counts the observations of at most
    /// `bounds[i]`; it has one element more, which counts all. `sum` is the sum
    /// of the observations.
    ///
    /// # Errors
    ///
    /// [`HistogramError`] if the parts contradict each other. Prometheus would
    /// accept such a histogram and compute nonsense from it.
    pub fn new(
        bounds: &'a [Duration],
        cumulative: &'a [u64],
        sum: Duration,
    ) -> Result<Self, HistogramError> {
        if bounds.len() + 1 != cumulative.len() {
            return Err(HistogramError::Lengths {
                bounds: bounds.len(),
                counts: cumulative.len(),
            });
        }
        if !bounds.is_sorted_by(|left, right| left < right) {
            return Err(HistogramError::BoundsNotIncreasing);
        }
        if bounds.last().is_some_and(|&bound| bound > MAX_BOUND) {
            return Err(HistogramError::BoundTooLarge);
        }
        if !cumulative.is_sorted() {
            return Err(HistogramError::CountsDecrease);
        }
        Ok(Self {
            bounds,
            cumulative,
            sum,
        })
    }

    /// The buckets that have an upper bound, in order: the bound, and the
    /// observations up to it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + 'a {
        let bounds = self.bounds.iter().copied();
        bounds.zip(self.cumulative.iter().copied())
    }

    /// All observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// The sum of all observations.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: Duration = Duration::from_nanos(1);

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let lengths = HistogramError::Lengths {
            bounds: 2,
            counts: 2,
        };
        for (bounds, cumulative, expected) in [
            (&[NS, NS * 2][..], &[1, 1][..], lengths),
            (&[NS, NS], &[0, 0, 0], HistogramError::BoundsNotIncreasing),
            (
                &[NS * 2, NS],
                &[0, 0, 0],
                HistogramError::BoundsNotIncreasing,
            ),
            (&[MAX_BOUND + NS], &[0, 0], HistogramError::BoundTooLarge),
            (&[NS, NS * 2], &[2, 1, 2], HistogramError::CountsDecrease),
            (&[NS, NS * 2], &[1, 3, 2], HistogramError::CountsDecrease),
        ] {
            let refused = HistogramView::new(bounds, cumulative, Duration::ZERO);
            assert_eq!(refused, Err(expected));
        }
    }

    #[test]
    fn buckets_pair_bounds_with_counts() {
        let bounds = [NS, MAX_BOUND];
        let view = HistogramView::new(&bounds, &[1, 1, 3], NS * 7).unwrap();
        let buckets: Vec<_> = view.buckets().collect();
        assert_eq!(buckets, [(NS, 1), (MAX_BOUND, 1)]);
        assert_eq!((view.count(), view.sum()), (3, NS * 7));
    }

    #[test]
    fn the_empty_histogram_is_legal() {
        let empty = HistogramView::new(&[], &[0], Duration::ZERO);
        assert_eq!(empty, Ok(HistogramView::EMPTY));
    }
}
