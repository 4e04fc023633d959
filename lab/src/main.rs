//! The program `lab`: toy backend, load generator, comparison. Run it with `--help`.

// A terminal tool: its output is its purpose.
#![allow(
    clippy::print_stdout,
    reason = "the results of a terminal tool go to standard output"
)]

mod cli;

use clap::Parser;
use plimsoll_lab::apps::witness;

fn main() -> anyhow::Result<()> {
    // First of all, for whoever asks when this process began.
    let began = witness::monotonic();
    let report = cli::Cli::parse().run(began)?;
    println!("{report}");
    Ok(())
}
