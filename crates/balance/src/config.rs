//! What can be chosen, with defaults that need no choosing.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::policy::Policy;

/// The largest static weight of an endpoint.
pub const WEIGHT_MAX: u32 = 65_535;

/// The most endpoints of one balancer.
pub const ENDPOINTS_MAX: usize = 65_536;

/// The longest time any setting may have: 365 days.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The most places in the queue.
pub const QUEUE_DEPTH_MAX: usize = i32::MAX as usize;

/// How a balancer behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct BalancerConfig {
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// How many requests may run at one endpoint; `None` is without limit. An
    /// [`EndpointSpec`](crate::EndpointSpec) may say otherwise for itself.
    pub endpoint_concurrency: Option<NonZeroU32>,
    /// Where requests wait when no endpoint has a slot.
    pub queue: QueueConfig,
    /// What becomes of requests when there is no endpoint at all.
    pub when_empty: WhenEmpty,
    /// When failing endpoints are left out.
    pub ejection: EjectionConfig,
    /// How long a new endpoint, or one that comes back, takes to its full
    /// share. Zero is at once.
    pub slow_start: Duration,
    /// How many retries there may be.
    pub retry_budget: RetryBudgetConfig,
    /// How long the statistics of an address outlive its leaving the set.
    pub retention: Duration,
    /// Where the pseudo-random choices begin. Give each process its own.
    pub seed: u64,
}

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Requests that may wait at once; 0 is no queue.
    pub depth: usize,
    /// Bytes that waiting requests may occupy together, as their callers count them.
    pub bytes_max: u64,
    /// The longest wait.
    pub age_max: Duration,
}

/// What becomes of a request when the set is empty, or every endpoint is draining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenEmpty {
    /// It is refused: nobody is known to bring an endpoint.
    #[default]
    Refuse,
    /// It waits in the queue, within its bounds, for the first endpoint there is. For sets that grow because
    /// somebody waits, as where instances are started on demand.
    Wait,
}

/// When failing endpoints are left out, for how long, and how many at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectionConfig {
    /// Whether endpoints are left out at all for failing.
    pub enabled: bool,
    /// For how long, the first time; it doubles with each time in a row.
    pub base: Duration,
    /// The longest time.
    pub max: Duration,
    /// The largest share of the endpoints that is left out at once, 0 to 1. Of
    /// two or more endpoints one may be left out whatever the share, and never all.
    pub share_max: f64,
}

/// How many retries there may be. There are none if both are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetConfig {
    /// Retries allowed for each first attempt, 0 to 1.
    pub ratio: f64,
    /// Retries allowed each second whatever the traffic, 0 to 1,000.
    pub min_per_second: f64,
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{setting}` is {got}; accepted is {accepted}")]
pub struct ConfigError {
    /// The field, as a dotted path.
    pub setting: &'static str,
    /// What it was set to.
    pub got: String,
    /// What it can be.
    pub accepted: &'static str,
}

impl Default for BalancerConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            endpoint_concurrency: None,
            queue: QueueConfig::default(),
            when_empty: WhenEmpty::default(),
            ejection: EjectionConfig::default(),
            slow_start: Duration::from_secs(10),
            retry_budget: RetryBudgetConfig::default(),
            retention: Duration::from_secs(600),
            seed: 0,
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            depth: 1_000,
            bytes_max: 64 << 20,
            age_max: Duration::from_secs(30),
        }
    }
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            share_max: 0.5,
        }
    }
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self {
            ratio: 0.1,
            min_per_second: 3.0,
        }
    }
}

impl RetryBudgetConfig {
    /// A budget of this share of the first attempts, with the default minimum.
    /// A share of 0 is off: whoever asks for no retries wants none.
    #[must_use]
    pub fn of_share(ratio: f64) -> Self {
        let Self { min_per_second, .. } = Self::default();
        let min_per_second = if ratio == 0.0 { 0.0 } else { min_per_second };
        Self {
            ratio,
            min_per_second,
        }
    }
}

impl BalancerConfig {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    ///
    /// The first setting that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_duration("queue.age_max", self.queue.age_max)?;
        check_duration("ejection.base", self.ejection.base)?;
        check_duration("ejection.max", self.ejection.max)?;
        check_duration("slow_start", self.slow_start)?;
        check_duration("retention", self.retention)?;
        check_fraction("ejection.share_max", self.ejection.share_max)?;
        check_fraction("retry_budget.ratio", self.retry_budget.ratio)?;
        if self.queue.depth > QUEUE_DEPTH_MAX {
            let got = self.queue.depth.to_string();
            return Err(refuse("queue.depth", got, "0 to 2147483647"));
        }
        let minimum = self.retry_budget.min_per_second;
        if !(0.0..=1_000.0).contains(&minimum) {
            let got = minimum.to_string();
            return Err(refuse("retry_budget.min_per_second", got, "0 to 1000"));
        }
        if self.ejection.enabled && self.ejection.base.is_zero() {
            let got = "0 s".to_owned();
            return Err(refuse(
                "ejection.base",
                got,
                "more than 0 s and at most 365 days",
            ));
        }
        self.policy.check()
    }
}

pub(crate) fn check_duration(setting: &'static str, got: Duration) -> Result<(), ConfigError> {
    if got > DURATION_MAX {
        return Err(refuse(setting, format!("{got:?}"), "at most 365 days"));
    }
    Ok(())
}

fn check_fraction(setting: &'static str, got: f64) -> Result<(), ConfigError> {
    if !(0.0..=1.0).contains(&got) {
        return Err(refuse(setting, got.to_string(), "0 to 1"));
    }
    Ok(())
}

pub(crate) const fn refuse(
    setting: &'static str,
    got: String,
    accepted: &'static str,
) -> ConfigError {
    ConfigError {
        setting,
        got,
        accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_accepted() {
        assert_eq!(BalancerConfig::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_named_with_what_can() {
        type Change = fn(&mut BalancerConfig);
        let rows: &[(&str, Change)] = &[
            ("queue.depth", |c| c.queue.depth = usize::MAX),
            ("queue.age_max", |c| c.queue.age_max = Duration::MAX),
            ("ejection.base", |c| c.ejection.base = Duration::ZERO),
            ("ejection.max", |c| c.ejection.max = Duration::MAX),
            ("ejection.share_max", |c| c.ejection.share_max = f64::NAN),
            ("ejection.share_max", |c| c.ejection.share_max = 1.01),
            ("slow_start", |c| c.slow_start = Duration::MAX),
            ("retention", |c| c.retention = Duration::MAX),
            ("retry_budget.ratio", |c| c.retry_budget.ratio = -0.1),
            ("retry_budget.min_per_second", |c| {
                c.retry_budget.min_per_second = f64::INFINITY;
            }),
        ];
        for (setting, change) in rows {
            let mut config = BalancerConfig::default();
            change(&mut config);
            let error = config.check().expect_err(setting);
            assert_eq!(error.setting, *setting);
            assert!(!error.accepted.is_empty() && !error.got.is_empty());
        }
    }
}
