//! What a meter says about the time between two questions.

use std::sync::Arc;
use std::time::Duration;

use crate::concurrency::Totals;
use crate::{ConcurrencyMeter, InFlight, Source, Tick};

/// Asks a meter, period after period.
///
/// Each reporter has a baseline of its own, so several may watch one meter at
/// different intervals. A reporter does not slow the writers.
///
/// # Conservation
///
/// [`request_time`](ConcurrencyReport::request_time), summed over the reports,
/// is the integral of concurrency since the reporter began, to the nanosecond.
/// Nothing is lost when an event's tick and its delivery fall into different
/// periods:
///
/// - An event of an earlier period that is delivered late corrects the next
///   report, up or down.
/// - If the corrections exceed what the period itself had, the integral would
///   be negative. The report then says zero, and the rest is carried forward
///   and set against later reports.
/// - The same holds for an event with a tick later than the report's: the
///   reader looked at its clock a moment before the writer did.
#[derive(Debug)]
pub struct Reporter {
    meter: Arc<ConcurrencyMeter>,
    /// Where the next period begins.
    last: Tick,
    direct: Baseline,
    proxied: Baseline,
}

/// The load over one period.
///
/// A proxied request is in both the total figures and the proxied ones, so no
/// proxied figure exceeds its total.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ConcurrencyReport {
    /// The measured length of the period: from the last report to this one, or
    /// zero if the tick given was not later than the last.
    pub period: Duration,
    /// The time requests spent here during the period, each request counted by
    /// itself: the integral of concurrency over time. Zero if the period is.
    pub request_time: Duration,
    /// The part of [`request_time`](Self::request_time) of proxied requests.
    pub proxied_request_time: Duration,
    /// `request_time / period`: how many requests were here on average, weighted
    /// by time. Zero if the period is zero, as in Knative's queue-proxy.
    pub average_concurrency: f64,
    /// `proxied_request_time / period`, or zero if the period is zero.
    pub average_proxied_concurrency: f64,
    /// Requests that began during the period, as far as they had been delivered.
    pub requests: u64,
    /// The proxied ones among them.
    pub proxied_requests: u64,
    /// Requests in flight at the end of the period.
    pub in_flight: InFlight,
}

/// What a reporter has handed out already of one source.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    entries: u32,
    /// Request-nanoseconds modulo 2⁶⁴.
    integral: u64,
}

// === impl Reporter ===

impl Reporter {
    pub(crate) fn new(meter: Arc<ConcurrencyMeter>, start: Tick) -> Self {
        let direct = Baseline::at(meter.totals(Source::Direct, start));
        let proxied = Baseline::at(meter.totals(Source::Proxied, start));
        Self {
            meter,
            last: start,
            direct,
            proxied,
        }
    }

    /// The load since the last report, or since the reporter's start.
    ///
    /// A `now` that is not later than the last one makes a period of zero: its
    /// averages are zero, requests that arrived are in its counts, and their
    /// time is left for the next report.
    ///
    /// Cost: one read per shard and source. Allocates nothing.
    pub fn report(&mut self, now: Tick) -> ConcurrencyReport {
        let now = now.max(self.last);
        let period = now.saturating_duration_since(self.last);
        let direct = self.meter.totals(Source::Direct, now);
        let proxied = self.meter.totals(Source::Proxied, now);

        let direct_requests = self.direct.take_requests(direct);
        let proxied_requests = self.proxied.take_requests(proxied);
        // Without a period there is no average that could account for the time.
        let (direct_time, proxied_time) = if period.is_zero() {
            (Duration::ZERO, Duration::ZERO)
        } else {
            // Each source is held at zero by itself, lest a proxied figure
            // exceed its total.
            (
                self.direct.take_time(direct),
                self.proxied.take_time(proxied),
            )
        };
        self.last = now;

        let request_time = direct_time.saturating_add(proxied_time);
        ConcurrencyReport {
            period,
            request_time,
            proxied_request_time: proxied_time,
            average_concurrency: ratio(request_time, period),
            average_proxied_concurrency: ratio(proxied_time, period),
            requests: direct_requests + proxied_requests,
            proxied_requests,
            in_flight: InFlight::of(direct, proxied),
        }
    }
}

// === impl ConcurrencyReport ===

impl ConcurrencyReport {
    /// Requests per measured second, or zero if the period is zero.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        per_second(self.requests, self.period)
    }

    /// Proxied requests per measured second, or zero if the period is zero.
    #[must_use]
    pub fn proxied_requests_per_second(&self) -> f64 {
        per_second(self.proxied_requests, self.period)
    }
}

// === impl Baseline ===

impl Baseline {
    fn at(totals: Totals) -> Self {
        Self {
            entries: totals.entries,
            integral: totals.integral,
        }
    }

    /// The entries since the last time, and remembers that they were taken.
    fn take_requests(&mut self, totals: Totals) -> u64 {
        let fresh = totals.entries.wrapping_sub(self.entries);
        self.entries = totals.entries;
        u64::from(fresh)
    }

