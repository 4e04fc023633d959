//! The least expected time.
//!
//! The cost of one more request is *expected latency × (requests in flight + 1)
//! ÷ share*. Requests in flight are exact and at once right; they keep equal
//! endpoints equal. The expected latency is an estimate from noisy samples, and
//! an estimate that is taken at its word skews equal endpoints: of ten
//! exponential samples the mean is off by a third. So it is handled with care:
//!
//! - **Steady.** A mean over the decay time is drawn to what is typical of the
//!   peers, unless it differs by more than chance would have it.
//! - **Recent.** A mean over the last few samples counts only upwards, and only
//!   far beyond chance: so a sudden slowness is seen after a few answers.
//! - **Stalled.** If nothing comes back for longer than chance would have it
//!   although something runs, the endpoint costs more by the square of the time:
//!   so one that hangs is seen before it answers anything.
//! - **Failures**, if there are many, divide by the square of the success rate, and a failed
//!   request's time counts only if it was long: failing fast is not fast.
//!
//! Finagle's peak EWMA, from which the policy has its name, takes the maximum
//! of the samples. Of exponential samples that is several times the mean, and
//! decides by who had the longest request. Rejected for that.
//!
//! Nothing fades to zero here: what has not been heard of for long counts as
//! typical again, since the weight of its mean fades. An endpoint whose cost
//! keeps it from being picked at all is tried with single requests, see
//! `trial.rs`.

use std::time::Duration;

use plimsoll_meter::Average;

use crate::config::{ConfigError, refuse};

/// Settings of [`Policy::PeakEwma`](crate::Policy::PeakEwma).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakEwmaConfig {
    /// The time in which an old latency loses all but 1/e of its weight, 10 ms to 1 h.
    /// A change applies to addresses that become known afterwards.
    pub decay: Duration,
}

/// How the standard deviation of latencies relates to their mean, where the
/// chance of a difference is judged: 1 is exponential, and cut tails
/// ([`SAMPLE_RATIO_MAX`]) add a little.
const VARIATION: f64 = 1.2;

/// Standard errors up to which a difference is chance. With 3, one endpoint in
/// 370 seems different at any time while all are equal; and since the
/// estimate begins to differ smoothly from there, it does so by little.
const STANDARD_ERRORS: f64 = 3.0;

/// A sample counts for at most so many times what is typical. Beyond, in-flight
/// counts and stall age tell more than a mean that one request can ruin.
pub(crate) const SAMPLE_RATIO_MAX: f64 = 10.0;

/// The weight of the newest sample in the recent mean.
const RECENT_WEIGHT: f64 = 1.0 / 8.0;

/// How much larger than the steady estimate the recent mean must be to count.
/// Of exponential samples its standard deviation is a quarter of the mean, so
/// this is six of them.
const RECENT_RATIO: f64 = 2.5;

/// How much older than expected the only request that runs may be. Among
/// exponential ones a quarter are; what follows begins gently.
const AGE_RATIO_ONE: f32 = 1.3;

/// How much older than expected the oldest request may be that is supposed
/// to run, when many do.
const AGE_RATIO_MANY: f32 = 1.1;

/// The same grows by this over the number that run: with n exponential requests
/// in flight, nothing comes back for 3/n of the expected latency with
/// probability e⁻³.
const AGE_RATIO_FEW: f32 = 3.0;

/// The share of failures that costs nothing. Where requests come one by one, the
/// least difference decides: one failure among 64 answers would take all from
/// an endpoint, and with it the chance to improve its rate. Who fails more than
/// its peers, though seldom, is for ejection to find.
const FAILURES_ALLOWED: f32 = 0.1;

/// The success rate below which it does not count for less: 100 times the cost.
const SUCCESS_MIN: f32 = 0.1;

/// The latency, in seconds, by which endpoints are compared until it is known
/// what is typical. Any number does, for all have the same: the first to answer
/// is not better than those that had no time to. And until an endpoint has
/// answered, so long is no stall.
pub(crate) const LATENCY_UNKNOWN: f64 = 1.0;

/// The shortest latency that is told from zero, in seconds: 1 µs.
const LATENCY_MIN: f64 = 1e-6;

/// A stall does not cost more than this many times as much.
const STALL_MAX: f32 = 1e4;

/// The largest cost for each request in flight. With 2³¹ of them it is finite yet.
const COST_MAX: f32 = 1e24;

impl Default for PeakEwmaConfig {
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(10),
        }
    }
}

impl PeakEwmaConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let accepted = Duration::from_millis(10)..=Duration::from_secs(3600);
        if !accepted.contains(&self.decay) {
            let got = format!("{:?}", self.decay);
            return Err(refuse("policy.decay", got, "10 ms to 1 h"));
        }
        Ok(())
    }
}

/// The latency to expect, in seconds, from the mean of all samples, the mean of
/// the last few, and what is typical of the peers.
pub(crate) fn expected(steady: Option<Average>, recent: Option<f64>, typical: Option<f64>) -> f64 {
    let Some(average) = steady else {
        return typical.unwrap_or(LATENCY_UNKNOWN).max(LATENCY_MIN);
    };
    let typical = typical.unwrap_or(average.mean).max(LATENCY_MIN);
    let steady = drawn_to(typical, average);
    match recent {
        Some(recent) if recent > RECENT_RATIO * steady => recent,
        _ => steady,
    }
}

