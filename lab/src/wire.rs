//! The balancer scenarios over the wire: real gateways, real sockets, real time.
//!
//! [`run`] plays a [`Scenario`] with one entrant, [`run_all`] plays many with many. For each entrant there are backends of
//! its own, ports of this process that sleep for as long as the simulator's backends would have worked; they are
//! the same code. Requests come at the same moments, and have the same sizes and fates as in the simulator, and what
//! becomes of them is scored by the same [`Recorder`](crate::scenario::Recorder). So the two can be compared, and where
//! they differ, it is the network, the processors, or what the simulator has wrong.
//!
//! A scenario may be shorter here, and slower or faster than it says (`wire_seconds` and `wire_stretch` in its file). All
//! figures are in its own time.
//!
//! Entrants run at the same time, as many as the machine can carry. Whatever disturbs it disturbs them all alike, and a
//! minute of a scenario takes a minute and not one for each. Rejected: turns, which cost so much time that scenarios
//! would have to be cut to seconds, and most of what balancers get wrong takes longer than that.

mod alarms;
mod clients;
mod config;
mod field;
mod gateways;
mod report;
mod scene;

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use plimsoll_balance::Policy;

pub use self::config::Tuning;
pub use self::report::{details, write_document};

use self::alarms::Alarms;
use self::field::Field;
use self::gateways::Gateways;
use self::scene::Scene;
use crate::affinity;
use crate::compare::{Kind, Peer, Progress, Setup};
use crate::scenario::{Arrivals, Contender, Outcomes, Scenario, Score, Trouble};
use crate::sim;

/// Requests per second, of all entrants that run at the same time, that one processor for clients and backends and
/// one for gateways can carry without being in the way.
const TOGETHER_PER_SECOND: f64 = 4_500.0;

/// Gateways that may run at the same time.
const TOGETHER_GATEWAYS: usize = 20;

/// A gateway in one configuration.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Which, and where.
    pub peer: Peer,
    /// In which configuration.
    pub tuning: Tuning,
}

/// Where things run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Processor of the gateways; `None`: any.
    pub proxy_cpu: Option<usize>,
    /// Processor of clients and backends; `None`: any.
    pub load_cpu: Option<usize>,
}

/// One run that is about to begin.
struct Run {
    scene: Arc<Scene>,
    field: Field,
    gateways: Gateways,
}

impl Entrant {
    /// The entrants of the programs found: each as it is shipped, and in its best documented configuration, if it has
    /// another than its defaults.
    #[must_use]
    pub fn all(setup: &Setup) -> Vec<Self> {
        let mut entrants = Vec::new();
        for peer in &setup.peers {
            let tunings: &[Tuning] = match peer.kind {
                Kind::Direct => &[],
                Kind::Plimsoll => &[Tuning::Default],
                Kind::Haproxy | Kind::Nginx | Kind::Envoy => &[Tuning::Default, Tuning::Best],
            };
            entrants.extend(tunings.iter().map(|&tuning| Self {
                peer: peer.clone(),
                tuning,
            }));
        }
        entrants
    }
}

impl fmt::Display for Entrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = match self.tuning {
            Tuning::Default => "",
            Tuning::Best => ", best",
        };
        write!(f, "{}{best}", self.peer.kind)
    }
}

/// Plays one scenario with one entrant, on a runtime of its own, and compares it with the oracle and, if a
/// goal asks for that, with the run without faults.
///
/// # Errors
///
/// If a gateway does not start, or ends too soon, with what it has said; or if the scenario is not for real processes.
pub fn run(
    scenario: &Scenario,
    entrant: &Entrant,
    seed: u64,
    place: Place,
) -> anyhow::Result<Score> {
    let entrants = std::slice::from_ref(entrant);
    let scenarios = std::slice::from_ref(scenario);
    let all = run_all(scenarios, entrants, seed, place, &mut |_| ())?;
    let outcomes = all.into_iter().next();
    let contender = outcomes.and_then(|outcomes| outcomes.contenders.into_iter().next());
    let contender = contender.context("this scenario is not for real processes")?;
    Ok(contender.score)
}

/// Plays all scenarios that are for real processes, with all entrants, telling `tell` what is being done. To each is
/// added, as the last contender, what the simulator says of Plimsoll.
///
/// # Errors
///
/// If a gateway does not start, or ends too soon, with what it has said.
pub fn run_all(
    scenarios: &[Scenario],
    entrants: &[Entrant],
    seed: u64,
    place: Place,
    tell: Progress<'_>,
) -> anyhow::Result<Vec<Outcomes>> {
    affinity::raise_descriptor_limit(crate::compare::DESCRIPTORS)?;
    let mut work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut all = Vec::new();
        for scenario in scenarios.iter().filter_map(Scenario::over_the_wire) {
            tell(&format!("{}: {}", scenario.name, scenario.title));
            let played = runtime.block_on(play(&scenario, entrants, seed, place));
            all.push(played.with_context(|| scenario.name.clone())?);
        }
        Ok(all)
    };
    match place.load_cpu {
        Some(cpu) => affinity::while_pinned(cpu, work)?,
        None => work(),
    }
}

