//! A bucket that is larger than one word.
//!
//! A head of 128 bits holds turn, count and sum, which change together. Beside
//! it are as many 64-bit words as the kind of bucket needs: extremes, points,
//! bins of a histogram. Each word holds, beside its payload, the *generation* of
//! the bucket in which it was written, so that a word of an old generation reads
//! as empty and its next writer replaces it. Nothing is ever cleared at once, and
//! a late writer cannot add to what has been given to a later turn.
//!
//! # Why eight bits are enough
//!
//! The generation rises by one with each claim of the bucket. Before a claim, the
//! claimer visits one part in [`SWEEPS`] of the words and brings old ones up to
//! date, empty. Any word is therefore at most `SWEEPS + 1` generations old, and
//! two generations that can meet in one bucket are never equal modulo 256. (Low
//! bits of the turn would not do: nobody sweeps while nothing happens, and an
//! idle time can be as long as it likes.)

use std::ops::Range;

use crate::sync::{self, AtomicU64, AtomicU128, Ordering};

use super::ring::{Place, Recycled};

/// Bits of a word's payload.
pub(super) const PAYLOAD_BITS: u32 = 56;

/// The largest payload.
pub(super) const PAYLOAD_MAX: u64 = (1 << PAYLOAD_BITS) - 1;

/// In how many claims all words are visited once.
const SWEEPS: usize = 128;

/// Head and words of a bucket.
pub(super) struct Body {
    head: AtomicU128,
    words: Box<[AtomicU64]>,
}

/// ```text
///  127     100 99  92 91       64 63                              0
/// +-----------+------+-----------+---------------------------------+
/// | turn u28  | gen  | count u28 | sum                             |
/// +-----------+------+-----------+---------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    turn: u32,
    generation: u8,
    /// What was added, in numbers of calls.
    pub(super) count: u32,
    /// What was added.
    pub(super) sum: u64,
}

// === impl Body ===

