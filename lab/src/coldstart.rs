//! What `plimsoll run` promises, measured with the program as it is shipped.
//!
//! Each [`Part`] starts the program, has it do what the promise is about, and says what came of it beside what was
//! promised. Clients are here, applications are this program again ([`apps`](crate::apps)). Where a
//! moment in one process is compared with one in another, both are readings of the monotonic clock.
//!
//! The parts are:
//!
//! - [`Part::Start`]: from the first request of a service to the first instruction of its replica, and what is added
//!   after the replica listens; that one request starts one replica.
//! - [`Part::Queue`]: memory of requests that wait.
//! - [`Part::Scale`]: up and down again and again under load, with WebSockets.
//! - [`Part::Kill`]: replicas that are killed under load.
//! - [`Part::Stall`]: the thread that decides stands still.
//! - [`Part::Idle`]: memory and processor time of many services that nobody asks.
//! - [`Part::Warm`]: processor time of a request, beside the gateway's.
//!
//! Rejected: to measure within the tests. Those have to pass on any machine, however busy; here the figures are the
//! purpose, and the reader sees what they were taken on.

mod clients;
mod idle;
mod kill;
mod program;
mod queue;
mod scale;
mod stall;
mod start;
mod warm;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::affinity;
use crate::compare::{DESCRIPTORS, Progress, Report, Table, machine};

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the module says what each is")]
pub enum Part {
    Start,
    Queue,
    Scale,
    Kill,
    Stall,
    Idle,
    Warm,
}

/// The programs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Plimsoll.
    pub plimsoll: PathBuf,
    /// This program, which is the applications too.
    pub lab: PathBuf,
}

/// How much of each is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// The parts, in this order.
    pub parts: Vec<Part>,
    /// First requests, each of a service of its own.
    pub starts: u32,
    /// Requests that wait at once.
    pub queued: usize,
    /// Times up and down.
    pub cycles: u32,
    /// For how long replicas are killed, one each second.
    pub kill: Duration,
    /// For how long the deciding thread stands still.
    pub stall: Duration,
    /// Idle services.
    pub services: u32,
    /// For how long they are watched.
    pub idle: Duration,
    /// Rounds of the warm path; each measures everybody once.
    pub rounds: u32,
    /// How long each is measured in each round.
    pub window: Duration,
}

/// Something that was promised, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    what: String,
    goal: String,
    measured: String,
    /// `None` if nothing was promised.
    met: Option<bool>,
}

impl Part {
    /// Every part, in the order in which they are done.
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Queue,
        Self::Scale,
        Self::Kill,
        Self::Stall,
        Self::Idle,
        Self::Warm,
    ];

    /// One lower-case word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Queue => "queue",
            Self::Scale => "scale",
            Self::Kill => "kill",
            Self::Stall => "stall",
            Self::Idle => "idle",
            Self::Warm => "warm",
        }
    }

    async fn measure(
        self,
        setup: &Setup,
        options: &Options,
        progress: Progress<'_>,
    ) -> anyhow::Result<Vec<Promise>> {
        match self {
            Self::Start => start::measure(setup, options.starts, progress).await,
            Self::Queue => queue::measure(setup, options.queued).await,
            Self::Scale => scale::measure(setup, options.cycles, progress).await,
            Self::Kill => kill::measure(setup, options.kill).await,
            Self::Stall => stall::measure(setup, options.stall).await,
            Self::Idle => idle::measure(setup, options.services, options.idle).await,
            Self::Warm => warm::measure(setup, options.rounds, options.window, progress).await,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Promise {
    /// A figure that was to be at most so much.
    pub(crate) fn at_most(what: &str, measured: f64, goal: f64, unit: &str) -> Self {
        let decimals = if goal >= 10.0 { 1 } else { 2 };
        Self {
            what: what.to_owned(),
            goal: format!("≤ {goal} {unit}").trim_end().to_owned(),
            measured: format!("{measured:.decimals$} {unit}")
                .trim_end()
                .to_owned(),
            met: Some(measured <= goal),
        }
    }

    /// What was to be so in every case.
    pub(crate) fn always(what: &str, good: u64, of: u64) -> Self {
        Self {
            what: what.to_owned(),
            goal: "all".to_owned(),
            measured: format!("{good} of {of}"),
            met: Some(good == of && of > 0),
        }
    }

    /// What was not to happen. `said` is what else there is to know.
    pub(crate) fn never(what: &str, bad: u64, said: &str) -> Self {
        Self {
            what: what.to_owned(),
            goal: "0".to_owned(),
            measured: format!("{bad} {said}").trim_end().to_owned(),
            met: Some(bad == 0),
        }
    }

    /// What nothing was promised of.
    pub(crate) fn told(what: &str, measured: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            goal: "–".to_owned(),
            measured: measured.into(),
            met: None,
        }
    }

    fn row(self) -> Vec<String> {
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        vec![self.what, self.goal, self.measured, met.to_owned()]
    }
}

/// Measures all parts that are asked for. A part that cannot be measured says why in its row, and the others go on.
///
/// # Errors
///
/// The limit of open files cannot be raised.
pub async fn run(
    setup: &Setup,
    options: &Options,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    affinity::raise_descriptor_limit(DESCRIPTORS)?;
    let heading = vec!["What `plimsoll run` promises.".into(), machine::describe()];
    let mut table = Table::new("plimsoll run", &["", "goal", "measured", "met"]);
    for part in &options.parts {
        progress(&format!("{part}"));
        let promises = match part.measure(setup, options, progress).await {
            Ok(promises) => promises,
            Err(why) => vec![Promise {
                what: part.to_string(),
                goal: "–".to_owned(),
                measured: format!("not measured: {why:#}"),
                met: Some(false),
            }],
        };
        table.rows.extend(promises.into_iter().map(Promise::row));
    }
    Ok(Report {
        heading,
        tables: vec![table],
        notes: Vec::new(),
    })
}

/// The configuration of a service named `app`, of witnesses, with these settings besides.
fn app(setup: &Setup, settings: &str) -> String {
    format!(
        "[services.app]\ncommand = [{:?}, \"witness\", \"--port\", \"{{port}}\"]\n{settings}routes = [{{ path = \"/\" }}]\n",
        setup.lab.display().to_string()
    )
}

/// The value that this share of the others does not exceed (nearest rank); 0 of none.
fn quantile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let index = rank.saturating_sub(1).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let values: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        for (share, expected) in [(0.5, 100), (0.95, 190), (0.99, 198), (1.0, 200), (0.0, 1)] {
            let expected = Duration::from_millis(expected);
            assert_eq!(quantile(&values, share), expected, "{share}");
        }
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_promise_is_met_or_not_or_none() {
        for (promise, expected) in [
            (
                Promise::at_most("a", 1.996, 2.0, "ms"),
                ["a", "≤ 2 ms", "2.00 ms", "yes"],
            ),
            (
                Promise::at_most("b", 16.04, 16.0, "KiB"),
                ["b", "≤ 16 KiB", "16.0 KiB", "NO"],
            ),
            (
                Promise::at_most("c", 1.0, 1.05, ""),
                ["c", "≤ 1.05", "1.00", "yes"],
            ),
            (Promise::always("d", 9, 10), ["d", "all", "9 of 10", "NO"]),
            (Promise::always("e", 0, 0), ["e", "all", "0 of 0", "NO"]),
            (Promise::never("f", 0, "of 7"), ["f", "0", "0 of 7", "yes"]),
            (Promise::told("g", "3"), ["g", "–", "3", "–"]),
        ] {
            assert_eq!(promise.row(), expected);
        }
    }
}
