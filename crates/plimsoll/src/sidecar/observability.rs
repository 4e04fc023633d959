//! What Knative's controller says about metrics, traces, the request log and profiling: `OBSERVABILITY_CONFIG`, and the
//! variables of controllers before 1.19 that said it one by one.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use serde_json::Value;

use super::variables::Reader;

/// The longest `OBSERVABILITY_CONFIG`, in bytes. The template of the request log is in it.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Where user metrics are served unless told otherwise.
pub(crate) const USER_METRICS_PORT: u16 = 9091;

/// The variable.
pub(super) const CONFIG: &str = "OBSERVABILITY_CONFIG";

/// What is observed and where it goes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Observability {
    pub(crate) tracing: Option<Tracing>,
    pub(crate) request_metrics: Option<RequestMetrics>,
    pub(crate) request_log: Option<RequestLog>,
    /// Whether the profiling port is open.
    pub(crate) profiling: bool,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tracing {
    pub(crate) exporter: TraceExporter,
    /// The share of traces that are begun here, from 0 to 1; those of clients go on as the clients say.
    pub(crate) sampling: f64,
}

/// How traces leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TraceExporter {
    Otlp(Otlp),
    Stdout,
}

/// A collector that speaks OTLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Otlp {
    pub(crate) protocol: OtlpProtocol,
    /// A URL; `None` is what OpenTelemetry's own variables or defaults say.
    pub(crate) endpoint: Option<String>,
}

/// How OTLP is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtlpProtocol {
    Grpc,
    HttpProtobuf,
}

/// How the metrics of requests leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestMetrics {
    /// A port that Prometheus scrapes.
    Prometheus { listen: SocketAddr },
    /// Pushed to a collector.
    Otlp {
        to: Otlp,
        /// `None` is OpenTelemetry's default.
        interval: Option<Duration>,
    },
}

/// One line for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestLog {
    /// A Go template; `None` is the default one.
    pub(crate) template: Option<String>,
    /// Whether probes get lines too.
    pub(crate) probes: bool,
}

