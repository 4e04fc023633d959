//! `plimsoll sidecar`: what is typed, and what it comes to.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};
use plimsoll_proxy::{SidecarConfig, SidecarOptions, TimeLimits};
use plimsoll_wire::Identity;

use crate::cli::load_reports::LoadReportArgs;
use crate::cli::values;
use crate::load_report::LoadReportSettings;

/// The heading of the time limits in the help.
const TIMES: &str = "How long (0 is off)";

/// The heading of the identity in the help.
const IDENTITY: &str = "Who (labels of the metrics)";

/// Carry requests to one instance of a service: measure each, hold the rest back, report.
///
/// The sidecar listens where clients connect and forwards to the application,
/// over HTTP/1.1 or HTTP/2 as the client came. It never lets the application
/// work on more requests than --concurrency; those over it wait in line, first
/// come, first served, and those over the line are told at once.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Where",
    after_help = "Every flag can be set in the environment as well; the flag wins.\n\n\
        Examples:\n  \
        plimsoll sidecar --app 127.0.0.1:8080\n  \
        plimsoll sidecar --app 8080 --concurrency 10 --timeout 60s\n  \
        curl -s http://127.0.0.1:9090/metrics"
)]
pub(crate) struct SidecarArgs {
    /// Where the application listens
    #[arg(long, env = "PLIMSOLL_APP", value_name = "HOST:PORT", value_parser = values::target)]
    app: SocketAddr,

    /// Where clients connect: HTTP/1.0, HTTP/1.1 and HTTP/2 (prior knowledge)
    #[arg(long, env = "PLIMSOLL_LISTEN", value_name = "IP:PORT", default_value = "0.0.0.0:8012", value_parser = values::listener)]
    listen: SocketAddr,

    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "PLIMSOLL_METRICS_LISTEN", value_name = "IP:PORT", default_value = "0.0.0.0:9090", value_parser = values::listener)]
    metrics_listen: SocketAddr,

    /// Requests the application works on at once; 0 is no limit
    #[arg(
        long,
        env = "PLIMSOLL_CONCURRENCY",
        value_name = "N",
        default_value_t = 0,
        help_heading = "How much"
    )]
    concurrency: usize,

    /// Requests that may wait beyond that [default: 10 x concurrency]
    #[arg(
        long,
        env = "PLIMSOLL_QUEUE",
        value_name = "N",
        help_heading = "How much"
    )]
    queue: Option<usize>,

    /// Threads that carry requests [default: the CPUs this process may use]
    #[arg(long, env = "PLIMSOLL_WORKERS", value_name = "N", value_parser = workers, help_heading = "How much")]
    workers: Option<NonZeroUsize>,

    /// From arrival to the end of the answer, waiting in line included
    #[arg(
        long,
        env = "PLIMSOLL_TIMEOUT",
        value_name = "TIME",
        default_value = "300s",
        help_heading = TIMES,
        allow_hyphen_values = true
    )]
    timeout: String,

    /// From arrival to the beginning of the answer
    #[arg(
        long,
        env = "PLIMSOLL_RESPONSE_START_TIMEOUT",
        value_name = "TIME",
        default_value = "0",
        help_heading = TIMES,
        allow_hyphen_values = true
    )]
    response_start_timeout: String,

    /// The longest silence in an answer, or on an upgraded connection
    #[arg(
        long,
        env = "PLIMSOLL_IDLE_TIMEOUT",
        value_name = "TIME",
        default_value = "0",
        help_heading = TIMES,
        allow_hyphen_values = true
    )]
    idle_timeout: String,

    /// After SIGTERM, serve until no request has come for this long
    #[arg(
        long,
        env = "PLIMSOLL_DRAIN_QUIET",
        value_name = "TIME",
        default_value = "30s",
        value_parser = values::duration,
        help_heading = TIMES
    )]
    drain_quiet: Duration,

    /// Label destination_namespace
    #[arg(
        long,
        env = "PLIMSOLL_NAMESPACE",
        value_name = "NAME",
        default_value = "default",
        value_parser = values::label,
        help_heading = IDENTITY
    )]
    namespace: String,

    /// Label destination_configuration
    #[arg(
        long,
        env = "PLIMSOLL_CONFIGURATION",
        value_name = "NAME",
        default_value = "local",
        value_parser = values::label,
        help_heading = IDENTITY
    )]
    configuration: String,

    /// Label destination_revision
    #[arg(
        long,
        env = "PLIMSOLL_REVISION",
        value_name = "NAME",
        default_value = "local",
        value_parser = values::label,
        help_heading = IDENTITY
    )]
    revision: String,

    /// Label destination_pod [default: the host name]
    #[arg(long, env = "PLIMSOLL_POD", value_name = "NAME", value_parser = values::label, help_heading = IDENTITY)]
    pod: Option<String>,

    #[command(flatten)]
    load_reports: LoadReportArgs,

    /// How log lines are written to standard error
    #[arg(
        long,
        env = "PLIMSOLL_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Logs"
    )]
    log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the sidecar runs with: all of it valid.
#[derive(Debug, Clone)]
pub(crate) struct SidecarSettings {
    pub(crate) proxy: SidecarConfig,
    pub(crate) metrics_listen: SocketAddr,
    pub(crate) identity: Identity,
    pub(crate) drain_quiet: Duration,
    /// `None` is no reports.
    pub(crate) load_reports: Option<LoadReportSettings>,
    pub(crate) log_format: LogFormat,
}

/// More threads than this help nobody.
pub(crate) const WORKERS_MAX: usize = 256;

pub(crate) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let accepted = format!("write a number from 1 to {WORKERS_MAX}");
    let workers: NonZeroUsize = text.parse().map_err(|_| accepted.clone())?;
    if workers.get() > WORKERS_MAX {
        Err(accepted)
    } else {
        Ok(workers)
    }
}

impl SidecarArgs {
    /// Checks what was typed as a whole.
    pub(crate) fn resolve(self) -> Result<SidecarSettings, String> {
        let limit = |flag: &str, text: &str| {
            values::limit(text)
                .map_err(|error| format!("invalid value '{text}' for '{flag}': {error}"))
        };
        let limits = TimeLimits {
            total: limit("--timeout", &self.timeout)?,
            response_start: limit("--response-start-timeout", &self.response_start_timeout)?,
            idle: limit("--idle-timeout", &self.idle_timeout)?,
            upgraded: None,
        };
        let proxy = SidecarConfig {
            app: self.app,
            listen: self.listen,
            concurrency: self.concurrency,
            queue_depth: self.queue,
            limits,
            workers: self.workers.unwrap_or_else(plimsoll_proxy::default_workers),
            connections_max: crate::sidecar::connections_max(),
            tls: None,
            tls_port: None,
            app_tls: None,
            options: SidecarOptions::default(),
        };
        // Built once to check, once to run: the check must come before anything is opened.
        proxy.breaker().map_err(|error| error.to_string())?;
        let pod = self.pod.unwrap_or_else(host_name);
        let identity = Identity::new(self.namespace, self.configuration, self.revision, pod)
            .map_err(|error| error.to_string())?;
        let load_reports = self.load_reports.resolve()?;
        Ok(SidecarSettings {
            proxy,
            metrics_listen: self.metrics_listen,
            identity,
            drain_quiet: self.drain_quiet,
            load_reports,
            log_format: self.log_format,
        })
    }
}

fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}
