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
//! times as many as it should have. Requests that nothing came back from for
//! longer than usual are charged their age: an endpoint that hangs loses
//! weight before the first request has timed out.
//!
//! # From scores to weights
//!
//! Scores are relative: 1 is the median of the endpoints. Each second
//! [`Windows::step`] moves an endpoint's weight toward its score, half of the
//! way in [`HALF_LIFE`] if there is much evidence, less if there is little; at
//! most by the factor [`STEP_MAX`] a second, for otherwise all clients of an
//! endpoint flee it at once and come back at once. As far as evidence is
//! missing, the weight drifts back to 1 with [`DRIFT`]: what is not used is
//! not known, and will be tried again. No weight is below [`RATIO_MIN`] or above
//! [`RATIO_MAX`], so nobody starves, and nobody takes all.
//!
//! Rejected: to keep sums that decay instead of windows. It is simpler, but an
//! incident then colours the weights for as long as the sums remember, and one
//! cannot say which second a weight stands for.

#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::rolling::RollingCounter;
use plimsoll_meter::{Ewma, Sample, Tick};

use super::{kratos, orca};
use crate::LoadReport;
use crate::config::{ConfigError, check_duration, refuse};

/// Buckets of the windows, and how long each is. Kratos has the same.
pub(crate) const WINDOW: (usize, Duration) = (10, Duration::from_millis(100));

/// The smallest weight, relative to the median endpoint: the least share that
/// an endpoint is left, to see whether it has recovered.
pub(crate) const RATIO_MIN: f64 = 0.01;

/// The largest weight, relative to the median endpoint.
pub(crate) const RATIO_MAX: f64 = 10.0;

/// The time in which a weight goes half of the way to the score.
///
/// Latency grows with load, so weight, load and latency are a loop. With `k`
/// the percentage by which latency grows per percent of load, and `g` the part
/// of the way made in a second, it settles if `g × (1 + k) < 2`. Two seconds
/// (`g` = 0.29) are stable up to `k` = 5.8: one server 85 % busy.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(2);

/// The most by which a weight changes in a second, as a factor.
pub(crate) const STEP_MAX: f64 = 2.0;

/// The time constant by which a weight without evidence returns to the median's.
pub(crate) const DRIFT: Duration = Duration::from_secs(30);

/// Requests in the window that are half of the evidence one could wish for. The
/// mean of so many exponential times is right within 32 %.
pub(crate) const EVIDENCE_HALF: f64 = 10.0;

/// How many times the usual latency nothing must come back before those who
/// wait for it are charged.
pub(crate) const STALL_RATIO: f64 = 2.0;

/// Latencies below count as this: what differs there is noise.
pub(crate) const LATENCY_MIN: Duration = Duration::from_micros(1);

/// Latencies above count as this, so that no sum overflows.
const LATENCY_MAX: Duration = Duration::from_secs(3_600);

/// Loads below count as this: whether a processor is busy 1 % or 2 % of the
/// time does not say that one endpoint has twice the room.
pub(crate) const LOAD_MIN: f64 = 0.1;

/// The time constant by which reported load is smoothed, and forgotten.
const LOAD_DECAY: Duration = Duration::from_secs(5);

/// Reports that the mean of the others counts as, against an endpoint's own.
const LOAD_PRIOR: f64 = 1.0;

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
    /// Whether latencies are cut to Kratos's unit.
    truncates: AtomicBool,
}

/// What an endpoint has shown in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    /// Requests that succeeded, and the seconds that they took together.
    pub(crate) successes: (u64, f64),
    /// Requests that failed, and the seconds that they took together.
    pub(crate) failures: (u64, f64),
    /// Requests that are out while nothing comes back, and since when, in seconds.
    pub(crate) stalled: (u32, f64),
    /// Reported load, and how many reports it stands for.
    pub(crate) load: Option<(f64, f64)>,
}

/// Where the evidence says that a weight should be, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    /// The weight relative to the median endpoint's.
    pub(crate) ratio: f64,
    /// From 0, nothing is known, to 1.
    pub(crate) confidence: f64,
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
        let window = || RollingCounter::new(buckets, duration);
        Self {
            successes: window(),
            failures: window(),
            load: Ewma::new(LOAD_DECAY).expect("five seconds are a time constant"),
            cpu: AtomicU64::new(kratos::CPU_DEFAULT),
            ratio: AtomicU64::new(1_f64.to_bits()),
            truncates: AtomicBool::new(false),
        }
    }
}

impl Windows {
    /// Whether latencies are cut to Kratos's unit from now on.
    pub(crate) fn set_mode(&self, mode: WrrMode) {
        self.truncates
            .store(mode == WrrMode::Kratos, Ordering::Relaxed);
    }

