//! Knative's contract for the process beside an application, asked over the wire of whatever implements it.
//!
//! The rows are data: `lab/conformance/*.toml`. Each says what is sent, what is to come back, and what the application
//! is to see of it. The application is ours ([`App`]): it answers with the head that it was sent. So the same rows can
//! be asked of Plimsoll, of queue-proxy, or of anything else that stands in its place.
//!
//! A row may say where Plimsoll differs on purpose: what is expected `instead`, and why. It is told apart from a row
//! that passes and from one that fails.
//!
//! Rejected: tests in Rust for each row. They could only be asked of ourselves, and nobody could read the contract in
//! them.

mod app;
mod ask;
mod rows;
mod script;
pub(crate) mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;

pub use self::app::{App, READY_PATH};

use self::ask::ask;
use self::rows::rows;
use self::script::Limit;

/// How many requests wait for each slot at the most, as Knative has it.
pub const QUEUE_FACTOR: usize = 10;

/// Where the ports of the implementation are. Rows that need one that is not given are left out.
#[derive(Debug, Clone, Copy)]
pub struct Targets {
    /// The data port; the application behind it must be an [`App`].
    pub data: SocketAddr,
    /// The port of the statistics, 9090 in Knative.
    pub metrics: Option<SocketAddr>,
    /// The port of `/wait-for-drain`, 8022 in Knative.
    pub admin: Option<SocketAddr>,
    /// What else the implementation was told.
    pub setup: Setup,
}

/// What the implementation was told of limits and readiness. Rows that need what it was not told are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// The concurrency limit. The queue has [`QUEUE_FACTOR`] times as many places.
    pub concurrency: Option<usize>,
    /// The total time limit: the longest of the three.
    pub total: Option<Duration>,
    /// The limit of the beginning of an answer: the shortest.
    pub start: Option<Duration>,
    /// The limit of silence within an answer.
    pub idle: Option<Duration>,
    /// Whether it asks at [`READY_PATH`] if the application is ready, once for each time it is asked.
    pub readiness: bool,
}

/// What came of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As the contract says.
    Passed,
    /// Otherwise, as the row says it may be, and for this reason.
    Differs(String),
    /// Otherwise.
    Failed(String),
    /// The port it needs was not given, or the implementation was not told what it needs.
    LeftOut,
}

/// A row and what came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The section of the contract, and the row's name.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// All outcomes, as a table to print.
#[derive(Debug, Clone)]
pub struct Outcomes(pub Vec<Outcome>);

/// Asks all rows, one after the other.
///
/// # Errors
/// If the rows cannot be read, or if nobody listens at the data port. What the implementation does wrong is no error but
/// an outcome.
pub async fn run(targets: &Targets, app: &App) -> anyhow::Result<Outcomes> {
    let data = targets.data;
    let there = TcpStream::connect(data).await;
    there.with_context(|| format!("nobody listens at {data}: start the implementation first"))?;
    let mut outcomes = Vec::new();
    for row in rows()? {
        let verdict = match ask(targets, app, &row).await {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Failed(format!("{error:#}")),
        };
        let name = format!("{} {}", row.section, row.name);
        outcomes.push(Outcome { name, verdict });
    }
    Ok(Outcomes(outcomes))
}

impl Setup {
    fn limit(&self, limit: Limit) -> Option<Duration> {
        match limit {
            Limit::Total => self.total,
            Limit::Start => self.start,
            Limit::Idle => self.idle,
        }
    }
}

impl Outcomes {
    /// How many rows have failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        let has_failed = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Failed(_));
        self.0.iter().filter(has_failed).count()
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut passed, mut differs, mut left_out) = (0, 0, 0);
        for Outcome { name, verdict } in &self.0 {
            match verdict {
                Verdict::Passed => {
                    passed += 1;
                    writeln!(f, "passed    {name}")?;
                }
                Verdict::Differs(why) => {
                    differs += 1;
                    writeln!(f, "differs   {name}: {why}")?;
                }
                Verdict::Failed(wrong) => writeln!(f, "FAILED    {name}: {wrong}")?,
                Verdict::LeftOut => {
                    left_out += 1;
                    writeln!(f, "left out  {name}")?;
                }
            }
        }
        writeln!(
            f,
            "\n{passed} passed, {} failed, {differs} differ on purpose, {left_out} left out",
            self.failed()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_read_and_has_a_name_of_its_own() {
        let rows = rows().unwrap();
        let names: std::collections::BTreeSet<_> =
            rows.iter().map(|row| (&row.section, &row.name)).collect();
        assert!(rows.len() > 30 && names.len() == rows.len());
    }
}
