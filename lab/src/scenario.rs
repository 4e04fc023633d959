//! The balancer scenarios: what comes, who answers, what goes wrong, and what a balancer should make of it.
//!
//! A scenario is a file in `lab/scenarios`, so that whoever runs it (the simulator in [`crate::sim`], or
//! processes on real sockets) runs the same one, and so that its goal stands beside what it is a goal for.
//! [`Scenario`] is that file, [`Recorder`] collects what became of its requests, and [`Score`] is what is compared.
//!
//! ```
//! let text = r#"
//!     id = "X1"
//!     title = "Two equal backends"
//!     origin = "this example"
//!     about = "Nothing goes wrong."
//!     seconds = 10
//!     arrivals = { process = "poisson", per_second = 100 }
//!     client = { timeout_ms = 1000 }
//!     backends = [{ count = 2, slots = 8, service = { exponential_ms = 20 } }]
//!     goals = [{ metric = "success", least = 1.0 }]
//! "#;
//! let scenario = plimsoll_lab::scenario::Scenario::parse(text)?;
//! assert_eq!(scenario.backend_count(), 2);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # Why not a program per scenario
//!
//! It could express anything, and then no two scenarios would be scored alike. What a file cannot say here, no
//! scenario has needed yet.

mod arrivals;
mod document;
#[cfg(test)]
mod example;
mod fault;
mod goal;
mod plot;
mod score;
mod service;
mod table;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

pub use arrivals::{Arrivals, Moments};
#[cfg(test)]
pub(crate) use example::example;

pub use document::{put as put_in_document, write as write_document};
pub use fault::{Antagonist, Condition, Fault, RateLimit, StatusFault, Trouble};
pub use goal::{Goal, Metric};
pub use plot::plot;
pub use score::{Fate, Record, Recorder, Score, TAIL_SHARES};
pub use service::{Draws, Service};
pub use table::{Contender, Outcomes, table};

use crate::random::SplitMix64;

/// One scenario, as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of its file, without the extension.
    #[serde(skip)]
    pub name: String,
    /// Its name in tables, such as `S4`.
    pub id: String,
    /// A few words.
    pub title: String,
    /// Who asked first.
    pub origin: String,
    /// What happens and why it is hard, in a sentence or two.
    pub about: String,
    /// How long requests come.
    pub seconds: f64,
    /// Requests before this moment are not scored.
    #[serde(default)]
    pub score_from: f64,
    /// How many gateways the requests are spread over; each sees its own only.
    #[serde(default = "one")]
    pub gateways: usize,
    /// Whether each gateway has its own part of the backends, rather than all of them.
    #[serde(default)]
    pub split: bool,
    /// When requests come.
    pub arrivals: Arrivals,
    /// What their senders expect.
    pub client: Client,
    /// The most requests that one gateway may have at one backend.
    pub endpoint_concurrency: Option<NonZeroU32>,
    /// Kinds of requests. None: all are alike. What is compared with a healthy run is the first.
    #[serde(default)]
    pub classes: Vec<Class>,
    /// Who answers.
    pub backends: Vec<Group>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What is to be reached.
    pub goals: Vec<Goal>,
    /// What its picture shows.
    #[serde(default)]
    pub plot: Plot,
    /// Whether Prequal is played too.
    #[serde(default)]
    pub prequal: bool,
    /// Whether it can be run with real processes on one machine.
    #[serde(default = "yes")]
    pub wire: bool,
    /// Where it is run so: how long requests come, at most.
    pub wire_seconds: Option<f64>,
    /// Where it is run so: how many seconds a second of it takes. Above 1 where a machine could not carry the rate, or
    /// could not tell the times apart; below 1 where nothing would happen for long.
    #[serde(default = "unit")]
    pub wire_stretch: f64,
}

/// What a sender of requests expects, and what a gateway may do for it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// A request that has no answer by then has failed.
    pub timeout_ms: f64,
    /// An attempt that has no answer by then is given up.
    pub try_timeout_ms: Option<f64>,
    /// How often a request may be sent again.
    #[serde(default)]
    pub retries: u32,
}

/// Backends that are alike.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// How many.
    pub count: usize,
    /// Requests that one can work on at a time; the others wait there.
    pub slots: usize,
    /// How long one request takes.
    pub service: Service,
}

/// A kind of requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name in tables.
    pub name: String,
    /// Its share of all requests.
    pub share: f64,
    /// Its service times in units of the backend's.
    #[serde(default = "unit")]
    pub cost: f64,
    /// Time after the head until the answer is complete, milliseconds: a stream.
    pub body_ms: Option<f64>,
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plot {
    /// 99th percentile over time.
    #[default]
    Time,
    /// Latency that a share of the requests exceeds.
    Tail,
}