/// As the controller writes it. Fields that are not here are none of the sidecar's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    tracing: Option<RawTracing>,
    request_metrics: Option<RawMetrics>,
    runtime: Option<RawRuntime>,
    enable_request_log: Option<bool>,
    request_log_template: Option<String>,
    enable_probe_request_log: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTracing {
    protocol: Option<String>,
    endpoint: Option<String>,
    sampling_rate: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMetrics {
    protocol: Option<String>,
    endpoint: Option<String>,
    /// Nanoseconds, as Go writes a duration.
    export_interval: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawRuntime {
    profiling: Option<String>,
}

impl Observability {
    /// Reads `OBSERVABILITY_CONFIG`, or the older variables if it is not set. Adds to `warnings` what is known and not
    /// supported.
    pub(super) fn read(reader: &mut Reader<'_>, warnings: &mut Vec<String>) -> Self {
        let raw = reader.read(CONFIG, |text| {
            if text.len() > TEXT_BYTES_MAX {
                return Err(format!("at most {TEXT_BYTES_MAX} bytes are accepted"));
            }
            // An array would do for the fields in their order.
            let value = serde_json::from_str::<serde_json::Map<String, Value>>(text);
            let raw = value.and_then(|fields| Raw::deserialize(Value::Object(fields)));
            raw.map_err(|error| {
                format!("{error}; write it as Knative's config-observability has it")
            })
        });
        match raw {
            Some(raw) => raw.resolve(reader),
            None => before_1_19(reader, warnings),
        }
    }
}

impl Raw {
    fn resolve(self, reader: &mut Reader<'_>) -> Observability {
        let template = self.request_log_template;
        let request_log = RequestLog {
            probes: self.enable_probe_request_log.unwrap_or(false),
            template: template.clone(),
        };
        let wants_log = self.enable_request_log.unwrap_or(false) && template.as_deref() != Some("");
        let profiling = self.runtime.and_then(|runtime| runtime.profiling);
        let profiling = match profiling.as_deref().unwrap_or_default() {
            "" | "disabled" => false,
            "enabled" => true,
            other => {
                wrong(reader, "runtime.profiling", other, "enabled, disabled");
                false
            }
        };
        Observability {
            tracing: tracing(&self.tracing.unwrap_or_default(), reader),
            request_metrics: metrics(self.request_metrics.unwrap_or_default(), reader),
            request_log: wants_log.then_some(request_log),
            profiling,
        }
    }
}

fn tracing(raw: &RawTracing, reader: &mut Reader<'_>) -> Option<Tracing> {
    let otlp = |protocol, reader: &mut Reader<'_>| {
        let endpoint = endpoint("tracing.endpoint", raw.endpoint.as_deref(), reader);
        TraceExporter::Otlp(Otlp { protocol, endpoint })
    };
    let (exporter, always) = match raw.protocol.as_deref().unwrap_or_default() {
        "" | "none" => return None,
        "grpc" => (otlp(OtlpProtocol::Grpc, reader), false),
        "http/protobuf" => (otlp(OtlpProtocol::HttpProtobuf, reader), false),
        "stdout" => (TraceExporter::Stdout, true),
        other => {
            let accepted = "none, grpc, http/protobuf, stdout";
            wrong(reader, "tracing.protocol", other, accepted);
            return None;
        }
    };
    // JSON has no number that is none.
    let sampling = raw.sampling_rate.unwrap_or(0.0).clamp(0.0, 1.0);
    let sampling = if always { 1.0 } else { sampling };
    Some(Tracing { exporter, sampling })
}

fn metrics(raw: RawMetrics, reader: &mut Reader<'_>) -> Option<RequestMetrics> {
    let protocol = match raw.protocol.as_deref().unwrap_or_default() {
        "" | "none" => return None,
        "prometheus" => {
            let text = raw.endpoint.unwrap_or_default();
            let listen = listener(&text).map_err(|message| {
                let message = format!("requestMetrics.endpoint: {message}");
                reader.add(CONFIG, &*text, message);
            });
            let listen = listen.ok()?;
            return Some(RequestMetrics::Prometheus { listen });
        }
        "grpc" => OtlpProtocol::Grpc,
        "http/protobuf" => OtlpProtocol::HttpProtobuf,
        other => {
            let accepted = "none, prometheus, grpc, http/protobuf";
            wrong(reader, "requestMetrics.protocol", other, accepted);
            return None;
        }
    };
    let endpoint = endpoint("requestMetrics.endpoint", raw.endpoint.as_deref(), reader);
    let nanoseconds = u64::try_from(raw.export_interval.unwrap_or(0)).unwrap_or(0);
    Some(RequestMetrics::Otlp {
        to: Otlp { protocol, endpoint },
        interval: (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds)),
    })
}

fn wrong(reader: &mut Reader<'_>, key: &str, value: &str, accepted: &str) {
    reader.add(CONFIG, value, format!("{key}: write one of {accepted}"));
}

/// A URL. What has no scheme is reached by https, as in Knative.
fn endpoint(key: &str, text: Option<&str>, reader: &mut Reader<'_>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let is_url = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
    });
    if !is_url {
        let message = format!("{key}: write a URL such as http://collector:4317");
        reader.add(CONFIG, text, message);
    }
    is_url.then_some(url)
}

/// An address to listen on: `:9091`, `0.0.0.0:9091`; empty is the default port everywhere.
fn listener(text: &str) -> Result<SocketAddr, String> {
    let everywhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    if text.is_empty() {
        return Ok((everywhere, USER_METRICS_PORT).into());
    }
    let address = match text.strip_prefix(':') {
        Some(port) => port.parse().map(|port: u16| (everywhere, port).into()).ok(),
        None => text.parse().ok(),
    };
    let address = address.filter(|address: &SocketAddr| address.port() > 0);
    address.ok_or_else(|| "write :PORT or IP:PORT, such as :9091".to_owned())
}

