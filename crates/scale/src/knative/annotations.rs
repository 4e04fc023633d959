//! The annotations of a revision.

use std::collections::HashMap;
use std::time::Duration;

use super::config_map::ConfigMap;
use super::{KnativeError, Mistake, duration};
use crate::config::{Aggregation, Metric, TARGET_MIN, WINDOW_MAX, WINDOW_MIN};

/// What the keys of annotations begin with.
pub const PREFIX: &str = "autoscaling.knative.dev/";

/// The class that scales by requests, which is the only one that this crate has.
pub const CLASS: &str = "kpa.autoscaling.knative.dev";

/// The class that scales by processor or memory.
const HPA: &str = "hpa.autoscaling.knative.dev";

/// The longest time of an annotation.
const HOUR: Duration = Duration::from_secs(3_600);

/// What a revision says about itself; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// `class`, such as `kpa.autoscaling.knative.dev`.
    pub class: Option<String>,
    /// `min-scale`.
    pub min_scale: Option<u32>,
    /// `max-scale`; 0 is without limit.
    pub max_scale: Option<u32>,
    /// `activation-scale`.
    pub activation_scale: Option<u32>,
    /// `initial-scale`.
    pub initial_scale: Option<u32>,
    /// `scale-down-delay`.
    pub scale_down_delay: Option<Duration>,
    /// `metric`, if it is one that requests have.
    pub metric: Option<Metric>,
    /// `target`.
    pub target: Option<f64>,
    /// `target-utilization-percentage`.
    pub target_utilization: Option<f64>,
    /// `target-burst-capacity`.
    pub target_burst_capacity: Option<f64>,
    /// `window`.
    pub window: Option<Duration>,
    /// `panic-window-percentage`.
    pub panic_window_percentage: Option<f64>,
    /// `panic-threshold-percentage`.
    pub panic_threshold_percentage: Option<f64>,
    /// `metric-aggregation-algorithm`.
    pub aggregation: Option<Aggregation>,
    /// `scale-to-zero-pod-retention-period`.
    pub retention: Option<Duration>,
    /// Keys that begin with [`PREFIX`] and mean nothing, sorted. Knative ignores
    /// them without a word; who reads them here should tell somebody.
    pub unknown: Vec<String>,
}

impl Annotations {
    /// What may stand after [`PREFIX`], in alphabetical order. Some have an older
    /// spelling besides, such as `minScale`.
    pub const NAMES: [&str; 15] = [
        "activation-scale",
        "class",
        "initial-scale",
        "max-scale",
        "metric",
        "metric-aggregation-algorithm",
        "min-scale",
        "panic-threshold-percentage",
        "panic-window-percentage",
        "scale-down-delay",
        "scale-to-zero-pod-retention-period",
        "target",
        "target-burst-capacity",
        "target-utilization-percentage",
        "window",
    ];

    /// Reads annotations as admission does. Keys of others are left alone.
    ///
    /// # Errors
    ///
    /// All mistakes.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
        cluster: &ConfigMap,
    ) -> Result<Self, KnativeError> {
        let (annotations, mistakes) = read(entries, cluster);
        if mistakes.is_empty() {
            Ok(annotations)
        } else {
            Err(KnativeError::all(mistakes))
        }
    }

    /// Reads annotations as the autoscaler does: a bad value is as good as none.
    #[must_use]
    pub fn parse_leniently<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
        cluster: &ConfigMap,
    ) -> Self {
        read(entries, cluster).0
    }
}

/// The entries, and what was wrong with them.
struct Reader<'a> {
    entries: HashMap<&'a str, &'a str>,
    mistakes: Vec<Mistake>,
}

/// Older spellings.
const ALIASES: [&str; 4] = ["initialScale", "maxScale", "minScale", "scaleDownDelay"];

