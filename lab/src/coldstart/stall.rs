//! The thread that decides stands still: what is warm is served all the same.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::program::Program;
use super::{Promise, Setup};
use crate::load::{self, Options, Pace, Target};

/// Stops one thread of another process: a debugger's call, for which Rust has no safe function.
const STOP_THREAD: &str = include_str!("stop_thread.py");

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
    let mut stopper = Command::new("python3")
        .args(["-c", STOP_THREAD, &program.pid()?.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting python3")?;
    let mut told = String::new();
    let output = stopper.stdout.take().context("no output of python3")?;
    BufReader::new(output).read_line(&mut told).await?;
    anyhow::ensure!(
        told.trim() == "stopped",
        "a thread of another process may not be stopped here"
    );
    let load = Options {
        pace: Pace::Constant(RATE),
        connections: 32,
        duration: time,
        ..Options::new(Target::at(program.data, PATH))
    };
    let summary = load::run(load).await?;
    let decides = tokio::time::timeout(Duration::from_millis(500), program.scale("app")).await;
    anyhow::ensure!(decides.is_err(), "the deciding thread was not stopped");
    drop(stopper.stdin.take());
    stopper.wait().await?;
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
