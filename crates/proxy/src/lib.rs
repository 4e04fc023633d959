//! The path of a request.
//!
//! This crate carries requests: it accepts connections, hands them to workers, measures and holds each
//! request, forwards it to the application, streams the answer back, and lets everything finish when told to
//! stop. What it measures is kept by [`plimsoll_meter`], what it holds by [`plimsoll_limit`]; the words it uses
//! for its answers come from [`plimsoll_wire`].
//!
//! The principal types:
//! - [`SidecarConfig`]: everything the path needs to know, resolved and valid.
//! - [`Sidecar`]: a bound data port; [`Sidecar::start`] sets its workers going.
//! - [`Running`]: the handle to drain and stop it, and to read its numbers.
//!
//! To read the path from top to bottom, open `sidecar.rs`.
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
mod listen;
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
pub use config::{ConfigError, GatewayConfig, SidecarConfig, TimeLimits};
pub use drain::{DrainOutcome, Running, Stats};
pub use gateway::{
    HostPattern, NoRetry, PATH_PREFIX_BYTES_MAX, ROUTES_MAX, RefusalStatus, RetryReason, Route,
    RouteError, Routes, Service, ServiceSettings, ServiceView, UpstreamProtocol,
};
pub use listen::BindError;
pub use server::{Gateway, RoutesHandle, Sidecar, SidecarError, default_workers};
pub use stats::{StatsView, WorkerStats};
pub use tls::{ClientTls, ClientTlsConfig, Identity, ServerTls, TlsError, Trust};
