//! When the requests of an open loop are due.

use std::time::Duration;

use crate::random::SplitMix64;

/// Gaps between arrivals: constant, or exponential from a seed.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    mean_seconds: f64,
    random: Option<SplitMix64>,
}

impl Arrivals {
    pub(super) fn constant(per_second: f64) -> Self {
        Self {
            mean_seconds: per_second.recip(),
            random: None,
        }
    }

    pub(super) fn poisson(per_second: f64, seed: u64) -> Self {
        Self {
            mean_seconds: per_second.recip(),
            random: Some(SplitMix64::new(seed)),
        }
    }

    /// Time from one arrival to the next.
    pub(super) fn next_gap(&mut self) -> Duration {
        let factor = match &mut self.random {
            None => 1.0,
            // The inverse of the exponential distribution function; 1 − u lies in (0, 1].
            Some(random) => -(1.0 - random.next_unit()).ln(),
        };
        Duration::from_secs_f64(self.mean_seconds * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_gaps_are_equal() {
        let mut arrivals = Arrivals::constant(2000.0);
        for _ in 0..10 {
            assert_eq!(arrivals.next_gap(), Duration::from_micros(500));
        }
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_deviation_of_their_rate() {
        let mut arrivals = Arrivals::poisson(1000.0, 42);
        let gaps: Vec<f64> = (0..100_000)
            .map(|_| arrivals.next_gap().as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // The standard error of both is below 1 %.
        assert!((mean - 1e-3).abs() < 2e-5, "{mean}");
        assert!((variance.sqrt() - 1e-3).abs() < 3e-5, "{}", variance.sqrt());
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let gaps = |seed| {
            let mut arrivals = Arrivals::poisson(10.0, seed);
            (0..5).map(|_| arrivals.next_gap()).collect::<Vec<_>>()
        };
        assert_eq!(gaps(1), gaps(1));
        assert_ne!(gaps(1), gaps(2));
    }
}
