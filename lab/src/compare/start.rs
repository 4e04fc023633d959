//! How soon a proxy listens and answers, and what it does when there is nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Work;
use super::peer::Kind;
use super::process::Proxy;
use super::spread::{Spread, show};
use super::table::{Report, Table};
use super::{Peer, Progress, Setup};
use crate::backend::Running;

/// How often, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Starts of each proxy.
    pub runs: u32,
    /// Time without a request in which processor time and wake-ups are counted.
    pub idle: Duration,
}

#[derive(Default)]
struct Starts {
    listening_ms: Vec<f64>,
    serving_ms: Vec<f64>,
    idle: Option<Idle>,
}

/// Per second of idleness.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Idle {
    cpu_us: f64,
    wakeups: f64,
}

/// Starts every peer many times in turns; then lets each be idle.
///
/// # Errors
/// If a proxy does not start.
pub async fn run(
    setup: &Setup,
    options: &Options,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    let backend = setup.prepare(1)?;
    let what = format!(
        "Start: {} starts of each, interleaved; idle for {:?}.",
        options.runs, options.idle
    );
    let heading = setup.heading(what);
    let mut all: BTreeMap<Kind, Starts> = BTreeMap::new();
    for run in 0..options.runs {
        for peer in setup
            .order(run)
            .into_iter()
            .filter(|peer| peer.kind != Kind::Direct)
        {
            let (listening, serving) = start(setup, &backend, peer).await?;
            let starts = all.entry(peer.kind).or_default();
            starts.listening_ms.push(listening.as_secs_f64() * 1e3);
            starts.serving_ms.push(serving.as_secs_f64() * 1e3);
        }
        progress(&format!("run {} of {}", run + 1, options.runs));
    }
    for peer in setup.peers.iter().filter(|peer| peer.kind != Kind::Direct) {
        progress(&format!("{}: idle for {:?}", peer.kind, options.idle));
        let idle = idle(setup, &backend, peer, options.idle).await?;
        all.entry(peer.kind).or_default().idle = Some(idle);
    }
    Ok(report(heading, &all))
}

async fn start(
    setup: &Setup,
    backend: &Running,
    peer: &Peer,
) -> anyhow::Result<(Duration, Duration)> {
    let mut proxy = Proxy::spawn(peer, Work::before(&backend.addr(), false), setup.proxy_cpu)?;
    let listening = proxy.until_listening()?;
    let serving = proxy.until_serving(false).await?;
    proxy.stop().await?;
    Ok((listening, serving))
}

async fn idle(
    setup: &Setup,
    backend: &Running,
    peer: &Peer,
    time: Duration,
) -> anyhow::Result<Idle> {
    let proxy = Proxy::start(peer, Work::before(&backend.addr(), false), setup.proxy_cpu).await?;
    let Some(tree) = proxy.tree()? else {
        anyhow::bail!("{} has no process to watch", peer.kind);
    };
    // What follows a start is not idleness.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu, wakeups) = (tree.scheduled_time()?, tree.wakeups()?);
    tokio::time::sleep(time).await;
    let cpu = tree.scheduled_time()?.saturating_sub(cpu);
    let wakeups = tree.wakeups()?.saturating_sub(wakeups);
    proxy.stop().await?;
    let seconds = time.as_secs_f64();
    Ok(Idle {
        cpu_us: cpu.as_secs_f64() * 1e6 / seconds,
        wakeups: wakeups as f64 / seconds,
    })
}

fn report(heading: Vec<String>, all: &BTreeMap<Kind, Starts>) -> Report {
    let columns = [
        "",
        "listening ms",
        "answering ms",
        "idle CPU µs/s",
        "wake-ups/s",
    ];
    let mut table = Table::new("Start and idleness", &columns);
    for (kind, starts) in all {
        let idle = |value: fn(Idle) -> f64| {
            starts
                .idle
                .map_or_else(|| "–".into(), |idle| format!("{:.1}", value(idle)))
        };
        table.rows.push(vec![
            kind.to_string(),
            show(Spread::of(starts.listening_ms.iter().copied()), 1),
            show(Spread::of(starts.serving_ms.iter().copied()), 1),
            idle(|idle| idle.cpu_us),
            idle(|idle| idle.wakeups),
        ]);
    }
    let notes = vec![
        "listening: from the start of the process to the first connection accepted; answering: to the first \
         response with status 200, through to the application. Median (least–greatest)."
            .to_owned(),
        "Idle CPU is the scheduler's account of all threads; wake-ups are their voluntary context switches."
            .to_owned(),
    ];
    Report {
        heading,
        tables: vec![table],
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let starts = Starts {
            listening_ms: vec![1.0, 3.0, 2.0],
            serving_ms: vec![4.0],
            idle: None,
        };
        let report = report(Vec::new(), &BTreeMap::from([(Kind::Envoy, starts)]));
        assert_eq!(
            report.tables[0].rows,
            [["envoy", "2.0 (1.0–3.0)", "4.0", "–", "–"]]
        );
    }
}
