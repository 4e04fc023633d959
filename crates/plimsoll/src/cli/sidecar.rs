//! `plimsoll sidecar`: what is typed. What it comes to is in [`crate::sidecar::settings`].

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, ValueEnum};

use crate::cli::load_reports::LoadReportArgs;

/// The heading of the time limits in the help.
const TIMES: &str = "How long (0 is off)";

/// The heading of the identity in the help.
const IDENTITY: &str = "Who (labels of the metrics)";

/// The heading of what counts and what holds.
const COUNTING: &str = "What counts (all off)";

/// The heading of what concerns Knative in the help.
const KNATIVE: &str = "Knative (in one of its pods these are as its variables say)";

/// Carry requests to one instance of a service: measure each, hold the rest back, report.
///
/// The sidecar listens where clients connect and forwards to the application,
/// over HTTP/1.1 or HTTP/2 as the client came. It never lets the application
/// work on more requests than --concurrency; those over it wait in line, first
/// come, first served, and those over the line are told at once.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Where",
    after_help = "Every flag can be set in the environment as well; the flag wins. The variables\n\
        by which Knative configures its queue-proxy are understood; both win over them.\n\n\
        Examples:\n  \
        plimsoll sidecar --app 127.0.0.1:8080\n  \
        plimsoll sidecar --app 8080 --concurrency 10 --timeout 60s\n  \
        curl -s http://127.0.0.1:9090/metrics"
)]
pub(crate) struct SidecarArgs {
    /// Where the application listens; this one is needed
    #[arg(long, env = "PLIMSOLL_APP", value_name = "HOST:PORT")]
    pub(crate) app: Option<String>,

    /// Where clients connect: HTTP/1.0, HTTP/1.1 and HTTP/2 (prior knowledge)
    /// [default: 0.0.0.0:8012]
    #[arg(long, env = "PLIMSOLL_LISTEN", value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,

    /// Where /metrics, /healthz and /readyz are served [default: 0.0.0.0:9090]
    #[arg(long, env = "PLIMSOLL_METRICS_LISTEN", value_name = "IP:PORT")]
    pub(crate) metrics_listen: Option<String>,

