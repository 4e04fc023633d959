//! The last samples, whenever they came.

use std::fmt;
use std::num::NonZeroUsize;

use crate::sync::{AtomicU64, AtomicU128, Ordering};

/// The last samples, as many as it has places (Kratos: `PointGauge`).
///
/// Lock-free, whole numbers, no allocation after it was made.
///
/// ```
/// use std::num::NonZeroUsize;
/// use plimsoll_meter::PointGauge;
///
/// let gauge = PointGauge::new(NonZeroUsize::new(3).expect("three is not zero"));
/// for sample in [7, -2, 4, 5] {
///     gauge.add(sample);
/// }
/// assert_eq!(gauge.reduce(|points| points.collect::<Vec<_>>()), [-2, 4, 5]);
/// assert_eq!((gauge.min(), gauge.max()), (Some(-2), Some(5)));
/// ```
pub struct PointGauge {
    /// Samples so far.
    added: AtomicU64,
    /// The number of a sample, from 1, and the sample.
    points: Box<[AtomicU128]>,
}

/// The points of a [`PointGauge`], oldest first. Each is a copy; one that is
/// replaced meanwhile is left out.
pub struct Points<'a> {
    gauge: &'a PointGauge,
    /// The number of the next point, from 0.
    next: u64,
    end: u64,
}

// === impl PointGauge ===

impl PointGauge {
    /// The most places.
    pub const SIZE_MAX: usize = 1 << 20;

    /// An empty gauge with `size` places of 16 bytes, at most
    /// [`Self::SIZE_MAX`].
    #[must_use]
    pub fn new(size: NonZeroUsize) -> Self {
        let size = size.get().min(Self::SIZE_MAX);
        Self {
            added: AtomicU64::new(0),
            points: (0..size).map(|_| AtomicU128::new(0)).collect(),
        }
    }

    /// The number of places.
    #[must_use]
    pub fn size(&self) -> usize {
        self.points.len()
    }

    /// Adds a sample, in the place of the oldest if all are taken.
    pub fn add(&self, value: i64) {
        let number = self.added.fetch_add(1, Ordering::AcqRel);
        let place = self.place(number);
        let point = pack(number, value);
        let mut seen = place.load(Ordering::Acquire);
        // Whoever was overtaken by a whole round has nothing to write any more.
        while seen >> 64 < point >> 64 {
            match place.compare_exchange_weak(seen, point, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Has `f` look at the points, oldest first, and gives what it returns.
    pub fn reduce<R>(&self, f: impl FnOnce(Points<'_>) -> R) -> R {
        f(self.points())
    }

    /// The number of points.
    #[must_use]
    pub fn count(&self) -> usize {
        self.points().count()
    }

    /// The sum of the points.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.points().map(i128::from).sum()
    }

    /// The smallest point.
    #[must_use]
    pub fn min(&self) -> Option<i64> {
        self.points().min()
    }

    /// The largest point.
    #[must_use]
    pub fn max(&self) -> Option<i64> {
        self.points().max()
    }

    /// The mean of the points.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let (mut count, mut sum) = (0_u32, 0);
        for point in self.points() {
            count += 1;
            sum += i128::from(point);
        }
        (count > 0).then(|| sum as f64 / f64::from(count))
    }

    fn points(&self) -> Points<'_> {
        let end = self.added.load(Ordering::Acquire);
        Points {
            gauge: self,
            next: end.saturating_sub(self.points.len() as u64),
            end,
        }
    }

    fn place(&self, number: u64) -> &AtomicU128 {
        &self.points[(number % self.points.len() as u64) as usize]
    }
}

impl fmt::Debug for PointGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.points()).finish()
    }
}

/// One word: the number of a sample plus one, so that 0 is none, and the sample.
fn pack(number: u64, value: i64) -> u128 {
    (u128::from(number + 1) << 64) | u128::from(value.cast_unsigned())
}

// === impl Points ===

impl Iterator for Points<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        while self.next < self.end {
            let number = self.next;
            self.next += 1;
            let point = self.gauge.place(number).load(Ordering::Acquire);
            if point >> 64 == u128::from(number + 1) {
                return Some((point as u64).cast_signed());
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.end - self.next) as usize))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn gauge(size: usize) -> PointGauge {
        PointGauge::new(NonZeroUsize::new(size).expect("tests ask for at least one"))
    }

    #[test]
    fn the_last_samples_are_kept_in_their_order() {
        let gauge = gauge(3);
        assert_eq!((gauge.count(), gauge.sum()), (0, 0));
        assert_eq!((gauge.min(), gauge.max(), gauge.mean()), (None, None, None));
        let rows: [&[i64]; 5] = [&[1], &[1, 2], &[1, 2, 3], &[2, 3, 4], &[3, 4, 5]];
        for (sample, expected) in (1..).zip(rows) {
            gauge.add(sample);
            assert_eq!(gauge.reduce(|points| points.collect::<Vec<_>>()), expected);
        }
        assert_eq!(format!("{gauge:?}"), "[3, 4, 5]");
    }

    #[test]
    fn aggregates_are_over_the_points() {
        let gauge = gauge(10);
        (0..10).for_each(|sample| gauge.add(sample));
        assert_eq!((gauge.min(), gauge.max()), (Some(0), Some(9)));
        assert_eq!((gauge.mean(), gauge.sum()), (Some(4.5), 45));
        assert_eq!((gauge.count(), gauge.size()), (10, 10));
    }

    #[test]
    fn extreme_samples_overflow_nothing() {
        let gauge = gauge(2);
        gauge.add(i64::MAX);
        gauge.add(i64::MAX);
        assert_eq!(gauge.sum(), 2 * i128::from(i64::MAX));
        gauge.add(i64::MIN);
        assert_eq!(gauge.min(), Some(i64::MIN));
    }
}
