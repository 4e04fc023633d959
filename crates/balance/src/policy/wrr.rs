//! Weights from success rate, latency and load.
//!
//! Kratos's idea: measure what each endpoint did within the last second, make
//! one number of it, and select in proportion. `kratos.rs` is that balancer as
//! it was. Here is what it should have been.
//!
//! # The score
//!
//! > successes / time spent on all requests / load
//!
//! That is goodput per slot: how many good answers one unit of time spent at
//! this endpoint brings. It is the success rate times the inverse of the mean
//! latency, where failures are charged at least a penalty, and never less than
//! an ordinary answer takes. So another failure adds to the divisor only, and *cannot* raise the score, however fast it comes. Weights in
//! proportion to it give every endpoint the same number of requests in flight
//! (Little's law), where Kratos's square root leaves a slow one with three
//! times as many as it should have. If nothing comes back at all, those who wait
//! are charged their age: an endpoint that hangs loses weight before the first
//! request has timed out.
//!
//! # From scores to weights
//!
//! Scores are relative: 1 is the median of the endpoints. Once a second
//! [`Windows::step`] moves an endpoint's weight toward its score, less if there
//! is little evidence, and at most by the factor [`STEP_MAX`] a second. As far
//! as evidence is missing the weight drifts back to 1 with [`DRIFT`]: what is
//! not used is not known, and will be tried again. No weight is below
//! [`RATIO_MIN`] or above [`RATIO_MAX`], so nobody starves, and nobody takes all.
//!
//! How fast it moves decides whether it helps at all. Latency follows load, and
//! so weight, load and latency are a loop with a delay. In a busy service queues
//! take seconds to drain, and a weight that answers within seconds drives them
//! in waves. With ten servers of 8 slots, 95 % busy, answering in 42 ms under
//! round robin, Kratos's once-a-second jumps make it 630 ms, and a half-life of
//! 2 s does too. One of 10 s makes it 44 ms. So the usual pace is
//! [`HALF_LIFE`]; but if a score is off by [`FAR_RATIO`] on one side for longer
//! than a wave takes ([`PATIENCE`]), or comes from failures, the weight follows
//! with [`HALF_LIFE_CERTAIN`].
//!
//! Rejected: to keep sums that decay instead of windows. It is simpler, but an
//! incident then colours the weights for as long as the sums remember, and one
//! cannot say which second a weight stands for.

pub(crate) mod score;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_meter::{Ewma, RollingCounter, Sample, Tally, Tick, WindowShape};

use self::score::{Evidence, Target};
use super::{kratos, orca};
use crate::LoadReport;
use crate::config::{ConfigError, check_duration, refuse};
use crate::view::WindowView;

/// Buckets of the windows, and how long each is. Kratos has the same.
pub(crate) const WINDOW: (usize, Duration) = (10, Duration::from_millis(100));

/// The smallest weight, relative to the median endpoint: the least share that
/// an endpoint is left, to see whether it has recovered.
pub(crate) const RATIO_MIN: f64 = 0.01;

/// The largest weight, relative to the median endpoint.
pub(crate) const RATIO_MAX: f64 = 10.0;

/// The time in which a weight goes half of the way to the score.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(10);

/// The same once it is certain that the score is not a wave or noise.
pub(crate) const HALF_LIFE_CERTAIN: Duration = Duration::from_secs(1);

/// How many times too large or too small a weight is if it is far off.
pub(crate) const FAR_RATIO: f64 = 3.0;

/// How long it is far off, on the same side, before that is certain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// The confidence that it takes to say that a weight is far off: four requests.
const FAR_CONFIDENCE: f64 = 0.28;

/// The most by which a weight changes in a second, as a factor.
pub(crate) const STEP_MAX: f64 = 2.0;

/// The time constant by which a weight without evidence returns to the median's.
pub(crate) const DRIFT: Duration = Duration::from_secs(30);

/// Latencies that are more times the usual count as this many. A single answer
/// that took a thousand times as long must not drown all others in the mean.
const LATENCY_RATIO_MAX: f64 = 30.0;

/// Latencies above count as this, so that no sum overflows.
const LATENCY_MAX: Duration = Duration::from_secs(3_600);

/// The time constant by which reported load is smoothed, and forgotten.
const LOAD_DECAY: Duration = Duration::from_secs(5);

/// The longest time between two updates that a step makes up for.
const ELAPSED_MAX: Duration = Duration::from_secs(60);

