//! Settings of a service's balancer.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_balance::{
    BalancerConfig, EjectionConfig, OrcaConfig, PeakEwmaConfig, Policy, QueueConfig,
    RetryBudgetConfig, WrrConfig, WrrMode,
};

use super::section::Section;
use super::service::word;
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
    let config = BalancerConfig {
        policy: read_policy(section),
        endpoint_concurrency: concurrency
            .and_then(|number| u32::try_from(number).ok())
            .and_then(NonZeroU32::new),
        queue: section.table("queue").map_or(defaults.queue, read_queue),
        ejection: section
            .table("ejection")
            .map_or(defaults.ejection, read_ejection),
        when_empty: defaults.when_empty,
        slow_start: time("slow-start", defaults.slow_start),
        retry_budget: section
            .table("retry")
            .map_or(defaults.retry_budget, read_retry),
        retention: time("retention", defaults.retention),
        seed: defaults.seed,
    };
    // Whatever the balancer minds and no key has minded before.
    if let Err(error) = config.check() {
        section.wrong(error.to_string());
    }
    config
}

/// The policy, and its settings from the table of its name.
fn read_policy(section: &Section<'_>) -> Policy {
    let mut wanted = section
        .text("policy", policy)
        .map_or_else(Policy::default, |found| found.value);
    let peak_ewma = section.table("peak-ewma");
    let wrr = section.table("wrr");
    let orca = section.table("orca");
    let mut spare = Vec::new();
    match (&mut wanted, peak_ewma, wrr, orca) {
        (Policy::PeakEwma(config), table, wrr, orca) => {
            table
                .into_iter()
                .for_each(|table| read_peak_ewma(table, config));
            spare.extend([wrr, orca]);
        }
        (Policy::Wrr(config), peak_ewma, table, orca) => {
            table.into_iter().for_each(|table| read_wrr(table, config));
            spare.extend([peak_ewma, orca]);
        }
        (Policy::Orca(config), peak_ewma, wrr, table) => {
            table.into_iter().for_each(|table| read_orca(table, config));
            spare.extend([peak_ewma, wrr]);
        }
        (_, peak_ewma, wrr, orca) => spare.extend([peak_ewma, wrr, orca]),
    }
    for table in spare.into_iter().flatten() {
        table.wrong(format!(
            "the policy is {wanted}, so this has no effect; leave it out"
        ));
    }
    wanted
}

fn read_peak_ewma(section: Section<'_>, config: &mut PeakEwmaConfig) {
    let range = Duration::from_millis(10)..=Duration::from_secs(3600);
    if let Some(decay) = section.duration("decay", range) {
        config.decay = decay;
    }
    section.finish();
}

/// The modes of `wrr`, in the words of settings.
pub(super) const WRR_MODES: [(&str, WrrMode); 2] = [
    ("corrected", WrrMode::Corrected),
    ("kratos", WrrMode::Kratos),
];

fn read_wrr(section: Section<'_>, config: &mut WrrConfig) {
    if let Some(mode) = section.text("mode", |text| word(text, &WRR_MODES)) {
        config.mode = mode.value;
    }
    let period = section.duration(
        "update-period",
        Duration::from_millis(100)..=Duration::from_secs(60),
    );
    config.update_period = period.unwrap_or(config.update_period);
    let penalty = section.duration("failure-penalty", Duration::ZERO..=DURATION_MAX);
    config.failure_penalty = penalty.unwrap_or(config.failure_penalty);
    section.finish();
}

fn read_orca(section: Section<'_>, config: &mut OrcaConfig) {
    let time = |key, default| {
        let found = section.duration(key, Duration::ZERO..=DURATION_MAX);
        found.unwrap_or(default)
    };
    config.blackout = time("blackout", config.blackout);
    config.expiration = time("expiration", config.expiration);
    config.update_period = time("update-period", config.update_period);
    let penalty = section.real("error-penalty", 0.0..=1_000.0);
    config.error_penalty = penalty.unwrap_or(config.error_penalty);
    section.finish();
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
    let ratio = RetryBudgetConfig::default().ratio;
    let budget = section.text("budget", values::share);
    let minimum = section.real("min-per-second", 0.0..=RETRIES_PER_SECOND_MAX);
    section.finish();
    let config = RetryBudgetConfig::of_share(budget.map_or(ratio, |found| found.value));
    RetryBudgetConfig {
        min_per_second: minimum.unwrap_or(config.min_per_second),
        ..config
    }
}
