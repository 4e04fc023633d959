//! `plimsoll sidecar`: the parts, put together.

mod contract;
mod drain_port;
mod handshakes;
mod layers;
mod observability;
mod observe;
mod ports;
mod profiling;
mod readiness;
pub(crate) mod settings;
mod show;
mod tls;
pub(crate) mod variables;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use plimsoll_proxy::{Readiness, Running, Sidecar, SidecarError};
use plimsoll_wire::Identity;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use self::drain_port::DrainPort;
use self::observe::{Collectors, Watching};
use self::ports::{Addresses, Ports};
use self::readiness::Prober;
use self::settings::{Certificate, SidecarSettings};
use crate::admin::{self, Readings};
use crate::cli::Fault;
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

/// What `--check` shows.
pub(crate) fn check(settings: &SidecarSettings) -> Result<String, Fault> {
    let collectors = Collectors::of(&settings.observability).map_err(Fault::Usage)?;
    let mut shown = settings.shown.clone();
    collectors.show(&mut shown);
    Ok(shown.to_string())
}

/// Runs until a signal ends it.
pub(crate) fn run(settings: &SidecarSettings) -> Result<(), Fault> {
    let collectors = Collectors::of(&settings.observability).map_err(Fault::Usage)?;
    raise_descriptor_limit();
    let _logs = logs::begin_at(settings.log_format, settings.log_level);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime
        .block_on(serve(settings, collectors))
        .map_err(Fault::from)
}

async fn serve(settings: &SidecarSettings, collectors: Collectors) -> anyhow::Result<()> {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let ports = Ports::bind(settings).await?;
    let addresses = ports.addresses()?;
    let (mut watching, sidecar) = Watching::begin(settings, collectors, bind(settings)?)?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (data, tls) = (sidecar.local_addr()?, sidecar.tls_addr()?);
    let serving = start(sidecar, ports.metrics, settings.identity.clone())?;
    let secured = settings.user_metrics_tls.as_ref();
    let tls_of_metrics = secured.map(|secured| Arc::clone(&secured.tls));
    watching.show(&serving.running, ports.user_metrics, tls_of_metrics);
    let hook = serving
        .running
        .drain_hook(settings.drain_quiet, Some(drain_limit(settings)));
    let drain_port = ports.drain.map(|port| DrainPort::open(port, hook));
    if let Some(profiling) = ports.profiling {
        tokio::spawn(profiling::serve(profiling));
    }
    keep_certificates(settings);
    announce(settings, data, tls, &addresses);
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
    drain(serving.running, settings, signal).await;
    if let Some(port) = drain_port {
        port.close().await;
    }
    watching.finish().await;
    tracing::info!("drained; goodbye");
    Ok(())
}

/// Binds the data ports. Probes are asked on this runtime, whoever wants to know.
fn bind(settings: &SidecarSettings) -> anyhow::Result<Sidecar> {
    let mut config = settings.proxy.clone();
    if let Some(knative) = &mut config.options.knative
        && !settings.readiness.is_empty()
    {
        let prober = Prober::new(
            settings.readiness.clone(),
            settings.detect_http2,
            Handle::current(),
        );
        let check = move || {
            let prober = prober.clone();
            async move { prober.is_ready().await }
        };
        knative.readiness = Some(Readiness::new(check));
    }
    let tls = config.tls_port.as_ref().map(|port| port.listen);
    Sidecar::bind(&config).map_err(|error| {
        let is_tls = matches!(&error, SidecarError::Bind(error) if Some(error.address) == tls);
        anyhow::Error::from(error).context(if is_tls { "--tls-listen" } else { "--listen" })
    })
}

/// Certificates that are renewed on disk are read again, as long as this runtime lives.
fn keep_certificates(settings: &SidecarSettings) {
    let data = (settings.proxy.tls_port.as_ref()).zip(settings.certificate.as_ref());
    let data = data.map(|(port, certificate)| (&port.tls, certificate));
    let metrics = settings.user_metrics_tls.as_ref();
    let metrics = metrics.map(|secured| (&secured.tls, &secured.certificate));
    for (tls, certificate) in [data, metrics].into_iter().flatten() {
        let Certificate { files, known } = certificate.clone();
        tokio::spawn(files.keep_current(known, Arc::clone(tls)));
    }
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
    tokio::spawn(memory::give_back(running.stats()));
    Ok(Serving {
        running,
        published,
        readings,
    })
}

fn announce(
    settings: &SidecarSettings,
    data: SocketAddr,
    tls: Option<SocketAddr>,
    others: &Addresses,
) {
    tracing::info!(
        listen = %data,
        tls = tls.map(tracing::field::display),
        app = %settings.proxy.app,
        metrics = %format_args!("http://{}/metrics", others.metrics),
        drain = others.drain.map(tracing::field::display),
        user_metrics = others.user_metrics.map(tracing::field::display),
        profiling = others.profiling.map(tracing::field::display),
        concurrency = settings.proxy.concurrency,
        workers = settings.proxy.workers,
        "serving"
    );
}

async fn drain(running: Running, settings: &SidecarSettings, signal: &str) {
    let in_flight = running.meter().in_flight().total;
    tracing::info!(in_flight, quiet = ?settings.drain_quiet, "{signal}: draining; another signal ends at once");
    let limit = drain_limit(settings);
    let outcome = running.drain(settings.drain_quiet, Some(limit)).await;
    if outcome.cut > 0 {
        tracing::warn!(
            connections = outcome.cut,
            "cut what had not finished within {limit:?}"
        );
    }
}

fn drain_limit(settings: &SidecarSettings) -> Duration {
    settings.proxy.limits.total.unwrap_or(DRAIN_LIMIT_DEFAULT)
}

/// What is wrong with variables of Knative's.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_variables<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<variables::Problem> {
    let variables: variables::Variables = pairs.collect();
    let mut reader = variables::Reader::new(&variables, Vec::new());
    let _read = contract::Contract::read(&variables, None, &mut reader);
    reader.into_problems()
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

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroUsize;

    use plimsoll_proxy::{ServerTls, SidecarConfig, SidecarOptions, TimeLimits};
    use proptest::prelude::*;

    use super::*;

    const NAMES: &[&str] = &[
        "CONTAINER_CONCURRENCY",
        "OBSERVABILITY_CONFIG",
        "QUEUE_PROXY_TLS_CIPHER_SUITES",
        "QUEUE_SERVING_PORT",
        "REVISION_TIMEOUT_SECONDS",
        "SERVING_LOGGING_CONFIG",
        "SERVING_READINESS_PROBE",
    ];

    proptest! {
        #[test]
        fn whatever_variables_say_is_read_or_refused(
            index in 0..NAMES.len(),
            value in "[\\[{\"a-z:0-9,}\\]-]{0,40}|.{0,40}",
        ) {
            for problem in read_variables([(NAMES[index], &*value)].into_iter()) {
                prop_assert_eq!(&problem.name, NAMES[index]);
                prop_assert!(!problem.message.is_empty());
            }
        }
    }

    /// A sidecar in front of an application on this machine.
    pub(crate) fn in_front_of(port: u16, tls: Option<Arc<ServerTls>>) -> Sidecar {
        Sidecar::bind(&SidecarConfig {
            app: (Ipv4Addr::LOCALHOST, port).into(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            concurrency: 0,
            queue_depth: None,
            limits: TimeLimits::default(),
            workers: NonZeroUsize::MIN,
            connections_max: 100,
            tls,
            tls_port: None,
            app_tls: None,
            options: SidecarOptions::default(),
        })
        .unwrap()
    }
}
