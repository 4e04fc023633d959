//! What Knative's controller tells a sidecar, in variables of its own choice: those of every version from 1.0 on.
//!
//! Every variable may be missing: newer controllers set some that older ones do not, and a pod that does not start is
//! the worst of answers to that. Variables that are not read here are none of the sidecar's: `HOST_IP`, `ROOT_CA` and
//! `SYSTEM_NAMESPACE` among them, and `ENABLE_HTTP_FULL_DUPLEX`, which is always so.

use std::net::IpAddr;
use std::time::Duration;

use plimsoll_proxy::HandshakeRules;
use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

use super::handshakes::{self, MetricsTls};
use super::observability::{Observability, RequestMetrics};
use super::readiness::spec::{self, Probe};
use super::variables::{Reader, Variables};
use crate::cli::values::DURATION_MAX;

/// Variables that only Knative sets: with one of them the sidecar is in a pod of Knative's.
const MARKS: &[&str] = &["QUEUE_SERVING_PORT", "SERVING_POD", "SERVING_REVISION"];

/// The least port that user metrics may be served at: the container is not root.
const UNPRIVILEGED_PORT_MIN: u16 = 1_024;

/// What Knative's variables say; `None` is what they do not.
#[derive(Debug, Clone)]
pub(crate) struct Contract {
    /// Whether they are there at all.
    pub(crate) is_knative: bool,
    pub(crate) app_port: Option<u16>,
    pub(crate) serving_port: Option<u16>,
    pub(crate) tls_port: Option<u16>,
    pub(crate) profiling_port: Option<u16>,
    /// 0 is no limit.
    pub(crate) concurrency: Option<usize>,
    /// Zero is off, here and below.
    pub(crate) timeout: Option<Duration>,
    pub(crate) response_start_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) readiness: Vec<Probe>,
    pub(crate) detect_http2: bool,
    pub(crate) names: Names,
    pub(crate) log_level: Option<LevelFilter>,
    pub(crate) tls_rules: HandshakeRules,
    pub(crate) metrics_tls: Option<MetricsTls>,
    pub(crate) observability: Observability,
    /// What is known and not supported: told, and no reason not to start.
    pub(crate) warnings: Vec<String>,
}

/// Whose pod it is. What is not set is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    pub(crate) namespace: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) configuration: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) pod_ip: Option<String>,
    /// OpenTelemetry's name of the service, which has the better of the others where they are told to collectors.
    pub(crate) service_name: Option<String>,
}

/// The part of zap's configuration that means something here.
#[derive(Debug, Deserialize)]
struct LoggingConfig {
    level: Option<String>,
}

impl Contract {
    /// Reads them all; what is wrong stays with `reader`. `known_port` is where the application listens if that was
    /// said by somebody else.
    pub(crate) fn read(
        variables: &Variables,
        known_port: Option<u16>,
        reader: &mut Reader<'_>,
    ) -> Self {
        let mut warnings = Vec::new();
        let app_port = reader.read("USER_PORT", port);
        let probed = known_port.or(app_port);
        let readiness = reader.read("SERVING_READINESS_PROBE", |text| spec::parse(text, probed));
        // Both shapes of the variable above are understood, and HTTP/1 is always full duplex.
        for name in ["ENABLE_MULTI_CONTAINER_PROBES", "ENABLE_HTTP_FULL_DUPLEX"] {
            reader.switch(name);
        }
        let mut observability = Observability::read(reader, &mut warnings);
        user_metrics_address(reader, &mut observability);
        Self {
            is_knative: MARKS.iter().any(|name| variables.is_set(name)),
            app_port,
            serving_port: reader.read("QUEUE_SERVING_PORT", port),
            tls_port: reader.read("QUEUE_SERVING_TLS_PORT", port),
            profiling_port: reader.read("PROFILING_PORT", port),
            concurrency: reader.strictly("CONTAINER_CONCURRENCY", concurrency),
            timeout: reader.strictly("REVISION_TIMEOUT_SECONDS", seconds),
            response_start_timeout: reader
                .strictly("REVISION_RESPONSE_START_TIMEOUT_SECONDS", seconds),
            idle_timeout: reader.strictly("REVISION_IDLE_TIMEOUT_SECONDS", seconds),
            readiness: readiness.unwrap_or_default(),
            detect_http2: reader
                .switch("ENABLE_HTTP2_AUTO_DETECTION")
                .unwrap_or(false),
            names: Names::read(reader),
            log_level: log_level(reader, &mut warnings),
            tls_rules: handshakes::rules(handshakes::DATA, reader, &mut warnings),
            metrics_tls: handshakes::user_metrics(reader, &mut warnings),
            observability,
            warnings,
        }
    }
}

