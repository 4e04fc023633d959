//! What the sidecar's path needs to know, resolved: every value here is valid.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

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
