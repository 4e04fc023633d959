//! A window in which each second counts the same.

use std::time::Duration;

use plimsoll_meter::Tick;

use super::ring::Ring;

/// The average of the last buckets of time, each counting the same.
///
/// What falls into one bucket adds up, so several sources of load may write to
/// one window. A window that is partly filled is divided by the time that was
/// seen, not by its length: that is why a first request shows at once. While
/// nothing is written the window shrinks; when something comes later, the
/// buckets between count as zero. This is Knative's `TimedFloat64Buckets`, and
/// the same numbers come out.
///
/// Writing takes as many steps as buckets have passed, at most those of the
/// window; reading as many as have expired.
#[derive(Clone, Debug)]
pub struct LinearWindow {
    ring: Ring,
}

impl LinearWindow {
    /// An empty window of the given length, in buckets of `granularity`. Both
    /// are made to fit if they are zero, or if there were more than 65,536 buckets.
    #[must_use]
    pub fn new(window: Duration, granularity: Duration) -> Self {
        Self {
            ring: Ring::new(window, granularity),
        }
    }

    /// Adds to the bucket that `at` is in, unless that has left the window.
    pub fn record(&mut self, at: Tick, value: f64) {
        self.ring.record(at, value);
    }

    /// The average at `now`, rounded to six digits after the point, so that what
    /// is left of sums of fractions is zero. `None` if all that was ever written
    /// has left the window.
    #[must_use]
    pub fn average(&self, now: Tick) -> Option<f64> {
        if self.ring.is_empty(now) {
            return None;
        }
        let last = self.ring.last()?;
        let expired = self.ring.bucket(now).saturating_sub(last);
        let len = self.ring.len() as u64;
        let mut sum = self.ring.total();
        for age in 0..expired.min(len) {
            // The oldest first; before the origin of time there is nothing.
            if let Some(bucket) = (last + 1 + age).checked_sub(len) {
                sum -= self.ring.slot(bucket);
            }
        }
        let buckets = self.ring.seen().min(len - expired.min(len - 1));
        Some(round_to(6, sum / buckets as f64))
    }

    /// The sum of what is kept.
    #[must_use]
    pub const fn total(&self) -> f64 {
        self.ring.total()
    }

    /// How long the window is.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.ring.window()
    }

    /// How many buckets there are.
    #[must_use]
    pub const fn buckets(&self) -> usize {
        self.ring.len()
    }

    /// Gives the window another length, and keeps what fits into both.
    pub fn resize(&mut self, now: Tick, window: Duration) {
        self.ring.resize(now, window);
    }
}

/// The number with so many digits after the point, half away from zero.
fn round_to(digits: i32, number: f64) -> f64 {
    let factor = 10_f64.powi(digits);
    (number * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_away_from_zero() {
        let rows = [
            (6, 3.6e-17, 0.0),
            (6, -3.6e-17, 0.0),
            (3, 0.0004, 0.0),
            (3, 1.2345, 1.235),
            (4, 1.2345, 1.2345),
            (6, 12_345.0, 12_345.0),
        ];
        for (digits, number, wanted) in rows {
            assert_eq!(round_to(digits, number), wanted, "{number} to {digits}");
        }
    }
}
