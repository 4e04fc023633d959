//! One word that knows the load of one shard and one source.
//!
//! ```text
//!  127        96 95         64 63                                0
//! +-------------+-------------+-----------------------------------+
//! | entries u32 | exits u32   | Σ exit times − Σ entry times, ns  |
//! +-------------+-------------+-----------------------------------+
//! ```
//!
//! Every field wraps by itself. The three change together in one
//! compare-exchange, so whoever reads the word sees each event wholly or not at
//! all, and sees no exit without its entry (both are events of the same word).
//!
//! Measured on an EPYC (Zen 4) guest, enter and leave together, uncontended:
//! this word 14 ns; one `fetch_add` of a 128-bit sum 11 ns; two 64-bit words
//! behind a sequence lock 5 ns. The sum must bound its lower fields, for their
//! carries run into the upper ones, and so wears out after enough
//! request-years. The sequence lock makes the reader, and every other writer,
//! wait for a writer that was preempted half-way. Neither price is worth the
//! few nanoseconds.

use crate::Tick;
use crate::sync::{AtomicU128, Ordering};

/// The shared word.
pub(crate) struct Cell(AtomicU128);

/// The word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellState {
    /// Events of kind "enter", modulo 2³².
    pub(crate) entries: u32,
    /// Events of kind "leave", modulo 2³².
    pub(crate) exits: u32,
    /// Σ exit times − Σ entry times in nanoseconds, modulo 2⁶⁴.
    stamps: u64,
}

// === impl Cell ===

impl Cell {
    pub(crate) fn new() -> Self {
        Self(AtomicU128::new(0))
    }

    /// Counts one request that begins at `now`.
    #[inline]
    pub(crate) fn enter(&self, now: Tick) {
        self.update(|state| CellState {
            entries: state.entries.wrapping_add(1),
            stamps: state.stamps.wrapping_sub(now.as_nanos()),
            ..state
        });
    }

    /// Counts one request that ends at `now`.
    #[inline]
    pub(crate) fn leave(&self, now: Tick) {
        self.update(|state| CellState {
            exits: state.exits.wrapping_add(1),
            stamps: state.stamps.wrapping_add(now.as_nanos()),
            ..state
        });
    }

    /// A consistent view of the three fields.
    #[inline]
    pub(crate) fn state(&self) -> CellState {
        CellState::unpack(self.0.load(Ordering::Relaxed))
    }

    // Relaxed is enough: the word is all there is, no other memory is published
    // through it, and the changes to one word have one order for all threads.
    #[inline]
    fn update(&self, change: impl Fn(CellState) -> CellState) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = change(CellState::unpack(seen)).pack();
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }
}

// === impl CellState ===

impl CellState {
    /// Requests begun and not ended.
    ///
    /// Signed, because raw events may arrive in any order: an exit delivered
    /// before its entry counts −1 until the entry comes. Right while its
    /// magnitude is below 2³¹.
    #[inline]
    pub(crate) fn in_flight(self) -> i64 {
        i64::from(self.entries.wrapping_sub(self.exits).cast_signed())
    }

    /// The integral of concurrency from the origin of time to `now`, in
    /// request-nanoseconds modulo 2⁶⁴.
    ///
    /// A request that has ended contributes exit − entry, one in flight
    /// contributes now − entry. Summed: Σ exits − Σ entries + in flight × now.
    #[inline]
    pub(crate) fn integral_at(self, now: Tick) -> u64 {
        let in_flight = self.in_flight().cast_unsigned();
        self.stamps
            .wrapping_add(in_flight.wrapping_mul(now.as_nanos()))
    }

    #[inline]
    fn unpack(word: u128) -> Self {
        Self {
            entries: (word >> 96) as u32,
            exits: (word >> 64) as u32,
            stamps: word as u64,
        }
    }

    #[inline]
    fn pack(self) -> u128 {
        (u128::from(self.entries) << 96) | (u128::from(self.exits) << 64) | u128::from(self.stamps)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_word_is_an_atomic_instruction_here() {
        // Every x86_64 since 2008 and every aarch64 has one; elsewhere
        // portable-atomic takes a lock, which is slower but no less right.
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            assert!(AtomicU128::is_lock_free());
        }
    }

    #[test]
    fn a_field_that_wraps_leaves_its_neighbours_alone() {
        let cell = Cell(AtomicU128::new(u128::MAX));
        cell.enter(Tick::from_nanos(u64::MAX));
        let state = cell.state();
        assert_eq!((state.entries, state.exits), (0, u32::MAX));
        assert_eq!(state.in_flight(), 1);
        assert_eq!(state.stamps, 0);
        cell.leave(Tick::MAX);
        let state = cell.state();
        assert_eq!((state.entries, state.exits), (0, 0));
        assert_eq!(state.stamps, u64::MAX);
    }

    #[test]
    fn an_exit_may_arrive_before_its_entry() {
        let cell = Cell::new();
        cell.leave(Tick::from_nanos(9));
        assert_eq!(cell.state().in_flight(), -1);
        cell.enter(Tick::from_nanos(4));
        assert_eq!(cell.state().in_flight(), 0);
        assert_eq!(cell.state().integral_at(Tick::from_nanos(1_000)), 5);
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(word: u128) {
            prop_assert_eq!(CellState::unpack(word).pack(), word);
        }

        /// Where the counters stand does not matter, only how far they move.
        #[test]
        fn integrals_do_not_depend_on_where_the_counters_start(
            entries: u32,
            stamps: u64,
            begin: u64,
            lasts in 0..u64::MAX / 4,
        ) {
            let before = CellState { entries, exits: entries, stamps };
            let cell = Cell(AtomicU128::new(before.pack()));
            let end = begin.saturating_add(lasts);
            cell.enter(Tick::from_nanos(begin));
            let open = cell.state().integral_at(Tick::from_nanos(end));
            prop_assert_eq!(open.wrapping_sub(stamps), end - begin);
            cell.leave(Tick::from_nanos(end));
            let closed = cell.state().integral_at(Tick::MAX);
            prop_assert_eq!(closed, open);
        }
    }
}
