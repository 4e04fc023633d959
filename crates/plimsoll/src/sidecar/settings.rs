//! What the sidecar runs with: flags over their variables, over Knative's variables, over defaults.
//!
//! First everything is read as it was written, then it is resolved into values that are all valid. What is wrong in
//! either step is collected and told together, before anything is opened.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_proxy::{
    IpRangeError, Knative, ProbeSources, ServerTls, SidecarConfig, SidecarOptions, TimeLimits,
    TlsPort, Uncounted,
};
use plimsoll_wire::Identity;
use tracing_subscriber::filter::LevelFilter;

use super::contract::{Contract, Names};
use super::handshakes::MetricsTls;
use super::layers::Layers;
use super::observability::{Observability, RequestMetrics};
use super::readiness::spec::Probe;
use super::show::Shown;
use super::tls::{CertificateFiles, Found};
use super::variables::{Problem, Variables};
use crate::cli::values;
use crate::cli::{KnativeWhen, LogFormat, Typed};
use crate::gateway::watch::Stamp;
use crate::load_report::LoadReportSettings;

/// Where Knative mounts the certificate.
const TLS_DIRECTORY: &str = "/var/lib/knative/certs";

/// The data port.
const DATA_PORT: u16 = 8012;

/// The data port with TLS.
const TLS_PORT: u16 = 8112;

/// The metrics port.
const METRICS_PORT: u16 = 9090;

/// Where the containers of a pod wait for the drain.
const DRAIN_PORT: u16 = 8022;

/// Where the process tells of itself.
const PROFILING_PORT: u16 = 8008;

/// The time limit of a request unless told otherwise: Knative's.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The quiet period of the drain unless told otherwise: Knative's.
const DRAIN_QUIET: Duration = Duration::from_secs(30);

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
    pub(crate) log_level: LevelFilter,
    /// Where `/wait-for-drain` is served.
    pub(crate) drain_listen: Option<SocketAddr>,
    /// Where metrics for users are served.
    pub(crate) user_metrics_listen: Option<SocketAddr>,
    /// With this, if not plainly.
    pub(crate) user_metrics_tls: Option<Secured>,
    /// Where the process tells of itself.
    pub(crate) profiling_listen: Option<SocketAddr>,
    /// The files behind the certificate of `proxy.tls_port`.
    pub(crate) certificate: Option<Certificate>,
    /// What makes the application ready; nothing is always ready.
    pub(crate) readiness: Vec<Probe>,
    /// Whether probes by HTTP find out if the application speaks HTTP/2.
    pub(crate) detect_http2: bool,
    /// Whose pod it is, as far as Knative has said.
    pub(crate) names: Names,
    pub(crate) observability: Observability,
    /// What was asked for and is not supported.
    pub(crate) warnings: Vec<String>,
    /// All of this as `--check` shows it.
    pub(crate) shown: Shown,
}

/// TLS of a port beside the data ports.
#[derive(Debug, Clone)]
pub(crate) struct Secured {
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) certificate: Certificate,
}

/// A certificate that is renewed on disk.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) files: CertificateFiles,
    /// The files as they were before they were read.
    pub(crate) known: Vec<(PathBuf, Stamp)>,
}

/// Resolves what was typed over what the environment says.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn resolve(
    typed: &Typed,
    variables: &Variables,
) -> Result<SidecarSettings, Vec<Problem>> {
    let mut layers = Layers::new(typed, variables);
    let app_port = layers.app_port();
    let contract = Contract::read(variables, app_port, &mut layers.reader);
    layers.is_knative = match typed.args.knative {
        KnativeWhen::Auto => contract.is_knative,
        KnativeWhen::On => true,
        KnativeWhen::Off => false,
    };
    let settings = layers.settings(contract);
    let problems = layers.reader.into_problems();
    match settings {
        Some(mut settings) if problems.is_empty() => {
            settings.shown = layers.shown;
            Ok(settings)
        }
        _ => Err(problems),
    }
}

