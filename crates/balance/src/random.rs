//! Numbers that look like chance and can be repeated.

use std::cell::Cell;

use crossbeam_utils::CachePadded;
use plimsoll_meter::Tick;

use crate::sync::{AtomicU64, Ordering};

/// Counters that threads share out among themselves, so that they seldom write
/// the same cache line.
const STRIPES: usize = 8;

/// A source of pseudo-random numbers that threads share without waiting.
///
/// Each number is a hash of the seed, the time and a counter. With one thread
/// the numbers depend on the seed and the calls only, so a simulation repeats
/// exactly. Two threads that share a counter may read the same value of it;
/// the time then still tells their numbers apart.
pub(crate) struct Random {
    seed: u64,
    counters: [CachePadded<AtomicU64>; STRIPES],
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed: mix(seed),
            counters: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
        }
    }

    /// The next number.
    #[inline]
    pub(crate) fn next(&self, now: Tick) -> u64 {
        let counter = &self.counters[stripe()];
        // Not a read-modify-write: see the type on what a lost count does.
        let count = counter.load(Ordering::Relaxed).wrapping_add(1);
        counter.store(count, Ordering::Relaxed);
        mix(self.seed ^ count.rotate_left(40) ^ now.as_nanos())
    }
}

/// A number of this thread, below [`STRIPES`].
#[inline]
fn stripe() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            stripe.set(next % STRIPES);
        }
        stripe.get()
    })
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014), after its increment.
#[inline]
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number below `bound` from 32 random bits, without the cost of a division
/// (Lemire, 2019). The bias is below `bound` / 2³².
#[inline]
pub(crate) const fn below(bits: u32, bound: usize) -> usize {
    ((bits as u64 * bound as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
        let draw = |seed| {
            let random = Random::new(seed);
            (0..100)
                .map(|nanos| random.next(Tick::from_nanos(nanos)))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn numbers_at_one_instant_are_spread_evenly() {
        let random = Random::new(1);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            let number = random.next(Tick::ZERO);
            counts[below(number as u32, 10)] += 1;
        }
        // The standard deviation of each is 95.
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{counts:?}");
        }
    }
}
