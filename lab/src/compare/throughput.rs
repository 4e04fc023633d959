//! What a request costs when the proxy has all it can do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::{Role, Work};
use super::peer::Kind;
use super::process::Proxy;
use super::procfs::Memory;
use super::spread::{Spread, show, show_median};
use super::table::{Report, Table};
use super::window::{Window, micros};
use super::{Peer, Progress, Setup};
use crate::backend::Running;
use crate::load::{self, Protocol, Target};

/// What is varied, and how long each window is.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the proxies are there for.
    pub role: Role,
    /// Applications behind each; one for a sidecar.
    pub apps: usize,
    /// HTTP/1.1 (`false`) and h2c (`true`).
    pub h2c: Vec<bool>,
    /// Keep-alive connections of the generator.
    pub connections: Vec<usize>,
    /// Requests at the same time on each h2c connection.
    pub streams: usize,
    /// Bytes of a response body.
    pub bodies: Vec<u64>,
    /// Load before the window.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
}

/// One combination of what is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    h2c: bool,
    connections: usize,
    streams: usize,
    body: u64,
}

/// One window of one peer.
struct Sample {
    window: Window,
    memory: Option<Memory>,
}

type Samples = BTreeMap<(Cell, Kind), Vec<Sample>>;

impl Options {
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &h2c in &self.h2c {
            for &connections in &self.connections {
                cells.extend(self.bodies.iter().map(|&body| Cell {
                    h2c,
                    connections,
                    streams: if h2c { self.streams } else { 1 },
                    body,
                }));
            }
        }
        cells
    }

    /// How long the whole takes, apart from starts and stops.
    fn total(&self, setup: &Setup) -> Duration {
        let windows = self.cells().len() * setup.peers.len();
        (self.warm_up + self.window) * u32::try_from(windows).unwrap_or(u32::MAX) * setup.rounds
    }
}

impl Cell {
    fn title(self) -> String {
        let Self {
            connections,
            streams,
            ..
        } = self;
        let carried = match (self.h2c, streams) {
            (false, _) => format!("HTTP/1.1, {connections} connections"),
            (true, 1) => format!("h2c, {connections} connections"),
            (true, _) => format!("h2c, {connections} connections of {streams} streams"),
        };
        format!("{carried}, {} B", self.body)
    }

    fn load(self, proxy: &Proxy, options: &Options) -> load::Options {
        let protocol = if self.h2c {
            Protocol::H2c {
                streams: self.streams,
            }
        } else {
            Protocol::Http1
        };
        load::Options {
            protocol,
            connections: self.connections,
            warm_up: options.warm_up,
            duration: options.window,
            ..load::Options::new(Target::at(proxy.addr, &format!("/bytes/{}", self.body)))
        }
    }
}

/// Measures every cell for every peer, in every round, each with a fresh process.
///
/// # Errors
/// If a proxy does not start, or ends while it is measured.
pub async fn run(
    setup: &Setup,
    options: &Options,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    let backend = setup.prepare(options.apps)?;
    let what = match options.role {
        Role::Sidecar => "Throughput".to_owned(),
        Role::Gateway => format!("Gateway before {} applications", options.apps),
    };
    let what = format!(
        "{what}: closed loop, windows of {:?} after {:?} of warm-up. \
         Rounds: {}; median (least–greatest).",
        options.window, options.warm_up, setup.rounds
    );
    let heading = setup.heading(what);
    let total = options.total(setup);
    progress(&format!("takes about {} s, starts apart", total.as_secs()));
    let mut samples = Samples::new();
    for round in 0..setup.rounds {
        for cell in options.cells() {
            for peer in setup.order(round) {
                let sample = measure(setup, &backend, peer, cell, options).await?;
                let line = format!(
                    "round {} {} {}: {:.0} /s",
                    round + 1,
                    cell.title(),
                    peer.kind,
                    sample.window.summary.per_second()
                );
                progress(&line);
                samples.entry((cell, peer.kind)).or_default().push(sample);
            }
        }
    }
    Ok(report(setup, options, heading, &samples))
}

async fn measure(
    setup: &Setup,
    backend: &Running,
    peer: &Peer,
    cell: Cell,
    options: &Options,
) -> anyhow::Result<Sample> {
    let work = Work {
        role: options.role,
        apps: backend.addrs(),
        h2c: cell.h2c,
    };
    let proxy = Proxy::start(peer, work, setup.proxy_cpu).await?;
    let tree = proxy.tree()?;
    let window = Window::run(cell.load(&proxy, options), setup.load_cpu, tree.clone()).await?;
    let memory = tree.map(|tree| tree.memory()).transpose()?;
    proxy.stop().await?;
    Ok(Sample { window, memory })
}

fn report(setup: &Setup, options: &Options, heading: Vec<String>, samples: &Samples) -> Report {
    let mut report = Report {
        heading,
        ..Report::default()
    };
    let columns = [
        "",
        "CPU µs/req",
        "1000 req/s",
        "busy%",
        "p50 µs",
        "p99 µs",
        "RSS",
        "PSS",
        "peak",
        "CPU×",
    ];
    for cell in options.cells() {
        let mut table = Table::new(cell.title(), &columns);
        let reference = samples
            .get(&(cell, Kind::Plimsoll))
            .and_then(|list| cpu(list));
        for peer in &setup.peers {
            let Some(list) = samples.get(&(cell, peer.kind)) else {
                continue;
            };
            table.rows.push(row(peer.kind, list, reference));
            let failed: u64 = list.iter().map(|s| s.window.summary.failed()).sum();
            let whole: u64 = list.iter().map(|s| s.window.summary.requests).sum();
            let ok: u64 = list.iter().map(|s| s.window.summary.ok).sum();
            if failed + whole > ok {
                let other = whole - ok;
                report.notes.push(format!(
                    "{}, {}: of {whole} responses {other} were not 2xx; {failed} requests got none.",
                    cell.title(),
                    peer.kind
                ));
            }
        }
        report.tables.push(table);
    }
    report.notes.extend(notes(options));
    report
}

