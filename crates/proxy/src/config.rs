//! What the sidecar's path needs to know, resolved: every value here is valid.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use plimsoll_limit::{Breaker, BreakerError};

use crate::clock::MonotonicClock;
use crate::knative::Knative;
use crate::tls::{ClientTls, ServerTls};

/// The largest head (request or status line and headers) of an HTTP/1 message, in bytes; the largest header
/// list of an HTTP/2 message, as RFC 9113 section 6.5.2 counts it.
///
/// A request over it, or with more than 100 fields, is answered 431. (The number of fields is the HTTP library's
/// own bound: setting another makes it allocate for every message.) The same bound holds for one read from a connection, so that a busy
/// connection costs little memory.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// [`HEAD_BYTES_MAX`] as HTTP/2 settings want it.
pub(crate) const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
const _: () = assert!(HEADER_LIST_BYTES_MAX as usize == HEAD_BYTES_MAX);

/// The largest amount buffered for sending, per HTTP/2 stream, in bytes.
pub(crate) const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long a client may take to send a complete request head once it has begun.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(60);

/// How long connecting to the application may take, the handshake of TLS included.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long an unused upstream connection is kept.
pub(crate) const UPSTREAM_IDLE_MAX: Duration = Duration::from_secs(90);

/// The most unused upstream connections a worker keeps: a sidecar's when concurrency is unlimited, a gateway's to all
/// endpoints.
pub(crate) const UPSTREAM_IDLE_COUNT_MAX: usize = 1_000;

/// The most unused connections a worker of the gateway keeps to one endpoint.
pub(crate) const UPSTREAM_IDLE_PER_ENDPOINT_MAX: usize = 250;

/// Concurrent streams of one HTTP/2 connection, from clients and to the application.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 250;

/// Time limits of one request. `None` is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeLimits {
    /// From arrival to the end of the answer, waiting in the queue included. Holds for an upgraded connection
    /// (WebSocket) too, unless `upgraded` says otherwise.
    pub total: Option<Duration>,
    /// From arrival to the head of the answer.
    pub response_start: Option<Duration>,
    /// The longest silence: since arrival or the last part of the answer; of an upgraded connection, since
    /// the last byte in either direction.
    pub idle: Option<Duration>,
    /// What holds for an upgraded connection in place of `total` and `idle`; `None` is that they do.
    pub upgraded: Option<UpgradedLimits>,
}

/// Time limits of an upgraded connection. `None` is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpgradedLimits {
    /// From the arrival of the request that asked for it to its end.
    pub total: Option<Duration>,
    /// The longest silence in both directions.
    pub idle: Option<Duration>,
}

impl TimeLimits {
    /// Whether no limit is set.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.total.is_none() && self.response_start.is_none() && self.idle.is_none()
    }
}

/// Everything the sidecar's data path needs to know.
#[derive(Debug, Clone)]
pub struct SidecarConfig {
    /// Where the application listens.
    pub app: SocketAddr,
    /// The data port.
    pub listen: SocketAddr,
    /// How many requests the application may work on at once; 0 is no limit.
    pub concurrency: usize,
    /// How many more may wait; `None` is ten times the concurrency. Without a concurrency limit there is no
    /// queue.
    pub queue_depth: Option<usize>,
    /// Time limits of every request.
    pub limits: TimeLimits,
    /// How many workers (threads) carry requests.
    pub workers: NonZeroUsize,
    /// The most client connections open at once; more wait in the listener's backlog.
    pub connections_max: usize,
    /// TLS towards clients; `None` is plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// A second data port, with TLS, beside the first. Requests of both are one: they share limit, queue and counters.
    pub tls_port: Option<TlsPort>,
    /// TLS towards the application; `None` is plain HTTP.
    pub app_tls: Option<Arc<ClientTls>>,
    /// What it does besides, all of it off by default.
    pub options: SidecarOptions,
}

/// A data port with TLS.
#[derive(Debug, Clone)]
pub struct TlsPort {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The certificate it shows them.
    pub tls: Arc<ServerTls>,
}

