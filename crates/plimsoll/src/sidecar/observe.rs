//! What watches requests, put together from what was asked for: metrics for users, the request log, traces.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use plimsoll_proxy::{Running, ServerTls, Sidecar};
use plimsoll_wire::user::Revision;
use tokio::net::TcpListener;

use super::observability::RequestMetrics;
use super::settings::SidecarSettings;
use crate::request_log::{Lines, Place, RequestLog};
use crate::telemetry::{Sinks, Telemetry};
use crate::user_metrics::{self, UserMetrics, UserReadings};

#[cfg(feature = "otel")]
pub(super) use collectors::Collectors;
#[cfg(not(feature = "otel"))]
pub(super) use without::Collectors;

/// What watches the requests of a sidecar.
#[derive(Debug)]
pub(super) struct Watching {
    sinks: Sinks,
    revision: Arc<Revision>,
    /// Where the application listens.
    app: SocketAddr,
    collectors: Collectors,
}

impl Watching {
    /// Sets up what `settings` ask for, and has `sidecar` tell it of requests.
    pub(super) fn begin(
        settings: &SidecarSettings,
        mut collectors: Collectors,
        sidecar: Sidecar,
    ) -> anyhow::Result<(Self, Sidecar)> {
        let workers = settings.proxy.workers.get();
        let revision = Arc::new(revision(settings));
        let counts = settings.user_metrics_listen.is_some()
            || matches!(
                settings.observability.request_metrics,
                Some(RequestMetrics::Otlp { .. })
            );
        let lines = if settings.observability.request_log.is_some() || collectors.want_lines() {
            let lines = Lines::to(std::io::stdout()).context("cannot write to standard output")?;
            Some(Arc::new(lines))
        } else {
            None
        };
        let mut sinks = Sinks {
            metrics: counts.then(|| Arc::new(UserMetrics::new(workers))),
            log: lines
                .as_ref()
                .and_then(|lines| request_log(settings, lines)),
            ..Sinks::default()
        };
        collectors.trace(settings, &sidecar, &revision, lines, &mut sinks);
        let sidecar = match Telemetry::new(workers, &sinks) {
            Some(telemetry) => sidecar.observed_by(Arc::new(telemetry)),
            None => sidecar,
        };
        let watching = Self {
            sinks,
            revision,
            app: settings.proxy.app,
            collectors,
        };
        Ok((watching, sidecar))
    }

    /// Begins to show what is seen: at `port`, and to collectors.
    pub(super) fn show(
        &mut self,
        running: &Running,
        port: Option<TcpListener>,
        tls: Option<Arc<ServerTls>>,
    ) {
        let Some(metrics) = &self.sinks.metrics else {
            return;
        };
        let readings = UserReadings {
            metrics: Arc::clone(metrics),
            revision: Arc::clone(&self.revision),
            breaker: running.breaker().cloned(),
            app: self.app,
        };
        if let Some(port) = port {
            tokio::spawn(user_metrics::serve(port, tls, readings.clone()));
        }
        self.collectors.push(readings, running.clock());
    }

    /// Writes and sends what is left, but not for long.
    pub(super) async fn finish(self) {
        self.collectors.finish().await;
        if let Some(log) = &self.sinks.log {
            log.flush();
        }
    }
}

fn revision(settings: &SidecarSettings) -> Revision {
    let identity = &settings.identity;
    Revision {
        service_name: settings.names.service_name.clone(),
        namespace: identity.namespace().to_owned(),
        service: settings.names.service.clone().unwrap_or_default(),
        configuration: identity.configuration().to_owned(),
        revision: identity.revision().to_owned(),
        pod: identity.pod().to_owned(),
    }
}