/// The shortest and the longest [`WrrConfig::update_period`].
const UPDATE_PERIODS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// Settings of [`Policy::Wrr`](crate::Policy::Wrr).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrrConfig {
    /// Which formulas are used.
    pub mode: WrrMode,
    /// How often weights are renewed, 100 ms to 60 s. 1 s by default. Kratos's
    /// is 1 s whatever this says.
    pub update_period: Duration,
    /// What a failure costs at least, in latency; never less than an ordinary
    /// answer takes. 1 s by default. Kratos's cost nothing.
    pub failure_penalty: Duration,
}

/// Which formulas [`Policy::Wrr`](crate::Policy::Wrr) uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WrrMode {
    /// Failures cost latency, nothing is cut to whole units, nobody starves,
    /// weights move smoothly. The default.
    #[default]
    Corrected,
    /// As in Kratos v1, faults included. For comparison.
    Kratos,
}

/// What an endpoint did within the last second, and the weight that has come of
/// it. Lock-free; belongs to the address.
pub(crate) struct Windows {
    /// Latencies of successes, in nanoseconds.
    successes: RollingCounter,
    /// Latencies of failures, in nanoseconds.
    failures: RollingCounter,
    /// Reported load, as a fraction.
    load: Ewma,
    /// The processor load of the last report in permille, as Kratos keeps it.
    cpu: AtomicU64,
    /// The weight relative to the median endpoint's, as the bits of an `f64`.
    ratio: AtomicU64,
    /// [`Course::far_for`], as the bits of an `f64`.
    far_for: AtomicU64,
    /// Whether latencies are cut to Kratos's unit.
    truncates: AtomicBool,
    /// Latencies above count as this many nanoseconds.
    longest: AtomicU64,
    /// Requests that were out when evidence was last taken.
    out_before: AtomicU32,
}

/// A weight on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Course {
    /// The weight relative to the median endpoint's.
    ratio: f64,
    /// For how many seconds the score has been far off, and on which side: above
    /// if positive.
    far_for: f64,
}

impl Default for WrrConfig {
    fn default() -> Self {
        Self {
            mode: WrrMode::Corrected,
            update_period: Duration::from_secs(1),
            failure_penalty: Duration::from_secs(1),
        }
    }
}

impl WrrConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !UPDATE_PERIODS.contains(&self.update_period) {
            let got = format!("{:?}", self.update_period);
            return Err(refuse("policy.wrr.update_period", got, "100 ms to 60 s"));
        }
        check_duration("policy.wrr.failure_penalty", self.failure_penalty)
    }
}

impl Default for Windows {
    /// Nothing is known: the weight of the median endpoint.
    fn default() -> Self {
        let (buckets, duration) = WINDOW;
        let shape = WindowShape::new(buckets, duration).expect("ten buckets of 100 ms can be");
        // All windows turn at the same instants, whenever they were made.
        let window = || RollingCounter::new(shape, Tick::ZERO);
        Self {
            successes: window(),
            failures: window(),
            load: Ewma::new(LOAD_DECAY).expect("five seconds are a time constant"),
            cpu: AtomicU64::new(kratos::CPU_DEFAULT),
            ratio: AtomicU64::new(1_f64.to_bits()),
            far_for: AtomicU64::new(0),
            truncates: AtomicBool::new(false),
            longest: AtomicU64::new(LATENCY_MAX.as_nanos() as u64),
            out_before: AtomicU32::new(0),
        }
    }
}

impl Windows {
    /// Whether latencies are cut to Kratos's unit from now on.
    pub(crate) fn set_mode(&self, mode: WrrMode) {
        let is_kratos = mode == WrrMode::Kratos;
        self.truncates.store(is_kratos, Ordering::Relaxed);
        if is_kratos {
            self.set_longest(LATENCY_MAX);
        }
    }

    /// What the usual latency of all endpoints is, in seconds: much longer ones
    /// count as less from now on.
    pub(crate) fn set_usual(&self, usual: f64) {
        let longest = Duration::try_from_secs_f64(usual * LATENCY_RATIO_MAX);
        self.set_longest(longest.unwrap_or(LATENCY_MAX).min(LATENCY_MAX));
    }