impl Names {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            namespace: reader.text("SERVING_NAMESPACE"),
            service: reader.text("SERVING_SERVICE"),
            configuration: reader.text("SERVING_CONFIGURATION"),
            revision: reader.text("SERVING_REVISION"),
            pod: reader.text("SERVING_POD"),
            pod_ip: reader.text("SERVING_POD_IP"),
            service_name: reader.text("OTEL_SERVICE_NAME"),
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port: &u16| *port > 0);
    port.ok_or_else(|| "write a port from 1 to 65535".to_owned())
}

/// Below 1 is no limit, as in Knative.
fn concurrency(text: &str) -> Result<usize, String> {
    let accepted = "write a whole number; below 1 is no limit";
    let number: i64 = text.parse().map_err(|_| accepted)?;
    Ok(usize::try_from(number).unwrap_or(0))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let accepted = || {
        let most = DURATION_MAX.as_secs();
        format!("write whole seconds from 0 to {most}; 0 is off")
    };
    let seconds = text
        .parse()
        .map(Duration::from_secs)
        .map_err(|_| accepted())?;
    if seconds > DURATION_MAX {
        Err(accepted())
    } else {
        Ok(seconds)
    }
}

/// `METRICS_PROMETHEUS_HOST` and `_PORT` move the port of user metrics, and do not open it.
fn user_metrics_address(reader: &mut Reader<'_>, observability: &mut Observability) {
    let host = reader.read("METRICS_PROMETHEUS_HOST", |text| {
        let accepted = "write an IP address, such as 0.0.0.0";
        text.parse::<IpAddr>().map_err(|_| accepted.to_owned())
    });
    let port = reader.read("METRICS_PROMETHEUS_PORT", |text| {
        let port = text.parse().ok();
        let port = port.filter(|port: &u16| *port >= UNPRIVILEGED_PORT_MIN);
        port.ok_or_else(|| format!("write a port from {UNPRIVILEGED_PORT_MIN} to 65535"))
    });
    if let Some(RequestMetrics::Prometheus { listen }) = &mut observability.request_metrics {
        if let Some(host) = host {
            listen.set_ip(host);
        }
        if let Some(port) = port {
            listen.set_port(port);
        }
    }
}

