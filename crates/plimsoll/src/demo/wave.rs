//! How the load swells and ebbs.

use std::f64::consts::TAU;
use std::time::Duration;

/// From crest to crest.
const PERIOD: Duration = Duration::from_secs(30);

/// The first crest: soon enough that nobody has left.
const CREST: Duration = Duration::from_secs(8);

/// The mean rate, as a part of what the app can do.
const MEAN: f64 = 0.67;

/// How far the crest is above the mean, and the trough below it. Together they are a little over 1:
/// the queue fills for some seconds, and drains.
const SWING: f64 = 0.36;

/// When the burst of each period begins: on the ebb, when there is room again.
const BURST: Duration = Duration::from_secs(20);

/// How long it lasts.
const BURST_LENGTH: Duration = Duration::from_millis(400);

/// What a burst adds, as a multiple of what the app can do: more than queue and slots take.
const BURST_HEIGHT: f64 = 2.7;

/// Requests per second at `elapsed`, in front of an app that can answer `capacity` requests per second.
pub(crate) fn arrival_rate(elapsed: Duration, capacity: f64) -> f64 {
    let phase = elapsed.as_secs_f64() % PERIOD.as_secs_f64();
    let tide = libm::cos((phase - CREST.as_secs_f64()) / PERIOD.as_secs_f64() * TAU);
    let burst = BURST.as_secs_f64();
    let in_burst = (burst..burst + BURST_LENGTH.as_secs_f64()).contains(&phase);
    capacity * (MEAN + SWING * tide + if in_burst { BURST_HEIGHT } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(step: Duration) -> Vec<f64> {
        let steps = PERIOD.as_millis() / step.as_millis();
        (0..steps)
            .map(|i| arrival_rate(step * u32::try_from(i).expect("few steps"), 100.0))
            .collect()
    }

    #[test]
    fn the_crest_is_over_the_capacity_and_the_trough_far_below() {
        assert!(arrival_rate(CREST, 100.0) > 102.0);
        assert!(arrival_rate(CREST + PERIOD / 2, 100.0) < 50.0);
        assert!(rates(Duration::from_millis(100)).iter().all(|&r| r > 0.0));
    }

    #[test]
    fn on_the_whole_there_is_less_than_the_app_can_do() {
        let rates = rates(Duration::from_millis(10));
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((60.0..90.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_burst_is_more_than_slots_and_queue_take_and_ends() {
        // With slots for 50 ms each and ten places in the queue for each, that is 0.55 s of work.
        let room = 100.0 * 0.05 * 11.0;
        let arrivals = arrival_rate(BURST, 100.0) * BURST_LENGTH.as_secs_f64();
        let answered = 100.0 * BURST_LENGTH.as_secs_f64();
        assert!(arrivals - answered > room, "{arrivals}");
        assert!(arrival_rate(BURST + BURST_LENGTH, 100.0) < 100.0);
    }

    #[test]
    fn every_period_is_like_the_first() {
        let at = Duration::from_secs(13);
        let (first, third) = (
            arrival_rate(at, 100.0),
            arrival_rate(at + PERIOD * 2, 100.0),
        );
        assert!((first - third).abs() < 1e-9);
    }
}