async fn play(
    scenario: &Scenario,
    entrants: &[Entrant],
    seed: u64,
    place: Place,
) -> anyhow::Result<Outcomes> {
    let oracle = sim::run_oracle(scenario, seed);
    let mut contenders = Vec::new();
    for group in entrants.chunks(together(scenario)) {
        let mut scores = play_together(scenario, group, seed, place).await?;
        for score in &mut scores {
            score.compare_with_oracle(&oracle);
        }
        if scenario.is_compared_with_healthy() {
            let healthy = play_together(&scenario.healthy(), group, seed, place).await?;
            for (score, healthy) in scores.iter_mut().zip(&healthy) {
                score.compare_with_healthy(healthy);
            }
        }
        let names = group.iter().map(ToString::to_string);
        contenders.extend(
            names
                .zip(scores)
                .map(|(name, score)| Contender { name, score }),
        );
    }
    contenders.push(Contender {
        name: report::SIMULATED.to_owned(),
        score: sim::run_compared(scenario, &Policy::default().into(), seed, &oracle)?,
    });
    Ok(Outcomes {
        scenario: scenario.clone(),
        contenders,
        oracle: Some(oracle),
        prequal: None,
    })
}

/// How many entrants can run at the same time.
fn together(scenario: &Scenario) -> usize {
    let per_second = match scenario.arrivals {
        Arrivals::Constant { per_second } | Arrivals::Poisson { per_second, .. } => per_second,
        // As many as the fastest backends could answer.
        Arrivals::Closed { clients, .. } => {
            let fastest = scenario
                .backends
                .iter()
                .map(|group| group.service.mean_ms());
            clients as f64 * 1000.0 / fastest.fold(f64::INFINITY, f64::min)
        }
    };
    let by_rate = TOGETHER_PER_SECOND * scenario.wire_stretch / per_second;
    (by_rate as usize)
        .min(TOGETHER_GATEWAYS / scenario.gateways)
        .max(1)
}

/// Plays one scenario with some entrants at the same time; their scores, in their order.
async fn play_together(
    scenario: &Scenario,
    entrants: &[Entrant],
    seed: u64,
    place: Place,
) -> anyhow::Result<Vec<Score>> {
    let alarms = Alarms::start()?;
    let mut runs = Vec::new();
    for entrant in entrants {
        let scene = Arc::new(Scene::new(scenario.clone(), seed, Arc::clone(&alarms)));
        let field = Field::open(&scene)?;
        let gateways = Gateways::start(entrant, &scene, &field.ports, place.proxy_cpu)
            .await
            .with_context(|| entrant.to_string())?;
        runs.push(Run {
            scene,
            field,
            gateways,
        });
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (number, run) in runs.into_iter().enumerate() {
        run.scene.begin();
        tasks.spawn(async move { (number, run.play().await) });
    }
    let mut scores = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        let (number, score) = joined?;
        let score = score.with_context(|| entrants[number].to_string())?;
        scores.push((number, score));
    }
    scores.sort_by_key(|(number, _)| *number);
    Ok(scores.into_iter().map(|(_, score)| score).collect())
}

impl Run {
    async fn play(mut self) -> anyhow::Result<Score> {
        let addresses = self.gateways.addresses();
        let clients = clients::play(&self.scene, &addresses);
        tokio::pin!(clients);
        tokio::select! {
            () = &mut clients => {}
            failed = self.play_faults() => {
                failed?;
                clients.await;
            }
        }
        self.field.check()?;
        let score = self.scene.score();
        self.gateways.stop().await?;
        Ok(score)
    }

    /// Does what has to be done when faults begin and end; what backends ask for themselves is not among it.
    async fn play_faults(&self) -> anyhow::Result<()> {
        let faults = &self.scene.scenario.faults;
        let mut edges: Vec<(f64, usize)> = Vec::new();
        for (number, fault) in faults.iter().enumerate() {
            edges.extend([fault.from, fault.to].map(|second| (second, number)));
        }
        edges.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (second, number) in edges {
            self.scene.until(self.scene.moment(second)).await;
            let fault = &faults[number];
            match fault.what {
                Trouble::Absent => self.gateways.list(&self.scene).await?,
                Trouble::Gone => {
                    let is_up = second >= fault.to;
                    for backend in fault.first..fault.first + fault.count {
                        self.field.set_up(backend, is_up);
                        if !is_up {
                            self.scene.reset(backend);
                        }
                    }
                }
                Trouble::Slow(_)
                | Trouble::Service(_)
                | Trouble::Status(_)
                | Trouble::RateLimit(_)
                | Trouble::Stall
                | Trouble::Antagonist(_) => {}
            }
        }
        Ok(())
    }
}