fn read<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    cluster: &ConfigMap,
) -> (Annotations, Vec<Mistake>) {
    let ours = |(key, value): (&'a str, &'a str)| Some((key.strip_prefix(PREFIX)?, value));
    let mut reader = Reader {
        entries: entries.into_iter().filter_map(ours).collect(),
        mistakes: Vec::new(),
    };
    let class = reader.class();
    let annotations = Annotations {
        min_scale: reader.count(&["min-scale", "minScale"], 0),
        max_scale: reader.count(&["max-scale", "maxScale"], 0),
        activation_scale: reader.activation(),
        initial_scale: reader.initial(cluster),
        scale_down_delay: reader.length(
            &["scale-down-delay", "scaleDownDelay"],
            Duration::ZERO,
            true,
        ),
        metric: reader.metric(class.as_deref()),
        target: reader.target(),
        target_utilization: reader.percentage("target-utilization-percentage", 1.0, 100.0),
        target_burst_capacity: reader.burst(),
        window: reader.length(&["window"], WINDOW_MIN, true),
        panic_window_percentage: reader.percentage("panic-window-percentage", 1.0, 100.0),
        panic_threshold_percentage: reader.percentage("panic-threshold-percentage", 110.0, 1_000.0),
        aggregation: reader.aggregation(class.as_deref()),
        retention: reader.length(
            &["scale-to-zero-pod-retention-period"],
            Duration::ZERO,
            false,
        ),
        unknown: reader.unknown(),
        class,
    };
    reader.check_together(&annotations, cluster);
    (annotations, reader.mistakes)
}

impl<'a> Reader<'a> {
    /// The value under the first of the names that there is, and its whole key.
    fn get(&self, names: &[&str]) -> Option<(String, &'a str)> {
        names.iter().find_map(|name| {
            let value = self.entries.get(name)?;
            Some((format!("{PREFIX}{name}"), *value))
        })
    }

    fn unknown(&self) -> Vec<String> {
        let known = |name: &&&str| Annotations::NAMES.contains(*name) || ALIASES.contains(*name);
        let names = self.entries.keys().filter(|name| !known(name));
        let mut unknown: Vec<String> = names.map(|name| format!("{PREFIX}{name}")).collect();
        unknown.sort();
        unknown
    }

    fn wrong<T>(&mut self, key: &str, message: String) -> Option<T> {
        self.mistakes.push(Mistake::of(&[key], message));
        None
    }

    fn class(&mut self) -> Option<String> {
        let (key, class) = self.get(&["class"])?;
        if class.ends_with(".knative.dev") && class != CLASS && class != HPA {
            return self.wrong(&key, format!("invalid value: {class}: {key}"));
        }
        Some(class.to_owned())
    }

    fn count(&mut self, names: &[&str], least: i64) -> Option<u32> {
        let (key, text) = self.get(names)?;
        let Ok(number) = text.parse::<i64>() else {
            return self.wrong(&key, format!("invalid value: {text}: {key}"));
        };
        match u32::try_from(number) {
            Ok(count) if number >= least && number <= i64::from(i32::MAX) => Some(count),
            _ => self.wrong(
                &key,
                format!("expected {least} <= {number} <= {}: {key}", i32::MAX),
            ),
        }
    }

    fn activation(&mut self) -> Option<u32> {
        let (key, _) = self.get(&["activation-scale"])?;
        let scale = self.count(&["activation-scale"], 0)?;
        if scale < 2 {
            return self.wrong(
                &key,
                format!("activation-scale={scale} must be greater than 1: {key}"),
            );
        }
        Some(scale)
    }

    fn initial(&mut self, cluster: &ConfigMap) -> Option<u32> {
        let (key, text) = self.get(&["initial-scale", "initialScale"])?;
        match text.parse::<i32>() {
            Err(_) => self.wrong(&key, format!("invalid value: {text}: {key}")),
            Ok(scale) if scale < 0 => self.wrong(
                &key,
                format!("invalid value: {scale}: {key}={scale} must be greater than 0"),
            ),
            Ok(0) if !cluster.allow_zero_initial_scale => self.wrong(
                &key,
                format!("invalid value: 0: {key}=0 not allowed by cluster"),
            ),
            // Not negative, so it fits.
            Ok(scale) => u32::try_from(scale).ok(),
        }
    }

