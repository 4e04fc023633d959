//! TLS on both sides: real sockets, real certificates, and programs that others wrote.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test, a failure is a failed test, in its helpers too"
)]

mod authority;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod files;
mod gateway;
mod harness;
mod late;
mod ports;
mod programs;
#[path = "../common/sidecar.rs"]
mod sidecar;
mod tunnels;
mod upstreams;
