//! What can be chosen, with defaults that need no choosing.

use std::num::NonZeroU32;
use std::time::Duration;

/// The longest time any setting may have: 365 days.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The shortest and the longest window that load is averaged over, as in Knative.
pub const WINDOW_MIN: Duration = Duration::from_secs(6);
/// See [`WINDOW_MIN`].
pub const WINDOW_MAX: Duration = Duration::from_secs(3600);

/// The most replicas of one service.
pub const REPLICAS_MAX: u32 = 65_536;

/// The least load a replica may be meant to carry, as in Knative.
pub const TARGET_MIN: f64 = 0.01;

/// How many concurrent requests a replica is meant to carry when nothing is
/// said, as in Knative.
pub const CONCURRENCY_TARGET_DEFAULT: f64 = 100.0;

/// How many requests a second a replica is meant to carry when nothing is said,
/// as in Knative.
pub const RPS_TARGET_DEFAULT: f64 = 200.0;

/// How it is decided how many replicas there should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Event driven: acts on every arrival, completion and readiness, counts
    /// starting replicas, and learns how long to keep idle ones.
    #[default]
    Plimsoll,
    /// Knative's pod autoscaler: a window, a panic window, a tick of two seconds.
    Kpa,
}

/// What load is measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Requests at once.
    #[default]
    Concurrency,
    /// Requests a second.
    Rps,
}

/// How the seconds of a window become one number, for [`Policy::Kpa`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Aggregation {
    /// Each second counts the same.
    #[default]
    Linear,
    /// A second counts the less the older it is.
    WeightedExponential,
}

/// Between which bounds it is learned how long an idle replica is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// At least so long.
    pub min: Duration,
    /// At most so long.
    pub max: Duration,
}

/// How a service is scaled.
///
/// The names of settings that Knative has too are explained in its
/// documentation; those that only one policy reads say so.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleConfig {
    /// How it is decided.
    pub policy: Policy,
    /// What load is measured in.
    pub metric: Metric,
    /// How the seconds of a window become one number. `kpa` only.
    pub aggregation: Aggregation,
    /// How many requests a replica can work on at once; `None` is without limit.
    pub concurrency: Option<NonZeroU32>,
    /// How much load, in units of the metric, one replica is meant to carry;
    /// `None` is its concurrency if it has a limit and load is concurrency,
    /// else [`CONCURRENCY_TARGET_DEFAULT`] or [`RPS_TARGET_DEFAULT`].
    pub target: Option<f64>,
    /// Which share of the target to aim at, more than 0 and at most 1.
    pub utilization: f64,
    /// What load is averaged over: 6 s to 1 h. Also how long `plimsoll` keeps an
    /// idle replica before it has learned better.
    pub window: Duration,
    /// Which share of the window the panic window has, in percent, 1 to 100. `kpa` only.
    pub panic_window_percentage: f64,
    /// By how many times the replicas that are ready must be too few for a
    /// panic, as a factor. `kpa` only.
    pub panic_threshold: f64,
    /// By which factor there may be more replicas at once; more than 1. `kpa` only.
    pub scale_up_rate: f64,
    /// By which factor there may be fewer replicas at once; more than 1. `kpa` only.
    pub scale_down_rate: f64,
    /// Never fewer than this.
    pub min: u32,
    /// Never more than this; `None` is [`REPLICAS_MAX`].
    pub max: Option<NonZeroU32>,
    /// How many there are to be at first.
    pub initial: u32,
    /// If there are any, at least this many.
    pub activation_scale: u32,
    /// The most of the last so long holds.
    pub scale_down_delay: Duration,
    /// Whether there may be none.
    pub scale_to_zero: bool,
    /// How long traffic takes to find its new way before the last replica may go. `kpa` only.
    pub scale_to_zero_grace: Duration,
    /// The last replica stays at least so long after it was last needed.
    pub scale_to_zero_retention: Duration,
    /// Between which bounds it is learned how long an idle replica is kept. `plimsoll` only.
    pub keep_alive: KeepAlive,
    /// How many replicas may be starting at once, at least 1. `plimsoll` only.
    pub starts_max: u32,
    /// How many more requests are to find room at once; −1 is without limit.
    pub target_burst_capacity: f64,
    /// Whether anything leads to the service; if not, it has no minimum and no
    /// delays. `kpa` only.
    pub reachable: bool,
}

