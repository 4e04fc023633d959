//! The program `lab`: toy backend, load generator, comparison. Run it with `--help`.

// A terminal tool: its output is its purpose.
#![allow(
    clippy::print_stdout,
    reason = "the results of a terminal tool go to standard output"
)]

mod cli;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let report = cli::Cli::parse().run()?;
    println!("{report}");
    Ok(())
}
