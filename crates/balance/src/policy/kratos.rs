//! Kratos's weighted round robin, to the letter, for comparison.
//!
//! [`WrrMode::Kratos`](crate::WrrMode::Kratos) runs it. It reproduces the `wrr`
//! balancer of Kratos v1 (`pkg/net/rpc/warden/balancer/wrr`): windows of
//! 10 × 100 ms, latencies in whole tenths of a millisecond, a processor load of
//! 500 ‰ until one is reported, one update a second, whole weights, and nginx's
//! smooth selection. It also has that balancer's faults. An endpoint that fails
//! fast gets 3 to 10 times its share, one that answers within 0.1 ms is never
//! scored, and one that is no longer used keeps its last score. `wrr.rs` says
//! what the corrected form does instead.
//!
//! Four things differ, and all come from the frame around every policy. What
//! the windows hold belongs to an address and survives a change of the set, at
//! which Kratos forgets everything. Endpoints that may not be picked are passed
//! over as if they were not there. A failure is what
//! [`Outcome`](crate::Outcome) says it is; Kratos takes every gRPC status for
//! one but OK and Unknown, so a client's cancellation is one and a business
//! error is not. And the update is made by housekeeping, not by the completion
//! of an unlucky request. Routing by colour is left out: it is the choice of a set, not of an endpoint.

#[cfg(all(test, not(loom)))]
mod tests;

use std::time::Duration;

use plimsoll_meter::Tick;

/// Processor load of an endpoint that has reported none, in permille.
pub(crate) const CPU_DEFAULT: u64 = 500;

/// The weight of an endpoint whose weight nobody has told.
const WEIGHT_DEFAULT: f64 = 10.0;

/// The unit of latencies, in which a latency is cut to a whole number.
pub(crate) const LATENCY_UNIT: Duration = Duration::from_micros(100);

/// At least this long from one update to the next.
const UPDATE_PERIOD: Duration = Duration::from_secs(1);

/// The share of successes that an endpoint without any is scored with.
const SUCCESS_MIN: f64 = 0.1;

/// The share that a low one is raised to after few requests, and how many are few.
const SUCCESS_OF_FEW: (f64, u64) = (0.2, 5);

/// What the server would say of its own successes; nothing ever sets it.
const SERVER_SUCCESS: f64 = 1.0;

/// Endpoints that must have a score before weights change.
const SCORED_MIN: u32 = 2;

/// What is known of an endpoint at an update: its windows, and its load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Observed {
    /// Failures in the window.
    pub(crate) errors: u64,
    /// Requests in the window of failures.
    pub(crate) requests: u64,
    /// The sum of latencies in the window, in [`LATENCY_UNIT`].
    pub(crate) latency_sum: u64,
    /// Requests in the window of latencies.
    pub(crate) latency_count: u64,
    /// Processor load in permille.
    pub(crate) cpu: u64,
}

/// One endpoint of a [`Picker`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The static weight.
    weight: i64,
    /// What picks go by (`ewt`).
    effective: i64,
    /// nginx's running credit (`cwt`).
    credit: i64,
    /// The last score, or none yet (−1 in Kratos).
    score: Option<f64>,
}

/// The endpoints of one set, and when their weights were last renewed.
#[derive(Clone, Debug)]
pub(crate) struct Picker {
    nodes: Vec<Node>,
    updated: Option<Tick>,
}

impl Picker {
    /// Endpoints of these static weights, none of which has been scored.
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let node = |weight: u32| Node {
            weight: i64::from(weight),
            effective: i64::from(weight),
            credit: 0,
            score: None,
        };
        Self {
            nodes: weights.into_iter().map(node).collect(),
            updated: None,
        }
    }

    /// nginx's smooth weighted round robin over the eligible: each gains its
    /// weight in credit, and the first with the most pays the sum of all.
    ///
    /// *O(n)*, and changes every endpoint.
    pub(crate) fn pick(&mut self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0_i64;
        let mut best: Option<(usize, i64)> = None;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if eligible(index) {
                total = total.saturating_add(node.effective);
                node.credit = node.credit.saturating_add(node.effective);
                if best.is_none_or(|(_, credit)| credit < node.credit) {
                    best = Some((index, node.credit));
                }
            }
        }
        let (index, credit) = best?;
        self.nodes[index].credit = credit.saturating_sub(total);
        Some(index)
    }

    /// Renews the weights, unless it is less than a second since the last time.
    /// Says whether it was time; the first time it always is, once anything has ended.
    pub(crate) fn update_if_due(&mut self, now: Tick, observe: impl Fn(usize) -> Observed) -> bool {
        let is_early = |last| now.saturating_duration_since(last) < UPDATE_PERIOD;
        let nothing_ended = || (0..self.nodes.len()).all(|index| observe(index).requests == 0);
        if self.updated.map_or_else(nothing_ended, is_early) {
            return false;
        }
        self.updated = Some(now);
        self.update(observe);
        true
    }

    fn update(&mut self, observe: impl Fn(usize) -> Observed) {
        let (mut total, mut count) = (0.0, 0_u32);
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.score = score(observe(index)).or(node.score);
            if let Some(score) = node.score {
                total += score;
                count += 1;
            }
        }
        if count < SCORED_MIN {
            return;
        }
        let mean = total / f64::from(count);
        for node in &mut self.nodes {
            // The mean sticks: from now on it is the endpoint's own score.
            let score = *node.score.get_or_insert(mean);
            // `as` cuts off the fraction, as Kratos does, and saturates.
            node.effective = (score * node.weight as f64) as i64;
        }
    }

    /// Changes a static weight. Picks go by it after the next update, as in
    /// Kratos; those of an endpoint without a score at once.
    pub(crate) fn set_weight(&mut self, index: usize, weight: u32) {
        let node = &mut self.nodes[index];
        node.weight = i64::from(weight);
        if node.score.is_none() {
            node.effective = node.weight;
        }
    }

    /// The part of all picks that each endpoint gets, 0 to 1.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let effective = self.nodes.iter().map(|node| node.effective as f64);
        let total = effective.clone().sum::<f64>().max(1.0);
        effective.map(|weight| weight / total).collect()
    }

    /// The weights that picks go by, and the scores they were made of.
    #[cfg(test)]
    pub(crate) fn weights(&self) -> impl Iterator<Item = (i64, Option<f64>)> {
        self.nodes.iter().map(|node| (node.effective, node.score))
    }
}

/// Kratos's score: √(successes × 10⁹ / (latency × load)), or none if the
/// endpoint finished nothing, or all of it within less than a unit.
pub(crate) fn score(observed: Observed) -> Option<f64> {
    let Observed {
        errors,
        requests,
        latency_sum,
        latency_count,
        cpu,
    } = observed;
    if requests == 0 || latency_count == 0 || latency_sum == 0 {
        return None;
    }
    let (of_few, few) = SUCCESS_OF_FEW;
    let success = match 1.0 - errors as f64 / requests as f64 {
        none if none <= 0.0 => SUCCESS_MIN,
        low if low <= of_few && requests <= few => of_few,
        share => share,
    };
    let latency = latency_sum as f64 / latency_count as f64;
    Some((success * SERVER_SUCCESS * SERVER_SUCCESS * 1e9 / (latency * cpu as f64)).sqrt())
}

/// The weight that Kratos would have been told for an endpoint of this share. A
/// weight of 1, which is our default, stands for 10, which is Kratos's.
pub(crate) fn static_weight(share: f32) -> u32 {
    (f64::from(share) * WEIGHT_DEFAULT).round().max(1.0) as u32
}
