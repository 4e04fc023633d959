//! The simulator: balancers of the shipped crate, and backends and clients of a scenario, in virtual time.
//!
//! [`run`] plays a [`Scenario`] with one balancer and returns its [`Score`]. Everything that a balancer sees, it sees
//! as in the gateway: picks that become guards, outcomes, time as a [`Tick`](plimsoll_meter::Tick), `advance` ten
//! times a second, queued requests that are futures and are woken. What it balances over is made up: backends with
//! slots and a queue, service times from distributions, faults at their times. A minute of 1,000 requests a second
//! takes a fraction of a second, and the same seed gives the same run.
//!
//! [`run_oracle`] plays it with a balancer that knows everything, for comparison.
//!
//! ```
//! use plimsoll_lab::scenario::{Metric, Scenario};
//! use plimsoll_lab::sim;
//!
//! let all = Scenario::load_all(Scenario::folder())?;
//! let calm = all[0].for_seconds(2.0);
//! let score = sim::run(&calm, &"least-loaded".parse()?, 1)?;
//! assert_eq!(score.figure(Metric::Success), Some(1.0));
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # What it leaves out
//!
//! The network takes no time, and a balancer's choice takes none. A service time is drawn when the work begins and
//! does not change when the backend does. A backend that has been given up on works on, as most servers do.
//!
//! # Why not a library for simulations
//!
//! There are good ones. What is needed of one here is a heap of events, some 30 lines; the rest is this domain.

pub(crate) mod backend;
mod carry;
mod events;
mod gateway;
mod oracle;
mod player;
mod prequal;
mod suite;
mod world;

use anyhow::Result;
pub use oracle::run_oracle;
pub use player::Player;
pub use prequal::run_prequal;
pub use suite::run_all;

use crate::scenario::{Scenario, Score};
use world::World;

/// Plays a scenario with one balancer.
///
/// # Errors
///
/// If the balancer does not accept the scenario's settings.
pub fn run(scenario: &Scenario, player: &Player, seed: u64) -> Result<Score> {
    Ok(World::new(scenario, player, seed)?.play())
}

/// Plays a scenario with one balancer, and compares with the oracle and, if a goal asks for that, with the same run
/// without faults.
///
/// # Errors
///
/// If the balancer does not accept the scenario's settings.
pub fn run_compared(
    scenario: &Scenario,
    player: &Player,
    seed: u64,
    oracle: &Score,
) -> Result<Score> {
    let mut score = run(scenario, player, seed)?;
    score.compare_with_oracle(oracle);
    if scenario.is_compared_with_healthy() {
        score.compare_with_healthy(&run(&scenario.healthy(), player, seed)?);
    }
    Ok(score)
}
