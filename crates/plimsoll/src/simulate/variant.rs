//! Settings that are compared.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_scale::{Policy, ScaleConfig};

use crate::cli::values;

/// One column of the comparison.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// As it was typed.
    name: String,
    config: ScaleConfig,
    start_up: Duration,
}

impl Variant {
    /// What all variants have in common.
    pub(crate) fn new(concurrency: NonZeroU32, start_up: Duration) -> Self {
        Self {
            name: String::new(),
            config: ScaleConfig {
                concurrency: Some(concurrency),
                ..ScaleConfig::default()
            },
            start_up,
        }
    }

    /// As it was typed.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn config(&self) -> &ScaleConfig {
        &self.config
    }

    pub(crate) const fn start_up(&self) -> Duration {
        self.start_up
    }

    /// The same with other settings, such as `policy=kpa,window=30s`.
    pub(crate) fn with(&self, written: &str) -> Result<Self, String> {
        let mut variant = self.clone();
        variant.name = written.trim().to_owned();
        for setting in written.split(',') {
            let Some((key, value)) = setting.split_once('=') else {
                let accepted = "write KEY=VALUE, such as policy=kpa,window=30s";
                return Err(format!(
                    "--with {written}: {setting:?} is no setting; {accepted}"
                ));
            };
            let (key, value) = (key.trim(), value.trim());
            let set = variant.set(key, value);
            set.map_err(|problem| format!("--with {written}: {key}={value}: {problem}"))?;
        }
        let check = variant.config.check();
        check.map_err(|problem| format!("--with {written}: {problem}"))?;
        Ok(variant)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let config = &mut self.config;
        match key {
            "policy" => config.policy = policy(value)?,
            "concurrency" => config.concurrency = NonZeroU32::new(whole(value)?),
            "start-up" => self.start_up = values::duration(value)?,
            "target" => {
                config.target = Some(value.parse().map_err(|_| "write a number, such as 70")?);
            }
            "utilization" => config.utilization = values::share(value)?,
            "window" => config.window = values::duration(value)?,
            "min" => config.min = whole(value)?,
            "max" => config.max = NonZeroU32::new(whole(value)?),
            "initial" => config.initial = whole(value)?,
            "keep-alive-min" => config.keep_alive.min = values::duration(value)?,
            "keep-alive-max" => config.keep_alive.max = values::duration(value)?,
            "starts-max" => config.starts_max = whole(value)?,
            "scale-down-delay" => config.scale_down_delay = values::duration(value)?,
            "retention" => config.scale_to_zero_retention = values::duration(value)?,
            _ => return Err(format!("there is no such setting; there are {KEYS}")),
        }
        Ok(())
    }
}

/// Every setting there is.
const KEYS: &str = "policy, concurrency, start-up, target, utilization, window, min, max, initial, \
                    keep-alive-min, keep-alive-max, starts-max, scale-down-delay and retention";

fn policy(value: &str) -> Result<Policy, String> {
    match value {
        "plimsoll" => Ok(Policy::Plimsoll),
        "kpa" => Ok(Policy::Kpa),
        _ => Err("write plimsoll or kpa".to_owned()),
    }
}

fn whole(value: &str) -> Result<u32, String> {
    let problem = |_| "write a whole number, such as 3".to_owned();
    value.parse().map_err(problem)
}
