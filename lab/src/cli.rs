//! Command line: what was typed, and what it becomes.

mod apps;
mod backend;
mod coldstart;
mod compare;
mod conformance;
mod image;
mod load;
mod programs;
mod scenarios;
mod wire;

use std::time::Duration;

use clap::{Parser, Subcommand};

/// Toy backends, load generators and side-by-side comparison for Plimsoll.
#[derive(Debug, Parser)]
#[command(name = "lab")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve answers that the path asks for, such as /bytes/64 or /delay/100, until interrupted.
    Backend(backend::Args),
    /// Serve a chat: a page and a WebSocket, as an application that keeps connections open.
    Chat(apps::ChatArgs),
    /// Serve as a language model does: slow to load, heavy, streaming its answers.
    Model(apps::ModelArgs),
    /// Serve an answer that says when this process began and when it listened.
    Witness(apps::WitnessArgs),
    /// Measure what `plimsoll run` promises, and say what of it is met.
    Coldstart(Box<coldstart::Args>),
    /// Send load to a URL and print counts and latencies.
    Load(Box<load::Args>),
    /// Measure plimsoll, HAProxy, nginx and Envoy side by side, in turns.
    Compare(Box<compare::Args>),
    /// Ask Knative's contract of an implementation, over the wire.
    Conformance(conformance::Args),
    /// Write a container image with the program in it, for `skopeo`, `podman` or `ctr`.
    Image(image::Args),
    /// Play the balancer scenarios: with every policy in virtual time, or over the wire.
    Scenarios(Box<scenarios::Args>),
}

impl Cli {
    /// Does what was asked and returns what is to be printed. The process has begun at `began`.
    pub(crate) fn run(self, began: Duration) -> anyhow::Result<String> {
        match self.command {
            Command::Backend(args) => args.run(),
            Command::Chat(args) => args.run(),
            Command::Model(args) => args.run(),
            Command::Witness(args) => args.run(began),
            Command::Coldstart(args) => args.run(),
            Command::Load(args) => args.run(),
            Command::Compare(args) => args.run(),
            Command::Conformance(args) => args.run(),
            Command::Image(args) => args.run(),
            Command::Scenarios(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