    /// Takes in how a request ended.
    #[inline]
    pub(crate) fn record(&self, now: Tick, latency: Duration, failed: bool) {
        let mut nanos = latency.min(LATENCY_MAX).as_nanos() as u64;
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
    pub(crate) fn evidence(&self, now: Tick, in_flight: u32, stall: Option<Duration>) -> Evidence {
        let of = |window: &RollingCounter| {
            let (count, nanos) = window.tally(now);
            (count, nanos as f64 * 1e-9)
        };
        Evidence {
            successes: of(&self.successes),
            failures: of(&self.failures),
            stalled: stall.map_or((0, 0.0), |age| (in_flight, age.as_secs_f64())),
            load: self.load.read(now).map(|load| (load.mean, load.weight)),
        }
    }

    /// What Kratos would see in the window.
    pub(crate) fn observed(&self, now: Tick) -> kratos::Observed {
        let (successes, took) = self.successes.tally(now);
        let (errors, failing_took) = self.failures.tally(now);
        let nanos = took.saturating_add(failing_took);
        let requests = successes + errors;
        kratos::Observed {
            errors,
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
        let next = stepped(self.ratio(), target, elapsed);
        self.ratio.store(next.to_bits(), Ordering::Relaxed);
    }
}

/// Where the weights of these endpoints should be.
///
/// If nobody succeeded at anything, nothing is known about anybody: there is
/// no better one to send more to.
pub(crate) fn targets(evidence: &[Evidence], penalty: Duration) -> Vec<Target> {
    let Some(usual) = usual_latency(evidence) else {
        return vec![Target::UNKNOWN; evidence.len()];
    };
    let loads = Loads::of(evidence);
    let scores: Vec<(f64, f64)> = evidence
        .iter()
        .map(|shown| {
            let (goodput, requests) = shown.goodput(usual, penalty.as_secs_f64());
            (goodput / loads.factor(shown), requests)
        })
        .collect();
    let Some(median) = median_score(&scores) else {
        return vec![Target::UNKNOWN; evidence.len()];
    };
    let target = |(score, requests): (f64, f64)| Target {
        ratio: (score / median).clamp(RATIO_MIN, RATIO_MAX),
        confidence: requests / (requests + EVIDENCE_HALF),
    };
    scores.into_iter().map(target).collect()
}

/// The mean latency of a success, in seconds, if there was any. What failures
/// took has no part in it, so nobody can shift the mark by failing.
fn usual_latency(evidence: &[Evidence]) -> Option<f64> {
    let successes = evidence.iter().map(|shown| shown.successes);
    let (count, time) = successes.fold((0, 0.0), |(count, time), of_one| {
        (count + of_one.0, time + of_one.1)
    });
    (count > 0).then(|| (time / count as f64).max(LATENCY_MIN.as_secs_f64()))
}

/// The median of the scores above zero. Of two in the middle it is the larger:
/// these are measured and not claimed, so the better one sets the mark.
fn median_score(scores: &[(f64, f64)]) -> Option<f64> {
    let mut positive: Vec<f64> = scores
        .iter()
        .map(|(score, _)| *score)
        .filter(|score| *score > 0.0)
        .collect();
    positive.sort_unstable_by(f64::total_cmp);
    positive.get(positive.len() / 2).copied()
}

fn stepped(ratio: f64, target: Target, elapsed: Duration) -> f64 {
    let elapsed = elapsed.min(ELAPSED_MAX).as_secs_f64();
    let part = target.confidence * (1.0 - (-elapsed / HALF_LIFE.as_secs_f64()).exp2());
    let most = STEP_MAX.ln() * elapsed;
    let moved = ratio.ln() + ((target.ratio / ratio).ln() * part).clamp(-most, most);
    let unknown = 1.0 - target.confidence;
    let drifted = moved * (-elapsed * unknown / DRIFT.as_secs_f64()).exp();
    drifted.exp().clamp(RATIO_MIN, RATIO_MAX)
}

impl Target {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        ratio: 1.0,
        confidence: 0.0,
    };
}

impl Evidence {
    /// Successes per second of time charged, and the number of requests that say so.
    fn goodput(&self, usual: f64, penalty: f64) -> (f64, f64) {
        let (successes, took) = (self.successes.0 as f64, self.successes.1);
        let (failures, failing_took) = (self.failures.0 as f64, self.failures.1);
        let mut requests = successes + failures;
        let mut time = took + failing_took.max(failures * penalty.max(usual));
        let (stalled, age) = self.stalled;
        if age > STALL_RATIO * usual {
            requests += f64::from(stalled);
            time += f64::from(stalled) * age;
        }
        // Nothing done in no time has a score of zero, and zero requests to say so.
        let least = requests.max(1.0) * LATENCY_MIN.as_secs_f64();
        (successes / time.max(least), requests)
    }
}

/// The loads that endpoints have reported, as one divisor for each.
struct Loads {
    /// The mean of those that reported, or `None` if nobody did.
    mean: Option<f64>,
}

impl Loads {
    fn of(evidence: &[Evidence]) -> Self {
        let weighted = evidence.iter().filter_map(|shown| shown.load);
        // A report that has faded counts less, down to nothing.
        let part = |weight: f64| weight / (weight + LOAD_PRIOR);
        let (sum, weight) = weighted.fold((0.0, 0.0), |(sum, total), (load, weight)| {
            (sum + load * part(weight), total + part(weight))
        });
        Self {
            mean: (weight > 0.0).then(|| sum / weight),
        }
    }

    /// The load of an endpoint relative to the mean; 1 if it is not known.
    fn factor(&self, shown: &Evidence) -> f64 {
        let (Some(mean), Some((load, weight))) = (self.mean, shown.load) else {
            return 1.0;
        };
        let believed = mean + (load - mean) * weight / (weight + LOAD_PRIOR);
        believed.max(LOAD_MIN) / mean.max(LOAD_MIN)
    }
}
