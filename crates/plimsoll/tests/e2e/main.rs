//! The sidecar from end to end: the program as it is built, real sockets, real clients and applications.
//!
//! Each module is a chapter of what the sidecar promises. [`harness`] starts the program, plays applications
//! and speaks HTTP byte by byte. No test waits for a time to be safe: each waits for an event, and gives up
//! after [`harness::PATIENCE`]. A test that needs a program of the system says so and passes where there is
//! none, unless `CI` is set.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy permits both in test functions, but not in what they call"
)]

mod asking;
mod chaos;
mod cli;
mod clients;
mod conformance;
mod dashboard;
mod dashboard_run;
mod drain;
mod errors;
mod expect;
mod gateway_api;
mod gateway_clients;
mod gateway_config;
mod gateway_endpoints;
mod gateway_failures;
mod gateway_policies;
mod gateway_python;
mod gateway_scenario;
mod gateway_slots;
mod gateway_tls;
mod gateway_traffic;
mod grpc;
mod harness;
mod headers;
mod knative;
mod knative_tls;
mod limits;
mod load_reports;
mod memory;
mod monitoring;
mod openapi;
mod otel;
mod pool;
mod prometheus;
mod protocols;
mod request_log;
mod run;
mod run_apps;
mod run_failures;
mod run_limits;
mod run_room;
mod run_services;
mod run_soak;
mod simulate;
mod streaming;
mod trailers;
mod upgrades;
mod user_metrics;
mod websocket;
