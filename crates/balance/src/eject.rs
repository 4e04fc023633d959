//! Who fails more than its peers: a sequential test, and what follows from it.
//!
//! Each answer moves a sum, the logarithm of how much likelier it is from a
//! failing endpoint than from one that fails as often as its peers. The sum
//! never falls below zero, and an endpoint is left out when it reaches
//! [`EVIDENCE_ENOUGH`]: this is the CUSUM test (Page, 1954), the quickest there
//! is for a given rate of false alarms. Three failures in a row are enough
//! where peers do not fail, a dozen answers if every third fails, and while the
//! peers fail as much, nothing is.
//!
//! Envoy's statistical ejection looks at five endpoints and a hundred answers
//! each at least, so that two replicas never have it; counting failures in a
//! row, its other means, never sees an endpoint that fails every third time.

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::config::EjectionConfig;

/// How often a failing endpoint fails, as the test supposes.
const FAILING_RATE: f32 = 0.25;

/// How often an endpoint may fail although its peers do not.
const RATE_ALLOWED: f32 = 0.02;

/// How many times as often as its peers an endpoint may fail.
const PEERS_RATIO: f32 = 3.0;

/// The evidence at which an endpoint is left out: e⁷, 1,100 to one.
pub(crate) const EVIDENCE_ENOUGH: f32 = 7.0;

/// The evidence never counts for more, so that it can be overcome.
const EVIDENCE_MAX: f32 = 2.0 * EVIDENCE_ENOUGH;

/// The evidence against an endpoint that is let in again is never less than
/// this, until it has its full share: one failure is enough to leave it out
/// again, if its peers do not fail. One that can bear little would else be let
/// in, filled and left out for ever, with several failures each time.
pub(crate) const EVIDENCE_ON_PROBATION: f32 = 4.5;

/// The weight of the newest answer in the success rate.
const SUCCESS_WEIGHT: f32 = 1.0 / 64.0;

/// A success rate this near to 1 is 1. It keeps the steps above what a 32-bit
/// number can tell apart, and an endpoint that has recovered gets a clean record.
const SUCCESS_CLEAN: f32 = 1.0 - 1.0 / 8_192.0;

/// The part of the failure rate that is forgiven with each call of `tend`, ten a
/// second: a time constant of 20 s.
const FORGIVEN_SHARE: f32 = 1.0 / 200.0;

/// An endpoint that lasted so many times as long as it had been left out has
/// its next failure counted as the first.
const GOOD_BEHAVIOUR_RATIO: u32 = 4;

/// Why an endpoint is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EjectionReason {
    /// It failed more often than its peers.
    Failures,
    /// It asked to be left alone (`Retry-After`).
    RetryAfter,
    /// The request by which it was tried has failed.
    ProbeFailed,
}

/// That an endpoint is left out, until when, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ejection {
    pub(crate) since: Tick,
    pub(crate) until: Tick,
    pub(crate) reason: EjectionReason,
    /// Whether it may be tried, or is being tried, with one request.
    pub(crate) probing: bool,
}

/// What past ejections say about the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Ejections in a row.
    times: u32,
    /// How long the last one was, and when it ended.
    last: Duration,
    ended: Option<Tick>,
}

impl EjectionReason {
    /// How many reasons there are.
    pub const COUNT: usize = 3;

    /// Every reason, in the order of [`EjectionReason::index`].
    pub const ALL: [Self; Self::COUNT] = [Self::Failures, Self::RetryAfter, Self::ProbeFailed];

    /// A dense index below [`EjectionReason::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Lower-case words, fit for a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::RetryAfter => "retry_after",
            Self::ProbeFailed => "probe_failed",
        }
    }
}

impl Record {
    /// Begins an ejection: its length doubles with each in a row.
    pub(crate) fn begin(
        &mut self,
        now: Tick,
        config: &EjectionConfig,
        reason: EjectionReason,
    ) -> Ejection {
        let reformed = self.ended.is_some_and(|ended| {
            now.saturating_duration_since(ended) > self.last * GOOD_BEHAVIOUR_RATIO
        });
        if reformed {
            self.times = 0;
        }
        let doublings = self.times.min(31);
        self.times = self.times.saturating_add(1);
        self.last = config
            .base
            .saturating_mul(1 << doublings)
            .min(config.max.max(config.base));
        Ejection {
            since: now,
            until: now.saturating_add(self.last),
            reason,
            probing: false,
        }
    }

    /// The endpoint is let in again.
    pub(crate) const fn end(&mut self, now: Tick) {
        self.ended = Some(now);
    }
}

/// The evidence after another answer. `peers` is the peers' failure rate, and
/// `least` what the evidence cannot fall below.
#[inline]
pub(crate) fn evidence_after(evidence: f32, failed: bool, peers: f32, least: f32) -> f32 {
    let allowed = (RATE_ALLOWED + PEERS_RATIO * peers).min(0.99);
    let failing = FAILING_RATE.max(allowed);
    let step = if failed {
        libm::logf(failing / allowed)
    } else {
        libm::logf((1.0 - failing) / (1.0 - allowed))
    };
    (evidence + step).clamp(least, EVIDENCE_MAX)
}

