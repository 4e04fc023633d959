//! `plimsoll sidecar`: the parts, put together.

use std::time::Duration;

use anyhow::Context;
use plimsoll_proxy::{Running, Sidecar};
use plimsoll_wire::Identity;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

use crate::admin::{self, Readings};
use crate::cli::{Fault, SidecarSettings};
use crate::load_report::{self, LoadReadings};
use crate::report::{self, Published};
use crate::signals::Signals;
use crate::{logs, memory};

/// Descriptors kept for everything but connections: listeners, logs, runtimes, scrapes.
const DESCRIPTORS_RESERVED: u64 = 128;

/// A request occupies one descriptor towards the client and one towards the application.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// The most client connections, however many descriptors there are.
const CONNECTIONS_MAX: u64 = 100_000;

/// How long in-flight requests are waited for at the end when there is no total time limit.
const DRAIN_LIMIT_DEFAULT: Duration = Duration::from_secs(300);

/// A sidecar at work.
#[derive(Debug)]
pub(crate) struct Serving {
    /// The handle of its workers.
    pub(crate) running: Running,
    /// The newest report.
    pub(crate) published: Published,
    /// What the metrics port reads.
    pub(crate) readings: Readings,
}

/// Runs until a signal ends it.
pub(crate) fn run(settings: SidecarSettings) -> Result<(), Fault> {
    raise_descriptor_limit();
    let _logs = logs::begin(settings.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(serve(settings)).map_err(Fault::from)
}

async fn serve(settings: SidecarSettings) -> anyhow::Result<()> {
    // Both ports before anything is served: a mistake in either ends the start.
    let metrics = admin::bind(settings.metrics_listen)
        .await
        .with_context(|| {
            format!(
                "cannot listen on {} (--metrics-listen)",
                settings.metrics_listen
            )
        })?;
    let sidecar = Sidecar::bind(&settings.proxy).context("--listen")?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let data_address = sidecar.local_addr()?;
    let metrics_address = metrics.local_addr()?;
    let serving = start(sidecar, metrics, settings.identity.clone())?;
    announce(&settings, data_address, metrics_address);
    if let Some(load_reports) = settings.load_reports.clone() {
        tokio::spawn(load_report::publish(
            load_reports,
            serving.running.clock(),
            serving.running.load_reports(),
            LoadReadings::of(&serving.running),
        ));
    }

    let signal = signals.next().await;
    serving.readings.not_ready();
    tokio::spawn(signals.exit_at_next());
    drain(serving.running, &settings, signal).await;
    Ok(())
}

/// Sets what is bound to work: the workers carry requests, this runtime reports and answers scrapes.
pub(crate) fn start(
    sidecar: Sidecar,
    metrics: TcpListener,
    identity: Identity,
) -> anyhow::Result<Serving> {
    let running = sidecar.start().context("cannot start the workers")?;
    let published = Published::default();
    let (since, reporter) = report::reporter(&running);
    tokio::spawn(report::publish(
        since,
        reporter,
        running.clock(),
        published.clone(),
    ));
    let readings = Readings::new(identity, published.clone(), &running);
    tokio::spawn(admin::serve(metrics, readings.clone()));
    tokio::spawn(memory::give_back_after_bursts(running.stats()));
    Ok(Serving {
        running,
        published,
        readings,
    })
}

fn announce(settings: &SidecarSettings, data: std::net::SocketAddr, metrics: std::net::SocketAddr) {
    tracing::info!(
        listen = %data,
        app = %settings.proxy.app,
        metrics = %format_args!("http://{metrics}/metrics"),
        concurrency = settings.proxy.concurrency,
        workers = settings.proxy.workers,
        "serving"
    );
}

async fn drain(running: Running, settings: &SidecarSettings, signal: &str) {
    let in_flight = running.meter().in_flight().total;
    tracing::info!(in_flight, quiet = ?settings.drain_quiet, "{signal}: draining; another signal ends at once");
    let limit = settings.proxy.limits.total.unwrap_or(DRAIN_LIMIT_DEFAULT);
    let outcome = running.drain(settings.drain_quiet, Some(limit)).await;
    if outcome.cut > 0 {
        tracing::warn!(
            connections = outcome.cut,
            "cut what had not finished within {limit:?}"
        );
    }
    tracing::info!("drained; goodbye");
}

/// As many descriptors as the system allows.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If it may not be raised, fewer connections are accepted.
    let _unchanged = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// How many client connections the descriptors suffice for.
pub(crate) fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = (limit.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_CONNECTION)
        .clamp(1, CONNECTIONS_MAX);
    usize::try_from(connections).unwrap_or(usize::MAX)
}
