//! The ring of buckets, and the arithmetic of time.
//!
//! Time from the origin of ticks is cut into *slots* of one bucket's length, and
//! the bucket of a slot is at the slot's number modulo the size. How often the
//! ring has been passed until then is the slot's *turn*. A bucket holds its turn
//! in the same word as its numbers, so that a bucket is never emptied: it
//! belongs to another turn, which its next writer replaces and readers skip.
//! Nothing has to run while nothing happens, and nothing drifts.

use crate::Tick;
use crate::sync::{AtomicU64, Ordering};

use super::WindowShape;

/// A window over the last `size` buckets of time (Kratos: `RollingPolicy` over
/// `Window`). [`RollingCounter`](crate::RollingCounter),
/// [`RollingGauge`](crate::RollingGauge) and
/// [`RollingSummary`](crate::RollingSummary) are windows over three kinds of
/// [`Bucket`].
///
/// All windows with buckets of one length turn at the same ticks, whenever they
/// were made, so numbers of two windows can be divided by each other.
///
/// # Time that stands still, steps back, or comes late
///
/// The window knows the newest slot that was written. A tick before it is taken
/// to its own bucket if that is still in the window. If it is not, it goes to
/// the newest one. So nothing is lost, and however far a clock steps back the
/// window only stands still until time has caught up. Reads before the newest
/// slot see the window as of the newest slot.
///
/// # Shards
///
/// A window may have several rings, its *shards*, which share the knowledge of
/// the newest slot and nothing else. Threads that write to different shards do
/// not slow each other; readers add up.
///
/// # Range
///
/// A bucket keeps the low bits of its turn ([`Bucket`] says how many). One that
/// no write has reached for exactly 2³² turns (2²⁸ in gauges and summaries)
/// would be taken for new: for a window of one second, after 136 (8.5) years.
pub struct RollingWindow<B> {
    shape: WindowShape,
    start: Tick,
    /// The newest slot, as [`Position::pack`] writes it.
    newest: AtomicU64,
    shards: usize,
    /// From a bucket of one shard to the same one of the next.
    stride: usize,
    buckets: Box<[B]>,
}

/// What a window has in each of its places: numbers that remember their turn.
///
/// # Contract
///
/// A bucket must hold numbers and turn so that a change of the turn and a change
/// of the numbers cannot be mistaken for each other, e.g. in one word changed by
/// compare-exchange. Its loads and stores must be at least acquire and release.
pub trait Bucket {
    /// What is added.
    type Value: Copy;

    /// What is read: a copy.
    type Reading<'a>
    where
        Self: 'a;

    /// Adds `value` to the numbers of the place's turn. If the bucket holds
    /// another turn it is claimed, provided that the place
    /// [is open](Place::is_open) *after* the other turn was seen.
    ///
    /// # Errors
    ///
    /// [`Recycled`] if it is not open any more. Nothing may have been added then.
    fn add(&self, place: &Place<'_>, value: Self::Value) -> Result<(), Recycled>;

    /// The numbers of `turn`, which are empty if the bucket holds another.
    fn read(&self, turn: u64) -> Self::Reading<'_>;
}

/// The bucket has been given to a slot one or more turns later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recycled;

/// Where a value is to be added.
#[derive(Debug)]
pub struct Place<'a> {
    position: Position,
    newest: &'a AtomicU64,
    size: u64,
}

/// A slot: its number is turn × size + index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    turn: u64,
    index: usize,
}

/// The slots of a window from the oldest to the newest that was written. The
/// ones that nothing was added to are among them; those after the newest are
/// not.
pub struct Slots<'a, B> {
    window: &'a RollingWindow<B>,
    next: Position,
    left: usize,
}

/// One slot of a window.
pub struct Slot<'a, B> {
    window: &'a RollingWindow<B>,
    position: Position,
}

// === impl RollingWindow ===

impl<B: Bucket> RollingWindow<B> {
    /// A window that begins at `start`, with `shards` rings (at least one) of
    /// buckets from `make`. Nothing allocates afterwards.
    #[must_use]
    pub fn new(shape: WindowShape, start: Tick, shards: usize, make: impl FnMut() -> B) -> Self {
        /// Bytes that processors fetch together.
        const LINES: usize = 128;
        let shards = shards.max(1);
        let padding = if shards > 1 {
            LINES.div_ceil(size_of::<B>().max(1))
        } else {
            0
        };
        let stride = shape.size() + padding;
        Self {
            shape,
            start,
            newest: AtomicU64::new(Position::at(start, &shape).pack()),
            shards,
            stride,
            buckets: std::iter::repeat_with(make).take(stride * shards).collect(),
        }
    }

