//! What `plimsoll sidecar --check` shows: each setting as it came out, and where it came from.

use std::fmt;

use super::observability::{
    CONFIG, Observability, Otlp, OtlpProtocol, RequestMetrics, TraceExporter,
};
use super::readiness::spec::{Action, Pace, Probe};
use crate::cli::values;

/// Settings, to be read by a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    settings: Vec<Setting>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    name: String,
    value: String,
    /// A flag or a variable; empty is the default.
    source: String,
}

impl Shown {
    pub(super) fn add(&mut self, name: &str, value: impl Into<String>, source: &str) {
        self.settings.push(Setting {
            name: name.to_owned(),
            value: value.into(),
            source: source.to_owned(),
        });
    }

    pub(super) fn probes(&mut self, probes: &[Probe], detect_http2: bool) {
        if probes.is_empty() {
            self.add("readiness", "always", "");
        }
        for probe in probes {
            let detection = match probe.action {
                Action::Http { tls: false, .. } if detect_http2 => ", HTTP/2 if it answers",
                _ => "",
            };
            self.add(
                "readiness",
                format!("{probe}{detection}"),
                "SERVING_READINESS_PROBE",
            );
        }
    }

    /// `said_by` tells the variable among these that was set.
    pub(super) fn observability(
        &mut self,
        observability: &Observability,
        said_by: impl Fn(&[&'static str]) -> &'static str,
    ) {
        let carried = |to: &Otlp| match to.protocol {
            OtlpProtocol::Grpc => "OTLP by gRPC",
            OtlpProtocol::HttpProtobuf => "OTLP by HTTP",
        };
        let metrics = match &observability.request_metrics {
            Some(RequestMetrics::Otlp { to, .. }) => carried(to),
            Some(RequestMetrics::Prometheus { .. }) => "prometheus",
            None => "off",
        };
        let source = said_by(&[CONFIG, "SERVING_REQUEST_METRICS_BACKEND"]);
        self.add("request-metrics", metrics, source);
        let tracing = observability.tracing.as_ref();
        let tracing = tracing.map(|tracing| match &tracing.exporter {
            TraceExporter::Otlp(to) => carried(to),
            TraceExporter::Stdout => "stdout",
        });
        self.add("tracing", tracing.unwrap_or("off"), said_by(&[CONFIG]));
        let log = observability.request_log.as_ref().map(|log| {
            let template = if log.template.is_some() {
                "own template"
            } else {
                "default template"
            };
            let probes = if log.probes { ", probes too" } else { "" };
            format!("{template}{probes}")
        });
        let source = said_by(&[CONFIG, "SERVING_ENABLE_REQUEST_LOG"]);
        self.add(
            "request-log",
            log.unwrap_or_else(|| "off".to_owned()),
            source,
        );
    }

    pub(super) fn warnings(&mut self, warnings: &[String]) {
        self.warnings = warnings.to_vec();
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Setting {
            name,
            value,
            source,
        } in &self.settings
        {
            write!(f, "{name} = {value:?}")?;
            if !source.is_empty() {
                write!(f, "  # {source}")?;
            }
            writeln!(f)?;
        }
        for warning in &self.warnings {
            writeln!(f, "# warning: {warning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = super::readiness::authority(&self.host, self.port);
        match &self.action {
            Action::Tcp => write!(f, "tcp {at}")?,
            Action::Http {
                tls: false, target, ..
            } => write!(f, "http://{at}{target}")?,
            Action::Http {
                tls: true, target, ..
            } => write!(f, "https://{at}{target}")?,
            Action::Grpc { service } if service.is_empty() => write!(f, "grpc {at}")?,
            Action::Grpc { service } => write!(f, "grpc {at} {service}")?,
        }
        match self.pace {
            Pace::Once { timeout } => write!(f, ", once within {}", values::written(timeout)),
            Pace::Eager { successes: 1 } => f.write_str(", eagerly"),
            Pace::Eager { successes } => write!(f, ", eagerly, {successes} times in a row"),
        }
    }
}
