//! Weights from the endpoints' own reports of load.
//!
//! gRPC's `weighted_round_robin` (gRFC A58) over ORCA reports (gRFC A51): the
//! weight of an endpoint is how many requests it would carry at full load,
//!
//! > requests per second / (utilization + errors / requests × penalty)
//!
//! so all endpoints come to the same utilization. It needs no latency, and
//! failing costs weight. An endpoint is new for the blackout period and not
//! yet judged; one that has not reported for the expiration period is unknown.
//! The unknown get the mean, and with fewer than two known, all are equal.
//!
//! # What a report cannot do
//!
//! An endpoint speaks for itself, so it is believed within bounds. A report
//! with a number that makes no sense is ignored as a whole, and counted: what
//! else it says is then in doubt. And no weight counts for less than
//! [`RATIO_MIN`] or more than [`RATIO_MAX`] of the median. gRPC's bounds are
//! the same but relative to the mean, which one endpoint can move as far as it
//! likes; it cannot move the median.
//!
//! # What differs from A58
//!
//! Weights multiply with static weights and slow start, as under every policy.
//! Reports come with answers only. What was heard belongs to the address and
//! not to a connection, so it takes silence to start another blackout.

#[cfg(all(test, not(loom)))]
mod tests;

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::LoadReport;
use crate::config::{ConfigError, check_duration, refuse};

/// The largest load that a report may name: a thousand times full.
pub(crate) const UTILIZATION_MAX: f64 = 1_000.0;

/// The most requests or errors per second that a report may name.
pub(crate) const RATE_MAX: f64 = 1e9;

/// The smallest weight that counts, relative to the median. gRPC has the same.
pub(crate) const RATIO_MIN: f64 = 0.1;

/// The largest weight that counts, relative to the median. gRPC has the same.
pub(crate) const RATIO_MAX: f64 = 10.0;

/// Weights are renewed at most this often (A58).
pub(crate) const UPDATE_PERIOD_MIN: Duration = Duration::from_millis(100);

/// The largest [`OrcaConfig::error_penalty`].
const ERROR_PENALTY_MAX: f64 = 1_000.0;

/// Endpoints with a weight of their own that it takes to use any (A58).
const KNOWN_MIN: usize = 2;

/// Settings of [`Policy::Orca`](crate::Policy::Orca). The defaults are gRFC A58's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrcaConfig {
    /// How long an endpoint must have reported before its weight is used, at
    /// first and after it was silent for `expiration`. 10 s by default.
    pub blackout: Duration,
    /// How long after its last report an endpoint's weight is used. 3 minutes
    /// by default.
    pub expiration: Duration,
    /// How often weights are renewed. 1 s by default; less than 100 ms counts
    /// as 100 ms.
    pub update_period: Duration,
    /// How much utilization an error rate of 1 stands for, 0 to 1,000. 1 by
    /// default.
    pub error_penalty: f64,
}

/// What an endpoint's reports have come to.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    /// The newest report that makes sense.
    last: Option<(Tick, LoadReport)>,
    /// The newest that a weight follows from.
    load: Option<Load>,
    /// How long a silence starts another blackout.
    expiration: Duration,
    /// Reports that made no sense.
    ignored: u64,
}

/// What a weight is made of.
#[derive(Clone, Copy, Debug)]
struct Load {
    at: Tick,
    /// Since when there are reports without a long silence.
    since: Tick,
    rps: f64,
    utilization: f64,
    /// Errors per request.
    errors: f64,
}

impl Default for OrcaConfig {
    fn default() -> Self {
        Self {
            blackout: Duration::from_secs(10),
            expiration: Duration::from_secs(180),
            update_period: Duration::from_secs(1),
            error_penalty: 1.0,
        }
    }
}

impl OrcaConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_duration("policy.orca.blackout", self.blackout)?;
        check_duration("policy.orca.expiration", self.expiration)?;
        check_duration("policy.orca.update_period", self.update_period)?;
        if !(0.0..=ERROR_PENALTY_MAX).contains(&self.error_penalty) {
            let got = self.error_penalty.to_string();
            return Err(refuse("policy.orca.error_penalty", got, "0 to 1000"));
        }
        Ok(())
    }

    /// How often weights are renewed.
    pub(crate) fn period(&self) -> Duration {
        self.update_period.max(UPDATE_PERIOD_MIN)
    }
}