fn request_log(settings: &SidecarSettings, lines: &Arc<Lines>) -> Option<Arc<RequestLog>> {
    let wanted = settings.observability.request_log.as_ref()?;
    let Revision {
        service_name: _,
        namespace,
        service,
        configuration,
        revision,
        pod,
    } = revision(settings);
    let place = Place {
        revision,
        namespace,
        service,
        configuration,
        pod,
        pod_ip: settings.names.pod_ip.clone().unwrap_or_default(),
    };
    let template = wanted.template.as_deref();
    let (log, warning) = RequestLog::begin(template, wanted.probes, place, Arc::clone(lines));
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    Some(Arc::new(log))
}

/// With OpenTelemetry.
#[cfg(feature = "otel")]
mod collectors {
    use std::sync::Arc;
    use std::time::Duration;

    use plimsoll_proxy::{MonotonicClock, Sidecar};
    use plimsoll_wire::user::Revision;

    use crate::cli::values;
    use crate::otel::{
        Calendar, Endpoint, Exports, INTERVAL_DEFAULT, Protocol, SAMPLER, SAMPLER_ARG, Sampling,
        Signal, TraceSink,
    };
    use crate::request_log::Lines;
    use crate::sidecar::observability::{
        Observability, Otlp, OtlpProtocol, RequestMetrics, TraceExporter, Tracing,
    };
    use crate::sidecar::settings::SidecarSettings;
    use crate::sidecar::show::Shown;
    use crate::telemetry::Sinks;
    use crate::user_metrics::UserReadings;

    /// OpenTelemetry's variable for how often metrics are sent, in milliseconds.
    const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

    /// Who takes metrics and traces.
    #[derive(Debug)]
    pub(in crate::sidecar) struct Collectors {
        metrics: Option<(Endpoint, Duration)>,
        traces: Option<Traces>,
        exports: Exports,
    }

    #[derive(Debug)]
    struct Traces {
        /// `None` is standard output.
        to: Option<Endpoint>,
        sampling: Sampling,
    }

    impl Collectors {
        /// Those that are asked for, and where OpenTelemetry's variables say that they are.
        ///
        /// # Errors
        /// What is wrong with a variable or an endpoint.
        pub(in crate::sidecar) fn of(wanted: &Observability) -> Result<Self, String> {
            let variable = |name: &str| std::env::var(name).ok();
            let endpoint = |signal, to: &Otlp| {
                let protocol = match to.protocol {
                    OtlpProtocol::Grpc => Protocol::Grpc,
                    OtlpProtocol::HttpProtobuf => Protocol::Http,
                };
                Endpoint::resolve(signal, protocol, to.endpoint.as_deref(), variable)
            };
            let metrics = match &wanted.request_metrics {
                Some(RequestMetrics::Otlp {
                    to,
                    interval: asked,
                }) => {
                    let interval = interval(variable(INTERVAL).as_deref())?.or(*asked);
                    let interval = interval.unwrap_or(INTERVAL_DEFAULT);
                    Some((endpoint(Signal::Metrics, to)?, interval))
                }
                _ => None,
            };
            let traces = match &wanted.tracing {
                None => None,
                Some(Tracing { exporter, sampling }) => Some(Traces {
                    to: match exporter {
                        TraceExporter::Stdout => None,
                        TraceExporter::Otlp(to) => Some(endpoint(Signal::Traces, to)?),
                    },
                    sampling: Sampling::resolve(*sampling, variable)?,
                }),
            };
            Ok(Self {
                metrics,
                traces,
                exports: Exports::new(),
            })
        }

        /// Where everything goes, for `--check`.
        pub(in crate::sidecar) fn show(&self, shown: &mut Shown) {
            if let Some((to, interval)) = &self.metrics {
                shown.add("metrics-to", to.to_string(), to.source);
                shown.add("metrics-interval", values::written(*interval), "");
            }
            if let Some(Traces { to, sampling }) = &self.traces {
                if let Some(to) = to {
                    shown.add("traces-to", to.to_string(), to.source);
                }
                let told = [SAMPLER, SAMPLER_ARG];
                let is_told =
                    |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
                let source = told
                    .into_iter()
                    .find(is_told)
                    .unwrap_or("OBSERVABILITY_CONFIG");
                shown.add("sampling", sampling.to_string(), source);
            }
        }

