//! What a request costs in processor time when there is a replica, beside what it costs the gateway, before that very
//! replica.

use std::time::Duration;

use anyhow::Context;

use super::program::Program;
use super::{Promise, Setup};
use crate::compare::window::Window;
use crate::compare::{Progress, Spread, Tree};
use crate::load::{Options, Target};

/// Processor of what is measured; clients and applications are on the other.
const PROXY_CPU: usize = 1;
const LOAD_CPU: usize = 0;

/// Keep-alive connections.
const CONNECTIONS: usize = 32;

/// What is asked for.
const PATH: &str = "/bytes/64";

/// Load before each window.
const WARM_UP: Duration = Duration::from_millis(300);

/// So much of the gateway's processor time it may be.
const GOAL: f64 = 1.05;

/// Requests at a replica at once: as `plimsoll run` has it, and without a limit as a gateway has it.
const LIMITS: [u32; 2] = [80, 0];

/// One of those that are measured.
struct Entrant {
    program: Program,
    micros: Vec<f64>,
}

/// Measures both in turns, with and without a limit.
pub(super) async fn measure(
    setup: &Setup,
    rounds: u32,
    window: Duration,
    progress: Progress<'_>,
) -> anyhow::Result<Vec<Promise>> {
    let mut entrants = Vec::new();
    for limit in LIMITS {
        let replica = format!(
            "[services.app]\ncommand = [{:?}, \"backend\", \"--cpu\", \"{LOAD_CPU}\", \"--listen\", \
             \"127.0.0.1:{{port}}\"]\nconcurrency = {limit}\nroutes = [{{ path = \"/\" }}]\n\
             [services.app.scale]\nmin = 1\nmax = 1\n",
            setup.lab.display().to_string()
        );
        let run = Entrant::start(setup, "run", &replica).await?;
        let scale = run.program.until_ready("app", 1).await?;
        let port = scale.ports().first().copied().context("no replica")?;
        let slots = match limit {
            0 => String::new(),
            limit => format!("endpoint-concurrency = {limit}\n"),
        };
        let gateway = format!(
            "[services.app]\nupstreams = [\"127.0.0.1:{port}\"]\n{slots}routes = [{{ path = \"/\" }}]\n"
        );
        entrants.push(Entrant::start(setup, "gateway", &gateway).await?);
        entrants.push(run);
    }
    for round in 0..rounds {
        progress(&format!("round {} of {rounds}", round + 1));
        let mut turn: Vec<&mut Entrant> = entrants.iter_mut().collect();
        if !round.is_multiple_of(2) {
            turn.reverse();
        }
        for entrant in turn {
            entrant.measure(window).await?;
        }
    }
    let mut promises = Vec::new();
    let median = |entrant: &Entrant| {
        Spread::of(entrant.micros.iter().copied()).map_or(f64::NAN, |spread| spread.median)
    };
    let medians: Vec<f64> = entrants.iter().map(median).collect();
    for (limit, pair) in LIMITS.iter().zip(medians.chunks(2)) {
        let limit = match limit {
            0 => "no limit".to_owned(),
            limit => format!("{limit} at once"),
        };
        let what = format!("processor time of a warm request, {limit}: of the gateway's");
        promises.push(Promise::at_most(&what, pair[1] / pair[0], GOAL, ""));
        promises.push(Promise::told(
            "… run and gateway",
            format!("{:.1} and {:.1} µs", pair[1], pair[0]),
        ));
    }
    for entrant in entrants {
        entrant.program.stop().await?;
    }
    Ok(promises)
}

impl Entrant {
    async fn start(setup: &Setup, command: &str, config: &str) -> anyhow::Result<Self> {
        let arguments = &["--workers", "1"];
        Ok(Self {
            program: Program::start(setup, command, config, arguments, Some(PROXY_CPU)).await?,
            micros: Vec::new(),
        })
    }

    async fn measure(&mut self, window: Duration) -> anyhow::Result<()> {
        let options = Options {
            connections: CONNECTIONS,
            warm_up: WARM_UP,
            duration: window,
            ..Options::new(Target::at(self.program.data, PATH))
        };
        let tree = Tree::alone(self.program.pid()?);
        let window = Window::run(options, LOAD_CPU, Some(tree)).await?;
        let failed = window.summary.failed() + window.summary.requests - window.summary.ok;
        anyhow::ensure!(failed == 0, "{failed} requests failed: {}", window.summary);
        self.micros.extend(window.cpu_us_per_request());
        Ok(())
    }
}
