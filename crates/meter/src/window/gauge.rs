//! Samples over a window, some of them kept.

use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

use crate::Tick;

use super::body::{Body, Head, PAYLOAD_BITS};
use super::ring::{Bucket, Place, Recycled, RollingWindow, Slots};
use super::shape::WindowShape;

/// The samples of the last buckets of time (Kratos: `RollingGauge`).
///
/// Count, sum, minimum and maximum are exact however many samples come. The
/// samples themselves, the *points*, are kept for [`reduce`](Self::reduce) up to
/// a bound for each bucket, of which the first ones stay. For a hot path there
/// is [`RollingSummary`](crate::RollingSummary), which keeps a histogram.
///
/// Lock-free, whole numbers, no allocation after it was made: 8 bytes for each
/// point and 48 for each bucket. [`RollingWindow`] says how it behaves in time.
///
/// ```
/// use std::time::Duration;
/// use plimsoll_meter::{RollingGauge, Tick, WindowShape};
///
/// let shape = WindowShape::new(3, Duration::from_secs(1))?;
/// let gauge = RollingGauge::new(shape, 100, Tick::ZERO);
/// let now = Tick::from_nanos(1_500_000_000);
/// gauge.add(now, -4);
/// gauge.add(now, 10);
/// assert_eq!((gauge.min(now), gauge.max(now)), (Some(-4), Some(10)));
/// assert_eq!(gauge.mean(now), Some(3.0));
/// let points = gauge.reduce(now, |buckets| buckets.flat_map(|b| b.points()).count());
/// assert_eq!(points, Some(2));
/// # Ok::<(), plimsoll_meter::WindowError>(())
/// ```
///
/// # Consistency
///
/// Count and sum of a bucket are one word. The extremes are written before it
/// and the point after it. So a reader may see the extreme of an addition that
/// its count does not have yet, and may lack the point of one that it has, as
/// long as that addition is in progress.
pub struct RollingGauge {
    window: RollingWindow<GaugeBucket>,
    points_max: usize,
}

/// The buckets of a [`RollingGauge`], oldest first.
pub struct GaugeBuckets<'a>(Slots<'a, GaugeBucket>);

/// One bucket of a [`RollingGauge`] as it was when it was read.
#[derive(Clone, Copy)]
pub struct GaugeReading<'a> {
    bucket: &'a GaugeBucket,
    /// `None` if the bucket is empty.
    head: Option<Head>,
}

/// Words: minimum, maximum, then points.
pub(super) struct GaugeBucket {
    body: Body,
    points_max: usize,
}

const MIN: usize = 0;
const MAX: usize = 1;
const FIRST_POINT: usize = 2;

/// Added to a value, makes it a payload that is not 0, which is empty.
const BIAS: i64 = 1 << (PAYLOAD_BITS - 1);

// === impl RollingGauge ===

impl RollingGauge {
    /// The largest magnitude of a sample, 2⁵⁵ − 1. In nanoseconds it is 416 days.
    pub const VALUE_MAX: i64 = BIAS - 1;

    /// The most points that a bucket can keep.
    pub const POINTS_MAX: usize = 65_536;

    /// An empty gauge that begins at `start` and keeps up to `points_max` points
    /// of each bucket, itself at most [`Self::POINTS_MAX`]. The memory for them
    /// is taken here.
    #[must_use]
    pub fn new(shape: WindowShape, points_max: usize, start: Tick) -> Self {
        let points_max = points_max.min(Self::POINTS_MAX);
        Self {
            window: RollingWindow::new(shape, start, 1, || GaugeBucket::new(points_max)),
            points_max,
        }
    }

    /// Number and length of the buckets.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.window.shape()
    }

    /// The most points that a bucket keeps.
    #[must_use]
    pub const fn points_max(&self) -> usize {
        self.points_max
    }

    /// Adds a sample at `now`. A magnitude above [`Self::VALUE_MAX`] counts as
    /// that.
    #[inline]
    pub fn add(&self, now: Tick, value: i64) {
        let value = value.clamp(-Self::VALUE_MAX, Self::VALUE_MAX);
        self.window.add(0, now, value);
    }

    /// Has `f` look at the buckets, oldest first, as
    /// [`RollingCounter::reduce`](crate::RollingCounter::reduce) does.
    pub fn reduce<R>(&self, now: Tick, f: impl FnOnce(GaugeBuckets<'_>) -> R) -> Option<R> {
        let slots = self.window.slots(now);
        (slots.len() > 0).then(|| f(GaugeBuckets(slots)))
    }

    /// The number of samples.
    #[must_use]
    pub fn count(&self, now: Tick) -> u64 {
        self.buckets(now).map(|bucket| bucket.count()).sum()
    }

    /// The sum of the samples.
    #[must_use]
    pub fn sum(&self, now: Tick) -> i128 {
        self.buckets(now)
            .map(|bucket| i128::from(bucket.sum()))
            .sum()
    }

    /// The smallest sample.
    #[must_use]
    pub fn min(&self, now: Tick) -> Option<i64> {
        self.buckets(now).filter_map(|bucket| bucket.min()).min()
    }

    /// The largest sample.
    #[must_use]
    pub fn max(&self, now: Tick) -> Option<i64> {
        self.buckets(now).filter_map(|bucket| bucket.max()).max()
    }

    /// The mean of the samples.
    #[must_use]
    pub fn mean(&self, now: Tick) -> Option<f64> {
        let (count, sum) = self.buckets(now).fold((0, 0), |(count, sum), bucket| {
            (count + bucket.count(), sum + i128::from(bucket.sum()))
        });
        (count > 0).then(|| sum as f64 / count as f64)
    }

    /// How many whole buckets have passed since the newest that was added to
    /// (at first: since the start).
    #[must_use]
    pub fn timespan(&self, now: Tick) -> u64 {
        self.window.timespan(now)
    }

    /// How much time the samples stand for, see
    /// [`RollingCounter::covered`](crate::RollingCounter::covered).
    #[must_use]
    pub fn covered(&self, now: Tick) -> Duration {
        self.window.covered(now)
    }

    fn buckets(&self, now: Tick) -> GaugeBuckets<'_> {
        GaugeBuckets(self.window.slots(now))
    }
}

