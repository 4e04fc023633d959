//! A request's own mark on the meter, taken back however the request ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::concurrency::Shard;
use crate::{Clock, Source, Tick};

/// One request in flight.
///
/// Made by [`ConcurrencyMeter::begin`](crate::ConcurrencyMeter::begin). The
/// request ends exactly once: at [`finish`](Self::finish), or when the guard is
/// dropped, be it by a cancelled future or by a panic. A guard may move to
/// another thread; it goes on to use the shard it began in.
///
/// An end before the beginning is taken to be the beginning, for no request
/// lasts a negative time.
#[must_use = "a guard that is dropped at once counts a request of no length"]
pub struct RequestGuard<C: Clock> {
    /// `None` once the end has been counted.
    shard: Option<Arc<Shard>>,
    source: Source,
    began: Tick,
    clock: C,
}

impl<C: Clock> RequestGuard<C> {
    #[inline]
    pub(crate) fn new(shard: Arc<Shard>, source: Source, began: Tick, clock: C) -> Self {
        shard.cell(source).enter(began);
        Self {
            shard: Some(shard),
            source,
            began,
            clock,
        }
    }

    /// When the request began.
    pub fn began(&self) -> Tick {
        self.began
    }

    /// How the request came.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Ends the request at `now`, a tick the caller has already read, and
    /// returns how long it lasted. The guard's clock is not read.
    #[inline]
    pub fn finish(mut self, now: Tick) -> Duration {
        self.end(now);
        now.saturating_duration_since(self.began)
    }

    #[inline]
    fn end(&mut self, now: Tick) {
        if let Some(shard) = self.shard.take() {
            shard.cell(self.source).leave(now.max(self.began));
        }
    }
}

impl<C: Clock> Drop for RequestGuard<C> {
    #[inline]
    fn drop(&mut self) {
        if self.shard.is_some() {
            self.end(self.clock.now());
        }
    }
}

impl<C: Clock> fmt::Debug for RequestGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestGuard")
            .field("source", &self.source)
            .field("began", &self.began)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::num::NonZeroUsize;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{ConcurrencyMeter, ManualClock};

    fn meter() -> Arc<ConcurrencyMeter> {
        Arc::new(ConcurrencyMeter::new(NonZeroUsize::MIN))
    }

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(nanos)
    }

    /// A clock that may not be read.
    struct Forbidden;

    impl Clock for Forbidden {
        fn now(&self) -> Tick {
            panic!("the clock was read");
        }
    }

    #[test]
    fn finish_uses_the_tick_it_is_given_and_counts_once() {
        let meter = meter();
        let mut reporter = meter.reporter(at(0));
        let guard = meter.begin(0, Source::Direct, at(10), Forbidden);
        assert_eq!((guard.began(), guard.source()), (at(10), Source::Direct));
        assert_eq!(guard.finish(at(40)), Duration::from_nanos(30));
        let report = reporter.report(at(100));
        assert_eq!((report.requests, report.in_flight.total), (1, 0));
        assert_eq!(report.average_concurrency, 0.3);
    }

    #[test]
    fn drop_reads_the_clock() {
        let meter = meter();
        let clock = ManualClock::default();
        let mut reporter = meter.reporter(clock.now());
        let guard = meter.begin(5, Source::Proxied, clock.now(), &clock);
        clock.advance(Duration::from_nanos(25));
        drop(guard);
        let now = clock.advance(Duration::from_nanos(75));
        assert_eq!(reporter.report(now).average_proxied_concurrency, 0.25);
    }

    #[test]
    fn a_panic_leaks_nothing() {
        let meter = meter();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _guard = meter.begin(0, Source::Direct, at(0), at(1));
            panic!("a handler failed");
        }));
        assert!(outcome.is_err());
        assert_eq!(meter.in_flight().total, 0);
    }

    #[test]
    fn no_request_lasts_a_negative_time() {
        let meter = meter();
        let mut reporter = meter.reporter(at(0));
        let guard = meter.begin(0, Source::Direct, at(50), Forbidden);
        assert_eq!(guard.finish(at(20)), Duration::ZERO);
        drop(meter.begin(0, Source::Direct, at(50), at(20)));
        meter
            .begin(0, Source::Direct, at(50), Forbidden)
            .finish(at(90));
        assert_eq!(
            reporter.report(at(100)).request_time,
            Duration::from_nanos(40)
        );
    }

    #[test]
    fn a_guard_outlives_its_meter() {
        let meter = meter();
        let guard = meter.begin(0, Source::Direct, at(0), at(1));
        drop(meter);
        assert!(format!("{guard:?}").contains("Direct"));
        drop(guard);
    }
}