/// What cannot be understood is left out, as in Knative: how much is logged is no reason not to start.
fn log_level(reader: &mut Reader<'_>, warnings: &mut Vec<String>) -> Option<LevelFilter> {
    let config = reader.text("SERVING_LOGGING_CONFIG");
    let config = config.and_then(|text| match serde_json::from_str::<LoggingConfig>(&text) {
        Ok(config) => config.level,
        Err(error) => {
            warnings.push(format!("SERVING_LOGGING_CONFIG is ignored: {error}"));
            None
        }
    });
    let level = reader.text("SERVING_LOGGING_LEVEL").or(config)?;
    match level.to_ascii_lowercase().as_str() {
        "debug" => Some(LevelFilter::DEBUG),
        "info" => Some(LevelFilter::INFO),
        "warn" => Some(LevelFilter::WARN),
        "error" | "dpanic" | "panic" | "fatal" => Some(LevelFilter::ERROR),
        _ => {
            warnings.push(format!(
                "the log level {level:?} is ignored: debug, info, warn and error are accepted"
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Contract, Vec<String>) {
        let variables = pairs.iter().copied().collect::<Variables>();
        let mut reader = Reader::new(&variables, Vec::new());
        let contract = Contract::read(&variables, None, &mut reader);
        let problems = reader.into_problems();
        (contract, problems.iter().map(ToString::to_string).collect())
    }

    /// What a controller of 1.23 sets, and of what is no use to the sidecar.
    const TODAY: &[(&str, &str)] = &[
        ("CONTAINER_CONCURRENCY", "10"),
        ("ENABLE_HTTP2_AUTO_DETECTION", "false"),
        ("ENABLE_HTTP_FULL_DUPLEX", "false"),
        ("ENABLE_MULTI_CONTAINER_PROBES", "false"),
        ("HOST_IP", "10.0.0.1"),
        (
            "OBSERVABILITY_CONFIG",
            r#"{"requestMetrics":{"protocol":"prometheus"}}"#,
        ),
        ("QUEUE_SERVING_PORT", "8012"),
        ("QUEUE_SERVING_TLS_PORT", "8112"),
        ("REVISION_IDLE_TIMEOUT_SECONDS", "0"),
        ("REVISION_RESPONSE_START_TIMEOUT_SECONDS", "0"),
        ("REVISION_TIMEOUT_SECONDS", "300"),
        ("ROOT_CA", ""),
        ("SERVING_CONFIGURATION", "hello"),
        (
            "SERVING_LOGGING_CONFIG",
            r#"{"level":"warn","encoding":"json"}"#,
        ),
        ("SERVING_LOGGING_LEVEL", ""),
        ("SERVING_NAMESPACE", "default"),
        ("SERVING_POD", "hello-00001-deployment-8ff587cc9-7g9gc"),
        ("SERVING_POD_IP", "10.0.0.7"),
        (
            "SERVING_READINESS_PROBE",
            r#"{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}"#,
        ),
        ("SERVING_REVISION", "hello-00001"),
        ("SERVING_SERVICE", "hello"),
        ("SYSTEM_NAMESPACE", "knative-serving"),
        ("USER_PORT", "8080"),
    ];

    #[test]
    fn what_a_controller_of_today_sets_is_read() {
        let (contract, problems) = read(TODAY);
        assert_eq!((problems, &contract.warnings), (Vec::new(), &Vec::new()));
        assert!(contract.is_knative);
        assert_eq!(contract.app_port, Some(8080));
        assert_eq!(
            (contract.serving_port, contract.tls_port),
            (Some(8012), Some(8112))
        );
        assert_eq!(contract.concurrency, Some(10));
        assert_eq!(contract.timeout, Some(Duration::from_secs(300)));
        assert_eq!(
            contract.idle_timeout,
            Some(Duration::ZERO),
            "off, and not at once"
        );
        assert_eq!(contract.readiness.len(), 1);
        assert_eq!(contract.log_level, Some(LevelFilter::WARN));
        assert_eq!(contract.names.pod_ip.as_deref(), Some("10.0.0.7"));
        assert_eq!(contract.names.service.as_deref(), Some("hello"));
    }

    #[test]
    fn any_variable_may_be_missing() {
        for (left_out, _) in TODAY {
            let rest: Vec<_> = TODAY
                .iter()
                .copied()
                .filter(|(name, _)| name != left_out)
                .collect();
            assert_eq!(read(&rest).1, Vec::<String>::new(), "{left_out}");
        }
        let (contract, problems) = read(&[]);
        assert!(problems.is_empty() && !contract.is_knative);
        assert!(contract.readiness.is_empty(), "always ready");
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let wrong = [
            ("CONTAINER_CONCURRENCY", "ten", "below 1 is no limit"),
            ("ENABLE_HTTP2_AUTO_DETECTION", "yes", "true or false"),
            ("ENABLE_HTTP_FULL_DUPLEX", "", "true or false"),
            ("ENABLE_MULTI_CONTAINER_PROBES", "2", "true or false"),
            ("METRICS_PROMETHEUS_HOST", "localhost", "IP address"),
            ("METRICS_PROMETHEUS_PORT", "80", "1024 to 65535"),
            ("OBSERVABILITY_CONFIG", "x", "config-observability"),
            ("PROFILING_PORT", "0", "1 to 65535"),
            (
                "QUEUE_PROXY_TLS_CIPHER_SUITES",
                "TLS_RSA_WITH_RC4_128_SHA",
                "TLS_ECDHE",
            ),
            ("QUEUE_PROXY_TLS_CURVE_PREFERENCES", "P-521", "X25519"),
            ("QUEUE_PROXY_TLS_MAX_VERSION", "1.1", "1.2 or 1.3"),
            ("QUEUE_PROXY_TLS_MIN_VERSION", "1", "1.2 or 1.3"),
            ("QUEUE_SERVING_PORT", "http", "1 to 65535"),
            ("QUEUE_SERVING_TLS_PORT", "-1", "1 to 65535"),
            ("REVISION_IDLE_TIMEOUT_SECONDS", "1s", "whole seconds"),
            (
                "REVISION_RESPONSE_START_TIMEOUT_SECONDS",
                "-1",
                "whole seconds",
            ),
            ("REVISION_TIMEOUT_SECONDS", "", "whole seconds"),
            (
                "SERVING_READINESS_PROBE",
                "{}",
                "httpGet, tcpSocket or grpc",
            ),
            ("USER_PORT", "65536", "1 to 65535"),
        ];
        let variables: Vec<_> = wrong
            .iter()
            .map(|(name, value, _)| (*name, *value))
            .collect();
        let (_, problems) = read(&variables);
        assert_eq!(problems.len(), wrong.len(), "{problems:#?}");
        for (name, value, accepted) in wrong {
            let line = problems
                .iter()
                .find(|line| line.contains(&format!("for '{name}'")));
            let line = line.unwrap_or_else(|| panic!("{name} is not told: {problems:#?}"));
            assert!(line.contains(value) && line.contains(accepted), "{line}");
        }
    }

    #[test]
    fn concurrency_below_one_is_no_limit() {
        for (text, expected) in [("0", 0), ("-1", 0), ("-99", 0), ("1", 1), ("1000", 1_000)] {
            let (contract, _) = read(&[("CONTAINER_CONCURRENCY", text)]);
            assert_eq!(contract.concurrency, Some(expected), "{text}");
        }
    }

    #[test]
    fn user_metrics_can_be_moved_and_are_not_opened_by_that() {
        let moved = [
            ("METRICS_PROMETHEUS_HOST", "127.0.0.1"),
            ("METRICS_PROMETHEUS_PORT", "9999"),
        ];
        assert_eq!(read(&moved).0.observability.request_metrics, None);
        let opened = [
            &moved[..],
            &[("SERVING_REQUEST_METRICS_BACKEND", "prometheus")],
        ]
        .concat();
        let listen = "127.0.0.1:9999".parse().unwrap();
        let expected = Some(RequestMetrics::Prometheus { listen });
        assert_eq!(read(&opened).0.observability.request_metrics, expected);
    }

    #[test]
    fn the_level_wins_over_the_configuration_and_nonsense_is_only_told() {
        for (config, level, expected, warnings) in [
            (r#"{"level":"error"}"#, "debug", Some(LevelFilter::DEBUG), 0),
            ("{}", "", None, 0),
            ("nonsense", "", None, 1),
            ("nonsense", "ERROR", Some(LevelFilter::ERROR), 1),
            ("", "loud", None, 1),
        ] {
            let pairs = [
                ("SERVING_LOGGING_CONFIG", config),
                ("SERVING_LOGGING_LEVEL", level),
            ];
            let (contract, problems) = read(&pairs);
            assert_eq!(problems, Vec::<String>::new());
            assert_eq!(contract.log_level, expected, "{config} {level}");
            assert_eq!(contract.warnings.len(), warnings, "{config} {level}");
        }
    }

    #[test]
    fn what_the_tls_library_lacks_is_told_and_the_rest_is_used() {
        let (contract, problems) = read(&[
            ("QUEUE_PROXY_TLS_MIN_VERSION", "1.2"),
            (
                "QUEUE_PROXY_TLS_CURVE_PREFERENCES",
                "X25519MLKEM768, X25519",
            ),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            contract.warnings,
            ["TLS: X25519MLKEM768 is not supported and left out"]
        );
        let (_, problems) = read(&[("QUEUE_PROXY_TLS_MAX_VERSION", "1.2")]);
        assert_eq!(problems.len(), 1, "the minimum is 1.3: {problems:?}");
    }
}
