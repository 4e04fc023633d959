//! The meter that every request passes.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::cell::{Cell, CellState};
use crate::guard::RequestGuard;
use crate::report::Reporter;
use crate::{Clock, Tick};

/// How a request came to this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Straight from a client or an ingress.
    Direct,
    /// Through a component that buffers requests for the service and reports
    /// them to the autoscaler as well (Knative's activator). An autoscaler
    /// subtracts these so as not to count them twice.
    Proxied,
}

/// Requests begun and not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// Requests of either source.
    pub total: u64,
    /// Those among them that were proxied.
    pub proxied: u64,
}

/// Measures how many requests run at once, exactly and without a lock.
///
/// Writers call [`begin`](Self::begin), or [`enter`](Self::enter) and
/// [`leave`](Self::leave). Readers make a [`Reporter`] each and ask it for the
/// average over the time since they last asked.
///
/// A meter is split into *shards* on cache lines of their own. Threads that use
/// different shards do not slow each other; threads that share one stay correct.
/// A worker gives its number as the shard.
///
/// # Range
///
/// Fields wrap, and the numbers are right as long as
///
/// - concurrency × time between two reports of a reporter is below 2⁶³ ns
///   (292 request-years: 9 million requests in flight for a quarter of an hour),
/// - fewer than 2³¹ requests are in flight in one shard,
/// - fewer than 2³² requests begin between two reports of a reporter.
///
/// Running time and the total of requests are not limited.
pub struct ConcurrencyMeter {
    // Each shard is its own allocation so that a guard can own its shard: the
    // reference count it touches is then as little shared as the shard is.
    shards: Box<[Arc<Shard>]>,
}

/// The cells of one worker, alone on their cache line.
pub(crate) struct Shard(CachePadded<[Cell; 2]>);

/// The sum of the cells of one source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Σ entries, modulo 2³².
    pub(crate) entries: u32,
    /// Σ in flight; negative only while an exit awaits its entry.
    pub(crate) in_flight: i64,
    /// Σ integrals, in request-nanoseconds modulo 2⁶⁴.
    pub(crate) integral: u64,
}

// === impl ConcurrencyMeter ===

impl ConcurrencyMeter {
    /// A meter with `shards` shards, 128 bytes each on most processors. Give it
    /// one per worker thread.
    #[must_use]
    pub fn new(shards: NonZeroUsize) -> Self {
        Self {
            shards: (0..shards.get()).map(|_| Arc::new(Shard::new())).collect(),
        }
    }

    /// Counts a request that begins at `now`.
    ///
    /// The raw event, for callers that bring their own guard. `shard` is taken
    /// modulo the number of shards. The matching [`leave`](Self::leave) must
    /// name the same shard and the same source. Events may be delivered late
    /// and in any order; one that a report missed corrects the next report.
    ///
    /// Lock-free, allocates nothing.
    #[inline]
    pub fn enter(&self, shard: usize, source: Source, now: Tick) {
        self.shard(shard).cell(source).enter(now);
    }

    /// Counts a request that ends at `now`. See [`enter`](Self::enter).
    #[inline]
    pub fn leave(&self, shard: usize, source: Source, now: Tick) {
        self.shard(shard).cell(source).leave(now);
    }

    /// Counts a request that begins at `now`, and returns the guard that counts
    /// its end: when it is dropped, by a look at `clock`, or when it is
    /// [finished](RequestGuard::finish) with a tick that the caller has.
    ///
    /// `shard` is taken modulo the number of shards. Allocates nothing.
    #[inline]
    pub fn begin<C: Clock>(
        &self,
        shard: usize,
        source: Source,
        now: Tick,
        clock: C,
    ) -> RequestGuard<C> {
        RequestGuard::new(Arc::clone(self.shard(shard)), source, now, clock)
    }