/// The success rate after another answer.
#[inline]
pub(crate) fn success_after(success: f32, failed: bool) -> f32 {
    if failed {
        return success - success * SUCCESS_WEIGHT;
    }
    let after = success + (1.0 - success) * SUCCESS_WEIGHT;
    if after > SUCCESS_CLEAN { 1.0 } else { after }
}

/// The success rate after a call of `tend` later, without answers. An endpoint
/// that gets nothing because it has failed could else never have a better rate.
#[inline]
pub(crate) fn forgiven(success: f32) -> f32 {
    let after = success + (1.0 - success) * FORGIVEN_SHARE;
    if after > SUCCESS_CLEAN { 1.0 } else { after }
}

/// How many of `members` may be left out at once.
pub(crate) fn ejections_max(members: u32, share_max: f64) -> u32 {
    let share = (f64::from(members) * share_max) as u32;
    share.max(1).min(members.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    /// Answers until the endpoint is left out, if it is within 100,000.
    fn answers_to_ejection(failed: impl Fn(u32) -> bool, peers: f32) -> Option<u32> {
        let mut evidence = 0.0;
        (1..=100_000).find(|&answer| {
            evidence = evidence_after(evidence, failed(answer), peers, 0.0);
            evidence >= EVIDENCE_ENOUGH
        })
    }

    #[test]
    fn evidence_table() {
        let every = |n: u32| move |answer: u32| answer.is_multiple_of(n);
        assert_eq!(answers_to_ejection(every(1), 0.0), Some(3), "always");
        assert!(
            answers_to_ejection(every(2), 0.0).unwrap() <= 8,
            "every second"
        );
        assert!(
            answers_to_ejection(every(3), 0.0).unwrap() <= 15,
            "every third"
        );
        assert_eq!(
            answers_to_ejection(every(100), 0.01),
            None,
            "one in a hundred, as the peers"
        );
        assert_eq!(
            answers_to_ejection(every(100), 0.0),
            None,
            "one in a hundred"
        );
        assert_eq!(
            answers_to_ejection(every(1), 0.5),
            None,
            "always, and peers half the time"
        );
        assert_eq!(
            answers_to_ejection(every(3), 0.3),
            None,
            "every third, as the peers"
        );
    }

    #[test]
    fn on_probation_one_failure_is_enough_unless_peers_fail_too() {
        let after = |peers| {
            let good = (0..100).fold(EVIDENCE_ON_PROBATION, |evidence, _| {
                evidence_after(evidence, false, peers, EVIDENCE_ON_PROBATION)
            });
            evidence_after(good, true, peers, EVIDENCE_ON_PROBATION)
        };
        assert!(after(0.0) >= EVIDENCE_ENOUGH);
        assert!(after(0.01) < EVIDENCE_ENOUGH);
    }

    #[test]
    fn the_success_rate_recovers_wholly() {
        let fallen = (0..1_000).fold(1.0, |rate, _| success_after(rate, true));
        assert!(fallen < 1e-6);
        let risen = (0..1_000).fold(fallen, |rate, _| success_after(rate, false));
        assert_eq!(risen, 1.0);
        // The steady rate with one failure in a hundred; Kratos's integers say 0 at 10,000/s.
        let steady = (1..10_000).fold(1.0, |rate, n: u32| {
            success_after(rate, n.is_multiple_of(100))
        });
        assert!((0.98..1.0).contains(&steady), "{steady}");
    }

    #[test]
    fn ejections_double_and_are_forgiven() {
        let config = EjectionConfig::default();
        let mut record = Record::default();
        let mut lengths = Vec::new();
        let mut now = at(0);
        for _ in 0..8 {
            let ejection = record.begin(now, &config, EjectionReason::Failures);
            lengths.push(ejection.until.saturating_duration_since(now).as_secs());
            now = ejection.until;
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 300, 300, 300]);
        record.end(now);
        let later = now.saturating_add(Duration::from_secs(300 * 4 + 1));
        let ejection = record.begin(later, &config, EjectionReason::Failures);
        assert_eq!(ejection.until, later.saturating_add(config.base));
    }

    #[test]
    fn a_bounded_share_is_left_out_and_never_all() {
        let rows = [
            (0, 0.5, 0),
            (1, 1.0, 0),
            (2, 0.5, 1),
            (2, 1.0, 1),
            (3, 0.5, 1),
            (3, 0.0, 1),
            (10, 0.5, 5),
            (10, 1.0, 9),
        ];
        for (members, share, expected) in rows {
            assert_eq!(
                ejections_max(members, share),
                expected,
                "{members} × {share}"
            );
        }
    }
}
