//! What watches requests on behalf of metrics and logs.

use std::sync::Arc;

use http::HeaderMap;
use http::header::USER_AGENT;
use plimsoll_proxy::{Arrival, Observed, Observer, RequestEnd};

#[cfg(feature = "otel")]
use crate::otel::{Begun, Tracer};
use crate::request_log::{Record, RequestLog};
use crate::user_metrics::{Counted, UserMetrics};

/// Watches requests for everything that is switched on.
#[derive(Debug)]
pub(crate) struct Telemetry(Box<[Arc<Sinks>]>);

/// Where what is seen of requests goes. Each worker has its own reference count of its own copy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sinks {
    pub(crate) metrics: Option<Arc<UserMetrics>>,
    pub(crate) log: Option<Arc<RequestLog>>,
    #[cfg(feature = "otel")]
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// A request that is watched.
#[derive(Debug)]
struct Watched {
    sinks: Arc<Sinks>,
    worker: usize,
    counted: Option<Counted>,
    logged: Option<Box<Record>>,
    #[cfg(feature = "otel")]
    traced: Option<Box<Begun>>,
}

impl Sinks {
    fn is_empty(&self) -> bool {
        #[cfg(feature = "otel")]
        if self.tracer.is_some() {
            return false;
        }
        self.metrics.is_none() && self.log.is_none()
    }
}

impl Watched {
    fn is_of_use(&self) -> bool {
        #[cfg(feature = "otel")]
        if self.traced.is_some() {
            return true;
        }
        self.counted.is_some() || self.logged.is_some()
    }
}

impl Telemetry {
    /// `None` if there is nothing to watch for.
    pub(crate) fn new(workers: usize, sinks: &Sinks) -> Option<Self> {
        if sinks.is_empty() {
            return None;
        }
        let copies = (0..workers).map(|_| Arc::new(sinks.clone()));
        Some(Self(copies.collect()))
    }
}

impl Observer for Telemetry {
    fn arrived(&self, arrival: &mut Arrival<'_>) -> Option<Box<dyn Observed>> {
        let sinks = self.0.get(arrival.worker)?;
        let is_probe = is_probe(arrival.headers);
        let counted = match &sinks.metrics {
            Some(metrics) if !is_probe => Some(metrics.arrived(arrival)),
            _ => None,
        };
        let logged = (sinks.log.as_ref()).and_then(|log| log.arrived(arrival, is_probe));
        // Behind the log, which tells what the client has sent.
        #[cfg(feature = "otel")]
        let traced = match &sinks.tracer {
            Some(tracer) if !is_probe => tracer.arrived(arrival),
            _ => None,
        };
        let watched = Watched {
            sinks: Arc::clone(sinks),
            worker: arrival.worker,
            counted,
            logged,
            #[cfg(feature = "otel")]
            traced,
        };
        watched
            .is_of_use()
            .then(|| Box::new(watched) as Box<dyn Observed>)
    }
}

impl Observed for Watched {
    fn ended(self: Box<Self>, end: &RequestEnd) {
        if let (Some(metrics), Some(counted)) = (&self.sinks.metrics, self.counted) {
            metrics.ended(self.worker, counted, end);
        }
        if let (Some(log), Some(record)) = (&self.sinks.log, &self.logged) {
            log.ended(record, end);
        }
        #[cfg(feature = "otel")]
        if let (Some(tracer), Some(begun)) = (&self.sinks.tracer, self.traced) {
            tracer.ended(begun, end);
        }
    }
}

/// Whether it is kubelet or a part of Knative that asks, and not a user. Anybody can say so, as with queue-proxy; what
/// follows from it is that the request is not seen in metrics and traces.
fn is_probe(headers: &HeaderMap) -> bool {
    let is_set = |name| headers.get(name).is_some_and(|value| !value.is_empty());
    (may_be_of_knative(headers) && (is_set("k-network-probe") || is_set("k-kubelet-probe")))
        || headers
            .get(USER_AGENT)
            .is_some_and(|agent| agent.as_bytes().starts_with(b"kube-probe/"))
}

/// Whether a header begins as all of Knative's do. Few requests have one, and a look at each name costs less than looking
/// one up.
pub(crate) fn may_be_of_knative(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with('k'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn probes_are_known_by_their_headers() {
        for (name, value, expected) in [
            ("user-agent", "kube-probe/1.14", true),
            ("user-agent", "kube-probe", false),
            ("user-agent", "curl/8 kube-probe/1", false),
            ("k-kubelet-probe", "no matter", true),
            ("k-kubelet-probe", "", false),
            ("k-network-probe", "activator", true),
            ("k-network-probe", "", false),
            ("host", "kube-probe/1.14", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_probe(&headers), expected, "{name}: {value}");
        }
    }
}
