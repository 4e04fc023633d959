//! What a proxy adds at a modest, constant rate.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Work;
use super::peer::Kind;
use super::process::Proxy;
use super::spread::{Spread, show, show_median};
use super::table::{Report, Table};
use super::window::{Window, micros};
use super::{Peer, Progress, Setup};
use crate::backend::Running;
use crate::load::{self, Pace, Summary, Target};

/// How much is sent, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Arrivals per second.
    pub rate: f64,
    /// Keep-alive connections that take them in turns.
    pub connections: usize,
    /// Bytes of a response body.
    pub body: u64,
    /// Load before the window.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
}

/// A window through a proxy, and one without it right before.
struct Pair {
    direct: Summary,
    proxied: Window,
}

type Pairs = BTreeMap<Kind, Vec<Pair>>;

/// Measures every peer in every round, each next to a window without a proxy.
///
/// # Errors
/// If a proxy does not start, or ends while it is measured.
pub async fn run(
    setup: &Setup,
    options: &Options,
    progress: Progress<'_>,
) -> anyhow::Result<Report> {
    let backend = setup.prepare(1)?;
    let what = format!(
        "Latency: open loop, {} req/s at constant gaps over {} HTTP/1.1 connections, {} B, windows of {:?}, \
         counted from the intended arrival. \
         Rounds: {}.",
        options.rate, options.connections, options.body, options.window, setup.rounds
    );
    let heading = setup.heading(what);
    let windows = u32::try_from(setup.peers.len() * 2).unwrap_or(u32::MAX) * setup.rounds;
    let total = (options.warm_up + options.window) * windows;
    progress(&format!("takes up to {} s, starts apart", total.as_secs()));
    let mut pairs = Pairs::new();
    for round in 0..setup.rounds {
        for peer in setup
            .order(round)
            .into_iter()
            .filter(|peer| peer.kind != Kind::Direct)
        {
            let pair = measure(setup, &backend, peer, options).await?;
            progress(&format!(
                "round {} {}: p50 {:.0} µs, direct {:.0} µs",
                round + 1,
                peer.kind,
                micros(pair.proxied.summary.latency.p50),
                micros(pair.direct.latency.p50)
            ));
            pairs.entry(peer.kind).or_default().push(pair);
        }
    }
    Ok(report(setup, heading, &pairs))
}

async fn measure(
    setup: &Setup,
    backend: &Running,
    peer: &Peer,
    options: &Options,
) -> anyhow::Result<Pair> {
    let load = |addr| load::Options {
        pace: Pace::Constant(options.rate),
        connections: options.connections,
        warm_up: options.warm_up,
        duration: options.window,
        ..load::Options::new(Target::at(addr, &format!("/bytes/{}", options.body)))
    };
    let direct = Window::run(load(backend.addr()), setup.load_cpu, None).await?;
    let proxy = Proxy::start(peer, Work::before(&backend.addr(), false), setup.proxy_cpu).await?;
    let proxied = Window::run(load(proxy.addr), setup.load_cpu, proxy.tree()?).await?;
    proxy.stop().await?;
    Ok(Pair {
        direct: direct.summary,
        proxied,
    })
}

fn report(setup: &Setup, heading: Vec<String>, pairs: &Pairs) -> Report {
    let columns = [
        "",
        "p50 µs",
        "p99 µs",
        "added p50 µs",
        "added p99 µs",
        "CPU µs/req",
    ];
    let mut table = Table::new("Latency at a constant rate", &columns);
    let mut notes = vec![
        "Added: less the same quantile of the window without a proxy right before; \
         median (least–greatest). The other columns are medians."
            .to_owned(),
    ];
    if setup.peers.iter().any(|peer| peer.kind == Kind::Direct) {
        let all = || pairs.values().flatten();
        table.rows.push(vec![
            "direct".into(),
            show_median(
                Spread::of(all().map(|pair| micros(pair.direct.latency.p50))),
                0,
            ),
            show_median(
                Spread::of(all().map(|pair| micros(pair.direct.latency.p99))),
                0,
            ),
            "–".into(),
            "–".into(),
            "–".into(),
        ]);
    }
    for peer in &setup.peers {
        let Some(list) = pairs.get(&peer.kind) else {
            continue;
        };
        table.rows.push(row(peer.kind, list));
        let failed: u64 = list.iter().map(|pair| pair.proxied.summary.failed()).sum();
        if failed > 0 {
            notes.push(format!("{}: {failed} requests got no response.", peer.kind));
        }
    }
    Report {
        heading,
        tables: vec![table],
        notes,
    }
}

fn row(kind: Kind, pairs: &[Pair]) -> Vec<String> {
    let of = |value: fn(&Pair) -> f64| Spread::of(pairs.iter().map(value));
    let cpu = pairs
        .iter()
        .filter_map(|pair| pair.proxied.cpu_us_per_request());
    vec![
        kind.to_string(),
        show_median(of(|pair| micros(pair.proxied.summary.latency.p50)), 0),
        show_median(of(|pair| micros(pair.proxied.summary.latency.p99)), 0),
        show(
            of(|pair| micros(pair.proxied.summary.latency.p50) - micros(pair.direct.latency.p50)),
            0,
        ),
        show(
            of(|pair| micros(pair.proxied.summary.latency.p99) - micros(pair.direct.latency.p99)),
            0,
        ),
        show(Spread::of(cpu), 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Latency;

    fn summary(p50: u64, p99: u64) -> Summary {
        Summary {
            requests: 1000,
            ok: 1000,
            by_status: BTreeMap::new(),
            errors: BTreeMap::new(),
            unfinished: 0,
            elapsed: Duration::from_secs(1),
            latency: Latency {
                p50: Duration::from_micros(p50),
                p99: Duration::from_micros(p99),
                ..Latency::default()
            },
        }
    }

    #[test]
    fn what_is_added_is_taken_within_a_pair() {
        let pair = |direct: (u64, u64), proxied: (u64, u64)| Pair {
            direct: summary(direct.0, direct.1),
            proxied: Window {
                summary: summary(proxied.0, proxied.1),
                cpu: Some(Duration::from_millis(20)),
            },
        };
        // The noise of the second pair is in both of its windows, and cancels.
        let pairs = [pair((50, 100), (90, 200)), pair((250, 900), (292, 990))];
        let row = row(Kind::Nginx, &pairs);
        assert_eq!(row[0], "nginx");
        assert_eq!(row[3], "41 (40–42)");
        assert_eq!(row[4], "95 (90–100)");
        assert_eq!(row[5], "20.0");
    }
}