/// A setting that is not in its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {got}; accepted: {accepted}")]
pub struct ConfigError {
    /// The name of the setting.
    pub setting: &'static str,
    /// What it is.
    pub got: String,
    /// What it may be.
    pub accepted: &'static str,
}

impl Policy {
    /// Its name in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plimsoll => "plimsoll",
            Self::Kpa => "kpa",
        }
    }
}

impl Metric {
    /// Its name in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Rps => "rps",
        }
    }
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            metric: Metric::default(),
            aggregation: Aggregation::default(),
            concurrency: None,
            target: None,
            utilization: 0.7,
            window: Duration::from_secs(60),
            panic_window_percentage: 10.0,
            panic_threshold: 2.0,
            scale_up_rate: 1_000.0,
            scale_down_rate: 2.0,
            min: 0,
            max: None,
            initial: 0,
            activation_scale: 1,
            scale_down_delay: Duration::ZERO,
            scale_to_zero: true,
            scale_to_zero_grace: Duration::from_secs(30),
            scale_to_zero_retention: Duration::ZERO,
            keep_alive: KeepAlive::default(),
            starts_max: 32,
            target_burst_capacity: 211.0,
            reachable: true,
        }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(30),
            max: Duration::from_secs(600),
        }
    }
}

impl ScaleConfig {
    /// How much load one replica can carry, in units of the metric.
    #[must_use]
    pub fn total(&self) -> f64 {
        let limit = self
            .concurrency
            .filter(|_| self.metric == Metric::Concurrency)
            .map(|limit| f64::from(limit.get()));
        match (self.target, limit) {
            (Some(target), Some(limit)) => target.min(limit),
            (Some(target), None) => target,
            (None, Some(limit)) => limit,
            (None, None) if self.metric == Metric::Rps => RPS_TARGET_DEFAULT,
            (None, None) => CONCURRENCY_TARGET_DEFAULT,
        }
    }

    /// How much of [`total`](Self::total) a replica is meant to carry.
    #[must_use]
    pub fn target_value(&self) -> f64 {
        (self.total() * self.utilization).max(TARGET_MIN)
    }

    /// The panic window: a share of the window in whole seconds, half rounded
    /// up, at least one.
    #[must_use]
    pub fn panic_window(&self) -> Duration {
        let seconds = self.window.as_secs_f64() * self.panic_window_percentage / 100.0;
        // From 0.06 to 3,600, so the conversion is exact.
        Duration::from_secs((seconds + 0.5).floor().max(1.0) as u64)
    }

