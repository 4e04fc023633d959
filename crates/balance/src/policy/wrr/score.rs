//! What an endpoint is worth, and where its weight should be.

use std::time::Duration;

use super::{RATIO_MAX, RATIO_MIN};

/// Requests in the window that are half of the evidence one could wish for. The
/// mean of so many exponential times is right within 32 %.
pub(crate) const EVIDENCE_HALF: f64 = 10.0;

/// How many times the usual latency nothing must come back before those who
/// wait for it are charged.
pub(crate) const STALL_RATIO: f64 = 2.0;

/// Latencies below count as this: what differs there is noise.
pub(crate) const LATENCY_MIN: Duration = Duration::from_micros(1);

/// Loads below count as this: whether a processor is busy 1 % or 2 % of the
/// time does not say that one endpoint has twice the room.
pub(crate) const LOAD_MIN: f64 = 0.1;

/// Reports that the mean of the others counts as, against an endpoint's own.
const LOAD_PRIOR: f64 = 1.0;

/// What an endpoint has shown in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    /// Requests that succeeded, and the seconds that they took together.
    pub(crate) successes: (u64, f64),
    /// Requests that failed, and the seconds that they took together.
    pub(crate) failures: (u64, f64),
    /// Requests that have gone out while nothing comes back, and for how many seconds.
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
    /// Whether it is failures and stalls, more than latency, that it comes from.
    pub(crate) failing: bool,
}

/// What an endpoint is worth.
#[derive(Clone, Copy, Debug)]
struct Score {
    /// Successes per second of time spent on all requests.
    goodput: f64,
    /// The number of requests that say so.
    requests: f64,
    /// Whether more of that time was charged for failures and stalls than spent on successes.
    failing: bool,
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
    let score = |shown: &Evidence| {
        let score = shown.score(usual, penalty.as_secs_f64());
        let goodput = score.goodput / loads.factor(shown);
        Score { goodput, ..score }
    };
    let scores: Vec<Score> = evidence.iter().map(score).collect();
    let Some(median) = median_goodput(&scores) else {
        return vec![Target::UNKNOWN; evidence.len()];
    };
    let target = |score: &Score| Target {
        ratio: (score.goodput / median).clamp(RATIO_MIN, RATIO_MAX),
        confidence: score.requests / (score.requests + EVIDENCE_HALF),
        failing: score.failing,
    };
    scores.iter().map(target).collect()
}

/// The mean latency of a success, in seconds, if there was any. What failures
/// took has no part in it, so nobody can shift the mark by failing.
pub(crate) fn usual_latency(evidence: &[Evidence]) -> Option<f64> {
    let successes = evidence.iter().map(|shown| shown.successes);
    let (count, time) = successes.fold((0, 0.0), |(count, time), of_one| {
        (count + of_one.0, time + of_one.1)
    });
    (count > 0).then(|| (time / count as f64).max(LATENCY_MIN.as_secs_f64()))
}

/// The median of the scores above zero. Of two in the middle it is the larger:
/// these are measured and not claimed, so the better one sets the mark.
fn median_goodput(scores: &[Score]) -> Option<f64> {
    let positive = scores.iter().map(|score| score.goodput);
    let mut positive: Vec<f64> = positive.filter(|goodput| *goodput > 0.0).collect();
    positive.sort_unstable_by(f64::total_cmp);
    positive.get(positive.len() / 2).copied()
}

impl Target {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        ratio: 1.0,
        confidence: 0.0,
        failing: false,
    };
}

impl Evidence {
    fn score(&self, usual: f64, penalty: f64) -> Score {
        let (successes, took) = (self.successes.0 as f64, self.successes.1);
        let (failures, failing_took) = (self.failures.0 as f64, self.failures.1);
        let mut requests = successes + failures;
        let mut charged = failing_took.max(failures * penalty.max(usual));
        let (stalled, age) = self.stalled;
        // If anything came back within the window it does not hang; it may have little to do.
        if requests == 0.0 && age > STALL_RATIO * usual {
            requests += f64::from(stalled);
            charged += f64::from(stalled) * age;
        }
        // Nothing done in no time has a score of zero, and zero requests to say so.
        let least = requests.max(1.0) * LATENCY_MIN.as_secs_f64();
        Score {
            goodput: successes / (took + charged).max(least),
            requests,
            failing: charged > took,
        }
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