impl Scenario {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// Says which key is wrong, and what would be right.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        let number = scenario.backend_count();
        ensure!(scenario.seconds > 0.0, "seconds must be above zero");
        ensure!(scenario.gateways > 0, "gateways must be at least 1");
        ensure!(number > 0, "there must be a backend");
        ensure!(
            !scenario.split || number.is_multiple_of(scenario.gateways),
            "split: {number} backends cannot be split evenly over {} gateways",
            scenario.gateways
        );
        if let Some(problem) = scenario.arrivals.problem() {
            anyhow::bail!(problem);
        }
        ensure!(
            scenario.client.timeout_ms > 0.0,
            "client.timeout_ms must be above zero"
        );
        for group in &scenario.backends {
            ensure!(group.slots > 0, "backends: slots must be at least 1");
            ensure!(
                group.service.is_sound(),
                "backends: {:?} is no time",
                group.service
            );
        }
        for (place, fault) in scenario.faults.iter().enumerate() {
            if let Some(problem) = fault.problem(number) {
                anyhow::bail!("fault {} {problem}", place + 1);
            }
        }
        let shares: f64 = scenario.classes.iter().map(|class| class.share).sum();
        ensure!(
            scenario.classes.is_empty() || (shares - 1.0).abs() < 1e-9,
            "classes: their shares add up to {shares} and not to 1"
        );
        let positive = |number: f64| number.is_finite() && number > 0.0;
        ensure!(
            positive(scenario.wire_stretch) && scenario.wire_seconds.is_none_or(positive),
            "wire_stretch and wire_seconds must be above zero"
        );
        ensure!(
            !scenario.goals.is_empty(),
            "a scenario without a goal tests nothing"
        );
        Ok(scenario)
    }

    /// Reads all `*.toml` of a folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// Says which file cannot be read, and why.
    pub fn load_all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let listed = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
        let mut paths = Vec::new();
        for entry in listed {
            paths.push(entry?.path());
        }
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        });
        paths.sort();
        let read = |path: &PathBuf| {
            let mut scenario = Self::parse(&std::fs::read_to_string(path)?)?;
            let stem = path.file_stem().unwrap_or_default();
            scenario.name = stem.to_string_lossy().into_owned();
            Ok::<_, anyhow::Error>(scenario)
        };
        paths
            .iter()
            .map(|path| read(path).with_context(|| format!("{}", path.display())))
            .collect()
    }

    /// The folder with the scenarios of this repository.
    #[must_use]
    pub fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"))
    }

    /// How many backends there are.
    #[must_use]
    pub fn backend_count(&self) -> usize {
        self.backends.iter().map(|group| group.count).sum()
    }

    /// The group of the backend with this number.
    ///
    /// # Panics
    ///
    /// If there is no such backend.
    #[must_use]
    pub fn group(&self, backend: usize) -> &Group {
        let mut rest = backend;
        for group in &self.backends {
            if rest < group.count {
                return group;
            }
            rest -= group.count;
        }
        panic!("backend {backend} of {}", self.backend_count())
    }

    /// How a backend is at one moment.
    #[must_use]
    pub fn condition(&self, backend: usize, second: f64) -> Condition<'_> {
        let mut condition = Condition::healthy(self.group(backend).service);
        for fault in &self.faults {
            if fault.hits(backend, second) {
                condition.suffer(&fault.what, backend, second);
            }
        }
        condition
    }

    /// What chance has decided of the request with this number.
    #[must_use]
    pub fn draws(seed: u64, request: u64) -> Draws {
        let mut random = SplitMix64::stream(seed, request);
        Draws {
            size: random.next_unit(),
            angle: random.next_unit(),
            class: random.next_unit(),
            fate: random.next_u64(),
        }
    }

    /// The class of a request, if there are any.
    #[must_use]
    pub fn class(&self, draws: &Draws) -> usize {
        let mut rest = draws.class;
        for (place, class) in self.classes.iter().enumerate() {
            if rest < class.share {
                return place;
            }
            rest -= class.share;
        }
        self.classes.len().saturating_sub(1)
    }

    /// How long the head of an answer takes on a backend in this condition.
    #[must_use]
    pub fn service_time(&self, condition: &Condition<'_>, draws: &Draws) -> Duration {
        let cost = self
            .classes
            .get(self.class(draws))
            .map_or(1.0, |class| class.cost);
        condition
            .service
            .time(draws)
            .mul_f64(condition.factor * cost)
    }

    /// How long the body of an answer takes after its head.
    #[must_use]
    pub fn body_time(&self, draws: &Draws) -> Duration {
        let class = self.classes.get(self.class(draws));
        let ms = class.and_then(|class| class.body_ms).unwrap_or(0.0);
        Duration::from_secs_f64(ms / 1000.0)
    }

    /// The same scenario with nothing wrong: no faults, and requests of the first class only.
    #[must_use]
    pub fn healthy(&self) -> Self {
        let mut healthy = self.clone();
        healthy.faults.clear();
        healthy.classes.truncate(1);
        if let Some(only) = healthy.classes.first_mut() {
            only.share = 1.0;
        }
        healthy
    }

    /// Whether a goal speaks of the healthy run.
    #[must_use]
    pub fn is_compared_with_healthy(&self) -> bool {
        let relative = [Metric::P99VsHealthy, Metric::P999VsHealthy];
        self.goals
            .iter()
            .any(|goal| relative.contains(&goal.metric))
    }

    /// The same scenario, shorter: it ends early, and what would come later does not happen.
    #[must_use]
    pub fn for_seconds(&self, seconds: f64) -> Self {
        let mut shorter = self.clone();
        shorter.seconds = seconds.min(self.seconds);
        shorter
    }

    /// The same scenario as it is run with real processes, if it can be.
    #[must_use]
    pub fn over_the_wire(&self) -> Option<Self> {
        let seconds = self.wire_seconds.unwrap_or(self.seconds);
        self.wire.then(|| self.for_seconds(seconds))
    }

    /// The moment at which the last fault ends, if it does so while requests come.
    #[must_use]
    pub fn faults_end(&self) -> Option<f64> {
        let last = self.faults.iter().map(|fault| fault.to).fold(0.0, f64::max);
        (last > 0.0 && last < self.seconds).then_some(last)
    }

    /// Whether something goes wrong at this backend at some time.
    #[must_use]
    pub fn is_faulty(&self, backend: usize) -> bool {
        self.faults.iter().any(|fault| fault.concerns(backend))
    }
}

fn one() -> usize {
    1
}

fn unit() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}
