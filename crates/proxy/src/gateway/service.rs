//! A service: endpoints behind one name, and what is counted of its requests.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use plimsoll_balance::Balancer;
use plimsoll_meter::ConcurrencyMeter;
use plimsoll_wire::orca::ReportError;

use crate::config::TimeLimits;
use crate::gateway::demand::Demand;
use crate::stats::{StatsView, WorkerStats};
use crate::tls::ClientTls;

/// Which version of HTTP the endpoints are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// The client's own: whoever speaks HTTP/2 without TLS knows that its servers do. Over TLS a client agrees on HTTP/2
    /// with the gateway and knows nothing of the endpoints, so there only gRPC, which needs it, goes on over HTTP/2,
    /// and everything else over HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1. Requests over HTTP/2 are translated.
    Http1,
    /// HTTP/2: with prior knowledge (h2c), or over TLS as the endpoint agrees to it. Requests over HTTP/1 are translated,
    /// and switch to no other protocol.
    Http2,
}

/// The status of an answer to a request for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefusalStatus {
    /// 503: any client knows what it means.
    #[default]
    ServiceUnavailable,
    /// 429: for clients that slow down when they see it.
    TooManyRequests,
}

/// What can be set of a service besides its endpoints.
#[derive(Debug, Clone, Default)]
pub struct ServiceSettings {
    /// How its endpoints are spoken to.
    pub protocol: UpstreamProtocol,
    /// TLS towards its endpoints; `None` is plain HTTP.
    pub tls: Option<Arc<ClientTls>>,
    /// Time limits of each request, retries and waiting included.
    pub limits: TimeLimits,
    /// How long one endpoint may take to the head of its answer before another is tried; `None` is off. A request
    /// that cannot be repeated is answered 504 when it passes.
    pub per_try_timeout: Option<Duration>,
    /// The status of the answer when there is no room.
    pub refusal: RefusalStatus,
    /// Who is told of requests that wait, where instances are started on demand. The service's balancer is then to
    /// have [`WhenEmpty::Wait`](plimsoll_balance::WhenEmpty::Wait).
    pub demand: Option<Arc<Demand>>,
    /// A page, HTML, for browsers that would wait for an instance to start. It has to ask again by itself.
    pub waiting_page: Option<Bytes>,
}

/// See the module documentation. Shared by all workers.
#[derive(Debug)]
pub struct Service {
    name: String,
    balancer: Balancer,
    settings: ServiceSettings,
    measures: Arc<Measures>,
}

/// Why a request was sent again, to another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// No connection could be made, or the endpoint had not accepted a byte.
    NotAccepted,
    /// The connection broke before the answer had begun.
    Reset,
    /// The time of one try had passed.
    Timeout,
    /// The endpoint answered 502, 503 or 504.
    Status,
}

/// Why a request that could have been repeated was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoRetry {
    /// The budget was used up.
    Budget,
    /// There was no other endpoint, or no room at one.
    NoEndpoint,
    /// It had been tried as often as a request may.
    Attempts,
}

/// What a service has counted, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    /// Answers, errors and times. Its connections are 0: a connection belongs to no service.
    pub requests: StatsView,
    /// Retries made, in the order of [`RetryReason::ALL`].
    pub retries: [u64; RetryReason::ALL.len()],
    /// Retries that were wanted and not made, in the order of [`NoRetry::ALL`].
    pub not_retried: [u64; NoRetry::ALL.len()],
    /// Load reports of endpoints that were taken.
    pub reports_taken: u64,
    /// Load reports that were ignored, in the order of [`ReportError::index`].
    pub reports_rejected: [u64; ReportError::COUNT],
}

/// What outlives a change of the settings.
#[derive(Debug)]
struct Measures {
    meter: Arc<ConcurrencyMeter>,
    workers: Box<[WorkerStats]>,
    retries: [AtomicU64; RetryReason::ALL.len()],
    not_retried: [AtomicU64; NoRetry::ALL.len()],
    reports_taken: AtomicU64,
    reports_rejected: [AtomicU64; ReportError::COUNT],
}

// === impl RefusalStatus ===

impl RefusalStatus {
    /// As HTTP has it.
    pub(crate) const fn code(self) -> StatusCode {
        match self {
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

// === impl RetryReason, NoRetry ===

impl RetryReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::NotAccepted, Self::Reset, Self::Timeout, Self::Status];

    /// One lower-case word, fit for a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAccepted => "not_accepted",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

impl NoRetry {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Budget, Self::NoEndpoint, Self::Attempts];

    /// One lower-case word, fit for a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::NoEndpoint => "no_endpoint",
            Self::Attempts => "attempts",
        }
    }
}

// === impl Service ===

impl Service {
    /// A service that counts for `workers` workers; with another number it counts right, but workers share lines
    /// of the cache.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        balancer: Balancer,
        settings: ServiceSettings,
        workers: NonZeroUsize,
    ) -> Self {
        Self {
            name: name.into(),
            balancer,
            settings,
            measures: Arc::new(Measures {
                meter: Arc::new(ConcurrencyMeter::new(workers)),
                workers: (0..workers.get()).map(|_| WorkerStats::new()).collect(),
                retries: Default::default(),
                not_retried: Default::default(),
                reports_taken: AtomicU64::new(0),
                reports_rejected: Default::default(),
            }),
        }
    }

    /// The same service with other settings: it goes on counting where this one does, and chooses with the same
    /// balancer.
    #[must_use]
    pub fn with_settings(&self, settings: ServiceSettings) -> Self {
        Self {
            name: self.name.clone(),
            balancer: self.balancer.clone(),
            settings,
            measures: Arc::clone(&self.measures),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What chooses its endpoints.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &ServiceSettings {
        &self.settings
    }

    /// How many requests run at once; waiting ones are included.
    #[must_use]
    pub fn meter(&self) -> &Arc<ConcurrencyMeter> {
        &self.measures.meter
    }

    /// The sums of this moment. Takes no lock and does not disturb the workers.
    #[must_use]
    pub fn view(&self) -> ServiceView {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServiceView {
            requests: StatsView::of(&self.measures.workers),
            retries: self.measures.retries.each_ref().map(load),
            not_retried: self.measures.not_retried.each_ref().map(load),
            reports_taken: load(&self.measures.reports_taken),
            reports_rejected: self.measures.reports_rejected.each_ref().map(load),
        }
    }

    /// Whether the other is this service with other settings, and connections made for one suit the other too.
    pub(crate) fn shares_connections_with(&self, other: &Self) -> bool {
        let tls = |service: &Self| service.settings.tls.as_ref().map(Arc::as_ptr);
        Arc::ptr_eq(&self.measures, &other.measures) && tls(self) == tls(other)
    }

    pub(crate) fn stats(&self, worker: usize) -> &WorkerStats {
        &self.measures.workers[worker % self.measures.workers.len()]
    }

    pub(crate) fn count_retry(&self, reason: RetryReason) {
        self.measures.retries[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_no_retry(&self, reason: NoRetry) {
        self.measures.not_retried[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_report(&self, refused: Option<ReportError>) {
        let counter = match refused {
            None => &self.measures.reports_taken,
            Some(why) => &self.measures.reports_rejected[why.index()],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
