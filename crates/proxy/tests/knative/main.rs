//! The sidecar in the place of Knative's queue-proxy, over real sockets: the tables of its contract, and the defects
//! of the other one that it must not have.
//!
//! A test whose name begins with `f` and a number holds that item of the list of differences in `docs/knative.md`.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, a failure is a failed test, in its helpers too"
)]

#[path = "../common/mod.rs"]
mod common;
mod defects;
mod drain;
mod harness;
mod headers;
mod options;
mod probes;
#[path = "../common/sidecar.rs"]
mod sidecar;
