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

mod rows;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};

pub use self::wire::App;

use self::rows::{Expected, Port, Row, rows};
use self::wire::Answer;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// How often it is tried to find the process draining. A drain that nobody means is taken back after a second.
const DRAIN_LOOKS_MAX: usize = 50;

/// Where the ports of the implementation are. Rows that need one that is not given are left out.
#[derive(Debug, Clone, Copy)]
pub struct Targets {
    /// The data port; the application behind it must be an [`App`].
    pub data: SocketAddr,
    /// The port of the statistics, 9090 in Knative.
    pub metrics: Option<SocketAddr>,
    /// The port of `/wait-for-drain`, 8022 in Knative.
    pub admin: Option<SocketAddr>,
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
    /// The port it needs was not given.
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
/// If the rows cannot be read. What the implementation does wrong is no error but an outcome.
pub async fn run(targets: &Targets, app: &App) -> anyhow::Result<Outcomes> {
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

async fn ask(targets: &Targets, app: &App, row: &Row) -> anyhow::Result<Verdict> {
    let to = match row.port {
        Port::Data => Some(targets.data),
        Port::Metrics => targets.metrics,
        Port::Admin => targets.admin,
    };
    let (Some(to), true) = (to, !row.draining || targets.admin.is_some()) else {
        return Ok(Verdict::LeftOut);
    };
    let drain = match targets.admin.filter(|_| row.draining) {
        Some(admin) => Some(begin_drain(targets.data, admin).await?),
        None => None,
    };
    let reached = app.reached();
    let request = row.request();
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, wire::ask(to, &request));
    let answer = answer.await.context("no answer in time")??;
    let reached = app.reached() > reached;
    if let Some(drain) = drain {
        // Taken back a second after it was begun, so that the next row finds the process as it was.
        tokio::time::timeout(ANSWER_TIME_MAX, drain).await??;
    }
    let Err(wrong) = check(&row.expected, &answer, reached) else {
        return Ok(Verdict::Passed);
    };
    Ok(match &row.instead {
        Some(instead) if check(&instead.expected, &answer, reached).is_ok() => {
            Verdict::Differs(instead.why.clone())
        }
        _ => Verdict::Failed(wrong),
    })
}

/// Asks to wait for the drain, and waits until the process knows of it.
async fn begin_drain(
    data: SocketAddr,
    admin: SocketAddr,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let waiting = tokio::spawn(async move {
        let head = "GET /wait-for-drain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        // What comes of it is asked by a row of its own.
        drop(wire::ask(admin, head).await);
    });
    let probe = "GET / HTTP/1.1\r\nhost: a\r\nuser-agent: kube-probe/1\r\nk-network-probe: queue\r\nconnection: close\r\n\r\n";
    for _ in 0..DRAIN_LOOKS_MAX {
        if wire::ask(data, probe).await?.status == 503 {
            return Ok(waiting);
        }
    }
    bail!("it does not say that it drains while somebody waits for it")
}

/// Whether the answer, and what the application has seen, is as expected; else what is not.
fn check(expected: &Expected, answer: &Answer, reached: bool) -> Result<(), String> {
    if let Some(status) = expected.status
        && answer.status != status
    {
        return Err(format!("status {}, not {status}", answer.status));
    }
    if let Some(body) = &expected.body
        && answer.body != body.as_bytes()
    {
        let found = String::from_utf8_lossy(&answer.body);
        return Err(format!("body {found:?}, not {body:?}"));
    }
    for (name, value) in &expected.answer {
        let found = wire::fields(&answer.head, name);
        if found != [value.as_str()] {
            return Err(format!("answer: {name} is {found:?}, not {value:?}"));
        }
    }
    if let Some(wanted) = expected.reaches_app
        && wanted != reached
    {
        let word = if reached { "reaches" } else { "does not reach" };
        return Err(format!("it {word} the application"));
    }
    let seen = String::from_utf8_lossy(&answer.body);
    for (name, value) in &expected.seen {
        let found = wire::fields(&seen, name);
        if found != [value.as_str()] {
            return Err(format!(
                "the application sees {name} {found:?}, not {value:?}"
            ));
        }
    }
    for name in &expected.unseen {
        let found = wire::fields(&seen, name);
        if !found.is_empty() {
            return Err(format!(
                "the application sees {name} {found:?}, not nothing"
            ));
        }
    }
    Ok(())
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

    fn answer(status: u16, head: &str, body: &str) -> Answer {
        Answer {
            status,
            head: head.to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn an_answer_is_held_to_all_that_is_expected() {
        let expected = Expected {
            status: Some(200),
            body: Some("Host: a\r\n".to_owned()),
            answer: vec![("x-a".to_owned(), "1".to_owned())],
            reaches_app: Some(true),
            seen: vec![("host".to_owned(), "a".to_owned())],
            unseen: vec!["x-b".to_owned()],
        };
        let good = answer(200, "X-A: 1\r\n", "Host: a\r\n");
        assert_eq!(check(&expected, &good, true), Ok(()));
        for (answer, reached) in [
            (answer(503, "X-A: 1\r\n", "Host: a\r\n"), true),
            (answer(200, "X-A: 2\r\n", "Host: a\r\n"), true),
            (answer(200, "X-A: 1\r\nX-A: 1\r\n", "Host: a\r\n"), true),
            (answer(200, "X-A: 1\r\n", "Host: b\r\n"), true),
            (answer(200, "X-A: 1\r\n", "Host: a\r\n"), false),
        ] {
            assert!(check(&expected, &answer, reached).is_err(), "{answer:?}");
        }
        let hidden = Expected {
            unseen: vec!["x-b".to_owned()],
            ..Expected::default()
        };
        assert!(check(&hidden, &answer(200, "", "x-b: 1\r\n"), true).is_err());
    }

    #[test]
    fn every_row_can_be_read_and_has_a_name_of_its_own() {
        let rows = rows().unwrap();
        let names: std::collections::BTreeSet<_> =
            rows.iter().map(|row| (&row.section, &row.name)).collect();
        assert!(rows.len() > 30 && names.len() == rows.len());
    }
}
