//! Kratos's p2c, for comparison: the better of two random endpoints by a load
//! that grows with the square root of latency.
//!
//! The formula is that of the first version's default client balancer, in
//! floating point, for the original's integers never let an endpoint recover at
//! a high rate. *load = cpu × (√lag + 1) × in flight ÷ (success × weight)*, lag
//! in nanoseconds, cpu in thousandths, in flight with the request itself.
//! Latency and success rate are averages over 600 ms.
//!
//! What it does not have of the original: a loser that is sent a request
//! because it had none for 3 s. `trial.rs` and ejection do that better. The
//! second and third draws, while both of a pair are unwell, are there.

use std::time::Duration;

use plimsoll_meter::{Decay, Ewma, Sample};

use crate::learned::{AtomicF32, Ended};
use crate::outcome::Outcome;

/// The time constant of both averages.
pub(crate) const TIME_CONSTANT: Duration = Duration::from_millis(600);

/// Processor use of an endpoint that has not told, in thousandths.
const CPU_DEFAULT: f32 = 500.0;

/// Processor use from which an endpoint is unwell, in thousandths.
const CPU_UNWELL: f32 = 900.0;

/// The success rate up to which an endpoint is unwell.
const SUCCESS_UNWELL: f64 = 0.5;

/// The least success rate by which a load is divided: 1,000 times the load.
const SUCCESS_MIN: f64 = 0.001;

/// What the policy knows about an endpoint.
pub(crate) struct P2cState {
    /// Seconds.
    lag: Ewma,
    success: Ewma,
    /// Thousandths.
    cpu: AtomicF32,
}

impl P2cState {
    pub(crate) fn new() -> Self {
        let decay = Decay::new(TIME_CONSTANT).expect("600 ms is between 1 ms and a day");
        Self {
            lag: Ewma::with_decay(decay),
            success: Ewma::with_decay(decay),
            cpu: AtomicF32::new(CPU_DEFAULT),
        }
    }

    /// Learns from a request that has ended.
    pub(crate) fn learn(&self, ended: &Ended) {
        if ended.outcome == Outcome::Cancelled {
            return;
        }
        self.lag.record(ended.now, ended.latency());
        self.success
            .record(ended.now, ended.outcome == Outcome::Success);
    }

    /// The endpoint has said how busy its processor is, as a fraction.
    pub(crate) fn hear(&self, cpu: f64) {
        if let Some(cpu) = Sample::new(cpu * 1e3).filter(|cpu| cpu.get() > 0.0) {
            self.cpu.store(cpu.get());
        }
    }

    /// The load of the endpoint with `in_flight` requests and a share of `share`.
    pub(crate) fn load(&self, in_flight: u32, share: f32) -> f32 {
        let lag = self.lag.mean().unwrap_or(0.0) * 1e9;
        let success = self.success.mean().unwrap_or(1.0).max(SUCCESS_MIN);
        let load = self.cpu.load() * (lag.sqrt() as f32 + 1.0) * (in_flight + 1) as f32;
        load / (success as f32 * share)
    }

    /// Whether it is fit to end the drawing.
    pub(crate) fn is_well(&self) -> bool {
        self.cpu.load() < CPU_UNWELL && self.success.mean().is_none_or(|rate| rate > SUCCESS_UNWELL)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use plimsoll_meter::Tick;

    use super::*;
    use crate::outcome::FailureKind;

    fn ended(millis: u64, outcome: Outcome) -> Ended {
        Ended {
            began: Tick::ZERO,
            head: None,
            now: Tick::from_nanos(millis * 1_000_000),
            outcome,
            probe: false,
        }
    }

    #[test]
    fn load_grows_with_the_root_of_latency_and_with_what_runs() {
        let state = P2cState::new();
        assert_eq!(state.load(0, 1.0), 500.0, "a fresh endpoint");
        state.learn(&ended(10, Outcome::Success));
        let load = state.load(0, 1.0);
        assert!((1.58e6..1.59e6).contains(&load), "{load}");
        assert_eq!(state.load(1, 2.0), load);
    }

    #[test]
    fn failing_makes_an_endpoint_unwell_and_dear() {
        let state = P2cState::new();
        state.learn(&ended(10, Outcome::Success));
        let before = state.load(0, 1.0);
        for _ in 0..9 {
            state.learn(&ended(10, Outcome::Failure(FailureKind::Error)));
        }
        assert!(!state.is_well());
        assert!(state.load(0, 1.0) > 9.0 * before);
        state.learn(&ended(1, Outcome::Cancelled));
        assert!(
            state.load(0, 1.0) > 9.0 * before,
            "a cancelled request tells nothing"
        );
    }

    #[test]
    fn nonsense_about_the_processor_is_ignored() {
        let state = P2cState::new();
        for cpu in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 1e300] {
            state.hear(cpu);
            assert_eq!(state.load(0, 1.0), 500.0, "{cpu}");
        }
        state.hear(0.95);
        assert!(!state.is_well());
    }
}
