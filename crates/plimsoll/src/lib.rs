//! The program: command line, configuration, composition, admin server.
//!
//! What it composes lives in the other crates: `plimsoll-proxy` carries requests, `plimsoll-meter` measures
//! them, `plimsoll-limit` holds them, `plimsoll-wire` writes what others read.

mod admin;
mod ask;
mod cli;
mod cpu;
mod dashboard;
mod demo;
mod dice;
mod gateway;
mod load_report;
mod logs;
mod memory;
#[cfg(feature = "otel")]
mod otel;
mod report;
mod request_log;
mod run;
mod sidecar;
mod signals;
mod simulate;
mod telemetry;
mod user_metrics;

#[cfg(fuzzing)]
pub mod fuzzing;

use std::process::ExitCode;

use crate::cli::{Action, Fault};

/// Runs the program: reads the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // Started again by `plimsoll run`, to end its replicas should it die.
    if let Some(kept) = plimsoll_fleet::keep_if_asked(std::env::args_os()) {
        return match kept {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => Fault::Runtime(error.into()).report(),
        };
    }
    match cli::parse(std::env::args_os()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(),
    }
}

fn run(action: Action) -> Result<(), Fault> {
    match action {
        Action::Print(text) => cli::print(&text),
        Action::Ask(settings) => ask::run(settings),
        Action::Demo(settings) => demo::run(&settings),
        Action::DemoApp(port) => run::run_app(port),
        Action::Gateway(settings) | Action::Run(settings) => gateway::run(*settings),
        Action::Sidecar(settings) => sidecar::run(&settings),
        Action::Simulate(settings) => simulate::run(&settings),
    }
}