    /// Number and length of the buckets.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.shape
    }

    /// The number of shards.
    #[must_use]
    pub const fn shards(&self) -> usize {
        self.shards
    }

    /// Adds `value` at `now` to the ring `shard`, modulo their number.
    /// Lock-free, allocates nothing.
    #[inline]
    pub fn add(&self, shard: usize, now: Tick, value: B::Value) {
        let shard = if shard < self.shards {
            shard
        } else {
            shard % self.shards
        };
        loop {
            let position = self.position_for(now);
            let place = Place {
                position,
                newest: &self.newest,
                size: self.shape.size() as u64,
            };
            let bucket = &self.buckets[shard * self.stride + position.index];
            // A failure means that others have turned the ring meanwhile: the
            // next round finds the new newest slot.
            if bucket.add(&place, value).is_ok() {
                return;
            }
        }
    }

    /// The slots to be read at `now`, oldest first. None if nothing was written
    /// for the length of the window.
    #[must_use]
    pub fn slots(&self, now: Tick) -> Slots<'_, B> {
        let newest = self.newest_slot();
        let last = self.slot_at(now).max(newest);
        let first = (last + 1).saturating_sub(self.shape.size() as u64);
        let size = self.shape.size() as u64;
        Slots {
            window: self,
            next: Position::of(first, size),
            // At most `size`.
            left: (newest + 1).saturating_sub(first) as usize,
        }
    }

    /// How many whole buckets have passed since the newest slot that was written
    /// (at first: since the start). Not bounded by the size (Kratos: `Timespan`).
    #[must_use]
    pub fn timespan(&self, now: Tick) -> u64 {
        self.slot_at(now).saturating_sub(self.newest_slot())
    }

    /// How much time the [`slots`](Self::slots) stand for at `now`: from the
    /// beginning of the oldest, or the start of the window if that is later, to
    /// `now`. A rate is a sum divided by this, not by the length of the window,
    /// whose newest bucket is only partly filled.
    #[must_use]
    pub fn covered(&self, now: Tick) -> std::time::Duration {
        let bucket = self.shape.bucket_nanos();
        let newest_begins = Tick::from_nanos(self.newest_slot() * bucket);
        let now = now.max(newest_begins);
        let first = (self.slot_at(now) + 1).saturating_sub(self.shape.size() as u64);
        now.saturating_duration_since(self.start.max(Tick::from_nanos(first * bucket)))
    }

    fn slot_at(&self, now: Tick) -> u64 {
        now.as_nanos() / self.shape.bucket_nanos()
    }

    fn newest_slot(&self) -> u64 {
        let newest = Position::unpack(self.newest.load(Ordering::Acquire));
        newest.slot(self.shape.size() as u64)
    }

    /// Where a value of `now` goes. Almost always that is the newest slot, which
    /// is found without a division.
    #[inline]
    fn position_for(&self, now: Tick) -> Position {
        let newest = Position::unpack(self.newest.load(Ordering::Acquire));
        let begins = newest.slot(self.shape.size() as u64) * self.shape.bucket_nanos();
        if now.as_nanos().wrapping_sub(begins) < self.shape.bucket_nanos() {
            newest
        } else {
            self.position_elsewhere(now)
        }
    }

    #[cold]
    fn position_elsewhere(&self, now: Tick) -> Position {
        let own = Position::at(now, &self.shape);
        let before = self.newest.fetch_max(own.pack(), Ordering::AcqRel);
        let newest = before.max(own.pack());
        let size = self.shape.size() as u64;
        if own.slot(size) + size > Position::unpack(newest).slot(size) {
            own
        } else {
            Position::unpack(newest)
        }
    }
}

// === impl Place ===

impl Place<'_> {
    /// How often the ring has been passed until this slot.
    #[must_use]
    #[inline]
    pub const fn turn(&self) -> u64 {
        self.position.turn
    }

    /// Whether the slot is still in the window. Asked after the bucket was seen
    /// to hold another turn, it tells whether that is an old one: whoever gives
    /// a bucket to a later turn has first moved the newest slot on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let newest = Position::unpack(self.newest.load(Ordering::Acquire));
        self.position.slot(self.size) + self.size > newest.slot(self.size)
    }
}

// === impl Position ===

impl Position {
    /// A turn is at most 2⁶⁴ ns / 1 ms, which has 45 bits.
    const INDEX_BITS: u32 = 16;

    fn at(now: Tick, shape: &WindowShape) -> Self {
        Self::of(now.as_nanos() / shape.bucket_nanos(), shape.size() as u64)
    }

    fn of(slot: u64, size: u64) -> Self {
        Self {
            turn: slot / size,
            index: (slot % size) as usize,
        }
    }

    #[inline]
    const fn slot(self, size: u64) -> u64 {
        self.turn * size + self.index as u64
    }

    /// One word, in the order of time.
    #[inline]
    const fn pack(self) -> u64 {
        (self.turn << Self::INDEX_BITS) | self.index as u64
    }

    #[inline]
    const fn unpack(word: u64) -> Self {
        Self {
            turn: word >> Self::INDEX_BITS,
            index: (word & ((1 << Self::INDEX_BITS) - 1)) as usize,
        }
    }
}

// === impl Slots ===

impl<'a, B> Iterator for Slots<'a, B> {
    type Item = Slot<'a, B>;

    #[inline]
    fn next(&mut self) -> Option<Slot<'a, B>> {
        self.left = self.left.checked_sub(1)?;
        let position = self.next;
        self.next.index += 1;
        if self.next.index == self.window.shape.size() {
            self.next = Position {
                turn: position.turn + 1,
                index: 0,
            };
        }
        Some(Slot {
            window: self.window,
            position,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<B> ExactSizeIterator for Slots<'_, B> {}

// === impl Slot ===

impl<'a, B: Bucket> Slot<'a, B> {
    /// What each shard has in this slot.
    #[inline]
    pub fn readings(&self) -> impl Iterator<Item = B::Reading<'a>> + use<'a, B> {
        let Self { window, position } = *self;
        (0..window.shards).map(move |shard| {
            window.buckets[shard * window.stride + position.index].read(position.turn)
        })
    }

    /// What the first shard has in this slot.
    #[inline]
    #[must_use]
    pub fn reading(&self) -> B::Reading<'a> {
        self.window.buckets[self.position.index].read(self.position.turn)
    }
}
