//! What a row has the application do with its request. It travels in a field of the request, so the application needs
//! to know nothing else, whoever is in between.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::Setup;

/// The field.
pub(super) const FIELD: &str = "X-Conformance";

/// What a part of an answer in parts says.
pub(super) const PART: &str = "part";

/// What the application does, as a row says it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Script {
    /// The status; 200 if it is not said.
    status: Option<u16>,
    /// Whether 103 comes before it.
    interim: bool,
    /// How long it waits before it answers.
    wait: Option<Span>,
    /// The body comes in so many parts; else at once.
    parts: u32,
    /// How long it waits between them.
    pause: Option<Span>,
}

/// A time by one of the limits that the implementation was told.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    of: Limit,
    times: f64,
}

/// A time limit of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Limit {
    Total,
    Start,
    Idle,
}

/// What the application does, as it is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) status: Option<u16>,
    pub(super) interim: bool,
    pub(super) wait: Duration,
    pub(super) parts: u32,
    pub(super) pause: Duration,
    /// Whether it holds the request after the first part until all are let go. What has begun is subject to no limit of
    /// the beginning.
    pub(super) hold: bool,
}

impl Script {
    /// With times as `setup` has them.
    pub(super) fn orders(&self, setup: &Setup) -> anyhow::Result<Orders> {
        let time = |span: Option<Span>| match span {
            None => Ok(Duration::ZERO),
            Some(Span { of, times }) => {
                let limit = setup.limit(of);
                let limit =
                    limit.with_context(|| format!("the row does not say that it needs {of:?}"))?;
                Ok::<_, anyhow::Error>(limit.mul_f64(times))
            }
        };
        Ok(Orders {
            status: self.status,
            interim: self.interim,
            wait: time(self.wait)?,
            parts: self.parts,
            pause: time(self.pause)?,
            hold: false,
        })
    }
}

impl Orders {
    /// To be held until all are let go.
    pub(super) const HOLD: Self = Self {
        status: None,
        interim: false,
        wait: Duration::ZERO,
        parts: 2,
        pause: Duration::ZERO,
        hold: true,
    };

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut orders = Self::default();
        for word in text.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let millis = || value.parse().map(Duration::from_millis);
            match name {
                "status" => orders.status = Some(value.parse()?),
                "interim" => orders.interim = true,
                "hold" => orders.hold = true,
                "wait" => orders.wait = millis()?,
                "parts" => orders.parts = value.parse()?,
                "pause" => orders.pause = millis()?,
                _ => bail!("{word:?} is no order"),
            }
        }
        Ok(orders)
    }
}

impl std::fmt::Display for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            interim,
            wait,
            parts,
            pause,
            hold,
        } = self;
        if let Some(status) = status {
            write!(f, "status={status} ")?;
        }
        for (is_there, word) in [(interim, "interim "), (hold, "hold ")] {
            f.write_str(if *is_there { word } else { "" })?;
        }
        let (wait, pause) = (wait.as_millis(), pause.as_millis());
        write!(f, "wait={wait} parts={parts} pause={pause}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let orders = Orders {
            status: Some(404),
            interim: true,
            wait: Duration::from_millis(5),
            parts: 3,
            pause: Duration::from_millis(7),
            hold: true,
        };
        for orders in [orders, Orders::default(), Orders::HOLD] {
            assert_eq!(Orders::parse(&orders.to_string()).unwrap(), orders);
        }
        for wrong in ["x", "status=x", "wait=1s", "parts=-1"] {
            assert!(Orders::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_those_of_the_limits() {
        let script = Script {
            wait: Some(Span {
                of: Limit::Start,
                times: 1.5,
            }),
            ..Script::default()
        };
        let setup = Setup {
            start: Some(Duration::from_millis(400)),
            ..Setup::default()
        };
        let orders = script.orders(&setup).unwrap();
        assert_eq!(orders.wait, Duration::from_millis(600));
        assert!(script.orders(&Setup::default()).is_err());
    }
}
