//! Durations over a window: count, sum, extremes, quantiles.

use std::fmt;
use std::time::Duration;

use crate::Tick;

use super::bins::{self, BINS};
use super::body::{Body, Head, PAYLOAD_MAX};
use super::ring::{Bucket, Place, Recycled, RollingWindow};
use super::shape::WindowShape;

/// Count, sum, extremes and quantiles of the durations of the last buckets of
/// time, in a fixed space.
///
/// Lock-free, no allocation after it was made. 1,448 bytes to a bucket: with
/// two, of which each is half of the wanted window, it has less than 3 KiB, and
/// covers between half of the window and all of it.
///
/// ```
/// use std::time::Duration;
/// use plimsoll_meter::{RollingSummary, Tick, WindowShape};
///
/// let shape = WindowShape::new(2, Duration::from_secs(5))?;
/// let latency = RollingSummary::new(shape, Tick::ZERO);
/// let now = Tick::from_nanos(7);
/// for millis in 1..=100 {
///     latency.record(now, Duration::from_millis(millis));
/// }
/// let snapshot = latency.snapshot(now);
/// assert_eq!(snapshot.count(), 100);
/// assert_eq!(snapshot.mean(), Some(Duration::from_micros(50_500)));
/// let p99 = snapshot.quantile(0.99).expect("there are values").as_secs_f64();
/// assert!((p99 / 0.099 - 1.0).abs() <= 0.02);
/// # Ok::<(), plimsoll_meter::WindowError>(())
/// ```
///
/// # Accuracy
///
/// Count, sum and extremes are exact. A quantile is the recorded duration of
/// that rank with an error of at most 2 %, for durations from 1 µs to 1,000 s;
/// below 1 µs and above 1,000 s it is the nearest extreme or limit. It is never
/// outside the extremes.
///
/// A bin counts its first 131,072 durations in a bucket one by one, and the rest
/// by one in 64, up to 8.5 million. So at very high rates the ranks, not the
/// durations, are estimates: to about half a percent of the bin's count.
///
/// # Consistency
///
/// Count and sum of a bucket are one word. The histogram and the extremes are
/// written before it, so a snapshot may have a duration of an addition in
/// progress in these that its count does not have, never the reverse.
pub struct RollingSummary {
    window: RollingWindow<SummaryBucket>,
}

/// A copy of a [`RollingSummary`] at some time, or of several [merged](Self::merge).
/// 2.1 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct SummarySnapshot {
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
    bins: [u32; BINS],
}

struct SummaryBucket(Body);

/// Words of a bucket: minimum, maximum, then bins, [`LANES`] to a word.
const MIN: usize = 0;
const MAX: usize = 1;
const FIRST_BINS: usize = 2;

/// Bins in a word.
const LANES: usize = 3;
const LANE_BITS: usize = 18;
const LANE_MAX: u64 = (1 << LANE_BITS) - 1;

/// What a bin counts one by one, and how many each further step stands for.
const LANE_EXACT: u64 = 1 << 17;
const STEP: u64 = 64;

// === impl RollingSummary ===

impl RollingSummary {
    /// An empty summary that begins at `start`.
    #[must_use]
    pub fn new(shape: WindowShape, start: Tick) -> Self {
        Self {
            window: RollingWindow::new(shape, start, 1, SummaryBucket::new),
        }
    }

    /// Number and length of the buckets.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.window.shape()
    }

    /// Adds a duration at `now`. Above 2 years it counts as 2 years.
    #[inline]
    pub fn record(&self, now: Tick, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.window.add(0, now, nanos.min(PAYLOAD_MAX - 1));
    }

    /// All there is at `now`. Ask it for several quantiles rather than the
    /// summary.
    #[must_use]
    pub fn snapshot(&self, now: Tick) -> SummarySnapshot {
        let mut snapshot = SummarySnapshot::default();
        for slot in self.window.slots(now) {
            if let Some(bucket) = slot.reading() {
                bucket.add_to(&mut snapshot);
            }
        }
        snapshot
    }

    /// The number of durations. Reads one word of each bucket.
    #[must_use]
    pub fn count(&self, now: Tick) -> u64 {
        let buckets = self.window.slots(now).filter_map(|slot| slot.reading());
        buckets.map(|bucket| u64::from(bucket.head.count)).sum()
    }

    /// The mean, or `None` without a duration. Reads one word of each bucket.
    #[must_use]
    pub fn mean(&self, now: Tick) -> Option<Duration> {
        let buckets = self.window.slots(now).filter_map(|slot| slot.reading());
        let (count, sum) = buckets.fold((0, 0), |(count, sum), bucket| {
            let Head {
                count: more,
                sum: nanos,
                ..
            } = bucket.head;
            (count + u64::from(more), sum + u128::from(nanos))
        });
        mean(count, sum)
    }

    /// [`SummarySnapshot::quantile`] of the present state.
    #[must_use]
    pub fn quantile(&self, now: Tick, q: f64) -> Option<Duration> {
        self.snapshot(now).quantile(q)
    }

    /// How much time the durations stand for, see
    /// [`RollingCounter::covered`](crate::RollingCounter::covered).
    #[must_use]
    pub fn covered(&self, now: Tick) -> Duration {
        self.window.covered(now)
    }

    /// Durations per second of [`covered`](Self::covered) time. `None` if that
    /// is no time at all.
    #[must_use]
    pub fn count_per_second(&self, now: Tick) -> Option<f64> {
        let seconds = self.covered(now).as_secs_f64();
        (seconds > 0.0).then(|| self.count(now) as f64 / seconds)
    }
}

