//! Knative's settings: the ConfigMap `config-autoscaler`, the annotations of a
//! revision, and what both come to.
//!
//! Names, ranges and the order of checks are Knative's (serving, August 2026).
//! [`ConfigMap::parse`] and [`Annotations::parse`] refuse what admission refuses
//! there; [`Annotations::parse_leniently`] ignores it, as the autoscaler does
//! with what has got past admission. [`resolve`] makes a [`ScaleConfig`] of them.
//!
//! ```
//! use plimsoll_scale::knative::{Annotations, ConfigMap, resolve};
//!
//! let cluster = ConfigMap::parse([("stable-window", "120s")])?;
//! let revision = Annotations::parse([("autoscaling.knative.dev/target", "10")], &cluster)?;
//! let config = resolve(&cluster, &revision, 0, true);
//! assert_eq!((config.total(), config.target_value()), (10.0, 7.0));
//!
//! let wrong = Annotations::parse([("autoscaling.knative.dev/target", "-11")], &cluster);
//! let message = wrong.expect_err("a target is positive").to_string();
//! assert_eq!(message, "target -11 should be at least 0.01: autoscaling.knative.dev/target");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod annotations;
mod config_map;
mod duration;

pub use annotations::{Annotations, CLASS, PREFIX};
pub use config_map::ConfigMap;

use std::num::NonZeroU32;

use crate::config::{Metric, Policy, REPLICAS_MAX, ScaleConfig};

/// Requests a second have a utilization of their own, which the ConfigMap
/// cannot change.
const RPS_UTILIZATION: f64 = 0.7;

/// Why settings were refused: one line for each mistake, in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .mistakes.iter().map(|mistake| mistake.message.as_str()).collect::<Vec<_>>().join("\n"))]
pub struct KnativeError {
    mistakes: Vec<Mistake>,
}

/// Something that is wrong with one setting, or with several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The settings it is about, in full.
    pub keys: Vec<String>,
    /// What is wrong, in the words of Knative where it has some; one line.
    pub message: String,
}

impl Mistake {
    fn of(keys: &[&str], message: String) -> Self {
        Self {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            message,
        }
    }
}

impl KnativeError {
    fn one(mistake: Mistake) -> Self {
        Self {
            mistakes: vec![mistake],
        }
    }

    fn all(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by(|a, b| a.message.cmp(&b.message));
        Self { mistakes }
    }

    /// The mistakes, in alphabetical order.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

/// What the cluster's settings and a revision's annotations come to, for a
/// revision with so many slots in each replica, 0 for no limit.
///
/// More than [`REPLICAS_MAX`] is that.
#[must_use]
pub fn resolve(
    cluster: &ConfigMap,
    revision: &Annotations,
    container_concurrency: u32,
    reachable: bool,
) -> ScaleConfig {
    let metric = revision.metric.unwrap_or_default();
    let (target, utilization) = match metric {
        Metric::Concurrency if container_concurrency > 0 => (None, cluster.target_fraction),
        Metric::Concurrency => (Some(cluster.concurrency_target), cluster.target_fraction),
        Metric::Rps => (Some(cluster.rps_target), RPS_UTILIZATION),
    };
    let bound = |count: u32| count.min(REPLICAS_MAX);
    let max = NonZeroU32::new(bound(revision.max_scale.unwrap_or(cluster.max_scale)));
    let most = max.map_or(REPLICAS_MAX, NonZeroU32::get);
    let initial = revision
        .initial_scale
        .filter(|&initial| initial > 0 || cluster.allow_zero_initial_scale)
        .unwrap_or(cluster.initial_scale);
    let percent = |value: f64| value / 100.0;
    ScaleConfig {
        policy: Policy::Kpa,
        metric,
        aggregation: revision.aggregation.unwrap_or_default(),
        concurrency: NonZeroU32::new(container_concurrency),
        target: revision.target.or(target),
        utilization: revision.target_utilization.map_or(utilization, percent),
        window: revision.window.unwrap_or(cluster.stable_window),
        panic_window_percentage: revision
            .panic_window_percentage
            .unwrap_or(cluster.panic_window_percentage),
        panic_threshold: percent(
            revision
                .panic_threshold_percentage
                .unwrap_or(cluster.panic_threshold_percentage),
        ),
        scale_up_rate: cluster.max_scale_up_rate,
        scale_down_rate: cluster.max_scale_down_rate,
        min: revision.min_scale.unwrap_or(cluster.min_scale).min(most),
        max,
        initial: initial.min(most),
        activation_scale: revision.activation_scale.unwrap_or(1).min(most),
        scale_down_delay: revision
            .scale_down_delay
            .unwrap_or(cluster.scale_down_delay),
        scale_to_zero: cluster.enable_scale_to_zero,
        scale_to_zero_grace: cluster.grace,
        scale_to_zero_retention: revision.retention.unwrap_or(cluster.retention),
        target_burst_capacity: revision
            .target_burst_capacity
            .unwrap_or(cluster.target_burst_capacity),
        reachable,
        ..ScaleConfig::default()
    }
}
