//! A decision, with why and from what.

use std::fmt;
use std::time::Duration;

use plimsoll_meter::Tick;

/// How many replicas there should be, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// When it was made.
    pub at: Tick,
    /// How many there should be, starting ones included and draining ones not.
    pub desired: u32,
    /// How many there should have been until now.
    pub previous: u32,
    /// Why so many.
    pub reason: Reason,
    /// From what it follows.
    pub inputs: Inputs,
    /// When to ask again even if nothing has happened; `None` is never.
    pub next: Option<Tick>,
    /// Whether `kpa` is in panic: nothing is taken away.
    pub panic: bool,
    /// How many more requests there is room for than the target burst capacity
    /// asks; less than 0 says that requests should go through the queue. Always
    /// −1 if the target is without limit.
    pub excess_burst_capacity: f64,
}

/// What a decision follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Requests at replicas.
    pub running: u32,
    /// Requests in the queue.
    pub waiting: u32,
    /// Replicas that get requests.
    pub ready: u32,
    /// Replicas that are not yet ready.
    pub starting: u32,
    /// Replicas that finish what they have.
    pub draining: u32,
    /// How much load one replica can carry.
    pub per_replica: f64,
    /// How many replicas the load asks for, without any bound or delay; `None`
    /// if the load is not known.
    pub needed: Option<u32>,
    /// The average load over the window; `None` without data.
    pub average: Option<f64>,
    /// The average load over the panic window, for `kpa`.
    pub panic_average: Option<f64>,
    /// How long a replica works on a request, as far as it is known.
    pub service_time: Option<Duration>,
    /// How long a replica takes to be ready, as far as it is known.
    pub start_up: Option<Duration>,
    /// Until when replicas that are not needed are kept.
    pub kept_until: Option<Tick>,
}

/// Why there should be so many replicas. A bounded set, fit for a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// So many were asked for at first.
    Initial,
    /// The requests that are there need them.
    Demand,
    /// The queue would not empty in good time without them.
    Backlog,
    /// The average over the window needs them.
    Average,
    /// `kpa` is in panic: the short window needs them, or did.
    Panic,
    /// Nothing needs them now, but they were needed a short while ago.
    KeepAlive,
    /// Nothing needs the last one now, but it is to stay a while.
    Retention,
    /// They are starting, and somebody waits for them.
    Starting,
    /// Fewer are enough.
    Surplus,
    /// Nobody has come for a while.
    Idle,
    /// The minimum holds.
    Min,
    /// The maximum holds.
    Max,
    /// If there are any there are at least so many.
    ActivationScale,
    /// As many are starting as may start at once.
    StartsMax,
    /// There may not be so many more at once.
    ScaleUpRate,
    /// There may not be so many fewer at once.
    ScaleDownRate,
    /// The load is not known, so what was decided before holds.
    NoData,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::Initial,
        Self::Demand,
        Self::Backlog,
        Self::Average,
        Self::Panic,
        Self::KeepAlive,
        Self::Retention,
        Self::Starting,
        Self::Surplus,
        Self::Idle,
        Self::Min,
        Self::Max,
        Self::ActivationScale,
        Self::StartsMax,
        Self::ScaleUpRate,
        Self::ScaleDownRate,
        Self::NoData,
    ];

    /// Its name in metrics and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Demand => "demand",
            Self::Backlog => "backlog",
            Self::Average => "average",
            Self::Panic => "panic",
            Self::KeepAlive => "keep_alive",
            Self::Retention => "retention",
            Self::Starting => "starting",
            Self::Surplus => "surplus",
            Self::Idle => "idle",
            Self::Min => "min",
            Self::Max => "max",
            Self::ActivationScale => "activation_scale",
            Self::StartsMax => "starts_max",
            Self::ScaleUpRate => "scale_up_rate",
            Self::ScaleDownRate => "scale_down_rate",
            Self::NoData => "no_data",
        }
    }

    /// The reason in words, to follow "3 replicas: ".
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Initial => "so many are asked for at first",
            Self::Demand => "the requests that are there need them",
            Self::Backlog => "the queue would not empty in good time with fewer",
            Self::Average => "the average load needs them",
            Self::Panic => "the load of the last seconds is far above what is ready",
            Self::KeepAlive => "fewer are needed now, but these were a short while ago",
            Self::Retention => "the last one is to stay a while",
            Self::Starting => "requests wait for those that are starting",
            Self::Surplus => "fewer are enough, and have been for a while",
            Self::Idle => "nobody has come for a while",
            Self::Min => "this is the minimum",
            Self::Max => "this is the maximum, more are needed",
            Self::ActivationScale => "if there are any, there are at least so many",
            Self::StartsMax => "as many are starting as may start at once",
            Self::ScaleUpRate => "there may not be so many more at once",
            Self::ScaleDownRate => "there may not be so many fewer at once",
            Self::NoData => "the load is not known, so nothing changes",
        }
    }
}

impl Decision {
    /// Whether it changes how many replicas there should be.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        self.desired != self.previous
    }
}

impl fmt::Display for Decision {
    /// One sentence for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.desired == 1 {
            "replica"
        } else {
            "replicas"
        };
        write!(f, "{} {noun}", self.desired)?;
        if self.is_change() {
            write!(f, " (was {})", self.previous)?;
        }
        write!(f, ": {}", self.reason.in_words())?;
        write!(f, "; {}", self.inputs)?;
        if let Some(until) = self.inputs.kept_until {
            let rest = until.saturating_duration_since(self.at);
            write!(f, "; kept for another {} s", rest.as_secs_f64().ceil())?;
        }
        Ok(())
    }
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.needed {
            Some(needed) => write!(
                f,
                "{} running + {} waiting need {needed} at {} each",
                self.running,
                self.waiting,
                rounded(self.per_replica)
            )?,
            None => write!(f, "load unknown")?,
        }
        if let Some(average) = self.average {
            write!(f, ", average {}", rounded(average))?;
        }
        write!(f, "; {} ready", self.ready)?;
        if self.starting > 0 {
            write!(f, ", {} starting", self.starting)?;
        }
        if self.draining > 0 {
            write!(f, ", {} draining", self.draining)?;
        }
        Ok(())
    }
}

/// With two digits after the point at most.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_decision_is_a_sentence() {
        let decision = Decision {
            at: Tick::ZERO,
            desired: 3,
            previous: 1,
            reason: Reason::Demand,
            inputs: Inputs {
                running: 2,
                waiting: 1,
                ready: 1,
                starting: 1,
                per_replica: 1.0,
                needed: Some(3),
                average: Some(2.126),
                ..Inputs::default()
            },
            next: None,
            panic: false,
            excess_burst_capacity: 0.0,
        };
        assert_eq!(
            decision.to_string(),
            "3 replicas (was 1): the requests that are there need them; \
             2 running + 1 waiting need 3 at 1 each, average 2.13; 1 ready, 1 starting"
        );
    }

    #[test]
    fn every_reason_has_a_name_and_words_of_its_own() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        let words: HashSet<_> = Reason::ALL.iter().map(|reason| reason.in_words()).collect();
        assert_eq!(
            (names.len(), words.len()),
            (Reason::ALL.len(), Reason::ALL.len())
        );
    }
}
