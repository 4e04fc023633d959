//! The gateway's path from end to end: real sockets, endpoints and clients in the same process.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, a failure is a failed test, in its helpers too"
)]

#[path = "../common/mod.rs"]
mod common;
mod harness;
mod http2;
mod lifecycle;
mod on_demand;
mod protocols;
mod queue;
mod retries;
mod routes;
mod spreading;
mod tls;

#[path = "../tls/authority.rs"]
#[allow(
    dead_code,
    reason = "the other tests of TLS need more kinds of certificates"
)]
mod authority;
