//! A sum and a count of calls over a window.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::Tick;
use crate::sync::{self, AtomicU128, Ordering};

use super::ring::{Bucket, Place, Recycled, RollingWindow, Slots};
use super::shape::WindowShape;

/// Sum and number of what was added during the last buckets of time (Kratos:
/// `RollingCounter`).
///
/// Lock-free, exact in whole numbers, no allocation after it was made. Sum and
/// count of a bucket are one word, so a reader sees each addition wholly or not
/// at all. [`RollingWindow`] says how it behaves in time.
///
/// ```
/// use std::time::Duration;
/// use plimsoll_meter::{RollingCounter, Tick, WindowShape};
///
/// let shape = WindowShape::new(10, Duration::from_millis(100))?;
/// let errors = RollingCounter::new(shape, Tick::ZERO);
/// let now = Tick::from_nanos(250_000_000);
/// errors.add(now, 1); // a request that failed
/// errors.add(now, 0); // one that did not
/// assert_eq!((errors.sum(now), errors.count(now)), (1, 2));
/// assert_eq!(errors.sum_per_second(now), Some(4.0));
/// # Ok::<(), plimsoll_meter::WindowError>(())
/// ```
///
/// # Points
///
/// As in Kratos, a *point* of this window is the total of a bucket that was
/// added to. [`min`](Self::min), [`max`](Self::max) and [`mean`](Self::mean) are
/// over points; buckets without a call are not zeros, they are absent.
///
/// # Shards
///
/// With one shard, two threads that write all the time change one word in turns.
/// [`with_shards`](Self::with_shards) gives each its own.
///
/// # Range
///
/// Per bucket and shard, the count stops at 2³² − 1 and the sum at 2⁶⁴ − 1.
pub struct RollingCounter {
    window: RollingWindow<CounterBucket>,
}

/// Sum and number of what was added, to a bucket or to a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of `add`, whatever they added.
    pub count: u64,
    /// What they added.
    pub sum: u64,
}

/// The buckets of a [`RollingCounter`], oldest first. Each is a copy.
pub struct CounterBuckets<'a>(Slots<'a, CounterBucket>);

/// ```text
///  127        96 95         64 63                                0
/// +-------------+-------------+-----------------------------------+
/// | turn u32    | count u32   | sum                               |
/// +-------------+-------------+-----------------------------------+
/// ```
struct CounterBucket(AtomicU128);

#[derive(Clone, Copy)]
struct State {
    turn: u32,
    count: u32,
    sum: u64,
}

// === impl RollingCounter ===

impl RollingCounter {
    /// A counter with one shard. `start` is the present, from which on rates are
    /// computed.
    #[must_use]
    pub fn new(shape: WindowShape, start: Tick) -> Self {
        Self::with_shards(shape, start, NonZeroUsize::MIN)
    }

    /// A counter with several shards: 16 bytes for each shard and bucket, and
    /// 128 between shards.
    #[must_use]
    pub fn with_shards(shape: WindowShape, start: Tick, shards: NonZeroUsize) -> Self {
        Self {
            window: RollingWindow::new(shape, start, shards.get(), CounterBucket::new),
        }
    }