fn before_1_19(reader: &mut Reader<'_>, warnings: &mut Vec<String>) -> Observability {
    let request_metrics = match reader.text("SERVING_REQUEST_METRICS_BACKEND").as_deref() {
        None | Some("none") => None,
        Some("prometheus") => listener("")
            .ok()
            .map(|listen| RequestMetrics::Prometheus { listen }),
        Some(other) => {
            warnings.push(format!(
                "SERVING_REQUEST_METRICS_BACKEND is {other:?}, which is not supported: there are no user metrics"
            ));
            None
        }
    };
    let backend = reader.text("TRACING_CONFIG_BACKEND");
    if let Some(backend) = backend.filter(|backend| backend != "none") {
        warnings.push(format!(
            "TRACING_CONFIG_BACKEND is {backend:?}, which is not supported: there are no traces, and headers of traces \
             pass as they are"
        ));
    }
    let template = reader.text("SERVING_REQUEST_LOG_TEMPLATE");
    let is_logged = reader.switch("SERVING_ENABLE_REQUEST_LOG").unwrap_or(false);
    let probes = reader.switch("SERVING_ENABLE_PROBE_REQUEST_LOG");
    Observability {
        tracing: None,
        request_metrics,
        // These controllers write the default template out.
        request_log: template.filter(|_| is_logged).map(|template| RequestLog {
            template: Some(template),
            probes: probes.unwrap_or(false),
        }),
        profiling: reader.switch("ENABLE_PROFILING").unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::Variables;
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Observability, Vec<String>, Vec<String>) {
        let variables = variables.iter().copied().collect::<Variables>();
        let mut reader = Reader::new(&variables, Vec::new());
        let mut warnings = Vec::new();
        let read = Observability::read(&mut reader, &mut warnings);
        let problems = reader.into_problems();
        (
            read,
            warnings,
            problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn sound(text: &str) -> Observability {
        let (read, warnings, problems) = read(&[(CONFIG, text)]);
        assert_eq!((warnings, problems), (Vec::new(), Vec::new()), "{text}");
        read
    }

    #[test]
    fn without_a_word_everything_is_off() {
        let off = Observability::default();
        assert_eq!(read(&[]), (off.clone(), Vec::new(), Vec::new()));
        for text in [
            "",
            "{}",
            r#"{"tracing":null}"#,
            r#"{"EnableVarLogCollection":true,"metrics":{"protocol":"x"}}"#,
        ] {
            assert_eq!(sound(text), off, "{text}");
        }
    }

    #[test]
    fn what_a_controller_of_today_writes_is_read() {
        let found = sound(
            r#"{"tracing":{"protocol":"grpc","endpoint":"collector:4317","samplingRate":0.1},
                "metrics":{"protocol":"grpc","endpoint":"x","exportInterval":1},
                "runtime":{"profiling":"enabled","exportInterval":15000000000},
                "requestMetrics":{"protocol":"http/protobuf","endpoint":"http://c:4318/v1/metrics","exportInterval":5000000000},
                "EnableVarLogCollection":false,"LoggingURLTemplate":"","enableRequestLog":true,"enableProbeRequestLog":true}"#,
        );
        let tracing = found.tracing.unwrap();
        let Otlp { protocol, endpoint } = match tracing.exporter {
            TraceExporter::Otlp(to) => to,
            TraceExporter::Stdout => panic!("stdout"),
        };
        assert_eq!(
            (protocol, endpoint.as_deref()),
            (OtlpProtocol::Grpc, Some("https://collector:4317"))
        );
        assert!((tracing.sampling - 0.1).abs() < 1e-12);
        let to = Otlp {
            protocol: OtlpProtocol::HttpProtobuf,
            endpoint: Some("http://c:4318/v1/metrics".to_owned()),
        };
        let interval = Some(Duration::from_secs(5));
        assert_eq!(
            found.request_metrics,
            Some(RequestMetrics::Otlp { to, interval })
        );
        assert_eq!(
            found.request_log,
            Some(RequestLog {
                template: None,
                probes: true
            })
        );
        assert!(found.profiling);
    }

    #[test]
    fn prometheus_listens_where_it_is_told() {
        for (endpoint, expected) in [
            ("", "[::]:9091"),
            (":9999", "[::]:9999"),
            ("127.0.0.1:9091", "127.0.0.1:9091"),
        ] {
            let text = format!(
                r#"{{"requestMetrics":{{"protocol":"prometheus","endpoint":"{endpoint}"}}}}"#
            );
            let listen = expected.parse().unwrap();
            let expected = Some(RequestMetrics::Prometheus { listen });
            assert_eq!(sound(&text).request_metrics, expected, "{endpoint}");
        }
    }

    #[test]
    fn an_empty_template_is_no_log_and_one_of_ones_own_is_kept() {
        let log = |template: &str| {
            sound(&format!(
                r#"{{"enableRequestLog":true,"requestLogTemplate":"{template}"}}"#
            ))
            .request_log
        };
        assert_eq!(log(""), None);
        assert_eq!(log("x").and_then(|log| log.template).as_deref(), Some("x"));
        assert_eq!(sound(r#"{"requestLogTemplate":"x"}"#).request_log, None);
    }

    #[test]
    fn mistakes_name_the_key_and_what_is_accepted() {
        let text = r#"{"tracing":{"protocol":"zipkin"},"requestMetrics":{"protocol":"prometheus","endpoint":"x"},
            "runtime":{"profiling":"maybe"}}"#;
        let (_, _, problems) = read(&[(CONFIG, text)]);
        let expected = [
            "invalid value 'maybe' for 'OBSERVABILITY_CONFIG': runtime.profiling: write one of enabled, disabled",
            "invalid value 'zipkin' for 'OBSERVABILITY_CONFIG': tracing.protocol: write one of none, grpc, http/protobuf, stdout",
            "invalid value 'x' for 'OBSERVABILITY_CONFIG': requestMetrics.endpoint: write :PORT or IP:PORT, such as :9091",
        ];
        assert_eq!(problems, expected);
        for text in [
            "nonsense",
            "[]",
            r#"{"tracing":{"samplingRate":"x"}}"#,
            r#"{"tracing":{"protocol":"grpc","endpoint":"ftp://a"}}"#,
            r#"{"requestMetrics":{"protocol":"stdout"}}"#,
        ] {
            let (_, _, problems) = read(&[(CONFIG, text)]);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].contains(CONFIG), "{problems:?}");
        }
    }

    #[test]
    fn older_controllers_are_understood() {
        let (found, warnings, problems) = read(&[
            ("SERVING_REQUEST_METRICS_BACKEND", "prometheus"),
            ("SERVING_ENABLE_REQUEST_LOG", "true"),
            ("SERVING_REQUEST_LOG_TEMPLATE", "x"),
            ("SERVING_ENABLE_PROBE_REQUEST_LOG", "false"),
            ("TRACING_CONFIG_BACKEND", "zipkin"),
            ("ENABLE_PROFILING", "true"),
        ]);
        assert!(matches!(
            found.request_metrics,
            Some(RequestMetrics::Prometheus { .. })
        ));
        assert_eq!(found.request_log.unwrap().template.as_deref(), Some("x"));
        assert!(found.profiling);
        assert_eq!(
            (warnings.len(), problems.len()),
            (1, 0),
            "{warnings:?} {problems:?}"
        );
        assert!(warnings[0].contains("zipkin"));
        // The new variable wins over all of them.
        let both = [(CONFIG, "{}"), ("ENABLE_PROFILING", "true")];
        assert_eq!(read(&both).0, Observability::default());
    }
}