        /// Whether traces go to standard output.
        pub(super) fn want_lines(&self) -> bool {
            (self.traces.as_ref()).is_some_and(|traces| traces.to.is_none())
        }

        /// Begins to send traces, if asked to.
        pub(super) fn trace(
            &mut self,
            settings: &SidecarSettings,
            sidecar: &Sidecar,
            revision: &Revision,
            lines: Option<Arc<Lines>>,
            sinks: &mut Sinks,
        ) {
            let Some(Traces { to, sampling }) = self.traces.take() else {
                return;
            };
            let sink = match (to, lines) {
                (Some(endpoint), _) => TraceSink::Collector(endpoint),
                (None, Some(lines)) => TraceSink::Stdout(lines),
                (None, None) => return,
            };
            let has_queue = settings.proxy.concurrency > 0;
            let calendar = Calendar::of(sidecar.clock());
            let tracer = (self.exports).traces(sink, sampling, has_queue, calendar, revision);
            sinks.tracer = Some(tracer);
        }

        /// Begins to send metrics, if asked to.
        pub(super) fn push(&mut self, readings: UserReadings, clock: MonotonicClock) {
            if let Some((endpoint, interval)) = self.metrics.take() {
                self.exports.metrics(endpoint, interval, readings, clock);
            }
        }

        pub(super) async fn finish(self) {
            self.exports.finish().await;
        }
    }

    fn interval(text: Option<&str>) -> Result<Option<Duration>, String> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let millis = text.parse().ok().filter(|millis| *millis > 0);
        let interval = millis.map(Duration::from_millis);
        let wrong =
            || format!("invalid value '{text}' for '{INTERVAL}': write milliseconds, at least 1");
        interval.map(Some).ok_or_else(wrong)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_interval_is_in_milliseconds_and_not_zero() {
            assert_eq!(interval(None), Ok(None));
            assert_eq!(interval(Some(" ")), Ok(None));
            assert_eq!(
                interval(Some("1500")),
                Ok(Some(Duration::from_millis(1_500)))
            );
            for wrong in ["0", "-1", "1s", "x"] {
                let error = interval(Some(wrong)).expect_err(wrong);
                assert!(
                    error.contains(wrong) && error.contains("milliseconds"),
                    "{error}"
                );
            }
        }
    }
}

/// Without OpenTelemetry.
#[cfg(not(feature = "otel"))]
mod without {
    use std::sync::Arc;

    use plimsoll_proxy::{MonotonicClock, Sidecar};
    use plimsoll_wire::user::Revision;

    use crate::request_log::Lines;
    use crate::sidecar::observability::{Observability, RequestMetrics};
    use crate::sidecar::settings::SidecarSettings;
    use crate::sidecar::show::Shown;
    use crate::telemetry::Sinks;
    use crate::user_metrics::UserReadings;

    /// Nobody.
    #[derive(Debug)]
    pub(in crate::sidecar) struct Collectors;

    impl Collectors {
        pub(in crate::sidecar) fn of(wanted: &Observability) -> Result<Self, String> {
            let pushes = matches!(wanted.request_metrics, Some(RequestMetrics::Otlp { .. }));
            if pushes || wanted.tracing.is_some() {
                let message = "this program was built without the feature otel: traces and metrics cannot be sent";
                return Err(message.to_owned());
            }
            Ok(Self)
        }

        pub(in crate::sidecar) fn show(&self, _: &mut Shown) {}

        pub(super) fn want_lines(&self) -> bool {
            false
        }

        pub(super) fn trace(
            &mut self,
            _: &SidecarSettings,
            _: &Sidecar,
            _: &Revision,
            _: Option<Arc<Lines>>,
            _: &mut Sinks,
        ) {
        }

        pub(super) fn push(&mut self, _: UserReadings, _: MonotonicClock) {}

        pub(super) async fn finish(self) {}
    }
}
