//! What there was over time, in steps.

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::observation::Replicas;

/// The most steps there are. What comes after goes into the last one.
const STEPS_MAX: usize = 100_000;

/// A step of time: averages over it, and the most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Replicas that get requests.
    pub ready: f64,
    /// Replicas that are not yet ready.
    pub starting: f64,
    /// Replicas that finish what they have.
    pub draining: f64,
    /// Requests that are there, running or waiting.
    pub requests: f64,
    /// The most requests that were there at once.
    pub requests_most: f64,
}

/// What there was over time, in steps of the same length.
#[derive(Clone, Debug)]
pub struct Timeline {
    step: Duration,
    at: Tick,
    steps: Vec<Step>,
}

impl Timeline {
    pub(super) fn new(step: Duration) -> Self {
        Self {
            step: step.max(Duration::from_millis(1)),
            at: Tick::ZERO,
            steps: Vec::new(),
        }
    }

    /// How long a step is.
    #[must_use]
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// The steps, from the beginning.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// So it was until `now`.
    pub(super) fn advance(&mut self, now: Tick, replicas: Replicas, requests: usize) {
        let length = u64::try_from(self.step.as_nanos()).unwrap_or(u64::MAX);
        let mut at = self.at.as_nanos();
        while at < now.as_nanos() {
            let index = usize::try_from(at / length)
                .unwrap_or(usize::MAX)
                .min(STEPS_MAX - 1);
            let until = if index == STEPS_MAX - 1 {
                now.as_nanos()
            } else {
                (at / length + 1).saturating_mul(length).min(now.as_nanos())
            };
            if index >= self.steps.len() {
                self.steps.resize(index + 1, Step::default());
            }
            let part = (until - at) as f64 / length as f64;
            let step = &mut self.steps[index];
            step.ready += part * f64::from(replicas.ready);
            step.starting += part * f64::from(replicas.starting);
            step.draining += part * f64::from(replicas.draining);
            step.requests += part * requests as f64;
            step.requests_most = step.requests_most.max(requests as f64);
            at = until;
        }
        self.at = self.at.max(now);
    }
}