impl Default for Reported {
    /// Nothing has been heard.
    fn default() -> Self {
        Self {
            last: None,
            load: None,
            expiration: OrcaConfig::default().expiration,
            ignored: 0,
        }
    }
}

impl Reported {
    /// How long a silence starts another blackout from now on.
    pub(crate) const fn set_expiration(&mut self, expiration: Duration) {
        self.expiration = expiration;
    }

    /// Takes a report in. `false` if it makes no sense: then it is only counted.
    pub(crate) fn hear(&mut self, now: Tick, report: &LoadReport) -> bool {
        if !makes_sense(report) {
            self.ignored += 1;
            return false;
        }
        let now = self.last.map_or(now, |(last, _)| now.max(last));
        self.last = Some((now, *report));
        // What names no rate or no load says too little: A58's "empty" report.
        if let Some((rps, utilization)) = report.rps.filter(is_set).zip(utilization(report)) {
            let since = self.load.map_or(now, |load| {
                let silence = now.saturating_duration_since(load.at);
                if silence < self.expiration {
                    load.since
                } else {
                    now
                }
            });
            self.load = Some(Load {
                at: now,
                since,
                rps,
                utilization,
                errors: report.eps.unwrap_or(0.0) / rps,
            });
        }
        true
    }

    /// The weight, or `None` while it is not to be used: before the blackout
    /// has passed, and after it has expired.
    pub(crate) fn weight(&self, now: Tick, config: &OrcaConfig) -> Option<f64> {
        let load = self.load?;
        let expired = now.saturating_duration_since(load.at) >= config.expiration;
        let early = now.saturating_duration_since(load.since) < config.blackout;
        let weight = load.rps / (load.utilization + load.errors * config.error_penalty);
        // Numbers within bounds may still be so small that their quotient is none.
        (!expired && !early && weight.is_finite() && weight > 0.0).then_some(weight)
    }

    /// The newest report that makes sense, and when it came.
    pub(crate) const fn last(&self) -> Option<(Tick, LoadReport)> {
        self.last
    }

    /// Reports that were ignored because they made no sense.
    pub(crate) const fn ignored(&self) -> u64 {
        self.ignored
    }
}

/// Relative weights of endpoints that reported `known` weights, or nothing of
/// use. All are finite and positive.
pub(crate) fn weights(known: &[Option<f64>]) -> Vec<f64> {
    let mut sorted: Vec<f64> = known.iter().copied().flatten().collect();
    if sorted.len() < KNOWN_MIN {
        return vec![1.0; known.len()];
    }
    sorted.sort_unstable_by(f64::total_cmp);
    // The lower of two in the middle: of two endpoints, the one that boasts has to stay
    // within bounds of the other.
    let median = sorted[(sorted.len() - 1) / 2];
    let bounded = |weight: f64| (weight / median).clamp(RATIO_MIN, RATIO_MAX);
    let mean = sorted.iter().copied().map(bounded).sum::<f64>() / sorted.len() as f64;
    known
        .iter()
        .map(|weight| weight.map_or(mean, bounded))
        .collect()
}

/// Whether every number of a report is one that its field can have.
pub(crate) fn makes_sense(report: &LoadReport) -> bool {
    let within = |number: Option<f64>, most| number.is_none_or(|n| (0.0..=most).contains(&n));
    within(report.application_utilization, UTILIZATION_MAX)
        && within(report.cpu_utilization, UTILIZATION_MAX)
        && within(report.mem_utilization, UTILIZATION_MAX)
        && within(report.rps, RATE_MAX)
        && within(report.eps, RATE_MAX)
}

/// The utilization that a report names: the application's own, else the
/// processor's. Zero is not a load but a field that was not set (A51).
pub(crate) fn utilization(report: &LoadReport) -> Option<f64> {
    let set = |number: Option<f64>| number.filter(is_set);
    set(report.application_utilization).or_else(|| set(report.cpu_utilization))
}

fn is_set(number: &f64) -> bool {
    *number > 0.0
}