impl fmt::Debug for RollingGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollingGauge")
            .field("shape", &self.shape())
            .field("points_max", &self.points_max)
            .finish_non_exhaustive()
    }
}

// === impl GaugeBuckets ===

impl<'a> Iterator for GaugeBuckets<'a> {
    type Item = GaugeReading<'a>;

    #[inline]
    fn next(&mut self) -> Option<GaugeReading<'a>> {
        self.0.next().map(|slot| slot.reading())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for GaugeBuckets<'_> {}

// === impl GaugeReading ===

impl<'a> GaugeReading<'a> {
    /// The number of samples.
    #[must_use]
    #[inline]
    pub fn count(&self) -> u64 {
        self.head.map_or(0, |head| u64::from(head.count))
    }

    /// The sum of the samples. It stops at the ends of its type.
    #[must_use]
    #[inline]
    pub fn sum(&self) -> i64 {
        self.head.map_or(0, |head| head.sum.cast_signed())
    }

    /// The smallest sample.
    #[must_use]
    pub fn min(&self) -> Option<i64> {
        self.value_at(MIN).map(|value| -value)
    }

    /// The largest sample.
    #[must_use]
    pub fn max(&self) -> Option<i64> {
        self.value_at(MAX)
    }

    /// The points, in the order in which they came: the first samples, up to the
    /// bound. What is added later is not among them, and if the bucket is given
    /// to a later turn meanwhile they end.
    pub fn points(&self) -> impl FusedIterator<Item = i64> + use<'a> {
        let Self { bucket, head } = *self;
        let points = head.into_iter().flat_map(move |head| {
            let count = (head.count as usize).min(bucket.points_max);
            bucket.body.payloads(head, FIRST_POINT..FIRST_POINT + count)
        });
        points.filter_map(value_of).fuse()
    }

    fn value_at(&self, index: usize) -> Option<i64> {
        value_of(self.bucket.body.payload(self.head?, index))
    }
}

impl fmt::Debug for GaugeReading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GaugeReading")
            .field("count", &self.count())
            .field("sum", &self.sum())
            .field("min", &self.min())
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

// === impl GaugeBucket ===

impl GaugeBucket {
    fn new(points_max: usize) -> Self {
        Self {
            body: Body::new(FIRST_POINT + points_max),
            points_max,
        }
    }
}

/// The value in a payload, `None` if it is empty.
#[inline]
fn value_of(payload: u64) -> Option<i64> {
    (payload > 0).then(|| payload.cast_signed() - BIAS)
}

impl Bucket for GaugeBucket {
    type Value = i64;
    type Reading<'a> = GaugeReading<'a>;

    #[inline]
    fn add(&self, place: &Place<'_>, value: i64) -> Result<(), Recycled> {
        let body = &self.body;
        let head = body.open(place)?;
        // From 1 to 2⁵⁶ − 1. The minimum is kept negated, so both only rise.
        let payload = |value: i64| (value + BIAS).cast_unsigned();
        let raise = |to: u64| move |payload: u64| (payload < to).then_some(to);
        body.update(head, MIN, raise(payload(-value)))?;
        body.update(head, MAX, raise(payload(value)))?;
        let before = body.commit(head, |sum| {
            sum.cast_signed().saturating_add(value).cast_unsigned()
        })?;
        let point = before.count as usize;
        if point < self.points_max {
            let kept = body.update(head, FIRST_POINT + point, |_| Some(payload(value)));
            // The sample is counted. If its bucket is gone, so is its time.
            kept.ok();
        }
        Ok(())
    }

    #[inline]
    fn read(&self, turn: u64) -> GaugeReading<'_> {
        GaugeReading {
            bucket: self,
            head: self.body.head_of(turn).filter(|head| head.count > 0),
        }
    }
}
