//! Who plays a scenario: a policy, and what is around it.

use std::str::FromStr;

use plimsoll_balance::{
    BalancerConfig, EjectionConfig, POLICY_NAMES, Policy, UnknownPolicy, WrrConfig, WrrMode,
};

/// The name of the one that is as Kratos has it.
const KRATOS: &str = "kratos";

/// A balancer that takes part, with the defaults of the gateway around its policy.
#[derive(Clone, Debug)]
pub struct Player {
    /// Its name in tables.
    pub name: String,
    /// How it chooses.
    pub policy: Policy,
    /// Whether it leaves out who fails.
    pub ejects: bool,
}

impl Player {
    /// All there are: the default policy first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let names = POLICY_NAMES.iter().copied().chain([KRATOS]);
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// The settings of its balancer.
    pub(super) fn config(&self) -> BalancerConfig {
        BalancerConfig {
            policy: self.policy.clone(),
            ejection: EjectionConfig {
                enabled: self.ejects,
                ..EjectionConfig::default()
            },
            ..BalancerConfig::default()
        }
    }
}

impl From<Policy> for Player {
    fn from(policy: Policy) -> Self {
        Self {
            name: policy.to_string(),
            policy,
            ejects: true,
        }
    }
}

impl FromStr for Player {
    type Err = UnknownPolicy;

    /// A policy by its name, or `kratos`: the weights of Kratos v1 with nothing around them.
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        if name != KRATOS {
            return Ok(name.parse::<Policy>()?.into());
        }
        Ok(Self {
            name: KRATOS.to_owned(),
            policy: Policy::Wrr(WrrConfig {
                mode: WrrMode::Kratos,
                ..WrrConfig::default()
            }),
            ejects: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_policies_take_part_and_kratos_as_it_was() {
        let all = Player::all();
        assert_eq!(all.len(), POLICY_NAMES.len() + 1);
        assert_eq!(all[0].policy, Policy::default());
        assert!(
            all.iter()
                .all(|player| player.ejects == (player.name != KRATOS))
        );
        assert!("fastest".parse::<Player>().is_err());
    }
}
