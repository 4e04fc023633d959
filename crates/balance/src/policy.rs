//! How an endpoint is chosen.

mod kratos;
pub(crate) mod orca;
pub(crate) mod p2c;
pub(crate) mod peak_ewma;
pub(crate) mod weighted;
pub(crate) mod wrr;

use std::fmt;
use std::str::FromStr;

use plimsoll_meter::Decay;

pub use self::orca::OrcaConfig;
pub use self::peak_ewma::PeakEwmaConfig;
pub use self::wrr::{WrrConfig, WrrMode};
use crate::config::ConfigError;

/// How an endpoint is chosen among those that may be used.
///
/// Every policy honours static weights, slots, ejection and slow start.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// The least expected time: the endpoint's latency times its requests in
    /// flight. The default.
    PeakEwma(PeakEwmaConfig),
    /// Weights from success rate, latency and load, renewed once a second.
    Wrr(WrrConfig),
    /// Kratos's p2c formula over two random endpoints. For comparison.
    P2c,
    /// The fewest requests in flight.
    LeastLoaded,
    /// Each in turn.
    RoundRobin,
    /// By chance.
    Random,
    /// Weights from the endpoints' own reports of load, as gRPC's
    /// `weighted_round_robin` does (gRFC A58).
    Orca(OrcaConfig),
}

/// A word that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is no policy; accepted are {}", POLICY_NAMES.join(", "))]
pub struct UnknownPolicy {
    /// The word.
    pub got: String,
}

/// The names of the policies, as [`Policy`] reads and writes them.
pub const POLICY_NAMES: [&str; 7] = [
    "peak-ewma",
    "wrr",
    "p2c",
    "least-loaded",
    "round-robin",
    "random",
    "orca",
];

impl Default for Policy {
    fn default() -> Self {
        Self::PeakEwma(PeakEwmaConfig::default())
    }
}

impl Policy {
    /// The name, one of [`POLICY_NAMES`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PeakEwma(_) => POLICY_NAMES[0],
            Self::Wrr(_) => POLICY_NAMES[1],
            Self::P2c => POLICY_NAMES[2],
            Self::LeastLoaded => POLICY_NAMES[3],
            Self::RoundRobin => POLICY_NAMES[4],
            Self::Random => POLICY_NAMES[5],
            Self::Orca(_) => POLICY_NAMES[6],
        }
    }

    /// How the mean of an endpoint's latencies forgets.
    pub(crate) fn decay(&self) -> Decay {
        let time_constant = match self {
            Self::PeakEwma(config) => config.decay,
            _ => PeakEwmaConfig::default().decay,
        };
        Decay::new(time_constant).expect("`check` allows less than what is accepted here")
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::PeakEwma(config) => config.check(),
            Self::Wrr(config) => config.check(),
            Self::Orca(config) => config.check(),
            _ => Ok(()),
        }
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    /// The policy of that name, with its default settings.
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Ok(match name {
            "peak-ewma" => Self::PeakEwma(PeakEwmaConfig::default()),
            "wrr" => Self::Wrr(WrrConfig::default()),
            "p2c" => Self::P2c,
            "least-loaded" => Self::LeastLoaded,
            "round-robin" => Self::RoundRobin,
            "random" => Self::Random,
            "orca" => Self::Orca(OrcaConfig::default()),
            _ => {
                return Err(UnknownPolicy {
                    got: name.to_owned(),
                });
            }
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        for name in POLICY_NAMES {
            let policy: Policy = name.parse().unwrap();
            assert_eq!(policy.to_string(), name);
        }
        assert_eq!(Policy::default().name(), "peak-ewma");
    }

    #[test]
    fn a_word_that_names_no_policy_is_told_the_names() {
        let error = "fastest".parse::<Policy>().unwrap_err().to_string();
        assert!(
            error.contains("`fastest`") && error.contains("round-robin"),
            "{error}"
        );
    }
}
