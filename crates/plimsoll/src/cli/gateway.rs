//! `plimsoll gateway`: what is typed, and what it comes to.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use plimsoll_balance::{BalancerConfig, Policy, QueueConfig, RetryBudgetConfig};
use plimsoll_proxy::{TimeLimits, UpstreamProtocol};

use crate::cli::values::{on, workers};
use crate::cli::{LogFormat, values};
use crate::gateway::config::{self, ProcessSettings};
use crate::gateway::plan::{
    HealthPlan, PROTOCOLS, PemPair, Plan, SERVICE_DEFAULT, ServicePlan, UpstreamTlsPlan,
};
use crate::gateway::upstream::{self, Upstream};
use crate::gateway::{Origin, files};

/// The headings of the help.
const SPREAD: &str = "How requests are spread";
const TIMES: &str = "How long (0 is off)";
const TLS: &str = "TLS";
const PROCESS: &str = "Process";

/// Spread requests over many endpoints by what each has shown: success, latency, load.
///
/// The gateway listens where clients connect and sends each request to the
/// endpoint that will probably answer best. An endpoint that fails gets less,
/// one that stalls gets nothing until it moves again, one that comes back is
/// tried with a single request. A request that failed before it was accepted
/// goes to another endpoint.
///
/// One service can be described with flags. Several, with routes by host and
/// path, need a file: --config.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Where",
    after_help = "Every flag can be set in the environment as well; the flag wins. With --config, the\n\
        flags under Where (but --upstream), Process, TLS for clients and --drain-quiet\n\
        win over the file; all else belongs into the file.\n\n\
        Examples:\n  \
        plimsoll gateway --upstream 127.0.0.1:9001 --upstream 127.0.0.1:9002,weight=2\n  \
        plimsoll gateway --upstream app.example.com:8080 --endpoint-concurrency 10\n  \
        plimsoll gateway --config gateway.toml --check\n  \
        curl -s http://127.0.0.1:9090/api/v1/endpoints"
)]
pub(crate) struct GatewayArgs {
    /// Where requests go: an address or a name, again for each [,weight=N]
    ///
    /// HOST:PORT[,weight=N][,concurrency=N], or a port on this machine. A name
    /// stands for all its addresses, and is looked up again every 5 s. In the
    /// environment several are parted by spaces.
    #[allow(
        rustdoc::broken_intra_doc_links,
        reason = "it is the help of the command, where brackets are what may be left out"
    )]
    #[arg(
        long,
        env = "PLIMSOLL_UPSTREAM",
        value_name = "HOST:PORT",
        value_parser = upstream,
        value_delimiter = ' ',
        conflicts_with = "config"
    )]
    upstream: Vec<Upstream>,

    /// A file of more of them, one a line; read again when it changes
    #[arg(
        long,
        env = "PLIMSOLL_UPSTREAM_FILE",
        value_name = "FILE",
        conflicts_with = "config"
    )]
    upstream_file: Option<PathBuf>,

    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, env = "PLIMSOLL_LISTEN", value_name = "IP:PORT", value_parser = values::listener)]
    listen: Option<SocketAddr>,

    /// Where metrics and the API are served [default: 127.0.0.1:9090]
    #[arg(long, env = "PLIMSOLL_ADMIN", value_name = "IP:PORT", value_parser = values::listener)]
    admin: Option<SocketAddr>,

    /// Several services, their routes and all settings; read again when it changes
    #[arg(long, env = "PLIMSOLL_CONFIG", value_name = "FILE.toml")]
    config: Option<PathBuf>,

    #[command(flatten)]
    spread: SpreadArgs,

    #[command(flatten)]
    times: TimeArgs,

    #[command(flatten)]
    tls: TlsArgs,

    /// Threads that carry requests [default: the CPUs this process may use]
    #[arg(long, env = "PLIMSOLL_WORKERS", value_name = "N", value_parser = workers, help_heading = PROCESS)]
    workers: Option<NonZeroUsize>,

    /// How log lines are written to standard error [default: text]
    #[arg(
        long,
        env = "PLIMSOLL_LOG_FORMAT",
        value_name = "FORMAT",
        help_heading = PROCESS
    )]
    log_format: Option<LogFormat>,

    /// Show what the flags and the file come to, as a file, and end
    #[arg(long, help_heading = PROCESS)]
    check: bool,
}

/// How requests are spread.
#[derive(Debug, Args)]
#[command(next_help_heading = SPREAD)]
struct SpreadArgs {
    /// peak-ewma, wrr, p2c, least-loaded, round-robin, random or orca [default: peak-ewma]
    #[arg(long, env = "PLIMSOLL_POLICY", value_name = "NAME", value_parser = config::policy, conflicts_with = "config")]
    policy: Option<Policy>,

