//! Exact, lock-free statistics of requests: how many run at once, how long they
//! take, and what happened in the last seconds.
//!
//! # Overview
//!
//! - [`ConcurrencyMeter`] counts requests in and out. Hot paths call
//!   [`begin`](ConcurrencyMeter::begin) and hold the [`RequestGuard`] for as
//!   long as the request lasts.
//! - [`Reporter`] asks a meter for the time-weighted average concurrency since
//!   it last asked, and gets a [`ConcurrencyReport`]. There may be many, each
//!   with its own rhythm: one for an autoscaler, one for a scrape.
//! - [`Histogram`] sorts durations into buckets fit for Prometheus.
//! - [`RollingCounter`], [`RollingGauge`] and [`RollingSummary`] are windows over
//!   the last buckets of time; [`RollingWindow`] is what they have in common, and
//!   a [`WindowShape`] says how many buckets of which length. [`PointGauge`] has
//!   the last samples, whenever they came.
//! - [`Ewma`] is a mean that forgets, [`PeakEwma`] a peak that decays.
//! - [`Counter`] and [`Gauge`] are numbers without a window.
//! - [`Tick`] is a point in time, and [`Clock`] is where it comes from.
//!
//! The crate reads no clock, does no I/O, starts no thread and logs nothing.
//! Time is an argument, so whatever it says can be tested without waiting.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::sync::Arc;
//! use std::time::Duration;
//! use plimsoll_meter::{Clock, ConcurrencyMeter, ManualClock, Source};
//!
//! let clock = ManualClock::default();
//! let meter = Arc::new(ConcurrencyMeter::new(NonZeroUsize::MIN));
//! let mut reporter = meter.reporter(clock.now());
//!
//! let long = meter.begin(0, Source::Direct, clock.now(), &clock);
//! clock.advance(Duration::from_millis(500));
//! let short = meter.begin(0, Source::Proxied, clock.now(), &clock);
//! drop(short); // it lasted no time at all
//!
//! let report = reporter.report(clock.advance(Duration::from_millis(500)));
//! assert_eq!(report.average_concurrency, 1.0);
//! assert_eq!((report.requests, report.proxied_requests), (2, 1));
//!
//! clock.advance(Duration::from_millis(250));
//! drop(long); // a quarter into the second period
//! let report = reporter.report(clock.advance(Duration::from_millis(750)));
//! assert_eq!(report.average_concurrency, 0.25);
//! assert_eq!((report.requests, report.in_flight.total), (0, 0));
//! ```
//!
//! # Windows
//!
//! ```
//! use std::time::Duration;
//! use plimsoll_meter::{RollingCounter, RollingSummary, Tick, WindowShape};
//!
//! let start = Tick::ZERO;
//! let errors = RollingCounter::new(WindowShape::new(10, Duration::from_millis(100))?, start);
//! let latency = RollingSummary::new(WindowShape::new(2, Duration::from_secs(5))?, start);
//!
//! // One reading of the clock for all that is known of a request.
//! let now = Tick::from_nanos(40_000_000);
//! errors.add(now, 1);
//! latency.record(now, Duration::from_millis(3));
//! assert_eq!(errors.mean_per_call(now), Some(1.0));
//! assert_eq!(latency.quantile(now, 0.99), Some(Duration::from_millis(3)));
//!
//! // A second later the first has left its window, and the second has not.
//! let later = now.saturating_add(Duration::from_secs(1));
//! assert_eq!(errors.mean_per_call(later), None);
//! assert_eq!(latency.count(later), 1);
//! # Ok::<(), plimsoll_meter::WindowError>(())
//! ```
//!
//! Those who know the windows of Kratos find here:
//!
//! | Kratos | here |
//! | --- | --- |
//! | `RollingPolicy`, `Window`, `Bucket` | [`RollingWindow`], [`Bucket`] |
//! | `RollingCounter` | [`RollingCounter`]; a negative value cannot be expressed |
//! | `RollingGauge` | [`RollingGauge`], or [`RollingSummary`] on a hot path |
//! | `Reduce(func(Iterator) float64)` | [`RollingCounter::reduce`], which gives what the closure gives |
//! | `Timespan()` | [`RollingCounter::timespan`] |
//! | `Sum`, `Avg`, `Min`, `Max`, `Count` | `sum`, `mean`, `min`, `max`, `count`; `None` without data |
//! | `PointGauge`, `PointPolicy` | [`PointGauge`] |
//! | `Counter`, `Gauge` | [`Counter`], [`Gauge`] |
//! | `CounterVec`, `GaugeVec` | `Metric` in `plimsoll-wire`, with labels at each scrape |
//!
//! # Why a sum, and not a running average
//!
//! The usual way to weigh concurrency by time is to keep the time of the last
//! change, and at each event to add *concurrency × time since then* to a running
//! total. It needs a lock around four fields, for each event depends on the one
//! before. It also needs events in the order of their times. Threads that read
//! the clock and then take the lock do not give it that, so an event from the
//! past has to be moved to the present or dropped.
//!
//! The same integral is a sum with one term per event:
//!
//! > Σ exit times − Σ entry times + in flight × now
//!
//! Sums do not mind the order, so late events need no excuse; they can be split
//! over shards and added up by the reader; and in wrapping integer nanoseconds
//! they are exact however long they run. What has to be read together, two
//! counts and one sum of times, fits one 128-bit word (`cell.rs` tells how, and
//! what was measured against it).

mod cell;
mod clock;
mod concurrency;
mod decay;
mod ewma;
mod guard;
mod histogram;
mod peak_ewma;
mod point_gauge;
mod report;
mod sample;
mod scalar;
mod snapshot;
mod sync;
mod tick;
mod window;

#[cfg(all(test, loom))]
mod loom_tests;

pub use clock::{Clock, ManualClock};
pub use concurrency::{ConcurrencyMeter, InFlight, Source};
pub use decay::{Decay, DecayError};
pub use ewma::{Average, Ewma};
pub use guard::RequestGuard;
pub use histogram::{Histogram, HistogramError, REQUEST_TIME_BOUNDS};
pub use peak_ewma::PeakEwma;
pub use point_gauge::{PointGauge, Points};
pub use report::{ConcurrencyReport, Reporter};
pub use sample::Sample;
pub use scalar::{Counter, Gauge};
pub use snapshot::{BoundsDiffer, HistogramSnapshot};
pub use tick::Tick;
pub use window::{
    Bucket, CounterBuckets, GaugeBuckets, GaugeReading, Place, Recycled, RollingCounter,
    RollingGauge, RollingSummary, RollingWindow, Slot, Slots, SummarySnapshot, Tally, WindowError,
    WindowShape,
};
