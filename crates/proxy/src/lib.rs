//! The path of a request.
//!
//! This crate carries requests: it accepts connections, hands them to workers, measures and holds each
//! request, forwards it to the application or the endpoint that is to answer it, streams the answer back, and
//! lets everything finish when told to stop. What it measures is kept by [`plimsoll_meter`], what it holds by
//! [`plimsoll_limit`], what it chooses by [`plimsoll_balance`]; the words it uses for its answers come from
//! [`plimsoll_wire`].
//!
//! The principal types:
//! - [`Sidecar`] and [`Gateway`]: a bound data port; `start` sets its workers going. A sidecar's requests go to one
//!   application ([`SidecarConfig`]), a gateway's by [`Routes`] to a [`Service`] and the endpoint that its
//!   [`Balancer`](plimsoll_balance::Balancer) chooses.
//! - [`RoutesHandle`]: changes a gateway's routes while it serves.
//! - [`Running`]: the handle to drain and stop it, and to read its numbers.
//!
//! To read the paths from top to bottom, open `sidecar.rs` and `gateway.rs`.
//!
//! # Example
//! A gateway in front of two endpoints:
//! ```
//! use std::num::NonZeroUsize;
//! use std::sync::Arc;
//!
//! use plimsoll_balance::{Balancer, BalancerConfig, EndpointSpec};
//! use plimsoll_meter::Clock;
//! use plimsoll_proxy::{Gateway, GatewayConfig, MonotonicClock, Routes, Service, ServiceSettings};
//!
//! let clock = MonotonicClock::start();
//! let workers = NonZeroUsize::MIN;
//! let balancer = Balancer::new(BalancerConfig::default())?;
//! let endpoints = ["127.0.0.1:8081", "127.0.0.1:8082"].map(EndpointSpec::new);
//! balancer.set_endpoints(clock.now(), &endpoints)?;
//! let service = Arc::new(Service::new("shop", balancer, ServiceSettings::default(), workers));
//! let config = GatewayConfig {
//!     listen: "127.0.0.1:0".parse()?,
//!     workers,
//!     connections_max: 1_000,
//!     tls: None,
//!     clock,
//! };
//! let running = Gateway::bind(&config, Routes::to_one(Arc::clone(&service)))?.start()?;
//! // From now on, a few times a second: time passes for the queue and for what was learned.
//! service.balancer().advance(clock.now());
//! assert_eq!(service.view().requests.requests_total(), 0);
//! drop(running); // ends it at once; `drain` lets requests finish
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Threads
//! Every worker is a thread with a single-threaded runtime and its own upstream connections; workers share
//! nothing on the path but atomics. The rejected alternative, one work-stealing runtime, costs about a tenth
//! more CPU per request and makes every piece of connection state need a lock.

mod answer;
mod body;
mod clock;
mod config;
mod connection;
mod deadline;
mod drain;
mod exchange;
mod forward;
mod gateway;
mod headers;
mod inline_waker;
mod io;
mod knative;
mod listen;
mod load_report;
mod observe;
mod orphan;
mod outbox;
mod refusal;
mod server;
mod sidecar;
mod stats;
mod throttle;
mod tls;
mod tunnel;
mod upstream;
mod waker;
mod worker;

pub use clock::MonotonicClock;
pub use config::{
    ConfigError, GatewayConfig, SidecarConfig, SidecarOptions, TimeLimits, TlsPort, Uncounted,
    UpgradedLimits,
};
pub use drain::{DrainHook, DrainOutcome, Running, Stats};
pub use gateway::{
    Demand, HostPattern, NoRetry, PATH_PREFIX_BYTES_MAX, ROUTES_MAX, RefusalStatus, RetryReason,
    Route, RouteError, Routes, Service, ServiceSettings, ServiceView, Unavailable,
    UpstreamProtocol, WakeOn,
};
pub use knative::{IpRange, IpRangeError, Knative, ProbeSources, Readiness, ReadinessFuture};
pub use listen::BindError;
pub use load_report::{LoadReports, ReportFields};
pub use observe::{Arrival, Observed, Observer, RequestEnd};
pub use server::{Gateway, RoutesHandle, Sidecar, SidecarError, default_workers};
pub use stats::{StatsView, WorkerStats};
pub use tls::{
    AcceptedTls, ClientTls, ClientTlsConfig, HandshakeRules, Identity, ServerTls, TlsError,
    TlsVersion, Trust,
};
