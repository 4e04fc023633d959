//! How long an answer takes.

use std::f64::consts::TAU;
use std::time::Duration;

use serde::Deserialize;

/// A distribution of service times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Service {
    /// Always the same.
    FixedMs(f64),
    /// Exponential with this mean.
    ExponentialMs(f64),
    /// Uniform from zero to this.
    UniformMs(f64),
    /// Normal, cut off at a hundredth of the mean.
    NormalMs {
        /// The mean before the cut.
        mean: f64,
        /// The standard deviation before the cut.
        deviation: f64,
    },
    /// Log-normal: what answers of real services look like.
    LogNormalMs {
        /// Half of the answers take less.
        median: f64,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
}

/// What chance has decided of one request, before anybody has chosen an endpoint for it.
///
/// A request has the same size wherever it is sent and whatever balances it. So two balancers are compared
/// on the same requests, and their difference is not noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draws {
    /// Uniform in [0, 1): the size.
    pub size: f64,
    /// Uniform in [0, 1): a second number where a distribution needs one.
    pub angle: f64,
    /// Uniform in [0, 1): the class of the request.
    pub class: f64,
    /// Seeds what happens to its attempts.
    pub fate: u64,
}

impl Service {
    /// The service time of the request that chance has made so.
    #[must_use]
    pub fn time(&self, draws: &Draws) -> Duration {
        let ms = match *self {
            Self::FixedMs(ms) => ms,
            Self::ExponentialMs(mean) => -mean * (1.0 - draws.size).ln(),
            Self::UniformMs(most) => most * draws.size,
            Self::NormalMs { mean, deviation } => {
                (mean + deviation * draws.normal()).max(mean / 100.0)
            }
            Self::LogNormalMs { median, sigma } => median * (sigma * draws.normal()).exp(),
        };
        Duration::from_secs_f64(ms / 1000.0)
    }

    /// The mean of the distribution, milliseconds; that of a normal one before it is cut off.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        match *self {
            Self::FixedMs(ms) | Self::ExponentialMs(ms) => ms,
            Self::UniformMs(most) => most / 2.0,
            Self::NormalMs { mean, .. } => mean,
            Self::LogNormalMs { median, sigma } => median * (sigma * sigma / 2.0).exp(),
        }
    }

    /// Whether every number in it can be used: finite and above zero.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let positive = |ms: f64| ms.is_finite() && ms > 0.0;
        match *self {
            Self::FixedMs(ms) | Self::ExponentialMs(ms) | Self::UniformMs(ms) => positive(ms),
            Self::NormalMs { mean, deviation } => positive(mean) && positive(deviation),
            Self::LogNormalMs { median, sigma } => positive(median) && positive(sigma),
        }
    }
}

impl Draws {
    /// Standard normal, by the method of Box and Muller (1958).
    fn normal(&self) -> f64 {
        (-2.0 * (1.0 - self.size).ln()).sqrt() * (TAU * self.angle).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    fn moments(service: Service) -> (f64, f64) {
        let mut random = SplitMix64::new(3);
        let times: Vec<f64> = (0..200_000)
            .map(|_| {
                let draws = Draws {
                    size: random.next_unit(),
                    angle: random.next_unit(),
                    class: 0.0,
                    fate: 0,
                };
                service.time(&draws).as_secs_f64() * 1000.0
            })
            .collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let variance = times.iter().map(|ms| (ms - mean).powi(2)).sum::<f64>() / times.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn every_distribution_has_its_moments() {
        let normal = Service::NormalMs {
            mean: 167.0,
            deviation: 5.0,
        };
        let log_normal = Service::LogNormalMs {
            median: 10.0,
            sigma: 0.5,
        };
        // exp(σ²/2) and sqrt(exp(σ²) − 1) exp(σ²/2), for the last.
        let table = [
            (Service::FixedMs(3.0), 3.0, 0.0),
            (Service::ExponentialMs(20.0), 20.0, 20.0),
            (Service::UniformMs(12.0), 6.0, 12.0 / 12_f64.sqrt()),
            (normal, 167.0, 5.0),
            (log_normal, 11.331, 6.039),
        ];
        for (service, mean, deviation) in table {
            let (m, d) = moments(service);
            assert!((m - mean).abs() <= 0.01 * mean, "{service:?}: mean {m}");
            assert!((service.mean_ms() - mean).abs() < 1e-3, "{service:?}");
            assert!(
                (d - deviation).abs() <= 0.02 * deviation,
                "{service:?}: {d}"
            );
        }
    }

    #[test]
    fn a_normal_time_is_never_zero_or_less() {
        let service = Service::NormalMs {
            mean: 100.0,
            deviation: 100.0,
        };
        let draws = Draws {
            size: 0.999,
            angle: 0.5,
            class: 0.0,
            fate: 0,
        };
        assert_eq!(service.time(&draws), Duration::from_millis(1));
    }

    #[test]
    fn times_that_are_no_times_are_unsound() {
        assert!(!Service::FixedMs(0.0).is_sound());
        assert!(!Service::ExponentialMs(f64::NAN).is_sound());
        assert!(Service::UniformMs(1.0).is_sound());
    }
}