/// `average.mean`, drawn to `typical` as far as the difference can be chance.
///
/// The difference is scaled by (1 − (z₀ / z)²)₊, the positive-part James–Stein
/// factor for one mean: nothing is left of it up to z₀ standard errors, and
/// nearly all of it far beyond.
fn drawn_to(typical: f64, average: Average) -> f64 {
    let difference = average.mean - typical;
    // The square of the standard error, if the true mean is the typical one.
    let variance = (VARIATION * typical).powi(2) / average.weight.max(f64::MIN_POSITIVE);
    let chance = STANDARD_ERRORS * STANDARD_ERRORS * variance;
    let kept = (1.0 - chance / (difference * difference).max(f64::MIN_POSITIVE)).max(0.0);
    (typical + difference * kept).max(LATENCY_MIN)
}

/// The recent mean after another sample.
pub(crate) fn recent_after(recent: Option<f64>, typical: Option<f64>, sample: f64) -> f64 {
    // The first sample is not taken at its word either.
    let before = recent.or(typical).unwrap_or(sample);
    before + (sample - before) * RECENT_WEIGHT
}

/// By how much an endpoint costs more because its oldest request, of `in_flight`,
/// is `age` seconds old. 1 is nothing. `exact` says that the age is known.
#[inline]
pub(crate) fn stall(age: f32, expected: f32, in_flight: u32, exact: bool) -> f32 {
    let allowed = if exact {
        AGE_RATIO_ONE
    } else {
        AGE_RATIO_MANY + AGE_RATIO_FEW / in_flight as f32
    };
    let ratio = age / (expected * allowed);
    if ratio > 1.0 {
        (ratio * ratio).min(STALL_MAX)
    } else {
        1.0
    }
}

/// What a request more costs, in seconds for each in flight: the expected
/// latency over the share and the square of the success rate.
pub(crate) fn unit_cost(expected: f64, share: f32, success: f32) -> f32 {
    let success = (success + FAILURES_ALLOWED).clamp(SUCCESS_MIN, 1.0);
    // Finite, so that an endpoint at any cost is found if there is no other.
    (expected as f32 / (share * success * success)).min(COST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn average(mean: f64, weight: f64) -> Option<Average> {
        Some(Average { mean, weight })
    }

    #[test]
    fn what_can_be_chance_is_no_difference() {
        // The standard error of 100 samples is 12 %.
        for mean in [0.014, 0.02, 0.026] {
            assert_eq!(
                expected(average(mean, 100.0), None, Some(0.02)),
                0.02,
                "{mean}"
            );
        }
    }

    #[test]
    fn what_cannot_be_chance_is_believed() {
        let rows = [
            // mean, weight, least, most, with 20 ms typical
            (0.2, 1.0, 0.17, 0.2),
            (0.1, 4.0, 0.07, 0.1),
            (0.03, 1_000.0, 0.028, 0.03),
            (0.01, 1_000.0, 0.01, 0.011),
        ];
        for (mean, weight, least, most) in rows {
            let got = expected(average(mean, weight), None, Some(0.02));
            assert!((least..=most).contains(&got), "{mean} × {weight}: {got}");
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        assert_eq!(expected(average(0.2, 0.01), None, Some(0.02)), 0.02);
    }

    #[test]
    fn a_few_slow_answers_are_seen_at_once_and_fast_ones_are_not_overrated() {
        let steady = average(0.02, 10_000.0);
        let slow = (0..3).fold(None, |recent, _| {
            Some(recent_after(recent, Some(0.02), 0.2))
        });
        assert!(expected(steady, slow, Some(0.02)) > 0.05);
        let fast = (0..9).fold(None, |recent, _| {
            Some(recent_after(recent, Some(0.02), 0.001))
        });
        assert_eq!(expected(steady, fast, Some(0.02)), 0.02);
    }

    #[test]
    fn a_stall_begins_gently_and_grows() {
        // 600 ms expected: age in seconds, in flight, whether the age is exact, cost.
        let rows = [
            (0.6, 60, false, 1.0..=1.0),
            (0.68, 60, false, 1.0..=1.0),
            (0.8, 60, false, 1.2..=1.5),
            (1.2, 60, false, 2.0..=4.0),
            (1.2, 2, false, 1.0..=1.0),
            (6.0, 2, false, 10.0..=20.0),
            (0.7, 1, true, 1.0..=1.0),
            (1.2, 1, true, 2.0..=4.0),
        ];
        for (age, in_flight, exact, expected) in rows {
            let got = stall(age, 0.6, in_flight, exact);
            assert!(expected.contains(&got), "{age} {in_flight} {exact}: {got}");
        }
    }

    #[test]
    fn failures_cost_and_never_pay() {
        let healthy = unit_cost(0.02, 1.0, 1.0);
        assert_eq!(unit_cost(0.02, 1.0, 0.95), healthy);
        assert!(unit_cost(0.02, 1.0, 0.7) > 1.5 * healthy);
        assert!(unit_cost(0.02, 1.0, 0.0) >= 99.0 * healthy);
    }

    #[test]
    fn numbers_at_the_edge_stay_finite_and_positive() {
        for mean in [0.0, 1e-12, 1e9] {
            for weight in [0.0, 1e-30, 1.0, 16_384.0] {
                for typical in [None, Some(0.0), Some(1e9)] {
                    let got = expected(average(mean, weight), Some(0.0), typical);
                    assert!(
                        got.is_finite() && got > 0.0,
                        "{mean} {weight} {typical:?}: {got}"
                    );
                }
            }
        }
    }
}