fn notes(options: &Options) -> Vec<String> {
    let mut notes = vec![
        "CPU×: processor time per request as a multiple of Plimsoll's. Memory in MiB, of all processes \
         of the proxy; peak is the greatest RSS."
            .to_owned(),
        match options.role {
            Role::Sidecar => {
                "Limit of 100 requests at the application and a queue: plimsoll, haproxy, envoy. nginx: no limit."
            }
            Role::Gateway => {
                "Chosen by: peak-ewma (plimsoll), leastconn (haproxy), least_conn (nginx), LEAST_REQUEST (envoy)."
            }
        }
        .to_owned(),
    ];
    if options.h2c.contains(&true) {
        notes
            .push("h2c: HTTP/2 on both sides; nginx: HTTP/2 in front, HTTP/1.1 behind.".to_owned());
    }
    notes
}

fn cpu(samples: &[Sample]) -> Option<Spread> {
    Spread::of(
        samples
            .iter()
            .filter_map(|sample| sample.window.cpu_us_per_request()),
    )
}

fn row(kind: Kind, samples: &[Sample], reference: Option<Spread>) -> Vec<String> {
    let of = |value: fn(&Sample) -> Option<f64>| Spread::of(samples.iter().filter_map(value));
    let median = |value, decimals| show_median(of(value), decimals);
    let spent = cpu(samples);
    let times = spent
        .zip(reference)
        .map(|(spent, ours)| spent.median / ours.median);
    vec![
        kind.to_string(),
        show(spent, 1),
        show(of(|s| Some(s.window.summary.per_second() / 1e3)), 1),
        median(|s| s.window.busy_percent(), 0),
        median(|s| Some(micros(s.window.summary.latency.p50)), 0),
        median(|s| Some(micros(s.window.summary.latency.p99)), 0),
        median(|s| Some(mebibytes(s.memory?.rss_kib)), 1),
        median(|s| Some(mebibytes(s.memory?.pss_kib)), 1),
        median(|s| Some(mebibytes(s.memory?.peak_kib)), 1),
        times.map_or_else(|| "–".into(), |times| format!("{times:.2}")),
    ]
}

/// KiB in MiB.
pub(super) fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::{Latency, Summary};

    fn sample(requests: u64, cpu_ms: u64, failed: u64) -> Sample {
        let summary = Summary {
            requests,
            ok: requests,
            by_status: BTreeMap::from([(200, requests)]),
            errors: BTreeMap::new(),
            unfinished: failed,
            elapsed: Duration::from_secs(1),
            latency: Latency::default(),
        };
        let cpu = Some(Duration::from_millis(cpu_ms));
        let memory = Some(Memory {
            rss_kib: 10_240,
            pss_kib: 5120,
            peak_kib: 20_480,
        });
        Sample {
            window: Window { summary, cpu },
            memory,
        }
    }

    fn options() -> Options {
        Options {
            role: Role::Sidecar,
            apps: 1,
            h2c: vec![false, true],
            connections: vec![32, 256],
            streams: 1,
            bodies: vec![64, 10_240],
            warm_up: Duration::from_millis(500),
            window: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_row_gives_medians_and_the_multiple_of_the_reference() {
        let samples = [
            sample(40_000, 800, 0),
            sample(50_000, 900, 0),
            sample(60_000, 900, 0),
        ];
        let reference = Spread::of([9.0]);
        let row = row(Kind::Haproxy, &samples, reference);
        assert_eq!(
            row,
            [
                "haproxy",
                "18.0 (15.0–20.0)",
                "50.0 (40.0–60.0)",
                "90",
                "0",
                "0",
                "10.0",
                "5.0",
                "20.0",
                "2.00"
            ]
        );
    }

    #[test]
    fn a_table_of_wide_figures_fits_the_terminal() {
        let setup = Setup::find(
            &[Kind::Direct, Kind::Haproxy],
            |_| Some("/bin/ls".into()),
            "",
            &[],
        );
        let cell = options().cells()[0];
        let list = || {
            vec![
                sample(10_001, 1_000, 0),
                sample(10_002, 1_500, 0),
                sample(99_900, 1_900, 0),
            ]
        };
        let samples = Samples::from([
            ((cell, Kind::Direct), list()),
            ((cell, Kind::Haproxy), list()),
        ]);
        let table = report(&setup, &options(), Vec::new(), &samples).tables[0].to_string();
        for line in table.lines() {
            assert!(
                line.chars().count() <= super::super::table::WIDTH,
                "{table}"
            );
        }
    }

    #[test]
    fn cells_are_all_combinations_and_the_time_is_told() {
        let setup = Setup::find(&[Kind::Direct], |_| None, "", &[]);
        assert_eq!(options().cells().len(), 8);
        assert_eq!(options().total(&setup), Duration::from_secs(60));
    }

    #[test]
    fn failures_are_never_silent() {
        let setup = Setup::find(&[Kind::Direct], |_| None, "", &[]);
        let cell = options().cells()[0];
        let samples = Samples::from([((cell, Kind::Direct), vec![sample(10, 1, 3)])]);
        let report = report(&setup, &options(), Vec::new(), &samples);
        assert!(
            report.notes[0].contains("direct: of 10 responses 0 were not 2xx; 3 requests got none")
        );
    }
}
