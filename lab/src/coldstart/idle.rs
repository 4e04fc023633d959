//! Many services that nobody asks.

use std::time::Duration;

use super::program::Program;
use super::{Promise, Setup};
use crate::compare::Tree;

/// What follows a start is not idleness.
const SETTLE: Duration = Duration::from_secs(3);

/// What all of it may take, keeper included.
const MEMORY_GOAL_MIB: f64 = 150.0;
const CPU_GOAL_PERCENT: f64 = 1.0;

/// Watches so many services for so long.
pub(super) async fn measure(
    setup: &Setup,
    services: u32,
    time: Duration,
) -> anyhow::Result<Vec<Promise>> {
    let lab = setup.lab.display().to_string();
    let service = |number| {
        format!(
            "[services.s{number}]\ncommand = [{lab:?}, \"witness\", \"--port\", \"{{port}}\"]\n\
             routes = [{{ hosts = [\"s{number}.test\"] }}]\n"
        )
    };
    let config: String = (0..services).map(service).collect();
    let program = Program::start(setup, "run", &config, &[], None).await?;
    tokio::time::sleep(SETTLE).await;
    let tree = Tree::of(program.pid()?)?;
    let (cpu, wakeups) = (tree.scheduled_time()?, tree.wakeups()?);
    tokio::time::sleep(time).await;
    let cpu = tree.scheduled_time()?.saturating_sub(cpu);
    let wakeups = tree.wakeups()?.saturating_sub(wakeups);
    let memory = tree.memory()?;
    program.stop().await?;
    let mebibytes = |kib: u64| kib as f64 / 1024.0;
    let seconds = time.as_secs_f64();
    Ok(vec![
        Promise::at_most(
            &format!("{services} idle services: memory (RSS)"),
            mebibytes(memory.rss_kib),
            MEMORY_GOAL_MIB,
            "MB",
        ),
        Promise::told("… PSS", format!("{:.1} MB", mebibytes(memory.pss_kib))),
        Promise::at_most(
            "… processor time, of one core",
            cpu.as_secs_f64() / seconds * 100.0,
            CPU_GOAL_PERCENT,
            "%",
        ),
        Promise::told(
            "… wake-ups a second",
            format!("{:.1}", wakeups as f64 / seconds),
        ),
    ])
}
