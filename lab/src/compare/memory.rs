//! What connections cost, and what of it is given back.

use std::time::Duration;

use super::config::Work;
use super::process::Proxy;
use super::procfs::{Memory, Tree};
use super::table::{Report, Table};
use super::throughput::mebibytes;
use super::window::Window;
use super::{Progress, Setup};
use crate::backend::Running;
use crate::load::{self, Held, Target};

/// Quiet time before a reading, for what is done in the background.
const QUIET: Duration = Duration::from_secs(1);

/// How long the backend takes for a request of a busy connection. The reading is taken half way.
const BUSY_PATH: &str = "/delay/1000";

/// How much is asked of each proxy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections held open.
    pub connections: usize,
    /// Time between their closing and the reading after it.
    pub settle: Duration,
    /// How often the connections are opened, used and closed again.
    pub bursts: u32,
    /// Requests of the long run at the end.
    pub requests: u64,
}

/// One proxy's readings, in the order of [`PHASES`].
struct Course {
    name: &'static str,
    readings: Vec<Memory>,
}

/// When memory is read.
const PHASES: [&str; 6] = ["started", "idle", "busy", "closed", "bursts", "long run"];

/// Takes every peer through all phases with one process each.
///
/// # Errors
/// If a proxy does not start, ends, or does not answer on one of the connections.
pub async fn run(
    setup: &Setup,
    options: &Options,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    let backend = setup.prepare(1)?;
    let what = format!(
        "Memory: {} HTTP/1.1 connections, one process through all phases.",
        options.connections
    );
    let heading = setup.heading(what);
    let mut courses = Vec::new();
    for peer in &setup.peers {
        let proxy =
            Proxy::start(peer, Work::before(&backend.addr(), false), setup.proxy_cpu).await?;
        // The direct way has no memory to read.
        if let Some(tree) = proxy.tree()? {
            let name = peer.kind.name();
            progress(&format!("{name}: about {} s", estimate(options).as_secs()));
            let readings = course(setup, options, &proxy, &tree, &backend).await?;
            courses.push(Course { name, readings });
        }
        proxy.stop().await?;
    }
    Ok(report(options, heading, &courses))
}

/// At 10,000 requests a second, and 100 busy connections at a time.
fn estimate(options: &Options) -> Duration {
    let busy = options.connections.div_ceil(100) as u64;
    let long = options.requests / 10_000;
    options.settle + Duration::from_secs(busy + long + u64::from(options.bursts)) + QUIET * 4
}

async fn course(
    setup: &Setup,
    options: &Options,
    proxy: &Proxy,
    tree: &Tree,
    backend: &Running,
) -> anyhow::Result<Vec<Memory>> {
    let target = Target::at(proxy.addr, "/bytes/64");
    let mut readings = vec![after(QUIET, tree).await?];

    let mut held = Held::open(&target, options.connections).await?;
    readings.push(after(QUIET, tree).await?);

    held.send_all(BUSY_PATH)
        .await
        .map_err(|why| anyhow::anyhow!("busy connections: {why}"))?;
    readings.push(after(QUIET / 2, tree).await?);
    let answered = held.receive_all().await;
    anyhow::ensure!(
        answered == options.connections,
        "{answered} of {} busy connections were answered; the backend has seen {} requests",
        options.connections,
        backend.requests()
    );

    drop(held);
    readings.push(after(options.settle, tree).await?);

    for _ in 0..options.bursts {
        drop(Held::open(&target, options.connections).await?);
    }
    readings.push(after(QUIET, tree).await?);

    let long = load::Options {
        connections: 32,
        requests: Some(options.requests),
        // Bounded in time as well, by a rate that everything here exceeds.
        duration: Duration::from_secs(10 + options.requests / 1000),
        ..load::Options::new(target)
    };
    Window::run(long, setup.load_cpu, None).await?;
    readings.push(after(QUIET, tree).await?);
    Ok(readings)
}

async fn after(quiet: Duration, tree: &Tree) -> anyhow::Result<Memory> {
    tokio::time::sleep(quiet).await;
    Ok(tree.memory()?)
}

fn report(options: &Options, heading: Vec<String>, courses: &[Course]) -> Report {
    let table = |title: &str, value: fn(&Memory) -> u64| {
        let mut columns = vec![""];
        columns.extend(PHASES);
        let mut table = Table::new(format!("{title}, MiB"), &columns);
        for course in courses {
            let cells = course
                .readings
                .iter()
                .map(|memory| format!("{:.1}", mebibytes(value(memory))));
            table
                .rows
                .push([course.name.to_owned()].into_iter().chain(cells).collect());
        }
        table
    };
    let mut each = Table::new(
        "Cost of a connection (RSS above started), KiB",
        &["", "idle", "busy"],
    );
    for course in courses {
        let [started, idle, busy, ..] = course.readings[..] else {
            continue;
        };
        let cost = |now: Memory| {
            let grown = now.rss_kib.saturating_sub(started.rss_kib);
            format!("{:.1}", grown as f64 / options.connections as f64)
        };
        each.rows
            .push(vec![course.name.to_owned(), cost(idle), cost(busy)]);
    }
    let n = options.connections;
    let notes = vec![
        format!(
            "started: {QUIET:?} after the first answer. idle: {n} connections, each having carried one request."
        ),
        format!(
            "busy: a request of one second on each of them, read after half a second; with a limit of 100, {} wait.",
            n.saturating_sub(100)
        ),
        format!(
            "closed: {:?} after they were closed. bursts: after opening and closing {n} another {} times.",
            options.settle, options.bursts
        ),
        format!(
            "long run: after {} more requests over 32 connections.",
            options.requests
        ),
    ];
    Report {
        heading,
        tables: vec![
            table("RSS", |m| m.rss_kib),
            table("PSS", |m| m.pss_kib),
            table("Peak RSS", |m| m.peak_kib),
            each,
        ],
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_connection_is_what_was_added() {
        let options = Options {
            connections: 1000,
            settle: Duration::from_secs(60),
            bursts: 5,
            requests: 1_000_000,
        };
        let at = |rss_kib| Memory {
            rss_kib,
            pss_kib: rss_kib,
            peak_kib: rss_kib,
        };
        let readings = vec![
            at(10_000),
            at(20_000),
            at(30_500),
            at(9000),
            at(9000),
            at(9000),
        ];
        let report = report(
            &options,
            Vec::new(),
            &[Course {
                name: "x",
                readings,
            }],
        );
        assert_eq!(report.tables[3].rows, [["x", "10.0", "20.5"]]);
        assert_eq!(report.tables[0].rows[0][1], "9.8");
        assert_eq!(
            report.tables[0].columns.len(),
            report.tables[0].rows[0].len()
        );
        assert_eq!(
            estimate(&options),
            Duration::from_secs(60 + 10 + 100 + 5 + 4)
        );
    }
}