    fn length(&mut self, names: &[&str], least: Duration, whole: bool) -> Option<Duration> {
        let (key, text) = self.get(names)?;
        let Some(signed) = duration::parse(text) else {
            return self.wrong(&key, format!("invalid value: {text}: {key}"));
        };
        if signed.negative || !(least..=HOUR).contains(&signed.length) {
            let least = least.as_secs();
            return self.wrong(
                &key,
                format!("expected {least}s <= {text} <= 1h0m0s: {key}"),
            );
        }
        if whole && signed.length.subsec_nanos() != 0 {
            let name = key.strip_prefix(PREFIX).unwrap_or(&key);
            return self.wrong(
                &key,
                format!("{name}={text} must be specified with at most second precision: {key}"),
            );
        }
        debug_assert!(
            signed.length <= WINDOW_MAX,
            "an hour is the longest of both"
        );
        Some(signed.length)
    }

    fn metric(&mut self, class: Option<&str>) -> Option<Metric> {
        let (key, text) = self.get(&["metric"])?;
        match text {
            "concurrency" => Some(Metric::Concurrency),
            "rps" => Some(Metric::Rps),
            // What the other class can measure is for it to say.
            _ if class.is_some_and(|class| class != CLASS) && !text.is_empty() => None,
            _ => self.wrong(&key, format!("invalid value: {text}: {key}")),
        }
    }

    fn number(&mut self, name: &str) -> Option<(String, &'a str, f64)> {
        let (key, text) = self.get(&[name])?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some((key, text, number)),
            _ => self.wrong(&key, format!("invalid value: {text}: {key}")),
        }
    }

    fn target(&mut self) -> Option<f64> {
        let (key, text, target) = self.number("target")?;
        if target < TARGET_MIN {
            return self.wrong(
                &key,
                format!("target {text} should be at least {TARGET_MIN}: {key}"),
            );
        }
        Some(target)
    }

    fn burst(&mut self) -> Option<f64> {
        let (key, text, burst) = self.number("target-burst-capacity")?;
        if burst < 0.0 && burst != -1.0 {
            return self.wrong(&key, format!("invalid value: {text}: {key}"));
        }
        Some(burst)
    }

    fn percentage(&mut self, name: &str, least: f64, most: f64) -> Option<f64> {
        let (key, text, value) = self.number(name)?;
        if !(least..=most).contains(&value) {
            return self.wrong(&key, format!("expected {least} <= {text} <= {most}: {key}"));
        }
        Some(value)
    }

    fn aggregation(&mut self, class: Option<&str>) -> Option<Aggregation> {
        let (key, text) = self.get(&["metric-aggregation-algorithm"])?;
        match text {
            "linear" => Some(Aggregation::Linear),
            "weighted-exponential" | "weightedExponential" => {
                Some(Aggregation::WeightedExponential)
            }
            _ if class == Some(CLASS) => self.wrong(&key, format!("invalid value: {text}: {key}")),
            _ => None,
        }
    }

    /// What may each be, but not all at once.
    fn check_together(&mut self, annotations: &Annotations, cluster: &ConfigMap) {
        let mut wrong = |names: &[&str], message: String| {
            let keys: Vec<String> = names.iter().map(|name| format!("{PREFIX}{name}")).collect();
            let message = format!("{message}: {}", keys.join(", "));
            self.mistakes.push(Mistake { keys, message });
        };
        let min = annotations.min_scale.unwrap_or(0);
        let max = annotations.max_scale.unwrap_or(0);
        if max > 0 && max < min {
            wrong(
                &["max-scale", "min-scale"],
                format!("max-scale={max} is less than min-scale={min}"),
            );
        }
        let limit = cluster.max_scale_limit;
        if limit > 0 && annotations.max_scale == Some(0) {
            wrong(
                &["max-scale"],
                format!("max-scale=0 (unlimited), must be less than {limit}"),
            );
        } else if limit > 0 && max > limit {
            wrong(&["max-scale"], format!("expected 1 <= {max} <= {limit}"));
        }
        if let Some(scale) = annotations.activation_scale {
            if min > scale {
                wrong(
                    &["activation-scale", "min-scale"],
                    format!("min-scale={min} is greater than activation-scale={scale}"),
                );
            }
            if max > 0 && max < scale {
                wrong(
                    &["activation-scale", "max-scale"],
                    format!("max-scale={max} is less than activation-scale={scale}"),
                );
            }
        }
    }
}