/// What a sidecar does only if asked to. The default is to do none of it.
#[derive(Debug, Clone, Default)]
pub struct SidecarOptions {
    /// Keeps Knative's contract: answers probes, and knows its header fields. Without it a probe is a request like
    /// any other. (What Knative's activator forwards is counted as such in any case.)
    pub knative: Option<Knative>,
    /// When a client goes away, holds the slot of its request until the application has answered or closed the
    /// connection, at most until the total time limit has passed. Without it, the connection to the application is
    /// closed and the slot is free at once; but many an application does not notice, and goes on with more requests
    /// than it may. Needs a concurrency limit.
    pub hold_cancelled: bool,
    /// Time limits begin when a request leaves the queue, and not when it arrives. So it may wait without limit.
    pub queue_is_untimed: bool,
    /// Requests that are carried but not counted.
    pub uncounted: Uncounted,
}

/// Requests that are held to the limit like all others, but left out of all numbers: those by which the service is
/// scaled, and the counters and histograms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// Those to this path, or below it: `/healthz` is `/healthz` and `/healthz/live`, but not `/healthzz`. The query
    /// does not matter.
    pub paths: Vec<String>,
    /// Those whose `User-Agent` begins so.
    pub user_agents: Vec<String>,
}

impl Uncounted {
    /// Whether it names any requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.user_agents.is_empty()
    }

    /// Whether a request with this path and these fields is one of them.
    pub(crate) fn has(&self, path: &str, headers: &HeaderMap) -> bool {
        let is_below = |prefix: &String| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let agent = headers
            .get(USER_AGENT)
            .map_or(&b""[..], HeaderValue::as_bytes);
        self.paths.iter().any(is_below)
            || (self.user_agents.iter()).any(|begin| agent.starts_with(begin.as_bytes()))
    }
}

/// Everything the gateway's data path needs to know besides its routes.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The data port.
    pub listen: SocketAddr,
    /// How many workers (threads) carry requests.
    pub workers: NonZeroUsize,
    /// The most client connections open at once; more wait in the listener's backlog.
    pub connections_max: usize,
    /// TLS towards clients; `None` is plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// The clock of all measurements and decisions: the one by which the balancers were told their endpoints.
    pub clock: MonotonicClock,
}

/// A configuration that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Concurrency or queue out of range.
    #[error(transparent)]
    Breaker(#[from] BreakerError),
    /// A queue without a limit to queue for.
    #[error(
        "a queue of {0} needs a concurrency limit: with concurrency 0 nothing ever waits; set a concurrency or drop the queue"
    )]
    QueueWithoutLimit(usize),
}

impl SidecarConfig {
    /// The breaker this configuration asks for; `None` without a concurrency limit.
    ///
    /// # Errors
    /// A concurrency or queue out of range, or a queue without a concurrency limit.
    pub fn breaker(&self) -> Result<Option<Breaker>, ConfigError> {
        match (self.concurrency, self.queue_depth) {
            (0, None) => Ok(None),
            (0, Some(depth)) => Err(ConfigError::QueueWithoutLimit(depth)),
            (concurrency, None) => Ok(Some(Breaker::with_default_queue(concurrency)?)),
            (concurrency, Some(depth)) => Ok(Some(Breaker::new(concurrency, depth)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncounted_are_the_paths_that_are_named_those_below_them_and_agents_that_begin_so() {
        let uncounted = Uncounted {
            paths: vec!["/healthz".to_owned(), "/internal/".to_owned()],
            user_agents: vec!["Prometheus/".to_owned()],
        };
        for (path, agent, expected) in [
            ("/healthz", None, true),
            ("/healthz/live", None, true),
            ("/healthzz", None, false),
            ("/", None, false),
            ("/internal", None, true),
            ("/internal/x", None, true),
            ("/", Some("Prometheus/2.5"), true),
            ("/", Some("prometheus/2.5"), false),
        ] {
            let agent = agent.map(|agent| (USER_AGENT, HeaderValue::from_static(agent)));
            let headers: HeaderMap = agent.into_iter().collect();
            assert_eq!(
                uncounted.has(path, &headers),
                expected,
                "{path} {agent:?}",
                agent = headers
            );
        }
        assert!(Uncounted::default().is_empty() && !uncounted.is_empty());
    }
}