    /// Requests one endpoint works on at once; 0 is no limit [default: 0]
    #[arg(
        long,
        env = "PLIMSOLL_ENDPOINT_CONCURRENCY",
        value_name = "N",
        conflicts_with = "config"
    )]
    endpoint_concurrency: Option<u32>,

    /// Requests that may wait for a slot [default: 1000]
    #[arg(
        long,
        env = "PLIMSOLL_QUEUE",
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(0..=config::QUEUE_DEPTH_MAX),
        conflicts_with = "config"
    )]
    queue: Option<u64>,

    /// Memory that waiting requests may take [default: 64MiB]
    #[arg(long, env = "PLIMSOLL_QUEUE_BYTES", value_name = "BYTES", value_parser = values::bytes, conflicts_with = "config")]
    queue_bytes: Option<u64>,

    /// How long a request may wait for a slot [default: 30s]
    #[arg(long, env = "PLIMSOLL_QUEUE_AGE", value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    queue_age: Option<Duration>,

    /// Retries elsewhere, as a share of requests; 0% is off [default: 10%]
    #[arg(long, env = "PLIMSOLL_RETRY_BUDGET", value_name = "SHARE", value_parser = values::share, conflicts_with = "config")]
    retry_budget: Option<f64>,

    /// Ask each endpoint for this path every 2 s; three failures take it out
    #[arg(long, env = "PLIMSOLL_HEALTH_CHECK", value_name = "PATH", value_parser = config::path_prefix, conflicts_with = "config")]
    health_check: Option<String>,

    /// What endpoints speak: auto (as the client), http1 or http2 [default: auto]
    #[arg(long, env = "PLIMSOLL_UPSTREAM_PROTOCOL", value_name = "NAME", value_parser = protocol, conflicts_with = "config")]
    upstream_protocol: Option<UpstreamProtocol>,
}

/// Time limits.
#[derive(Debug, Args)]
#[command(next_help_heading = TIMES)]
struct TimeArgs {
    /// From arrival to the end of the answer, waiting included [default: 300s]
    #[arg(long, env = "PLIMSOLL_TIMEOUT", value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    timeout: Option<Duration>,

    /// From arrival to the beginning of the answer [default: 0]
    #[arg(long, env = "PLIMSOLL_RESPONSE_START_TIMEOUT", value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    response_start_timeout: Option<Duration>,

    /// The longest silence in an answer, or on an upgraded connection [default: 0]
    #[arg(long, env = "PLIMSOLL_IDLE_TIMEOUT", value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    idle_timeout: Option<Duration>,

    /// For one endpoint to begin its answer; then another is tried [default: 0]
    #[arg(long, env = "PLIMSOLL_PER_TRY_TIMEOUT", value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    per_try_timeout: Option<Duration>,

    /// After SIGTERM, serve until no request has come for this long [default: 30s]
    #[arg(long, env = "PLIMSOLL_DRAIN_QUIET", value_name = "TIME", value_parser = values::duration)]
    drain_quiet: Option<Duration>,
}

/// Certificates.
#[derive(Debug, Args)]
#[command(next_help_heading = TLS)]
struct TlsArgs {
    /// Certificate chain for clients, PEM; read again when it changes
    #[arg(
        long,
        env = "PLIMSOLL_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,

    /// Its key, PEM
    #[arg(
        long,
        env = "PLIMSOLL_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,

    /// Speak TLS with endpoints
    #[arg(long, env = "PLIMSOLL_UPSTREAM_TLS", conflicts_with = "config")]
    upstream_tls: bool,

    /// The name their certificates must have [default: the name in --upstream]
    #[arg(
        long,
        env = "PLIMSOLL_UPSTREAM_SERVER_NAME",
        value_name = "NAME",
        requires = "upstream_tls",
        conflicts_with = "config"
    )]
    upstream_server_name: Option<String>,

    /// Roots to trust for them, PEM [default: those of the system]
    #[arg(
        long,
        env = "PLIMSOLL_UPSTREAM_CA",
        value_name = "FILE",
        requires = "upstream_tls",
        conflicts_with = "config"
    )]
    upstream_ca: Option<PathBuf>,

    /// Accept any certificate from them
    #[arg(
        long,
        env = "PLIMSOLL_UPSTREAM_INSECURE",
        requires = "upstream_tls",
        conflicts_with = "config"
    )]
    upstream_insecure: bool,
}

/// What the gateway runs with: all of it valid.
#[derive(Debug, Clone)]
pub(crate) struct GatewaySettings {
    pub(crate) plan: Plan,
    /// Where the plan comes from, to be read again.
    pub(crate) origin: Origin,
    /// Whether the plan is to be shown and not to be run.
    pub(crate) check: bool,
}

