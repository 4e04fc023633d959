//! Replicas that are killed under load: requests that may be done twice do not fail.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::program::{Program, signal};
use super::{Promise, Setup};
use crate::load::{self, Options, Pace, Target};

/// Requests a second.
const RATE: f64 = 200.0;

/// Replicas, of which one is killed in each [`PERIOD`].
const REPLICAS: u64 = 3;
const PERIOD: Duration = Duration::from_secs(1);

/// What is asked for takes 20 ms, so that there are requests at each replica that is killed.
const PATH: &str = "/delay/20";

/// Kills replicas for so long.
pub(super) async fn measure(setup: &Setup, time: Duration) -> anyhow::Result<Vec<Promise>> {
    let config = super::app(setup, "concurrency = 20\n");
    let program = Program::start(setup, "run", &config, &[], None).await?;
    program.set_replicas("app", REPLICAS).await?;
    program.until_ready("app", REPLICAS).await?;
    let load = tokio::spawn(load::run(Options {
        pace: Pace::Constant(RATE),
        connections: 64,
        duration: time,
        ..Options::new(Target::at(program.data, PATH))
    }));
    let began = Instant::now();
    let mut kills = 0_u32;
    while began.elapsed() + PERIOD < time {
        tokio::time::sleep(PERIOD).await;
        let scale = program.scale("app").await?;
        // The oldest, which has the most to do; but not the only one.
        if scale.ready() > 1
            && let Some(pid) = scale.pids().first()
        {
            signal(*pid, Signal::KILL);
            kills += 1;
        }
    }
    let summary = load.await??;
    program.stop().await?;
    let bad = summary.requests - summary.ok + summary.failed();
    let sum = summary.requests + summary.failed();
    let mut said = format!("of {sum}");
    if bad > 0 {
        said += &format!(" ({:?}, {:?})", summary.by_status, summary.errors);
    }
    Ok(vec![Promise::never(
        &format!("kill -9 of a replica, {kills} times, at {RATE} GET/s: failed requests"),
        bad,
        &said,
    )])
}