    /// Number and length of the buckets.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.window.shape()
    }

    /// Adds `value` at `now`, and counts one call.
    #[inline]
    pub fn add(&self, now: Tick, value: u64) {
        self.window.add(0, now, value);
    }

    /// [`add`](Self::add) to a shard, taken modulo their number.
    #[inline]
    pub fn add_to_shard(&self, shard: usize, now: Tick, value: u64) {
        self.window.add(shard, now, value);
    }

    /// Has `f` look at the buckets, oldest first, and gives what it returns.
    /// `None`, and `f` is not called, if nothing was added for the length of the
    /// window. The last bucket is the newest that was added to; those after it
    /// are not shown, so there are [`timespan`](Self::timespan) fewer.
    ///
    /// A panic in `f` does no harm to the counter, and `f` may add to it.
    pub fn reduce<R>(&self, now: Tick, f: impl FnOnce(CounterBuckets<'_>) -> R) -> Option<R> {
        let slots = self.window.slots(now);
        (slots.len() > 0).then(|| f(CounterBuckets(slots)))
    }

    /// Sum and count in one pass.
    #[must_use]
    pub fn tally(&self, now: Tick) -> Tally {
        self.buckets(now).fold(Tally::default(), Tally::plus)
    }

    /// The sum of what was added.
    #[must_use]
    pub fn sum(&self, now: Tick) -> u64 {
        self.tally(now).sum
    }

    /// The number of calls.
    #[must_use]
    pub fn count(&self, now: Tick) -> u64 {
        self.tally(now).count
    }

    /// The smallest total of a bucket that was added to.
    #[must_use]
    pub fn min(&self, now: Tick) -> Option<u64> {
        self.points(now).min()
    }

    /// The largest total of a bucket that was added to.
    #[must_use]
    pub fn max(&self, now: Tick) -> Option<u64> {
        self.points(now).max()
    }

    /// The mean total of the buckets that were added to.
    #[must_use]
    pub fn mean(&self, now: Tick) -> Option<f64> {
        let mut buckets = 0_u32;
        let sum = self.points(now).inspect(|_| buckets += 1).map(u128::from);
        let sum = sum.sum::<u128>();
        (buckets > 0).then(|| sum as f64 / f64::from(buckets))
    }

    /// The mean of what the calls added: with 1 for an error and 0 for a
    /// success, the share of errors.
    #[must_use]
    pub fn mean_per_call(&self, now: Tick) -> Option<f64> {
        let Tally { count, sum } = self.tally(now);
        (count > 0).then(|| sum as f64 / count as f64)
    }

    /// The sum per second of [`covered`](Self::covered) time. `None` if that is
    /// no time at all.
    #[must_use]
    pub fn sum_per_second(&self, now: Tick) -> Option<f64> {
        self.per_second(now, self.sum(now))
    }

    /// Calls per second of [`covered`](Self::covered) time. `None` if that is no
    /// time at all.
    #[must_use]
    pub fn count_per_second(&self, now: Tick) -> Option<f64> {
        self.per_second(now, self.count(now))
    }

    /// How many whole buckets have passed since the newest that was added to
    /// (at first: since the start), however many the window has.
    #[must_use]
    pub fn timespan(&self, now: Tick) -> u64 {
        self.window.timespan(now)
    }

    /// How much time the sum stands for: the whole buckets before `now`'s, and
    /// what has passed of that; less while the counter is young.
    #[must_use]
    pub fn covered(&self, now: Tick) -> Duration {
        self.window.covered(now)
    }

    fn buckets(&self, now: Tick) -> CounterBuckets<'_> {
        CounterBuckets(self.window.slots(now))
    }

    fn points(&self, now: Tick) -> impl Iterator<Item = u64> + '_ {
        let used = self.buckets(now).filter(|bucket| bucket.count > 0);
        used.map(|bucket| bucket.sum)
    }

    fn per_second(&self, now: Tick, number: u64) -> Option<f64> {
        let seconds = self.covered(now).as_secs_f64();
        (seconds > 0.0).then(|| number as f64 / seconds)
    }
}

impl fmt::Debug for RollingCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollingCounter")
            .field("shape", &self.shape())
            .field("shards", &self.window.shards())
            .finish_non_exhaustive()
    }
}

// === impl Tally ===

impl Tally {
    #[inline]
    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum.saturating_add(other.sum),
        }
    }
}

// === impl CounterBuckets ===

impl Iterator for CounterBuckets<'_> {
    type Item = Tally;

    #[inline]
    fn next(&mut self) -> Option<Tally> {
        let slot = self.0.next()?;
        Some(slot.readings().fold(Tally::default(), Tally::plus))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for CounterBuckets<'_> {}

// === impl CounterBucket ===

impl CounterBucket {
    fn new() -> Self {
        Self(AtomicU128::new(0))
    }
}

impl Bucket for CounterBucket {
    type Value = u64;
    type Reading<'a> = Tally;

    #[inline]
    fn add(&self, place: &Place<'_>, value: u64) -> Result<(), Recycled> {
        let turn = place.turn() as u32;
        let seen = self.0.load(Ordering::Acquire);
        sync::update(&self.0, seen, |word| {
            let mut state = State::unpack(word);
            if state.turn != turn {
                if !place.is_open() {
                    return Err(Recycled);
                }
                state = State {
                    turn,
                    count: 0,
                    sum: 0,
                };
            }
            state.count = state.count.saturating_add(1);
            state.sum = state.sum.saturating_add(value);
            Ok(state.pack())
        })?;
        Ok(())
    }

    #[inline]
    fn read(&self, turn: u64) -> Tally {
        let state = State::unpack(self.0.load(Ordering::Acquire));
        if state.turn == turn as u32 {
            Tally {
                count: u64::from(state.count),
                sum: state.sum,
            }
        } else {
            Tally::default()
        }
    }
}

// === impl State ===

impl State {
    #[inline]
    fn unpack(word: u128) -> Self {
        Self {
            turn: (word >> 96) as u32,
            count: (word >> 64) as u32,
            sum: word as u64,
        }
    }

    #[inline]
    fn pack(self) -> u128 {
        (u128::from(self.turn) << 96) | (u128::from(self.count) << 64) | u128::from(self.sum)
    }
}