    /// The integral since the last time if positive. A negative one is left
    /// where it is, for the next report to make good.
    fn take_time(&mut self, totals: Totals) -> Duration {
        let due = totals.integral.wrapping_sub(self.integral).cast_signed();
        let taken = due.max(0).cast_unsigned();
        self.integral = self.integral.wrapping_add(taken);
        Duration::from_nanos(taken)
    }
}

/// The quotient of two exact nanosecond counts, so rounded once per operand
/// (not at all below 2⁵³ ns, 104 days) and once for the division.
fn ratio(time: Duration, period: Duration) -> f64 {
    if period.is_zero() {
        return 0.0;
    }
    time.as_nanos() as f64 / period.as_nanos() as f64
}

fn per_second(count: u64, period: Duration) -> f64 {
    if period.is_zero() {
        return 0.0;
    }
    count as f64 / period.as_secs_f64()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn meter() -> Arc<ConcurrencyMeter> {
        let two = NonZeroUsize::new(2).expect("two is not zero");
        Arc::new(ConcurrencyMeter::new(two))
    }

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(nanos)
    }

    #[test]
    fn f15_rates_are_per_measured_second() {
        let meter = meter();
        let mut reporter = meter.reporter(at(0));
        for i in 0..30 {
            let source = [Source::Direct, Source::Proxied][i % 2];
            meter.enter(i, source, at(5));
        }
        // A late timer: 1.5 s, not the nominal 1 s.
        let report = reporter.report(at(1_500_000_000));
        assert_eq!(report.requests_per_second(), 20.0);
        assert_eq!(report.proxied_requests_per_second(), 10.0);
    }

    #[test]
    fn a_period_of_zero_has_no_averages_and_loses_nothing() {
        let meter = meter();
        let mut reporter = meter.reporter(at(100));
        meter.enter(0, Source::Direct, at(40)); // late: 60 ns before the start
        for now in [100, 70] {
            let report = reporter.report(at(now));
            assert_eq!((report.period, report.request_time), Default::default());
            assert_eq!(report.average_concurrency, 0.0);
            assert_eq!(report.requests_per_second(), 0.0);
            assert_eq!(report.proxied_requests_per_second(), 0.0);
            assert_eq!(report.requests, u64::from(now == 100));
            assert_eq!(report.in_flight.total, 1);
        }
        let report = reporter.report(at(110));
        assert_eq!(report.request_time, Duration::from_nanos(70));
    }

    #[test]
    fn an_event_later_than_the_report_is_set_against_the_next() {
        let meter = meter();
        let mut reporter = meter.reporter(at(0));
        meter.enter(0, Source::Direct, at(103));
        let early = reporter.report(at(100));
        assert_eq!((early.requests, early.average_concurrency), (1, 0.0));
        let next = reporter.report(at(200));
        assert_eq!(next.request_time, Duration::from_nanos(97));
    }

    #[test]
    fn a_late_exit_lowers_the_reports_that_follow() {
        let meter = meter();
        let mut reporter = meter.reporter(at(0));
        meter.enter(0, Source::Direct, at(0));
        assert_eq!(reporter.report(at(100)).average_concurrency, 1.0);
        // It ended at 30, so the report above said 70 ns too much.
        meter.leave(0, Source::Direct, at(30));
        assert_eq!(reporter.report(at(150)).average_concurrency, 0.0);
        meter.enter(1, Source::Direct, at(150));
        assert_eq!(reporter.report(at(200)).average_concurrency, 0.0);
        assert_eq!(reporter.report(at(300)).average_concurrency, 0.8);
    }

    #[test]
    fn proxied_figures_never_exceed_the_total() {
        let meter = meter();
        let mut reporter = meter.reporter(at(0));
        meter.enter(0, Source::Direct, at(500)); // −400 at 100
        meter.enter(0, Source::Proxied, at(50)); // +50
        let report = reporter.report(at(100));
        assert_eq!(report.average_concurrency, 0.5);
        assert_eq!(report.average_proxied_concurrency, 0.5);
    }

    #[test]
    fn reporters_are_independent() {
        let meter = meter();
        let mut fast = meter.reporter(at(0));
        let mut slow = meter.reporter(at(0));
        meter.enter(0, Source::Direct, at(0));
        for now in [10, 20, 30] {
            assert_eq!(fast.report(at(now)).requests, u64::from(now == 10));
        }
        let mut newcomer = meter.reporter(at(30));
        meter.leave(0, Source::Direct, at(40));
        let report = slow.report(at(80));
        assert_eq!((report.requests, report.average_concurrency), (1, 0.5));
        let report = newcomer.report(at(50));
        assert_eq!((report.requests, report.average_concurrency), (0, 0.5));
    }

    #[test]
    fn a_load_near_the_limit_of_the_range_is_exact() {
        let meter = meter();
        let mut reporter = meter.reporter(at(u64::MAX / 2));
        meter.enter(0, Source::Direct, at(u64::MAX / 2));
        let report = reporter.report(at(u64::MAX - 1));
        assert_eq!(report.request_time, Duration::from_nanos(i64::MAX as u64));
        assert_eq!(report.average_concurrency, 1.0);
    }
}
