//! The thread that decides stands still: what is warm is served all the same.

use std::time::Duration;

use anyhow::Context;

use super::program::Program;
use super::{Promise, Setup};
use crate::load::{self, Options, Pace, Target};
use crate::stopped_thread::StoppedThread;

/// Requests a second.
const RATE: f64 = 200.0;

/// What is asked for takes 5 ms.
const PATH: &str = "/delay/5";

/// Stops it for so long.
pub(super) async fn measure(setup: &Setup, time: Duration) -> anyhow::Result<Vec<Promise>> {
    let config = super::app(setup, "concurrency = 10\n");
    let program = Program::start(setup, "run", &config, &[], None).await?;
    program.set_replicas("app", 2).await?;
    program.until_ready("app", 2).await?;
    let stopped = StoppedThread::main_of(program.pid()?).await?;
    let stopped = stopped.context("a thread of another process may not be stopped here")?;
    let load = Options {
        pace: Pace::Constant(RATE),
        connections: 32,
        duration: time,
        ..Options::new(Target::at(program.data, PATH))
    };
    let summary = load::run(load).await?;
    let decides = tokio::time::timeout(Duration::from_millis(500), program.scale("app")).await;
    anyhow::ensure!(decides.is_err(), "the deciding thread was not stopped");
    stopped.go_on().await?;
    program.until_ready("app", 2).await?;
    program.stop().await?;
    let bad = summary.requests - summary.ok + summary.failed();
    Ok(vec![Promise::never(
        &format!(
            "the deciding thread stopped for {time:?}, {RATE} requests/s: failed warm requests"
        ),
        bad,
        &format!(
            "of {}, p99 {:.1} ms",
            summary.requests,
            super::millis(summary.latency.p99)
        ),
    )])
}
