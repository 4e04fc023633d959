//! Every scenario with every balancer.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use parking_lot::Mutex;

use super::{Player, run_compared, run_oracle, run_prequal};
use crate::scenario::{Contender, Outcomes, Scenario};

/// Plays all `scenarios` with all `players`, on so many threads. The results are in the order of both, and the
/// same whatever the number of threads.
///
/// # Errors
///
/// If a balancer does not accept a scenario's settings.
pub fn run_all(
    scenarios: &[Scenario],
    players: &[Player],
    seed: u64,
    threads: usize,
) -> Result<Vec<Outcomes>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, scenarios.len().max(1)) {
            scope.spawn(|| {
                while let Some((place, scenario)) = take(&next, scenarios) {
                    let outcomes = run_one(scenario, players, seed);
                    done.lock().push((place, outcomes));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, outcomes)| outcomes).collect()
}

fn take<'a>(next: &AtomicUsize, scenarios: &'a [Scenario]) -> Option<(usize, &'a Scenario)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    scenarios.get(place).map(|scenario| (place, scenario))
}

fn run_one(scenario: &Scenario, players: &[Player], seed: u64) -> Result<Outcomes> {
    let oracle = run_oracle(scenario, seed);
    let prequal = scenario.prequal.then(|| run_prequal(scenario, seed));
    let mut contenders = Vec::new();
    for player in players {
        let mut score = run_compared(scenario, player, seed, &oracle)?;
        if let Some(prequal) = &prequal {
            score.compare_with_prequal(prequal);
        }
        contenders.push(Contender {
            name: player.name.clone(),
            score,
        });
    }
    Ok(Outcomes {
        scenario: scenario.clone(),
        contenders,
        oracle: Some(oracle),
        prequal,
    })
}
