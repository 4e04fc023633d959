//! A day of ten million requests, to see how long the simulation of it takes.
//!
//! `time cargo run --release -p plimsoll-scale --example day`

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_scale::simulation::{Request, Setting, simulate};
use plimsoll_scale::{Policy, ScaleConfig};

const REQUESTS: u64 = 10_000_000;
const DAY: Duration = Duration::from_secs(86_400);

#[expect(clippy::print_stdout, reason = "an example tells what came of it")]
fn main() {
    let arrival = |index: u64| {
        // From 0 at midnight to twice the average at noon.
        let share = index as f64 / REQUESTS as f64;
        let tau = std::f64::consts::TAU;
        DAY.mul_f64(share - (share * tau).sin() / tau * 0.5)
    };
    for policy in [Policy::Plimsoll, Policy::Kpa] {
        let setting = Setting {
            config: ScaleConfig {
                policy,
                concurrency: NonZeroU32::new(10),
                ..ScaleConfig::default()
            },
            start_up: Duration::from_secs(2),
            until: DAY,
            step: DAY / 600,
        };
        let requests = (0..REQUESTS).map(|index| Request {
            arrival: arrival(index),
            duration: Duration::from_millis(100 + index * 7_919 % 900),
        });
        match simulate(&setting, requests) {
            Ok(outcome) => println!(
                "{}: {} requests, {} waited for a start, {} starts, {:.0} replica-seconds",
                policy.as_str(),
                outcome.requests,
                outcome.cold,
                outcome.starts,
                outcome.replica_seconds
            ),
            Err(error) => println!("{error}"),
        }
    }
}