impl fmt::Debug for RollingSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollingSummary")
            .field("shape", &self.shape())
            .finish_non_exhaustive()
    }
}

// === impl SummarySnapshot ===

impl SummarySnapshot {
    /// The number of durations.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the durations, at most 584 years for each bucket.
    #[must_use]
    pub fn sum(&self) -> Duration {
        duration(self.sum)
    }

    /// The shortest duration.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.min))
    }

    /// The longest duration.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    /// The mean duration.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        mean(self.count, self.sum)
    }

    /// The duration that a share `q` of all do not exceed: the one of rank
    /// ⌈q × count⌉, and of rank 1 for `q` = 0. `None` without a duration, and if
    /// `q` is not between 0 and 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let total: u64 = self.bins.iter().copied().map(u64::from).sum();
        let wanted = q * total as f64;
        let mut rank = wanted as u64;
        rank += u64::from((rank as f64) < wanted);
        let mut below = 0;
        let bin = self.bins.iter().position(|&count| {
            below += u64::from(count);
            below >= rank.max(1)
        });
        let nanos = bins::middle(bin?).clamp(self.min, self.max);
        Some(Duration::from_nanos(nanos))
    }

    /// Adds another snapshot, e.g. that of another endpoint.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        for (bin, more) in self.bins.iter_mut().zip(other.bins) {
            *bin = bin.saturating_add(more);
        }
    }
}

impl Default for SummarySnapshot {
    /// Of nothing.
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
            bins: [0; BINS],
        }
    }
}

impl fmt::Debug for SummarySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SummarySnapshot")
            .field("count", &self.count)
            .field("min", &self.min())
            .field("mean", &self.mean())
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

fn mean(count: u64, sum: u128) -> Option<Duration> {
    (count > 0).then(|| duration(sum / u128::from(count)))
}

fn duration(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

// === impl SummaryBucket ===

/// A bucket as it was when its head was read.
#[derive(Clone, Copy)]
struct SummaryReading<'a> {
    body: &'a Body,
    head: Head,
}

impl SummaryBucket {
    fn new() -> Self {
        Self(Body::new(FIRST_BINS + BINS.div_ceil(LANES)))
    }
}

impl Bucket for SummaryBucket {
    type Value = u64;
    type Reading<'a> = Option<SummaryReading<'a>>;

    #[inline]
    fn add(&self, place: &Place<'_>, nanos: u64) -> Result<(), Recycled> {
        let Self(body) = self;
        let head = body.open(place)?;
        // Empty is 0, so the maximum is kept plus one and the minimum as what it
        // lacks to the largest payload. Both only rise.
        let raise = |to: u64| move |payload: u64| (payload < to).then_some(to);
        body.update(head, MIN, raise(PAYLOAD_MAX - nanos))?;
        body.update(head, MAX, raise(nanos + 1))?;
        let bin = bins::bin_of(nanos);
        let shift = bin % LANES * LANE_BITS;
        body.update(head, FIRST_BINS + bin / LANES, |payload| {
            let lane = (payload >> shift) & LANE_MAX;
            let counts = lane < LANE_EXACT || (lane < LANE_MAX && is_sampled(head.count));
            counts.then(|| payload + (1 << shift))
        })?;
        body.commit(head, |sum| sum.saturating_add(nanos))?;
        Ok(())
    }

    #[inline]
    fn read(&self, turn: u64) -> Option<SummaryReading<'_>> {
        let head = self.0.head_of(turn).filter(|head| head.count > 0)?;
        Some(SummaryReading {
            body: &self.0,
            head,
        })
    }
}

impl SummaryReading<'_> {
    /// Adds the bucket, or nothing if it was given to a later turn meanwhile.
    fn add_to(self, snapshot: &mut SummarySnapshot) {
        let Self { body, head } = self;
        let mut own = SummarySnapshot {
            count: u64::from(head.count),
            sum: u128::from(head.sum),
            min: PAYLOAD_MAX - body.payload(head, MIN),
            max: body.payload(head, MAX).saturating_sub(1),
            bins: [0; BINS],
        };
        let payloads = body.payloads(head, FIRST_BINS..FIRST_BINS + BINS.div_ceil(LANES));
        for (mut payload, lanes) in payloads.zip(own.bins.chunks_mut(LANES)) {
            for count in lanes {
                let lane = payload & LANE_MAX;
                let sampled = lane.saturating_sub(LANE_EXACT);
                *count = (lane + sampled * (STEP - 1)) as u32;
                payload >>= LANE_BITS;
            }
        }
        if body.holds(head) {
            snapshot.merge(&own);
        }
    }
}

/// Whether the `order`th duration of a bucket is one of the one in [`STEP`] that
/// a full bin counts. Hashed, for durations may come in a rhythm.
fn is_sampled(order: u32) -> bool {
    let hash = u64::from(order).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash >> (64 - STEP.trailing_zeros()) == 0
}
