//! What is to be reached, and in which figure.

use std::fmt;

use serde::Deserialize;

/// A figure by which a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of the requests that were answered well and in time.
    Success,
    /// Requests that their client saw fail, or not in time.
    Errors,
    /// Mean latency of what was not refused, milliseconds.
    MeanMs,
    /// Its median.
    P50Ms,
    /// Its 99th percentile.
    P99Ms,
    /// Its 99.9th percentile.
    P999Ms,
    /// The 99.9th percentile in units of the omniscient central queue's.
    Regret,
    /// Requests at the backend with most of them, in units of the mean backend's.
    LoadRatio,
    /// Requests at the backends with faults, in units of their fair share.
    FaultyShare,
    /// Attempts in units of requests.
    Attempts,
    /// 99th percentile of the first class in units of the same run without faults and other classes.
    P99VsHealthy,
    /// 99.9th percentile of the first class in units of the same run without faults and other classes.
    P999VsHealthy,
    /// 99.9th percentile in units of Prequal's, in the step of the arrivals in which that is worst.
    VsPrequal,
    /// Time from the end of the last fault to the last failure, milliseconds.
    RecoveryMs,
    /// Time from the end of the last fault until its backends have their fair share again, seconds.
    ReturnSeconds,
    /// Time from the first request to the last answer, seconds.
    SpanSeconds,
    /// The most requests that were at one backend at one time.
    Together,
    /// Time in which a request waited in a gateway one of whose backends had nothing to do, milliseconds.
    IdleWhileQueuedMs,
}

/// A bound on a figure.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// Which figure.
    pub metric: Metric,
    /// It must be at most this.
    pub most: Option<f64>,
    /// It must be at least this.
    pub least: Option<f64>,
}

impl Goal {
    /// Whether a figure meets it. A figure that does not exist meets nothing.
    #[must_use]
    pub fn met_by(&self, figure: Option<f64>) -> bool {
        figure.is_some_and(|figure| {
            self.most.is_none_or(|most| figure <= most)
                && self.least.is_none_or(|least| figure >= least)
        })
    }
}

impl Metric {
    /// A figure of this metric as people write it, with its unit.
    #[must_use]
    pub fn written(self, figure: f64) -> String {
        match self {
            Self::Success => format!("{:.3} %", 100.0 * figure),
            Self::Errors | Self::Together => format!("{figure:.0}"),
            Self::MeanMs | Self::P50Ms | Self::P99Ms | Self::P999Ms => milliseconds(figure),
            Self::RecoveryMs | Self::IdleWhileQueuedMs => format!("{figure:.0} ms"),
            Self::ReturnSeconds | Self::SpanSeconds => format!("{figure:.2} s"),
            Self::Regret
            | Self::LoadRatio
            | Self::FaultyShare
            | Self::Attempts
            | Self::VsPrequal
            | Self::P99VsHealthy
            | Self::P999VsHealthy => format!("{figure:.3}"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Errors => "failed requests",
            Self::MeanMs => "mean",
            Self::P50Ms => "p50",
            Self::P99Ms => "p99",
            Self::P999Ms => "p99.9",
            Self::Regret => "regret",
            Self::LoadRatio => "max/avg load",
            Self::FaultyShare => "share of the faulty",
            Self::Attempts => "attempts per request",
            Self::P99VsHealthy => "p99 / healthy p99",
            Self::P999VsHealthy => "p99.9 / healthy p99.9",
            Self::VsPrequal => "p99.9 / Prequal's, worst step",
            Self::RecoveryMs => "recovery",
            Self::ReturnSeconds => "full share again",
            Self::SpanSeconds => "whole run",
            Self::Together => "most at one backend",
            Self::IdleWhileQueuedMs => "idle while queued",
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.metric)?;
        if let Some(least) = self.least {
            write!(f, " ≥ {}", self.metric.written(least))?;
        }
        if let Some(most) = self.most {
            write!(f, " ≤ {}", self.metric.written(most))?;
        }
        Ok(())
    }
}

/// Three digits are enough to compare, whatever the size.
fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_within_its_bounds_only() {
        let goal = Goal {
            metric: Metric::Regret,
            most: Some(1.1),
            least: Some(0.5),
        };
        assert!(goal.met_by(Some(1.1)) && goal.met_by(Some(0.5)));
        assert!(!goal.met_by(Some(1.11)) && !goal.met_by(Some(0.4)));
        assert!(!goal.met_by(None) && !goal.met_by(Some(f64::NAN)));
        assert_eq!(goal.to_string(), "regret ≥ 0.500 ≤ 1.100");
    }
}