impl Layers<'_> {
    fn settings(&mut self, mut contract: Contract) -> Option<SidecarSettings> {
        let args = &self.typed.args;
        let is_default = args.knative == KnativeWhen::Auto;
        let source = self.typed.source("--knative", is_default);
        let is_knative = if self.is_knative { "on" } else { "off" };
        self.shown.add("knative", is_knative, &source);
        let proxy = self.proxy(&mut contract);
        let metrics = self.flag("--metrics-listen", &args.metrics_listen);
        let metrics_listen = self.listener(metrics, ("", None), METRICS_PORT);
        let quiet = self.flag("--drain-quiet", &args.drain_quiet);
        let drain_quiet = self
            .limit(quiet, ("", None), DRAIN_QUIET)
            .unwrap_or_default();
        let drain = self.flag("--drain-listen", &args.drain_listen);
        let default = self.is_knative.then(|| self.everywhere(DRAIN_PORT));
        let drain_listen = self.optional_listener(drain, ("", None), default);
        let user_metrics_listen = self.user_metrics(&contract.observability);
        let secured = contract.metrics_tls.take();
        let secured = secured.filter(|_| user_metrics_listen.is_some());
        let user_metrics_tls = self.secured(secured);
        let profiling_listen = self.profiling(&contract);
        let identity = self.identity(&contract.names);
        let (tls_port, certificate) = self.tls(&mut contract).unzip();
        let load_reports = self.load_reports();
        let log_format = args.log_format.unwrap_or(if self.is_knative {
            LogFormat::Json
        } else {
            LogFormat::Text
        });
        let log_level = contract.log_level.unwrap_or(LevelFilter::INFO);
        self.shown
            .probes(&contract.readiness, contract.detect_http2);
        let reader = &self.reader;
        let said_by = |names: &[&'static str]| {
            let mut names = names.iter().copied();
            names.find(|name| reader.has(name)).unwrap_or_default()
        };
        let level = said_by(&["SERVING_LOGGING_LEVEL", "SERVING_LOGGING_CONFIG"]);
        (self.shown).observability(&contract.observability, said_by);
        let source = self.typed.source("--log-format", args.log_format.is_none());
        let format = format!("{log_format:?}").to_lowercase();
        self.shown.add("log-format", format, &source);
        self.shown.add("log-level", log_level.to_string(), level);
        self.shown.warnings(&contract.warnings);
        Some(SidecarSettings {
            proxy: SidecarConfig { tls_port, ..proxy? },
            metrics_listen,
            identity: identity?,
            drain_quiet,
            load_reports,
            log_format,
            log_level,
            drain_listen,
            user_metrics_listen,
            user_metrics_tls,
            profiling_listen,
            certificate,
            readiness: contract.readiness,
            detect_http2: contract.detect_http2,
            names: contract.names,
            observability: contract.observability,
            warnings: contract.warnings,
            shown: Shown::default(),
        })
    }

    fn proxy(&mut self, contract: &mut Contract) -> Option<SidecarConfig> {
        let args = &self.typed.args;
        let app = self.app(contract.app_port);
        let listen = self.flag("--listen", &args.listen);
        let port = ("QUEUE_SERVING_PORT", contract.serving_port);
        let listen = self.listener(listen, port, DATA_PORT);
        let concurrency = self.flag("--concurrency", &args.concurrency);
        let variable = ("CONTAINER_CONCURRENCY", contract.concurrency);
        let number = |text: &str| text.parse().map_err(|_| "write a whole number".to_owned());
        let concurrency = self.pick(concurrency, number, variable, 0, ToString::to_string);
        let queue = self.flag("--queue", &args.queue);
        let queue_depth = self.parsed(queue, number);
        let config = SidecarConfig {
            app: app.unwrap_or(listen),
            listen,
            concurrency,
            queue_depth,
            limits: self.limits(contract),
            workers: self.workers(),
            connections_max: crate::sidecar::connections_max(),
            tls: None,
            tls_port: None,
            app_tls: None,
            options: self.options(concurrency, &mut contract.warnings),
        };
        // Built once to check, once to run: the check must come before anything is opened.
        match config.breaker() {
            Ok(breaker) => {
                let places = breaker.map_or(0, |breaker| breaker.queue_depth());
                let source = queue.text.map_or_else(String::new, |_| queue.source());
                self.shown.add("queue", places.to_string(), &source);
            }
            Err(error) => {
                let depth =
                    queue_depth.map_or_else(String::new, |depth| format!(", a queue of {depth}"));
                self.reader.add(
                    "--concurrency",
                    format!("{concurrency}{depth}"),
                    error.to_string(),
                );
            }
        }
        app.map(|_| config)
    }

    /// What is off unless it is asked for.
    fn options(&mut self, concurrency: usize, warnings: &mut Vec<String>) -> SidecarOptions {
        let args = &self.typed.args;
        for (flag, value) in [
            ("--hold-cancelled", args.hold_cancelled),
            ("--queue-untimed", args.queue_untimed),
        ] {
            let source = self.typed.source(flag, !value);
            let name = flag.trim_start_matches('-');
            self.shown.add(name, value.to_string(), &source);
            if value && concurrency == 0 {
                warnings.push(format!(
                    "{source} changes nothing: without a concurrency limit there are neither slots nor a queue"
                ));
            }
        }
        let uncounted = Uncounted {
            paths: args.uncounted_path.clone(),
            user_agents: args.uncounted_agent.clone(),
        };
        for (flag, values) in [
            ("--uncounted-path", &uncounted.paths),
            ("--uncounted-agent", &uncounted.user_agents),
        ] {
            let source = self.typed.source(flag, values.is_empty());
            let name = flag.trim_start_matches('-');
            self.shown.add(name, values.join(","), &source);
        }
        for path in &uncounted.paths {
            if !path.starts_with('/') {
                let message = "a path begins with /";
                self.reader.add("--uncounted-path", &**path, message);
            }
        }
        if uncounted.user_agents.iter().any(String::is_empty) {
            let message = "every request begins with nothing: write how the names begin";
            self.reader.add("--uncounted-agent", "", message);
        }
        let probe_sources = self.probe_sources();
        SidecarOptions {
            knative: self.is_knative.then(|| Knative {
                probe_sources,
                ..Knative::default()
            }),
            hold_cancelled: args.hold_cancelled,
            queue_is_untimed: args.queue_untimed,
            uncounted,
        }
    }

    fn probe_sources(&mut self) -> ProbeSources {
        let flag = self.flag("--probes-from", &self.typed.args.probes_from);
        let node = self.reader.text("HOST_IP");
        let parse = |text: &str| probe_sources(text, node.as_deref());
        let show = |_: &ProbeSources| flag.text.unwrap_or("anybody").to_owned();
        self.pick(flag, parse, ("", None), ProbeSources::Any, show)
    }

    fn app(&mut self, port: Option<u16>) -> Option<SocketAddr> {
        let flag = self.flag("--app", &self.typed.args.app);
        let variable = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let parse = |text: &str| values::target(text).map(Some);
        let show = |app: &Option<SocketAddr>| app.map_or_else(String::new, |app| app.to_string());
        let app = self.pick(flag, parse, ("USER_PORT", variable.map(Some)), None, show);
        if app.is_none() && flag.text.is_none() && !self.reader.is_wrong("USER_PORT") {
            let missing = "it says where the application listens: give --app HOST:PORT, PLIMSOLL_APP or USER_PORT";
            self.reader.add("--app", "", missing);
        }
        app
    }

    fn limits(&mut self, contract: &Contract) -> TimeLimits {
        let args = &self.typed.args;
        let total = self.flag("--timeout", &args.timeout);
        let start = self.flag("--response-start-timeout", &args.response_start_timeout);
        let idle = self.flag("--idle-timeout", &args.idle_timeout);
        TimeLimits {
            total: self.limit(
                total,
                ("REVISION_TIMEOUT_SECONDS", contract.timeout),
                TIMEOUT,
            ),
            response_start: self.limit(
                start,
                (
                    "REVISION_RESPONSE_START_TIMEOUT_SECONDS",
                    contract.response_start_timeout,
                ),
                Duration::ZERO,
            ),
            idle: self.limit(
                idle,
                ("REVISION_IDLE_TIMEOUT_SECONDS", contract.idle_timeout),
                Duration::ZERO,
            ),
            upgraded: None,
        }
    }

    fn workers(&mut self) -> NonZeroUsize {
        let flag = self.flag("--workers", &self.typed.args.workers);
        let default = plimsoll_proxy::default_workers();
        self.pick(
            flag,
            values::workers,
            ("", None),
            default,
            ToString::to_string,
        )
    }

    fn user_metrics(&mut self, observability: &Observability) -> Option<SocketAddr> {
        let flag = self.flag(
            "--user-metrics-listen",
            &self.typed.args.user_metrics_listen,
        );
        let wanted = match &observability.request_metrics {
            Some(RequestMetrics::Prometheus { listen }) => Some(*listen),
            _ => None,
        };
        // Where IPv6 is not there, everywhere means IPv4.
        let wanted = wanted.map(|address| match address.ip() {
            IpAddr::V6(ip) if ip.is_unspecified() => self.everywhere(address.port()),
            _ => address,
        });
        self.optional_listener(flag, ("OBSERVABILITY_CONFIG", wanted), None)
    }

    fn secured(&mut self, wanted: Option<MetricsTls>) -> Option<Secured> {
        let read = wanted?.read().map_err(|problem| self.reader.keep(problem));
        read.ok()
    }

    fn profiling(&mut self, contract: &Contract) -> Option<SocketAddr> {
        let flag = self.flag("--profiling-listen", &self.typed.args.profiling_listen);
        let port = contract.profiling_port.unwrap_or(PROFILING_PORT);
        let wanted = contract
            .observability
            .profiling
            .then(|| self.everywhere(port));
        self.optional_listener(flag, ("OBSERVABILITY_CONFIG", wanted), None)
    }

    fn identity(&mut self, names: &Names) -> Option<Identity> {
        let args = &self.typed.args;
        let variable = |name, value: &Option<String>| (name, value.clone());
        let flag = self.flag("--namespace", &args.namespace);
        let from = variable("SERVING_NAMESPACE", &names.namespace);
        let namespace = self.label(flag, from, "default".to_owned());
        let flag = self.flag("--configuration", &args.configuration);
        let from = variable("SERVING_CONFIGURATION", &names.configuration);
        let configuration = self.label(flag, from, "local".to_owned());
        let flag = self.flag("--revision", &args.revision);
        let from = variable("SERVING_REVISION", &names.revision);
        let revision = self.label(flag, from, "local".to_owned());
        let flag = self.flag("--pod", &args.pod);
        let from = variable("SERVING_POD", &names.pod);
        let pod = self.label(flag, from, host_name());
        let identity = Identity::new(namespace, configuration, revision, &*pod);
        identity
            .map_err(|error| self.reader.add("--pod", pod, error.to_string()))
            .ok()
    }

    /// The port with TLS: there if the certificate is.
    fn tls(&mut self, contract: &mut Contract) -> Option<(TlsPort, Certificate)> {
        let args = &self.typed.args;
        let asked = args.tls_dir.as_deref();
        let directory = asked.or_else(|| self.is_knative.then(|| Path::new(TLS_DIRECTORY)))?;
        let flag = self.typed.flag("--tls-dir", asked.and_then(Path::to_str));
        let text = directory.display().to_string();
        let problem = |error: &dyn Display| Problem::new(flag.source(), &*text, error.to_string());
        let files = match CertificateFiles::find(directory) {
            Ok(Found::Both(files)) => Ok(files),
            Ok(Found::Neither) if asked.is_none() => return None,
            Ok(Found::Half(missing)) if asked.is_none() => {
                let missing = missing.display();
                contract
                    .warnings
                    .push(format!("there is no TLS, for there is no {missing}"));
                return None;
            }
            Ok(_) => Err(problem(&"tls.crt and tls.key must be in it")),
            Err(error) => Err(problem(&error)),
        };
        let made = files.and_then(|files| {
            let known = files.known();
            let identity = files.read().map_err(|error| problem(&error))?;
            let tls = ServerTls::with_rules(&identity, &contract.tls_rules);
            Ok((
                tls.map_err(|error| problem(&error))?,
                Certificate { files, known },
            ))
        });
        let (tls, certificate) = match made {
            Ok(made) => made,
            Err(problem) => {
                self.reader.keep(problem);
                return None;
            }
        };
        let listen = self.flag("--tls-listen", &args.tls_listen);
        let listen = self.listener(
            listen,
            ("QUEUE_SERVING_TLS_PORT", contract.tls_port),
            TLS_PORT,
        );
        self.shown.add(
            "tls-dir",
            text,
            &if asked.is_some() {
                flag.source()
            } else {
                String::new()
            },
        );
        let tls = Arc::new(tls);
        Some((TlsPort { listen, tls }, certificate))
    }

    fn load_reports(&mut self) -> Option<LoadReportSettings> {
        let wanted = self.typed.args.load_reports.clone();
        for (flag, value, is_default) in wanted.shown() {
            let source = self.typed.source(flag, is_default);
            let name = flag.trim_start_matches('-');
            self.shown.add(name, value, &source);
        }
        match wanted.resolve() {
            Ok(settings) => settings,
            Err(message) => {
                self.reader.keep(Problem::plain(message));
                None
            }
        }
    }
}