    fn set_longest(&self, longest: Duration) {
        self.longest
            .store(longest.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Takes in how a request ended.
    #[inline]
    pub(crate) fn record(&self, now: Tick, latency: Duration, failed: bool) {
        let longest = Duration::from_nanos(self.longest.load(Ordering::Relaxed));
        let mut nanos = latency.min(longest).as_nanos() as u64;
        if self.truncates.load(Ordering::Relaxed) {
            nanos -= nanos % kratos::LATENCY_UNIT.as_nanos() as u64;
        }
        let window = if failed {
            &self.failures
        } else {
            &self.successes
        };
        window.add(now, nanos);
    }

    /// Takes in a report that [makes sense](orca::makes_sense).
    pub(crate) fn hear(&self, now: Tick, report: &LoadReport) {
        if let Some(load) = orca::utilization(report).and_then(Sample::new) {
            self.load.record(now, load);
        }
        let permille = report
            .cpu_utilization
            .map_or(0.0, |cpu| (cpu * 1_000.0).round());
        if permille > 0.0 {
            self.cpu.store(permille as u64, Ordering::Relaxed);
        }
    }

    /// What the window holds. `in_flight` requests are out, and nothing has
    /// come back for `stall`.
    ///
    /// Only as many count as stalled as there are more than last time. The
    /// others were seen then: a thousand long polls do not speak against an
    /// endpoint each time that it has little else to do.
    pub(crate) fn take_evidence(
        &self,
        now: Tick,
        in_flight: u32,
        stall: Option<Duration>,
    ) -> Evidence {
        let before = self.out_before.swap(in_flight, Ordering::Relaxed);
        let more = in_flight.saturating_sub(before);
        let of = |window: &RollingCounter| {
            let Tally { count, sum } = window.tally(now);
            (count, sum as f64 * 1e-9)
        };
        Evidence {
            successes: of(&self.successes),
            failures: of(&self.failures),
            stalled: stall.map_or((0, 0.0), |age| (more, age.as_secs_f64())),
            load: self.load.read(now).map(|load| (load.mean, load.weight)),
        }
    }

    /// For people and for metrics.
    pub(crate) fn view(&self, now: Tick) -> WindowView {
        let Tally { count, sum } = self.successes.tally(now);
        WindowView {
            ratio: self.ratio(),
            successes: count,
            failures: self.failures.tally(now).count,
            latency: sum.checked_div(count).map(Duration::from_nanos),
            load: self.load.read(now).map(|load| load.mean),
        }
    }

    /// What Kratos would see in the window.
    pub(crate) fn observed(&self, now: Tick) -> kratos::Observed {
        let (successes, failures) = (self.successes.tally(now), self.failures.tally(now));
        let requests = successes.count + failures.count;
        let nanos = successes.sum.saturating_add(failures.sum);
        kratos::Observed {
            errors: failures.count,
            requests,
            latency_sum: nanos / kratos::LATENCY_UNIT.as_nanos() as u64,
            latency_count: requests,
            cpu: self.cpu.load(Ordering::Relaxed),
        }
    }

    /// The weight relative to the median endpoint's.
    pub(crate) fn ratio(&self) -> f64 {
        f64::from_bits(self.ratio.load(Ordering::Relaxed))
    }

    /// Moves the weight toward `target`, or as far as that is unknown, toward 1.
    /// One thread at a time may do this.
    pub(crate) fn step(&self, target: Target, elapsed: Duration) {
        let far_for = f64::from_bits(self.far_for.load(Ordering::Relaxed));
        let course = Course {
            ratio: self.ratio(),
            far_for,
        };
        let next = course.toward(target, elapsed);
        self.ratio.store(next.ratio.to_bits(), Ordering::Relaxed);
        self.far_for
            .store(next.far_for.to_bits(), Ordering::Relaxed);
    }
}

impl Course {
    fn toward(self, target: Target, elapsed: Duration) -> Self {
        let elapsed = elapsed.min(ELAPSED_MAX).as_secs_f64();
        let way = libm::log(target.ratio / self.ratio);
        let far_for = self.far_for(way, target.confidence, elapsed);
        let is_certain = far_for.abs() >= PATIENCE.as_secs_f64() || (target.failing && way < 0.0);
        let half_life = if is_certain {
            HALF_LIFE_CERTAIN
        } else {
            HALF_LIFE
        };
        let part = target.confidence * (1.0 - libm::exp2(-elapsed / half_life.as_secs_f64()));
        let most = libm::log(STEP_MAX) * elapsed;
        let moved = libm::log(self.ratio) + (way * part).clamp(-most, most);
        let unknown = 1.0 - target.confidence;
        let drifted = moved * libm::exp(-elapsed * unknown / DRIFT.as_secs_f64());
        Self {
            ratio: libm::exp(drifted).clamp(RATIO_MIN, RATIO_MAX),
            far_for,
        }
    }

    /// How long the score has been far off on one side, this time included.
    fn far_for(self, way: f64, confidence: f64, elapsed: f64) -> f64 {
        if way.abs() < libm::log(FAR_RATIO) || confidence < FAR_CONFIDENCE {
            return 0.0;
        }
        let so_far = if self.far_for * way > 0.0 {
            self.far_for
        } else {
            0.0
        };
        so_far + elapsed.copysign(way)
    }
}
