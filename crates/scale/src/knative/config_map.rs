//! The ConfigMap `config-autoscaler`.

use std::time::Duration;

use super::duration::{self, Signed};
use super::{KnativeError, Mistake};
use crate::config::{TARGET_MIN, WINDOW_MAX, WINDOW_MIN};

/// The settings of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigMap {
    /// `container-concurrency-target-percentage`, as a fraction.
    pub target_fraction: f64,
    /// `container-concurrency-target-default`.
    pub concurrency_target: f64,
    /// `requests-per-second-target-default`.
    pub rps_target: f64,
    /// `target-burst-capacity`.
    pub target_burst_capacity: f64,
    /// `stable-window`.
    pub stable_window: Duration,
    /// `panic-window-percentage`.
    pub panic_window_percentage: f64,
    /// `panic-threshold-percentage`.
    pub panic_threshold_percentage: f64,
    /// `max-scale-up-rate`.
    pub max_scale_up_rate: f64,
    /// `max-scale-down-rate`.
    pub max_scale_down_rate: f64,
    /// `enable-scale-to-zero`.
    pub enable_scale_to_zero: bool,
    /// `allow-zero-initial-scale`.
    pub allow_zero_initial_scale: bool,
    /// `scale-to-zero-grace-period`.
    pub grace: Duration,
    /// `scale-to-zero-pod-retention-period`.
    pub retention: Duration,
    /// `scale-down-delay`.
    pub scale_down_delay: Duration,
    /// `activator-capacity`.
    pub activator_capacity: f64,
    /// `initial-scale`.
    pub initial_scale: u32,
    /// `min-scale`.
    pub min_scale: u32,
    /// `max-scale`; 0 is without limit.
    pub max_scale: u32,
    /// `max-scale-limit`; 0 is without limit.
    pub max_scale_limit: u32,
    /// Keys that mean nothing, sorted. Knative ignores them without a word; who
    /// reads them here should tell somebody.
    pub unknown: Vec<String>,
}

/// What was written, before it is checked.
struct Raw {
    config: ConfigMap,
    grace: Signed,
    retention: Signed,
    delay: Signed,
    window: Signed,
    initial: i64,
    min: i64,
    max: i64,
    limit: i64,
}

impl Default for ConfigMap {
    fn default() -> Self {
        Self {
            target_fraction: 0.7,
            concurrency_target: 100.0,
            rps_target: 200.0,
            target_burst_capacity: 211.0,
            stable_window: Duration::from_secs(60),
            panic_window_percentage: 10.0,
            panic_threshold_percentage: 200.0,
            max_scale_up_rate: 1_000.0,
            max_scale_down_rate: 2.0,
            enable_scale_to_zero: true,
            allow_zero_initial_scale: false,
            grace: Duration::from_secs(30),
            retention: Duration::ZERO,
            scale_down_delay: Duration::ZERO,
            activator_capacity: 100.0,
            initial_scale: 1,
            min_scale: 0,
            max_scale: 0,
            max_scale_limit: 0,
            unknown: Vec::new(),
        }
    }
}

impl ConfigMap {
    /// The keys that mean something, in alphabetical order.
    pub const KEYS: [&str; 20] = [
        "activator-capacity",
        "allow-zero-initial-scale",
        "container-concurrency-target-default",
        "container-concurrency-target-percentage",
        "enable-scale-to-zero",
        "initial-scale",
        "max-scale",
        "max-scale-down-rate",
        "max-scale-limit",
        "max-scale-up-rate",
        "min-scale",
        "panic-threshold-percentage",
        "panic-window-percentage",
        "pod-autoscaler-class",
        "requests-per-second-target-default",
        "scale-down-delay",
        "scale-to-zero-grace-period",
        "scale-to-zero-pod-retention-period",
        "stable-window",
        "target-burst-capacity",
    ];

    /// Reads the entries of the ConfigMap.
    ///
    /// # Errors
    ///
    /// The first mistake: what cannot be read in the order of the entries, then
    /// what is out of its range in Knative's order. Nothing of the map counts then.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, KnativeError> {
        let mut raw = Raw::new();
        for (key, value) in entries {
            raw.set(key, value).map_err(KnativeError::one)?;
        }
        raw.config.unknown.sort();
        raw.check().map_err(KnativeError::one)
    }
}

