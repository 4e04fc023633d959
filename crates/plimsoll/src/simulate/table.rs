//! The outcome as a table.

use std::fmt::{self, Write};
use std::time::Duration;

use plimsoll_scale::simulation::Outcome;

use super::Played;
use crate::cli::values;
use crate::demo::numbers;

/// Characters of a line.
const WIDTH: usize = 80;

/// Characters of the first column.
const LABEL: usize = 25;

/// The most characters of any other column.
const COLUMN_MAX: usize = 18;

/// What a row shows of an outcome.
type Row = (&'static str, fn(&Outcome) -> String);

const ROWS: &[Row] = &[
    ("requests", |one| numbers::count(one.requests)),
    ("waited for a start", |one| numbers::count(one.cold)),
    ("waited, on average", |one| wait(one.waits.mean())),
    ("90 % waited at most", |one| wait(one.waits.quantile(0.9))),
    ("99 % waited at most", |one| wait(one.waits.quantile(0.99))),
    ("99.9 % waited at most", |one| {
        wait(one.waits.quantile(0.999))
    }),
    ("longest wait", |one| wait(one.waits.max())),
    ("replicas started", |one| numbers::count(one.starts)),
    ("most replicas at once", |one| {
        numbers::count(u64::from(one.most))
    }),
    ("replicas on average", |one| {
        let seconds = one.length.as_secs_f64();
        format!(
            "{:.2}",
            one.replica_seconds / seconds.max(f64::MIN_POSITIVE)
        )
    }),
    // Not negative, and far below the end of a u64.
    ("replica-seconds", |one| {
        numbers::count(one.replica_seconds.round() as u64)
    }),
];

/// Writes the load, the variants by letter, and the table.
pub(super) fn write(text: &mut String, name: &str, played: &[Played<'_>]) -> fmt::Result {
    writeln!(text, "Load: {name}")?;
    for (one, letter) in played.iter().zip('A'..) {
        let config = one.variant.config();
        let slots = config
            .concurrency
            .map_or_else(|| "any number".to_owned(), |slots| slots.to_string());
        let start_up = values::written(one.variant.start_up());
        writeln!(
            text,
            "{letter}: {} ({slots} at once, ready after {start_up})",
            one.variant.name()
        )?;
    }
    let column = ((WIDTH - LABEL) / played.len().max(1)).min(COLUMN_MAX);
    let mut line = |label: &str, cells: &mut dyn Iterator<Item = String>| {
        write!(text, "\n{label:<LABEL$}")?;
        for cell in cells {
            write!(text, "{cell:>column$}")?;
        }
        Ok::<(), fmt::Error>(())
    };
    line("", &mut ('A'..).take(played.len()).map(String::from))?;
    for (label, row) in ROWS {
        line(label, &mut played.iter().map(|one| row(&one.outcome)))?;
    }
    text.push('\n');
    Ok(())
}

fn wait(time: Option<Duration>) -> String {
    numbers::if_known(time, numbers::time)
}
