//! Replicas over time, as a line of small bars for each variant.

use std::fmt::{self, Write};

use plimsoll_scale::simulation::Step;

use super::Played;
use crate::demo::numbers;

/// Bars of a line.
const BARS: usize = 72;

/// From nothing to the most.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a line shows.
type Value = fn(&Step) -> f64;

/// How the steps of a bar become one number.
type Sum = fn(&[f64]) -> f64;

/// Writes the lines, all of replicas to the same scale.
pub(super) fn write(text: &mut String, played: &[Played<'_>]) -> fmt::Result {
    let Some(first) = played.first() else {
        return Ok(());
    };
    let length = numbers::clock(first.outcome.length);
    let steps = first.outcome.timeline.steps();
    let requests = heights(steps, |step| step.requests_most, most);
    writeln!(
        text,
        "\nRequests at once, of A, from 0:00 to {length}; the most are {}",
        most(&requests)
    )?;
    writeln!(text, "   |{}|", bars(&requests, most(&requests)))?;
    let replicas = |one: &Played<'_>| {
        let there: Value = |step| step.ready + step.starting + step.draining;
        heights(one.outcome.timeline.steps(), there, mean)
    };
    let replicas: Vec<_> = played.iter().map(replicas).collect();
    let highest = replicas
        .iter()
        .map(|heights| most(heights))
        .fold(0.0, f64::max);
    writeln!(text, "Replicas; the highest bar is {highest:.1}")?;
    for (heights, letter) in replicas.iter().zip('A'..) {
        writeln!(text, "{letter}  |{}|", bars(heights, highest))?;
    }
    Ok(())
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// How high the bars are.
fn heights(steps: &[Step], value: Value, sum: Sum) -> Vec<f64> {
    let values: Vec<_> = steps.iter().map(value).collect();
    let bars = BARS.min(steps.len()).max(1);
    let part = |bar: usize| &values[bar * steps.len() / bars..(bar + 1) * steps.len() / bars];
    (0..bars).map(|bar| sum(part(bar))).collect()
}

fn bars(heights: &[f64], highest: f64) -> String {
    let level = |height: &f64| {
        // Whatever is there at all is to be seen.
        let share = height / highest.max(f64::MIN_POSITIVE);
        LEVELS[((share * 8.0).ceil() as usize).min(8)]
    };
    heights.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_share() {
        let steps: Vec<_> = (0..9)
            .map(|ready| Step {
                ready: f64::from(ready),
                ..Step::default()
            })
            .collect();
        let drawn = |steps: &[Step]| bars(&heights(steps, |step| step.ready, mean), 8.0);
        assert_eq!(drawn(&steps), " ▁▂▃▄▅▆▇█");
        assert_eq!(drawn(&[]), " ");
        assert_eq!(drawn(&[steps[8]; 1_000]), "█".repeat(BARS));
        let mixed: Vec<_> = steps.iter().cycle().take(720).copied().collect();
        assert_eq!(heights(&mixed, |step| step.ready, most), [8.0; BARS]);
    }
}