    /// Requests in flight. Cost: one read per shard and source.
    ///
    /// Shards are read one after the other. Each is a consistent view, and none
    /// is negative; a request that begins or ends meanwhile may or may not show.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        // The integral is not used, so any tick will do.
        let direct = self.totals(Source::Direct, Tick::ZERO);
        let proxied = self.totals(Source::Proxied, Tick::ZERO);
        InFlight::of(direct, proxied)
    }

    /// A reader whose first period begins at `start`.
    ///
    /// Requests in flight already weigh in its averages from `start` on, but
    /// are not in its counts. Reporters do not disturb each other. An event of
    /// the time before `start` that is delivered only afterwards is counted in
    /// full by the first report.
    #[must_use]
    pub fn reporter(self: &Arc<Self>, start: Tick) -> Reporter {
        Reporter::new(Arc::clone(self), start)
    }

    /// The sum over all shards of one source's cells, integrated up to `now`.
    pub(crate) fn totals(&self, source: Source, now: Tick) -> Totals {
        self.shards
            .iter()
            .map(|shard| shard.cell(source).state())
            .fold(Totals::default(), |totals, state| totals.plus(state, now))
    }

    #[inline]
    fn shard(&self, shard: usize) -> &Arc<Shard> {
        // Division is slow, and not needed by callers that know their number.
        let index = if shard < self.shards.len() {
            shard
        } else {
            shard % self.shards.len()
        };
        &self.shards[index]
    }
}

impl fmt::Debug for ConcurrencyMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyMeter")
            .field("shards", &self.shards.len())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

// === impl Shard ===

impl Shard {
    fn new() -> Self {
        Self(CachePadded::new([Cell::new(), Cell::new()]))
    }

    #[inline]
    pub(crate) fn cell(&self, source: Source) -> &Cell {
        match source {
            Source::Direct => &self.0[0],
            Source::Proxied => &self.0[1],
        }
    }
}

// === impl Totals ===

impl Totals {
    fn plus(self, state: CellState, now: Tick) -> Self {
        Self {
            entries: self.entries.wrapping_add(state.entries),
            in_flight: self.in_flight + state.in_flight(),
            integral: self.integral.wrapping_add(state.integral_at(now)),
        }
    }
}

// === impl InFlight ===

impl InFlight {
    /// A negative sum, an exit that came before its entry, shows as zero.
    pub(crate) fn of(direct: Totals, proxied: Totals) -> Self {
        let shown = |totals: Totals| u64::try_from(totals.in_flight).unwrap_or(0);
        Self {
            total: shown(direct) + shown(proxied),
            proxied: shown(proxied),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn meter(shards: usize) -> ConcurrencyMeter {
        ConcurrencyMeter::new(NonZeroUsize::new(shards).expect("tests ask for at least one"))
    }

    #[test]
    fn shards_are_taken_modulo_their_number() {
        let meter = meter(3);
        meter.enter(1, Source::Direct, Tick::ZERO);
        meter.enter(4, Source::Direct, Tick::ZERO);
        meter.enter(usize::MAX, Source::Direct, Tick::ZERO); // 2⁶⁴ − 1 = 0 (mod 3)
        let per_shard = [0, 1, 2].map(|i: usize| {
            let state = meter.shards[i].cell(Source::Direct).state();
            state.in_flight()
        });
        assert_eq!(per_shard, [1, 2, 0]);
        meter.leave(7, Source::Direct, Tick::ZERO);
        assert_eq!(meter.in_flight().total, 2);
    }

    #[test]
    fn a_proxied_request_is_in_both_figures() {
        let meter = meter(2);
        meter.enter(0, Source::Proxied, Tick::ZERO);
        meter.enter(1, Source::Direct, Tick::ZERO);
        let expected = InFlight {
            total: 2,
            proxied: 1,
        };
        assert_eq!(meter.in_flight(), expected);
        assert!(format!("{meter:?}").contains("proxied: 1"));
    }

    #[test]
    fn an_exit_without_an_entry_shows_as_nothing_in_flight() {
        let meter = meter(1);
        meter.leave(0, Source::Direct, Tick::ZERO);
        assert_eq!(meter.in_flight(), InFlight::default());
    }

    #[test]
    fn shards_do_not_share_a_cache_line() {
        assert!(size_of::<Shard>() >= 64 && align_of::<Shard>() >= 64);
    }
}
