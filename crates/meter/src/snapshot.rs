//! A histogram at one moment.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// The state of a [`Histogram`](crate::Histogram), or of several merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    bounds: Arc<[Duration]>,
    /// One more than there are bounds.
    cumulative: Box<[u64]>,
    sum: Duration,
}

/// Two snapshots have different bounds and cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("histograms with different bounds cannot be merged")]
pub struct BoundsDiffer;

impl HistogramSnapshot {
    /// `counts` are per bucket, one more than there are bounds.
    pub(crate) fn new(
        bounds: Arc<[Duration]>,
        counts: impl Iterator<Item = u64>,
        sum: Duration,
    ) -> Self {
        let cumulative = counts.scan(0_u64, |total, count| {
            *total = total.wrapping_add(count);
            Some(*total)
        });
        Self {
            bounds,
            cumulative: cumulative.collect(),
            sum,
        }
    }

    /// The upper bounds, inclusive and rising, without the infinite one.
    #[must_use]
    pub fn bounds(&self) -> &[Duration] {
        &self.bounds
    }

    /// For each bound how many durations did not exceed it, and at the end how
    /// many there were at all (`+Inf`). One longer than [`bounds`](Self::bounds).
    #[must_use]
    pub fn cumulative(&self) -> &[u64] {
        &self.cumulative
    }

    /// How many durations there were: the last of
    /// [`cumulative`](Self::cumulative).
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// The sum of the durations. One histogram's wraps to zero at 2⁶⁴ ns,
    /// 584 years of requests.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Adds another snapshot's durations to this one's. The order in which
    /// snapshots are merged makes no difference.
    ///
    /// # Errors
    ///
    /// [`BoundsDiffer`], and then nothing is changed.
    pub fn merge(&mut self, other: &Self) -> Result<(), BoundsDiffer> {
        // The allocation is often the same; the comparison is for when not.
        if !Arc::ptr_eq(&self.bounds, &other.bounds) && self.bounds != other.bounds {
            return Err(BoundsDiffer);
        }
        for (mine, theirs) in self.cumulative.iter_mut().zip(&other.cumulative) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.sum = self.sum.saturating_add(other.sum);
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Histogram;

    fn of(bounds: &[u64], millis: &[u64]) -> HistogramSnapshot {
        let bounds: Vec<_> = bounds.iter().copied().map(Duration::from_millis).collect();
        let histogram = Histogram::new(&bounds).expect("the test's bounds are rising");
        for &value in millis {
            histogram.record(Duration::from_millis(value));
        }
        histogram.snapshot()
    }

    #[test]
    fn merging_is_recording_into_one() {
        let mut merged = of(&[1, 5], &[1, 3, 9]);
        merged
            .merge(&of(&[1, 5], &[2, 7]))
            .expect("the bounds are the same");
        assert_eq!(merged, of(&[1, 5], &[7, 3, 2, 9, 1]));
        assert_eq!(merged.cumulative(), [1, 3, 5]);
        assert_eq!(merged.sum(), Duration::from_millis(22));
    }

    #[test]
    fn other_bounds_are_refused_and_change_nothing() {
        let mut snapshot = of(&[1, 5], &[3]);
        let before = snapshot.clone();
        assert_eq!(snapshot.merge(&of(&[1, 6], &[3])), Err(BoundsDiffer));
        assert_eq!(snapshot.merge(&of(&[1], &[3])), Err(BoundsDiffer));
        assert_eq!(snapshot, before);
    }
}
