//! `plimsoll simulate`: what would happen, in virtual time.
//!
//! The model and the autoscaler are those of `plimsoll-scale`. Here are the loads they are given, from a file
//! ([`trace`]) or made up ([`load`]), the settings that are compared ([`variant`]), and how the outcome is shown:
//! as a table, as lines of small bars, and as a drawing ([`table`], [`spark`], [`plot`]).

mod load;
mod plot;
mod spark;
mod table;
mod trace;
mod variant;

pub(crate) use load::{Kind, Load};
pub(crate) use variant::Variant;

use std::fmt::{self, Write};
use std::time::Duration;

use anyhow::Context;
use plimsoll_scale::simulation::{Outcome, Request, Setting, simulate};

use crate::cli::{self, Fault, SimulateSettings, Source};

/// Into how many steps the time is cut.
const STEPS: u32 = 600;

/// A variant, and what came of it.
struct Played<'a> {
    variant: &'a Variant,
    outcome: Outcome,
}

/// Simulates, and tells.
pub(crate) fn run(settings: &SimulateSettings) -> Result<(), Fault> {
    let mut text = String::new();
    let played = match &settings.source {
        Source::Trace(path) => {
            let requests = trace::read(path)?;
            let length = requests.last().map_or(Duration::ZERO, |last| last.arrival);
            let name = format!("trace {}", path.display());
            let play = |variant: &Variant| play(variant, length, requests.iter().copied());
            tell(&mut text, settings, &name, play)?
        }
        Source::Load(load) => {
            let play = |variant: &Variant| play(variant, load.length, load.requests());
            tell(&mut text, settings, &load.to_string(), play)?
        }
    };
    if let Some(path) = &settings.plot {
        let svg = plot::draw(&played).context("the plot cannot be drawn")?;
        std::fs::write(path, svg)
            .with_context(|| format!("{}: the plot cannot be written", path.display()))?;
    }
    cli::print(&text)
}

fn play(
    variant: &Variant,
    length: Duration,
    requests: impl IntoIterator<Item = Request>,
) -> Result<Outcome, Fault> {
    let setting = Setting {
        config: variant.config().clone(),
        start_up: variant.start_up(),
        until: length,
        step: length / STEPS,
    };
    // Checked when it was typed; so this is only for whoever changes that.
    simulate(&setting, requests).map_err(|error| Fault::Usage(error.to_string()))
}

/// Plays every variant, and writes what a person should see.
fn tell<'a>(
    text: &mut String,
    settings: &'a SimulateSettings,
    name: &str,
    play: impl Fn(&Variant) -> Result<Outcome, Fault>,
) -> Result<Vec<Played<'a>>, Fault> {
    let mut played = Vec::new();
    for variant in &settings.variants {
        let outcome = play(variant)?;
        played.push(Played { variant, outcome });
    }
    let write = |text: &mut String| {
        table::write(text, name, &played)?;
        spark::write(text, &played)?;
        let mut all = played.iter();
        all.try_for_each(|one| decisions(text, one, settings.decisions))
    };
    write(text).context("the outcome cannot be written")?;
    Ok(played)
}

/// The last changes of mind, with their reasons.
fn decisions(text: &mut String, played: &Played<'_>, count: usize) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    let log = &played.outcome.decisions;
    let skipped = log.iter().len().saturating_sub(count);
    writeln!(text, "\nDecisions of {}", played.variant.name())?;
    for decision in log.iter().skip(skipped) {
        let seconds = decision.at.as_nanos() as f64 / 1e9;
        writeln!(text, "{seconds:>10.3} s  {decision}")?;
    }
    Ok(())
}
