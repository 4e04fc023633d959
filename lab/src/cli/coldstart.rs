//! `lab coldstart`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use plimsoll_lab::coldstart::{self, Options, Part, Setup};
use plimsoll_lab::compare;

use super::compare::tell;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Path of plimsoll, built with --release.
    #[arg(long, value_name = "FILE")]
    plimsoll: PathBuf,
    /// Only these parts: start, queue, scale, kill, stall, idle, warm.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = part)]
    only: Vec<Part>,
    /// First requests, each of a service of its own.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    starts: u32,
    /// Requests that wait at once.
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    queued: usize,
    /// Times up and down under load.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cycles: u32,
    /// For how long replicas are killed, one each second.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    kill: Duration,
    /// For how long the deciding thread stands still.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    stall: Duration,
    /// Idle services.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    services: u32,
    /// For how long they are watched.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// Rounds of the warm path.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each is measured in each round.
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    window: Duration,
    /// Write the table to a file as well.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let setup = Setup {
            plimsoll: self.plimsoll,
            lab: std::env::current_exe().context("the path of this program")?,
        };
        let options = Options {
            parts: if self.only.is_empty() {
                Part::ALL.to_vec()
            } else {
                self.only
            },
            starts: self.starts,
            queued: self.queued,
            cycles: self.cycles,
            kill: self.kill,
            stall: self.stall,
            services: self.services,
            idle: self.idle,
            rounds: self.rounds,
            window: self.window,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut progress = tell;
        let report = runtime.block_on(async {
            tokio::select! {
                report = coldstart::run(&setup, &options, &mut progress) => report,
                // Returning, rather than dying, ends the program that is measured.
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            }
        });
        runtime.shutdown_background();
        let report = report?;
        if let Some(file) = &self.markdown {
            compare::write_markdown(&report, file)?;
        }
        Ok(report.to_string())
    }
}

fn part(name: &str) -> Result<Part, String> {
    let found = Part::ALL.into_iter().find(|part| part.name() == name);
    found.ok_or_else(|| format!("parts are {}", Part::ALL.map(Part::name).join(", ")))
}
