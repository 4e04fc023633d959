//! What a run has shown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::Failure;

/// Results of the measured window.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Requests that got a whole response, of any status.
    pub requests: u64,
    /// Those with a 2xx status.
    pub ok: u64,
    /// Whole responses by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests that got none, by what went wrong.
    pub errors: BTreeMap<Failure, u64>,
    /// Requests given up when the grace after the window was over.
    pub unfinished: u64,
    /// Length of the window.
    #[serde(serialize_with = "as_seconds")]
    pub elapsed: Duration,
    /// Of whole responses. Closed loop: from sending to the last byte. Open loop: from the intended
    /// arrival to the last byte, so a stall counts against every request it delayed.
    pub latency: Latency,
}

/// Quantiles of latency, each within 0.1 % of the exact value. All zero if there was no response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names say it: minimum, quantiles, maximum, arithmetic mean"
)]
pub struct Latency {
    #[serde(serialize_with = "as_micros")]
    pub min: Duration,
    #[serde(serialize_with = "as_micros")]
    pub p50: Duration,
    #[serde(serialize_with = "as_micros")]
    pub p90: Duration,
    #[serde(serialize_with = "as_micros")]
    pub p99: Duration,
    #[serde(serialize_with = "as_micros")]
    pub p999: Duration,
    #[serde(serialize_with = "as_micros")]
    pub max: Duration,
    #[serde(serialize_with = "as_micros")]
    pub mean: Duration,
}

fn as_seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

fn as_micros<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_nanos() as f64 / 1e3)
}

impl Summary {
    /// Whole responses per second of the window; 0 for an empty window.
    pub fn per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.requests as f64 / seconds
        } else {
            0.0
        }
    }

    /// Requests that got no whole response, unfinished ones included.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum::<u64>() + self.unfinished
    }

    /// Whole responses of one status.
    pub fn status(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }
}

impl Latency {
    /// Reads a histogram of nanoseconds.
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        Self {
            min: Duration::from_nanos(histogram.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_nanos(histogram.max()),
            mean: Duration::from_nanos(histogram.mean() as u64),
        }
    }
}

impl fmt::Display for Summary {
    /// A table of a few lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "requests   {} in {:.2} s, {:.0} /s",
            self.requests,
            self.elapsed.as_secs_f64(),
            self.per_second()
        )?;
        write!(f, "status    ")?;
        for (status, count) in &self.by_status {
            write!(f, " {status}: {count}")?;
        }
        write!(f, "\nerrors    ")?;
        for (failure, count) in &self.errors {
            write!(f, " {failure}: {count}")?;
        }
        writeln!(f, " unfinished: {}", self.unfinished)?;
        let us = |time: Duration| format!("{:.0}", time.as_nanos() as f64 / 1e3);
        let l = &self.latency;
        writeln!(
            f,
            "{:<10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "latency", "min", "p50", "p90", "p99", "p99.9", "max", "mean"
        )?;
        write!(
            f,
            "{:<10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "µs",
            us(l.min),
            us(l.p50),
            us(l.p90),
            us(l.p99),
            us(l.p999),
            us(l.max),
            us(l.mean)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_read_within_a_thousandth() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for micros in 1..=1000_u64 {
            histogram.record(micros * 1000).unwrap();
        }
        let latency = Latency::of(&histogram);
        let near = |seen: Duration, micros: f64| {
            let off = (seen.as_nanos() as f64 / 1e3 - micros).abs() / micros;
            assert!(off < 0.002, "{seen:?} is not {micros} µs");
        };
        near(latency.min, 1.0);
        near(latency.p50, 500.0);
        near(latency.p90, 900.0);
        near(latency.p99, 990.0);
        near(latency.max, 1000.0);
        near(latency.mean, 500.5);
    }

    #[test]
    fn an_empty_run_has_no_rate_and_no_latency() {
        let latency = Latency::of(&Histogram::<u64>::new(3).unwrap());
        assert_eq!(latency, Latency::default());
        let summary = Summary {
            requests: 0,
            ok: 0,
            by_status: BTreeMap::new(),
            errors: BTreeMap::from([(Failure::Closed, 2)]),
            unfinished: 3,
            elapsed: Duration::ZERO,
            latency,
        };
        assert_eq!(summary.per_second(), 0.0);
        assert_eq!(summary.failed(), 5);
        assert_eq!(summary.status(200), 0);
        assert!(summary.to_string().contains("closed: 2 unfinished: 3"));
    }
}