impl Raw {
    fn new() -> Self {
        let config = ConfigMap::default();
        let signed = |length| Signed {
            negative: false,
            length,
        };
        Self {
            grace: signed(config.grace),
            retention: signed(config.retention),
            delay: signed(config.scale_down_delay),
            window: signed(config.stable_window),
            initial: i64::from(config.initial_scale),
            min: 0,
            max: 0,
            limit: 0,
            config,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Mistake> {
        let config = &mut self.config;
        match key {
            "container-concurrency-target-percentage" => {
                config.target_fraction = float(key, value)?;
                if config.target_fraction > 1.0 {
                    config.target_fraction /= 100.0;
                }
            }
            "container-concurrency-target-default" => {
                config.concurrency_target = float(key, value)?;
            }
            "requests-per-second-target-default" => config.rps_target = float(key, value)?,
            "target-burst-capacity" => config.target_burst_capacity = float(key, value)?,
            "stable-window" => self.window = length(key, value)?,
            "panic-window-percentage" => config.panic_window_percentage = float(key, value)?,
            "panic-threshold-percentage" => config.panic_threshold_percentage = float(key, value)?,
            "max-scale-up-rate" => config.max_scale_up_rate = float(key, value)?,
            "max-scale-down-rate" => config.max_scale_down_rate = float(key, value)?,
            "enable-scale-to-zero" => config.enable_scale_to_zero = flag(value),
            "allow-zero-initial-scale" => config.allow_zero_initial_scale = flag(value),
            "scale-to-zero-grace-period" => self.grace = length(key, value)?,
            "scale-to-zero-pod-retention-period" => self.retention = length(key, value)?,
            "scale-down-delay" => self.delay = length(key, value)?,
            "activator-capacity" => config.activator_capacity = float(key, value)?,
            "initial-scale" => self.initial = whole(key, value)?,
            "min-scale" => self.min = whole(key, value)?,
            "max-scale" => self.max = whole(key, value)?,
            "max-scale-limit" => self.limit = whole(key, value)?,
            // Any class is accepted; the example documents the others.
            "pod-autoscaler-class" | "_example" => {}
            _ => config.unknown.push(key.to_owned()),
        }
        Ok(())
    }

    /// In the order in which Knative checks; the first mistake counts.
    fn check(mut self) -> Result<ConfigMap, Mistake> {
        self.check_times()?;
        let config = &self.config;
        let burst = config.target_burst_capacity;
        if burst < 0.0 && burst != -1.0 {
            return Err(Mistake::of(
                &["target-burst-capacity"],
                format!(
                    "target-burst-capacity must be either non-negative or -1 (for unlimited), was: {burst:.6}"
                ),
            ));
        }
        let fraction = config.target_fraction;
        if fraction <= 0.0 || fraction > 1.0 {
            return Err(Mistake::of(
                &["container-concurrency-target-percentage"],
                format!(
                    "container-concurrency-target-percentage = {fraction:.6} is outside of valid range of (0, 100]"
                ),
            ));
        }
        let target = fraction * config.concurrency_target;
        if target < TARGET_MIN {
            return Err(Mistake::of(
                &[
                    "container-concurrency-target-percentage",
                    "container-concurrency-target-default",
                ],
                format!(
                    "container-concurrency-target-percentage and container-concurrency-target-default \
                 yield target concurrency of {target}, can't be less than {TARGET_MIN}"
                ),
            ));
        }
        at_least(
            "requests-per-second-target-default",
            config.rps_target,
            TARGET_MIN,
        )?;
        at_least("activator-capacity", config.activator_capacity, 1.0)?;
        more_than_one("max-scale-up-rate", config.max_scale_up_rate)?;
        more_than_one("max-scale-down-rate", config.max_scale_down_rate)?;
        self.check_window()?;
        let panic = self.config.panic_window_percentage;
        if !(1.0..=100.0).contains(&panic) {
            return Err(Mistake::of(
                &["panic-window-percentage"],
                format!("panic-window-percentage = {panic:.6}, must be in [1, 100] interval"),
            ));
        }
        self.check_scales()?;
        Ok(self.config)
    }

    fn check_times(&mut self) -> Result<(), Mistake> {
        if self.grace.negative || self.grace.length.is_zero() {
            return Err(Mistake::of(
                &["scale-to-zero-grace-period"],
                "scale-to-zero-grace-period must be positive".to_owned(),
            ));
        }
        if self.delay.negative {
            return Err(Mistake::of(
                &["scale-down-delay"],
                "scale-down-delay cannot be negative".to_owned(),
            ));
        }
        if self.delay.length.subsec_nanos() != 0 {
            return Err(Mistake::of(
                &["scale-down-delay"],
                "scale-down-delay must be specified with at most second precision".to_owned(),
            ));
        }
        if self.retention.negative {
            return Err(Mistake::of(
                &["scale-to-zero-pod-retention-period"],
                "scale-to-zero-pod-retention-period cannot be negative".to_owned(),
            ));
        }
        self.config.grace = self.grace.length;
        self.config.scale_down_delay = self.delay.length;
        self.config.retention = self.retention.length;
        Ok(())
    }

    fn check_window(&mut self) -> Result<(), Mistake> {
        let window = self.window.length;
        if self.window.negative || !(WINDOW_MIN..=WINDOW_MAX).contains(&window) {
            return Err(Mistake::of(
                &["stable-window"],
                format!(
                    "stable-window = {} s, must be in [6s, 1h0m0s] range",
                    window.as_secs_f64()
                ),
            ));
        }
        if window.subsec_nanos() != 0 {
            return Err(Mistake::of(
                &["stable-window"],
                "stable-window must be specified with at most second precision".to_owned(),
            ));
        }
        self.config.stable_window = window;
        Ok(())
    }

    fn check_scales(&mut self) -> Result<(), Mistake> {
        let least = i64::from(!self.config.allow_zero_initial_scale);
        if self.initial < least {
            return Err(Mistake::of(
                &["initial-scale"],
                format!("initial-scale = {}, must be at least {least}", self.initial),
            ));
        }
        if self.min < 0 {
            return Err(Mistake::of(
                &["min-scale"],
                format!("min-scale = {}, must be at least 0", self.min),
            ));
        }
        if self.max < 0 {
            return Err(Mistake::of(
                &["max-scale"],
                format!("max-scale = {}, must be at least 0", self.max),
            ));
        }
        if self.limit > 0 && !(1..=self.limit).contains(&self.max) {
            let (max, limit) = (self.max, self.limit);
            return Err(Mistake::of(
                &["max-scale"],
                format!("max-scale = {max}, must be in [1, {limit}] range"),
            ));
        }
        if self.limit < 0 {
            return Err(Mistake::of(
                &["max-scale-limit"],
                format!("max-scale-limit = {}, must be at least 0", self.limit),
            ));
        }
        if self.max > 0 && self.min > self.max {
            let (min, max) = (self.min, self.max);
            return Err(Mistake::of(
                &["min-scale", "max-scale"],
                format!("min-scale = {min}, must be at most max-scale = {max}"),
            ));
        }
        // All are within an int32, from `whole`, and not negative.
        let count = |number: i64| u32::try_from(number).unwrap_or(0);
        self.config.initial_scale = count(self.initial);
        self.config.min_scale = count(self.min);
        self.config.max_scale = count(self.max);
        self.config.max_scale_limit = count(self.limit);
        Ok(())
    }
}

fn float(key: &str, value: &str) -> Result<f64, Mistake> {
    let number = value
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite());
    number.ok_or_else(|| unread(key, value, "number"))
}

fn length(key: &str, value: &str) -> Result<Signed, Mistake> {
    duration::parse(value.trim()).ok_or_else(|| unread(key, value, "duration, such as 60s"))
}

fn whole(key: &str, value: &str) -> Result<i64, Mistake> {
    let number = value.trim().parse::<i32>().map(i64::from);
    number.map_err(|_| unread(key, value, "whole number"))
}

fn unread(key: &str, value: &str, what: &str) -> Mistake {
    let message = format!("failed to parse {key:?}: {value:?} is no {what}");
    Mistake::of(&[key], message)
}

/// Any other word than "true" is false.
fn flag(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("true")
}

fn at_least(key: &str, value: f64, least: f64) -> Result<(), Mistake> {
    if value < least {
        let message = format!("{key} = {value:.6}, must be at least {least}");
        return Err(Mistake::of(&[key], message));
    }
    Ok(())
}

fn more_than_one(key: &str, value: f64) -> Result<(), Mistake> {
    if value <= 1.0 {
        let message = format!("{key} = {value:.6}, must be greater than 1.0");
        return Err(Mistake::of(&[key], message));
    }
    Ok(())
}