    /// Requests the application works on at once; 0 is no limit [default: 0]
    #[arg(
        long,
        env = "PLIMSOLL_CONCURRENCY",
        value_name = "N",
        help_heading = "How much"
    )]
    pub(crate) concurrency: Option<String>,

    /// Requests that may wait beyond that [default: 10 x concurrency]
    #[arg(
        long,
        env = "PLIMSOLL_QUEUE",
        value_name = "N",
        help_heading = "How much"
    )]
    pub(crate) queue: Option<String>,

    /// Threads that carry requests [default: the CPUs this process may use]
    #[arg(
        long,
        env = "PLIMSOLL_WORKERS",
        value_name = "N",
        help_heading = "How much"
    )]
    pub(crate) workers: Option<String>,

    /// From arrival to the end of the answer, waiting in line included
    /// [default: 300s]
    #[arg(
        long,
        env = "PLIMSOLL_TIMEOUT",
        value_name = "TIME",
        help_heading = TIMES,
        allow_hyphen_values = true
    )]
    pub(crate) timeout: Option<String>,

    /// From arrival to the beginning of the answer [default: 0]
    #[arg(
        long,
        env = "PLIMSOLL_RESPONSE_START_TIMEOUT",
        value_name = "TIME",
        help_heading = TIMES,
        allow_hyphen_values = true
    )]
    pub(crate) response_start_timeout: Option<String>,

    /// The longest silence in an answer, or on an upgraded connection
    /// [default: 0]
    #[arg(
        long,
        env = "PLIMSOLL_IDLE_TIMEOUT",
        value_name = "TIME",
        help_heading = TIMES,
        allow_hyphen_values = true
    )]
    pub(crate) idle_timeout: Option<String>,

    /// After SIGTERM, serve until no request has come for this long
    /// [default: 30s]
    #[arg(
        long,
        env = "PLIMSOLL_DRAIN_QUIET",
        value_name = "TIME",
        help_heading = TIMES
    )]
    pub(crate) drain_quiet: Option<String>,

    /// Label destination_namespace [default: default]
    #[arg(long, env = "PLIMSOLL_NAMESPACE", value_name = "NAME", help_heading = IDENTITY)]
    pub(crate) namespace: Option<String>,

    /// Label destination_configuration [default: local]
    #[arg(long, env = "PLIMSOLL_CONFIGURATION", value_name = "NAME", help_heading = IDENTITY)]
    pub(crate) configuration: Option<String>,

    /// Label destination_revision [default: local]
    #[arg(long, env = "PLIMSOLL_REVISION", value_name = "NAME", help_heading = IDENTITY)]
    pub(crate) revision: Option<String>,

    /// Label destination_pod [default: the host name]
    #[arg(long, env = "PLIMSOLL_POD", value_name = "NAME", help_heading = IDENTITY)]
    pub(crate) pod: Option<String>,

    #[command(flatten)]
    pub(crate) load_reports: LoadReportArgs,

    /// Whether this is a pod of Knative's: its ports and its defaults
    #[arg(
        long,
        env = "PLIMSOLL_KNATIVE",
        value_name = "WHEN",
        default_value = "auto",
        help_heading = KNATIVE
    )]
    pub(crate) knative: KnativeWhen,

    /// Where clients connect with TLS, beside --listen [default: 8112]
    #[arg(long, env = "PLIMSOLL_TLS_LISTEN", value_name = "IP:PORT", help_heading = KNATIVE)]
    pub(crate) tls_listen: Option<String>,

    /// The directory with tls.crt and tls.key; read again when they change
    #[arg(long, env = "PLIMSOLL_TLS_DIR", value_name = "DIR", help_heading = KNATIVE)]
    pub(crate) tls_dir: Option<PathBuf>,

    /// Where /wait-for-drain is served [default: 8022]
    #[arg(long, env = "PLIMSOLL_DRAIN_LISTEN", value_name = "IP:PORT", help_heading = KNATIVE)]
    pub(crate) drain_listen: Option<String>,

    /// Where metrics for users are served [default: off, or 9091]
    #[arg(long, env = "PLIMSOLL_USER_METRICS_LISTEN", value_name = "IP:PORT", help_heading = KNATIVE)]
    pub(crate) user_metrics_listen: Option<String>,

    /// Where the process tells of itself [default: off, or 8008]
    #[arg(long, env = "PLIMSOLL_PROFILING_LISTEN", value_name = "IP:PORT", help_heading = KNATIVE)]
    pub(crate) profiling_listen: Option<String>,

    /// Whose probes are answered: addresses and ranges, `node` (HOST_IP) or
    /// `loopback`, which is always among them [default: anybody's]
    #[arg(
        long,
        env = "PLIMSOLL_PROBES_FROM",
        value_name = "LIST",
        help_heading = KNATIVE
    )]
    pub(crate) probes_from: Option<String>,

    /// Hold the slot of a client that has gone until the application has
    /// answered
    #[arg(long, env = "PLIMSOLL_HOLD_CANCELLED", help_heading = COUNTING)]
    pub(crate) hold_cancelled: bool,

    /// Begin time limits when a request leaves the line
    #[arg(long, env = "PLIMSOLL_QUEUE_UNTIMED", help_heading = COUNTING)]
    pub(crate) queue_untimed: bool,

    /// Leave requests to these paths, and below, out of all numbers
    #[arg(
        long,
        env = "PLIMSOLL_UNCOUNTED_PATH",
        value_name = "PATH",
        value_delimiter = ',',
        help_heading = COUNTING
    )]
    pub(crate) uncounted_path: Vec<String>,

    /// The same for those whose User-Agent begins so
    #[arg(
        long,
        env = "PLIMSOLL_UNCOUNTED_AGENT",
        value_name = "TEXT",
        value_delimiter = ',',
        help_heading = COUNTING
    )]
    pub(crate) uncounted_agent: Vec<String>,

    /// How log lines are written to standard error [default: text]
    #[arg(
        long,
        env = "PLIMSOLL_LOG_FORMAT",
        value_name = "FORMAT",
        help_heading = "Logs"
    )]
    pub(crate) log_format: Option<LogFormat>,

    /// Show what all of this comes to, and end
    #[arg(long, help_heading = "Check")]
    pub(crate) check: bool,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether the sidecar is in a pod of Knative's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KnativeWhen {
    /// If Knative's variables are there.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// What was typed, and what of it stood in the environment.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) args: SidecarArgs,
    /// Flags by the names of their fields.
    in_environment: Vec<String>,
}

/// One value as it was typed, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag<'a> {
    pub(crate) text: Option<&'a str>,
    flag: &'static str,
    in_environment: bool,
}

impl Typed {
    /// `matches` are those that `args` were made of.
    pub(crate) fn new(args: SidecarArgs, matches: Option<&ArgMatches>) -> Self {
        let mut in_environment = Vec::new();
        if let Some(matches) = matches {
            let from_there = |id: &str| matches.value_source(id) == Some(ValueSource::EnvVariable);
            let ids = matches.ids().map(clap::Id::as_str);
            in_environment.extend(ids.filter(|id| from_there(id)).map(str::to_owned));
        }
        Self {
            args,
            in_environment,
        }
    }

    /// The value of `flag`, which begins with two dashes.
    pub(crate) fn flag<'a>(&self, flag: &'static str, text: Option<&'a str>) -> Flag<'a> {
        let field = flag.trim_start_matches('-').replace('-', "_");
        Flag {
            text,
            flag,
            in_environment: self.in_environment.contains(&field),
        }
    }

    /// Where `flag`, which has a value in any case, got it from: empty is the default. `is_default` is whether the value
    /// is the one that it has if nobody says anything.
    pub(crate) fn source(&self, flag: &'static str, is_default: bool) -> String {
        let flag = self.flag(flag, None);
        if is_default && !flag.in_environment {
            String::new()
        } else {
            flag.source()
        }
    }
}

impl Flag<'_> {
    /// Without its dashes.
    pub(crate) fn name(&self) -> &'static str {
        self.flag.trim_start_matches('-')
    }

    /// Where it was typed: the flag or its variable.
    pub(crate) fn source(&self) -> String {
        if self.in_environment {
            let name = self.name().replace('-', "_");
            format!("PLIMSOLL_{}", name.to_ascii_uppercase())
        } else {
            self.flag.to_owned()
        }
    }
}