    /// The most replicas there may be.
    #[must_use]
    pub fn max_replicas(&self) -> u32 {
        self.max.map_or(REPLICAS_MAX, NonZeroU32::get)
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    ///
    /// The first setting that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(target) = self.target {
            check_number("target", target, TARGET_MIN..=1e9, "0.01 to 1000000000")?;
        }
        if !(self.utilization > 0.0 && self.utilization <= 1.0) {
            let got = self.utilization.to_string();
            return Err(refuse("utilization", got, "more than 0 and at most 1"));
        }
        if self.window < WINDOW_MIN || self.window > WINDOW_MAX || self.window.subsec_nanos() != 0 {
            let got = format!("{:?}", self.window);
            return Err(refuse("window", got, "whole seconds from 6 s to 1 h"));
        }
        let percentage = self.panic_window_percentage;
        check_number(
            "panic_window_percentage",
            percentage,
            1.0..=100.0,
            "1 to 100",
        )?;
        check_number(
            "panic_threshold",
            self.panic_threshold,
            0.01..=1e9,
            "0.01 or more",
        )?;
        let rates = [
            ("scale_up_rate", self.scale_up_rate),
            ("scale_down_rate", self.scale_down_rate),
        ];
        for (setting, rate) in rates {
            if !(rate > 1.0 && rate.is_finite()) {
                return Err(refuse(setting, rate.to_string(), "more than 1"));
            }
        }
        let burst = self.target_burst_capacity;
        if !(burst == -1.0 || burst >= 0.0 && burst.is_finite()) {
            let accepted = "0 or more, or -1 for no limit";
            return Err(refuse("target_burst_capacity", burst.to_string(), accepted));
        }
        self.check_counts()?;
        self.check_times()
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        let max = self.max_replicas();
        if max > REPLICAS_MAX {
            return Err(refuse("max", max.to_string(), "1 to 65536"));
        }
        let counts = [
            ("min", self.min),
            ("initial", self.initial),
            ("activation_scale", self.activation_scale),
        ];
        for (setting, count) in counts {
            if count > max {
                return Err(refuse(setting, count.to_string(), "0 to max"));
            }
        }
        if self.starts_max == 0 {
            return Err(refuse("starts_max", "0".to_owned(), "1 or more"));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let times = [
            ("scale_down_delay", self.scale_down_delay),
            ("scale_to_zero_grace", self.scale_to_zero_grace),
            ("scale_to_zero_retention", self.scale_to_zero_retention),
            ("keep_alive.min", self.keep_alive.min),
            ("keep_alive.max", self.keep_alive.max),
        ];
        for (setting, time) in times {
            if time > DURATION_MAX {
                return Err(refuse(setting, format!("{time:?}"), "at most 365 days"));
            }
        }
        if self.keep_alive.min > self.keep_alive.max {
            let got = format!("{:?}", self.keep_alive.min);
            return Err(refuse("keep_alive.min", got, "at most keep_alive.max"));
        }
        Ok(())
    }
}

fn check_number(
    setting: &'static str,
    got: f64,
    range: std::ops::RangeInclusive<f64>,
    accepted: &'static str,
) -> Result<(), ConfigError> {
    // A range does not contain what is not a number.
    if range.contains(&got) {
        Ok(())
    } else {
        Err(refuse(setting, got.to_string(), accepted))
    }
}

const fn refuse(setting: &'static str, got: String, accepted: &'static str) -> ConfigError {
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
        assert_eq!(ScaleConfig::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_named_with_what_can() {
        type Change = fn(&mut ScaleConfig);
        let rows: &[(&str, Change)] = &[
            ("target", |c| c.target = Some(0.0)),
            ("target", |c| c.target = Some(f64::NAN)),
            ("utilization", |c| c.utilization = 0.0),
            ("utilization", |c| c.utilization = 1.01),
            ("window", |c| c.window = Duration::from_secs(5)),
            ("window", |c| c.window = Duration::from_millis(6_500)),
            ("window", |c| c.window = Duration::MAX),
            ("panic_window_percentage", |c| {
                c.panic_window_percentage = 0.9;
            }),
            ("panic_threshold", |c| c.panic_threshold = 0.0),
            ("scale_up_rate", |c| c.scale_up_rate = 1.0),
            ("scale_down_rate", |c| c.scale_down_rate = f64::INFINITY),
            ("max", |c| c.max = NonZeroU32::new(65_537)),
            ("min", |c| {
                c.max = NonZeroU32::new(2);
                c.min = 3;
            }),
            ("initial", |c| {
                c.max = NonZeroU32::new(2);
                c.initial = 3;
            }),
            ("activation_scale", |c| c.activation_scale = 65_537),
            ("starts_max", |c| c.starts_max = 0),
            ("target_burst_capacity", |c| c.target_burst_capacity = -2.0),
            ("scale_down_delay", |c| c.scale_down_delay = Duration::MAX),
            ("scale_to_zero_grace", |c| {
                c.scale_to_zero_grace = Duration::MAX;
            }),
            ("scale_to_zero_retention", |c| {
                c.scale_to_zero_retention = Duration::MAX;
            }),
            ("keep_alive.min", |c| {
                c.keep_alive.min = Duration::from_secs(601);
            }),
            ("keep_alive.max", |c| c.keep_alive.max = Duration::MAX),
        ];
        for (setting, change) in rows {
            let mut config = ScaleConfig::default();
            change(&mut config);
            let error = config.check().expect_err(setting);
            assert_eq!(error.setting, *setting);
            assert!(!error.accepted.is_empty() && !error.got.is_empty());
        }
    }
}