impl Body {
    /// A body with `words` words, all empty.
    pub(super) fn new(words: usize) -> Self {
        Self {
            head: AtomicU128::new(0),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The head, if the bucket holds `turn`.
    #[inline]
    pub(super) fn head_of(&self, turn: u64) -> Option<Head> {
        let head = Head::unpack(self.head.load(Ordering::Acquire));
        (head.turn == Head::narrow(turn)).then_some(head)
    }

    /// The head of the place's turn, which is claimed if need be.
    #[inline]
    pub(super) fn open(&self, place: &Place<'_>) -> Result<Head, Recycled> {
        let head = Head::unpack(self.head.load(Ordering::Acquire));
        if head.turn == Head::narrow(place.turn()) {
            Ok(head)
        } else {
            self.claim(place)
        }
    }

    #[cold]
    fn claim(&self, place: &Place<'_>) -> Result<Head, Recycled> {
        let turn = Head::narrow(place.turn());
        loop {
            let seen = self.head.load(Ordering::Acquire);
            let head = Head::unpack(seen);
            if head.turn == turn {
                return Ok(head);
            }
            if !place.is_open() {
                return Err(Recycled);
            }
            self.sweep(head);
            let claimed = Head {
                turn,
                generation: head.generation.wrapping_add(1),
                count: 0,
                sum: 0,
            };
            let exchange = self.head.compare_exchange_weak(
                seen,
                claimed.pack(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if exchange.is_ok() {
                return Ok(claimed);
            }
        }
    }

    /// Adds `value` to the sum by way of `sum`, and one to the count. Gives the
    /// head before. This is the moment at which an addition is there.
    #[inline]
    pub(super) fn commit(&self, head: Head, sum: impl Fn(u64) -> u64) -> Result<Head, Recycled> {
        let before = sync::update(&self.head, head.pack(), |word| {
            let seen = Head::unpack(word);
            if !seen.is_same_claim(head) {
                return Err(Recycled);
            }
            let next = Head {
                count: (seen.count + 1).min(Head::COUNT_MAX),
                sum: sum(seen.sum),
                ..seen
            };
            Ok(next.pack())
        });
        before.map(Head::unpack)
    }

    /// Changes the payload of a word, 0 if it is empty, unless `change` says
    /// `None`.
    #[inline]
    pub(super) fn update(
        &self,
        head: Head,
        index: usize,
        change: impl Fn(u64) -> Option<u64>,
    ) -> Result<(), Recycled> {
        let word = &self.words[index];
        let mut seen = word.load(Ordering::Acquire);
        loop {
            let payload = match head.payload(seen) {
                Some(payload) => payload,
                // Another generation: a later one, or one of the past, which may
                // be replaced. The head was read after the word.
                None if self.holds(head) => 0,
                None => return Err(Recycled),
            };
            let Some(payload) = change(payload) else {
                return Ok(());
            };
            let next = head.word(payload);
            match word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(actual) => seen = actual,
            }
        }
    }

    /// The payload of a word, 0 if it is empty.
    #[inline]
    pub(super) fn payload(&self, head: Head, index: usize) -> u64 {
        let word = self.words[index].load(Ordering::Acquire);
        head.payload(word).unwrap_or(0)
    }

    /// The payloads of some words in order, 0 for those that are empty.
    #[inline]
    pub(super) fn payloads(
        &self,
        head: Head,
        indices: Range<usize>,
    ) -> impl Iterator<Item = u64> + use<'_> {
        let words = self.words[indices].iter();
        words.map(move |word| head.payload(word.load(Ordering::Acquire)).unwrap_or(0))
    }

    /// Whether the bucket is still in the claim of `head`.
    pub(super) fn holds(&self, head: Head) -> bool {
        Head::unpack(self.head.load(Ordering::Acquire)).is_same_claim(head)
    }

    /// Makes the words that are due before the next claim ones of `head`'s
    /// generation. What it replaces is older, for `head` is read after the word,
    /// and holds nothing that anybody reads.
    fn sweep(&self, head: Head) {
        let part = self.words.len().div_ceil(SWEEPS);
        let begin = usize::from(head.generation) % SWEEPS * part;
        for word in self.words.iter().skip(begin).take(part) {
            let seen = word.load(Ordering::Acquire);
            if head.payload(seen).is_some() || !self.holds(head) {
                continue;
            }
            // A failure means that a writer of this generation was here, which
            // does as well.
            word.compare_exchange(seen, head.word(0), Ordering::AcqRel, Ordering::Acquire)
                .ok();
        }
    }
}

// === impl Head ===

impl Head {
    /// The largest count.
    pub(super) const COUNT_MAX: u32 = (1 << 28) - 1;

    #[inline]
    const fn narrow(turn: u64) -> u32 {
        (turn as u32) & Self::COUNT_MAX
    }

    #[inline]
    fn is_same_claim(self, other: Self) -> bool {
        (self.turn, self.generation) == (other.turn, other.generation)
    }

    /// The payload of a word of this generation.
    #[inline]
    fn payload(self, word: u64) -> Option<u64> {
        let generation = (word >> PAYLOAD_BITS) as u8;
        (generation == self.generation).then_some(word & PAYLOAD_MAX)
    }

    #[inline]
    fn word(self, payload: u64) -> u64 {
        (u64::from(self.generation) << PAYLOAD_BITS) | payload.min(PAYLOAD_MAX)
    }

    #[inline]
    fn unpack(word: u128) -> Self {
        let high = (word >> 64) as u64;
        Self {
            turn: (high >> 36) as u32,
            generation: (high >> 28) as u8,
            count: (high as u32) & Self::COUNT_MAX,
            sum: word as u64,
        }
    }

    #[inline]
    fn pack(self) -> u128 {
        let high = (u64::from(self.turn) << 36)
            | (u64::from(self.generation) << 28)
            | u64::from(self.count);
        (u128::from(high) << 64) | u128::from(self.sum)
    }
}