/// Addresses, ranges of them, and words for those that a pod does not know beforehand.
fn probe_sources(text: &str, node: Option<&str>) -> Result<ProbeSources, String> {
    let mut ranges = Vec::new();
    for word in text.split(',').map(str::trim) {
        let address = match (word, node) {
            ("loopback", _) => continue,
            ("node", Some(address)) => address,
            ("node", None) => return Err("the node is not known: HOST_IP is not set".to_owned()),
            (address, _) => address,
        };
        ranges.push(
            address
                .parse()
                .map_err(|error: IpRangeError| error.to_string())?,
        );
    }
    Ok(ProbeSources::Only(ranges))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_probes_are_addresses_ranges_and_words() {
        let range = |text: &str| text.parse().unwrap();
        for (text, expected) in [
            ("loopback", vec![]),
            ("node", vec![range("10.0.0.1")]),
            (
                "node, 10.1.0.0/16",
                vec![range("10.0.0.1"), range("10.1.0.0/16")],
            ),
        ] {
            let found = probe_sources(text, Some("10.0.0.1"));
            assert_eq!(found, Ok(ProbeSources::Only(expected)), "{text}");
        }
        for (text, word) in [("", "10.1.2.3"), ("a", "10.1.2.3"), ("node", "HOST_IP")] {
            let refused = probe_sources(text, None).unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
    }
}
