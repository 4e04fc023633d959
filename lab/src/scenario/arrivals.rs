//! When requests come.

use serde::Deserialize;

use crate::random::SplitMix64;

/// An arrival process.
///
/// An open loop sends when a request is due, whatever has become of the others: only so does a stall count
/// against every request that it delays. The closed loop is there for scenarios that others published so.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "process", rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrivals {
    /// Open loop, equal gaps.
    Constant {
        /// The rate.
        per_second: f64,
    },
    /// Open loop, exponential gaps.
    Poisson {
        /// The rate.
        per_second: f64,
        /// Factors of the rate, each for an equal part of the time. Empty: the rate stays.
        #[serde(default)]
        steps: Vec<f64>,
    },
    /// Each of so many clients sends its next request when it has the answer to the last.
    Closed {
        /// How many clients.
        clients: usize,
        /// How many requests in all; the scenario ends with the last, or when its time is over.
        requests: usize,
    },
}

/// The moments of an open loop, in seconds from the start.
#[derive(Clone, Debug)]
pub struct Moments<'a> {
    arrivals: &'a Arrivals,
    random: SplitMix64,
    seconds: f64,
    now: f64,
}

impl Arrivals {
    /// The moments of an open loop of so many seconds. A closed loop has none.
    #[must_use]
    pub fn moments(&self, seconds: f64, seed: u64) -> Moments<'_> {
        Moments {
            arrivals: self,
            random: SplitMix64::stream(seed, u64::MAX),
            seconds,
            now: 0.0,
        }
    }

    /// Into how many parts of equal length the time is cut; each may have another rate.
    #[must_use]
    pub fn steps(&self) -> usize {
        match self {
            Self::Poisson { steps, .. } => steps.len().max(1),
            Self::Constant { .. } | Self::Closed { .. } => 1,
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let sound = match self {
            Self::Constant { per_second } => positive(*per_second),
            Self::Poisson { per_second, steps } => {
                positive(*per_second) && steps.iter().all(|factor| positive(*factor))
            }
            Self::Closed { clients, requests } => *clients > 0 && *requests > 0,
        };
        (!sound).then_some("arrivals: rates, steps, clients and requests must be above zero")
    }
}

impl Iterator for Moments<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let gap = match self.arrivals {
            Arrivals::Closed { .. } => return None,
            Arrivals::Constant { per_second } => per_second.recip(),
            Arrivals::Poisson { per_second, steps } => {
                let part = (self.now / self.seconds * steps.len() as f64) as usize;
                let factor = steps.get(part).copied().unwrap_or(1.0);
                -(1.0 - self.random.next_unit()).ln() / (per_second * factor)
            }
        };
        self.now += gap;
        (self.now < self.seconds).then_some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_fill_the_time() {
        let arrivals = Arrivals::Constant { per_second: 100.0 };
        let moments: Vec<f64> = arrivals.moments(1.0, 0).collect();
        assert_eq!(moments.len(), 99);
        assert!((moments[49] - 0.5).abs() < 1e-9);
    }

    #[test]
    fn poisson_arrivals_follow_their_steps() {
        let arrivals = Arrivals::Poisson {
            per_second: 10_000.0,
            steps: vec![1.0, 3.0],
        };
        let moments: Vec<f64> = arrivals.moments(4.0, 1).collect();
        let first = moments.iter().filter(|&&moment| moment < 2.0).count() as f64;
        let second = moments.len() as f64 - first;
        // The standard error of the first is 0.7 %.
        assert!((first / 20_000.0 - 1.0).abs() < 0.03, "{first}");
        assert!((second / 60_000.0 - 1.0).abs() < 0.03, "{second}");
    }

    #[test]
    fn a_closed_loop_has_no_moments_of_its_own() {
        let closed = Arrivals::Closed {
            clients: 5,
            requests: 10,
        };
        assert_eq!(closed.moments(1.0, 0).count(), 0);
    }
}
