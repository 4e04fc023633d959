//! A window in which a second counts the less the older it is.

use std::time::Duration;

use plimsoll_meter::Tick;

use super::ring::Ring;

/// How much the oldest bucket may count.
const OLDEST_WEIGHT: f64 = 0.0001;

/// The least weight of the newest bucket.
const ALPHA_MIN: f64 = 0.2;

/// The average of the last buckets of time, each counting `1 − α` times as much
/// as the one after it.
///
/// `α = max(1 − 0.0001^(1/n), 0.2)` for `n` buckets, as in Knative. There the
/// weights of a window that is partly filled do not add up to 1, so it reads
/// 20 % of a constant load after the first of 60 seconds, and a cold start is
/// seen late. [`average`](Self::average) is that number;
/// [`normalized`](Self::normalized) divides by the weights of what was seen.
///
/// Reading takes as many steps as there are buckets.
#[derive(Clone, Debug)]
pub struct WeightedWindow {
    ring: Ring,
    alpha: f64,
}

impl WeightedWindow {
    /// An empty window of the given length, in buckets of `granularity`. Both
    /// are made to fit if they are zero, or if there were more than 65,536 buckets.
    #[must_use]
    pub fn new(window: Duration, granularity: Duration) -> Self {
        let ring = Ring::new(window, granularity);
        let alpha = alpha(ring.len());
        Self { ring, alpha }
    }

    /// Adds to the bucket that `at` is in, unless that has left the window.
    pub fn record(&mut self, at: Tick, value: f64) {
        self.ring.record(at, value);
    }

    /// The weighted sum at `now`, as in Knative. `None` if all that was ever
    /// written has left the window.
    #[must_use]
    pub fn average(&self, now: Tick) -> Option<f64> {
        self.sums(now).map(|(sum, _)| sum)
    }

    /// The weighted average at `now`, whatever part of the window is filled.
    /// `None` if all that was ever written has left the window.
    #[must_use]
    pub fn normalized(&self, now: Tick) -> Option<f64> {
        self.sums(now).map(|(sum, weights)| sum / weights)
    }

    /// How much the newest bucket counts.
    #[must_use]
    pub const fn alpha(&self) -> f64 {
        self.alpha
    }

    /// How long the window is.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.ring.window()
    }

    /// Gives the window another length, and keeps what fits into both.
    pub fn resize(&mut self, now: Tick, window: Duration) {
        self.ring.resize(now, window);
        self.alpha = alpha(self.ring.len());
    }

    /// The weighted sum, and the sum of the weights of the buckets in it.
    fn sums(&self, now: Tick) -> Option<(f64, f64)> {
        if self.ring.is_empty(now) {
            return None;
        }
        let last = self.ring.last()?;
        let passed = self.ring.bucket(now).saturating_sub(last);
        let len = self.ring.len() as u64;
        let kept = self.ring.seen().min(len - passed.min(len - 1));
        // At most the number of buckets, which fits.
        let mut weight = self.alpha * (1.0 - self.alpha).powi(passed as i32);
        let (mut sum, mut weights) = (0.0, 0.0);
        for age in 0..kept {
            sum += self.ring.slot(last - age) * weight;
            weights += weight;
            weight *= 1.0 - self.alpha;
        }
        Some((sum, weights))
    }
}

fn alpha(buckets: usize) -> f64 {
    (1.0 - OLDEST_WEIGHT.powf(1.0 / buckets as f64)).max(ALPHA_MIN)
}
