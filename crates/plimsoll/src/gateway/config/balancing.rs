//! Settings of a service's balancer.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_balance::{BalancerConfig, EjectionConfig, Policy, QueueConfig, RetryBudgetConfig};

use super::section::Section;
use crate::cli::values::{self, DURATION_MAX};

/// The most places in a queue.
pub(crate) const QUEUE_DEPTH_MAX: u64 = 1 << 20;

/// The most retries each second whatever the traffic.
pub(crate) const RETRIES_PER_SECOND_MAX: f64 = 1_000.0;

/// Reads what says how requests are spread. What is not given has the balancer's own default.
pub(super) fn read(section: &Section<'_>) -> BalancerConfig {
    let defaults = BalancerConfig::default();
    let time = |key, default| {
        let found = section.duration(key, Duration::ZERO..=DURATION_MAX);
        found.unwrap_or(default)
    };
    let concurrency = section.number("endpoint-concurrency", 1..=u64::from(u32::MAX));
    let policy = section.text("policy", policy);
    BalancerConfig {
        policy: policy.map_or(defaults.policy, |found| found.value),
        endpoint_concurrency: concurrency
            .and_then(|number| u32::try_from(number).ok())
            .and_then(NonZeroU32::new),
        queue: section.table("queue").map_or(defaults.queue, read_queue),
        ejection: section
            .table("ejection")
            .map_or(defaults.ejection, read_ejection),
        slow_start: time("slow-start", defaults.slow_start),
        retry_budget: section
            .table("retry")
            .map_or(defaults.retry_budget, read_retry),
        retention: time("retention", defaults.retention),
        seed: defaults.seed,
    }
}

/// The name of a policy.
pub(crate) fn policy(text: &str) -> Result<Policy, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn read_queue(section: Section<'_>) -> QueueConfig {
    let defaults = QueueConfig::default();
    let depth = section.number("depth", 0..=QUEUE_DEPTH_MAX);
    let bytes = section.text("bytes", values::bytes);
    let age = section.duration("age", Duration::ZERO..=DURATION_MAX);
    section.finish();
    QueueConfig {
        depth: depth
            .and_then(|depth| usize::try_from(depth).ok())
            .unwrap_or(defaults.depth),
        bytes_max: bytes.map_or(defaults.bytes_max, |found| found.value),
        age_max: age.unwrap_or(defaults.age_max),
    }
}

fn read_ejection(section: Section<'_>) -> EjectionConfig {
    let defaults = EjectionConfig::default();
    let times = Duration::from_millis(1)..=DURATION_MAX;
    let enabled = section.flag("enabled");
    let base = section.duration("base", times.clone());
    let max = section.duration("max", times);
    let share = section.text("share", values::share);
    let config = EjectionConfig {
        enabled: enabled.map_or(defaults.enabled, |found| found.value),
        base: base.unwrap_or(defaults.base),
        max: max.unwrap_or(defaults.max),
        share_max: share.map_or(defaults.share_max, |found| found.value),
    };
    if config.base > config.max {
        let (base, max) = (values::written(config.base), values::written(config.max));
        section.wrong(format!(
            "base is {base} and max is {max}; base must not be longer"
        ));
    }
    section.finish();
    config
}

fn read_retry(section: Section<'_>) -> RetryBudgetConfig {
    let defaults = RetryBudgetConfig::default();
    let budget = section.text("budget", values::share);
    let minimum = section.real("min-per-second", 0.0..=RETRIES_PER_SECOND_MAX);
    section.finish();
    RetryBudgetConfig {
        ratio: budget.map_or(defaults.ratio, |found| found.value),
        min_per_second: minimum.unwrap_or(defaults.min_per_second),
    }
}