impl GatewaySettings {
    /// What `file` describes, or `service` if there is none; `typed` goes before what the file says of the process.
    pub(super) fn of(
        file: Option<PathBuf>,
        typed: ProcessSettings,
        check: bool,
        service: impl FnOnce() -> Result<ServicePlan, String>,
    ) -> Result<Self, String> {
        let (plan, origin) = match file {
            Some(path) => {
                let plan = files::read_plan(&path, &typed).map_err(|found| config::told(&found))?;
                (plan, Origin::File { path, flags: typed })
            }
            None => {
                let services = vec![service()?];
                let process = typed.resolve();
                (Plan { process, services }, Origin::Flags)
            }
        };
        files::check_upstream_files(&plan).map_err(|found| config::told(&found))?;
        Ok(Self {
            plan,
            origin,
            check,
        })
    }
}

fn upstream(text: &str) -> Result<Upstream, String> {
    text.parse()
}

fn protocol(text: &str) -> Result<UpstreamProtocol, String> {
    config::word(text, &PROTOCOLS)
}

impl GatewayArgs {
    /// Checks what was typed as a whole, and reads the file if there is one.
    pub(crate) fn resolve(self) -> Result<GatewaySettings, String> {
        let check = self.check;
        let process = ProcessSettings {
            listen: self.listen,
            admin: self.admin,
            workers: self.workers,
            drain_quiet: self.times.drain_quiet,
            log_format: self.log_format,
            tls: self.tls.pair(),
            replicas_memory: None,
            replicas_residence: None,
            commands: false,
        };
        GatewaySettings::of(self.config.clone(), process, check, || self.service())
    }

    /// The one service that flags describe.
    fn service(self) -> Result<ServicePlan, String> {
        if self.upstream.is_empty() && self.upstream_file.is_none() {
            return Err(NOWHERE.to_owned());
        }
        if let Some((again, _)) = upstream::duplicates(&self.upstream).first() {
            let Upstream { host, port, .. } = &self.upstream[*again];
            return Err(format!("--upstream {host}:{port} is given twice"));
        }
        Ok(ServicePlan {
            upstream_file: self.upstream_file,
            balancer: self.spread.balancer(),
            limits: TimeLimits {
                total: self
                    .times
                    .timeout
                    .map_or(Some(crate::gateway::plan::TIMEOUT_DEFAULT), on),
                response_start: self.times.response_start_timeout.and_then(on),
                idle: self.times.idle_timeout.and_then(on),
                upgraded: None,
            },
            per_try_timeout: self.times.per_try_timeout.and_then(on),
            protocol: self.spread.upstream_protocol.unwrap_or_default(),
            tls: self.tls.upstream(&self.upstream)?,
            health: self.spread.health_check.map(HealthPlan::of),
            upstreams: self.upstream,
            ..ServicePlan::new(SERVICE_DEFAULT.to_owned())
        })
    }
}

/// What to do about a gateway that leads nowhere.
const NOWHERE: &str = "a gateway needs somewhere to send requests: give --upstream HOST:PORT for each endpoint, \
    as in plimsoll gateway --upstream 127.0.0.1:9001 --upstream 127.0.0.1:9002, or --config FILE.toml \
    (see plimsoll gateway --help)";

impl SpreadArgs {
    fn balancer(&self) -> BalancerConfig {
        let defaults = BalancerConfig::default();
        let depth = self.queue.and_then(|depth| usize::try_from(depth).ok());
        BalancerConfig {
            policy: self.policy.clone().unwrap_or_default(),
            endpoint_concurrency: self.endpoint_concurrency.and_then(NonZeroU32::new),
            queue: QueueConfig {
                depth: depth.unwrap_or(defaults.queue.depth),
                bytes_max: self.queue_bytes.unwrap_or(defaults.queue.bytes_max),
                age_max: self.queue_age.unwrap_or(defaults.queue.age_max),
            },
            retry_budget: self
                .retry_budget
                .map_or(defaults.retry_budget, RetryBudgetConfig::of_share),
            ..defaults
        }
    }
}

impl TlsArgs {
    /// The certificate for clients. The command line lets neither file be given alone.
    fn pair(&self) -> Option<PemPair> {
        Some(PemPair {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
        })
    }

    fn upstream(self, upstreams: &[Upstream]) -> Result<Option<UpstreamTlsPlan>, String> {
        if !self.upstream_tls {
            return Ok(None);
        }
        let name = match self.upstream_server_name {
            Some(name) => Some(name),
            None => config::only_name(upstreams)
                .map_err(|message| {
                    format!("--upstream-tls needs --upstream-server-name NAME: {message}")
                })?
                .map(str::to_owned),
        };
        Ok(Some(UpstreamTlsPlan {
            ca: self.upstream_ca,
            server_name: name,
            insecure: self.upstream_insecure,
            client: None,
        }))
    }
}
