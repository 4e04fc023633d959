//! One evaluation of Knative's autoscaler.

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::config::ScaleConfig;
use crate::decision::Reason;
use crate::window::MaxWindow;

/// How long a bucket of the window for the scale-down delay is: a tick.
const TICK: Duration = Duration::from_secs(2);

/// Averages of the metric over both windows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Averages {
    /// Over the whole window.
    pub stable: f64,
    /// Over the panic window.
    pub panic: f64,
}

/// What an evaluation says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// How many replicas there should be, before minimum and maximum.
    pub desired: u32,
    /// How many the load asks for, before rates, panic and delay.
    pub needed: u32,
    /// How much room there is beyond the target burst capacity, as in
    /// [`Decision`](crate::Decision::excess_burst_capacity).
    pub excess_burst_capacity: f64,
    /// Whether there is panic.
    pub panic: bool,
    /// Which rule gave the number.
    pub reason: Reason,
}

/// The decision engine of Knative's pod autoscaler, for one revision.
///
/// [`evaluate`](Self::evaluate) is its arithmetic, number by number. What becomes
/// of the result (minimum, maximum, initial scale, the last replica) is the
/// business of whoever owns the engine.
#[derive(Clone, Debug)]
pub struct KpaEngine {
    panic_since: Option<Tick>,
    max_panic: u32,
    delay: Option<MaxWindow>,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            desired: 0,
            needed: 0,
            excess_burst_capacity: 0.0,
            panic: false,
            reason: Reason::Initial,
        }
    }
}

impl KpaEngine {
    /// An engine that begins now, with so many replicas ready, if that is known.
    ///
    /// With more than one it begins in panic, so that a restart takes none away
    /// before a window has been seen.
    #[must_use]
    pub fn new(now: Tick, ready: Option<u32>, config: &ScaleConfig) -> Self {
        let ready = ready.unwrap_or(0);
        Self {
            panic_since: (ready > 1).then_some(now),
            max_panic: ready,
            delay: delay_window(config),
        }
    }

    /// Since when there has been panic, or when it was last renewed.
    #[must_use]
    pub const fn panic_since(&self) -> Option<Tick> {
        self.panic_since
    }

    /// The most replicas of this panic.
    #[must_use]
    pub const fn max_panic_replicas(&self) -> u32 {
        self.max_panic
    }

    /// Takes over another delay. In Knative that needs a restart.
    pub fn reconfigure(&mut self, config: &ScaleConfig) {
        match &mut self.delay {
            Some(delay) if !config.scale_down_delay.is_zero() => {
                delay.resize(config.scale_down_delay);
            }
            delay => *delay = delay_window(config),
        }
    }

    /// How many replicas there should be. `None`, and nothing has changed, if
    /// the number of ready replicas or the load is not known.
    pub fn evaluate(
        &mut self,
        now: Tick,
        config: &ScaleConfig,
        ready: Option<u32>,
        averages: Option<Averages>,
    ) -> Option<Evaluation> {
        let (ready, averages) = (ready?, averages?);
        let base = f64::from(ready.max(1));
        let up_cap = (config.scale_up_rate * base).ceil();
        let down_cap = if config.reachable {
            (base / config.scale_down_rate).floor()
        } else {
            0.0
        };
        let target = config.target_value();
        let want_stable = (averages.stable / target).ceil();
        let want_panic = (averages.panic / target).ceil();
        let limited = |want: f64| {
            let limited = want.max(down_cap).min(up_cap);
            let least = if want > 0.0 && config.activation_scale > 1 {
                f64::from(config.activation_scale)
            } else {
                0.0
            };
            // A conversion stops at the largest number there is.
            limited.max(least) as u32
        };
        let (stable, panic) = (limited(want_stable), limited(want_panic));
        self.feel(now, config, want_panic / base >= config.panic_threshold);
        let mut desired = stable;
        let mut reason = stable_reason(want_stable, stable, up_cap, down_cap);
        if self.panic_since.is_some() {
            self.max_panic = self.max_panic.max(stable).max(panic);
            desired = self.max_panic;
            reason = Reason::Panic;
        }
        if config.reachable
            && let Some(delay) = &mut self.delay
        {
            delay.record(now, desired);
            let most = delay.current().unwrap_or(desired);
            if most > desired {
                desired = most;
                reason = Reason::KeepAlive;
            }
        }
        Some(Evaluation {
            desired,
            needed: want_stable as u32,
            excess_burst_capacity: excess_burst_capacity(config, ready, averages.panic),
            panic: self.panic_since.is_some(),
            reason,
        })
    }

    /// Enters, renews or leaves the panic.
    fn feel(&mut self, now: Tick, config: &ScaleConfig, over: bool) {
        if over {
            self.panic_since = Some(now);
        } else if let Some(since) = self.panic_since
            && since.saturating_add(config.window) < now
        {
            self.panic_since = None;
            self.max_panic = 0;
        }
    }
}

/// How much room there is beyond the target burst capacity.
pub(crate) fn excess_burst_capacity(config: &ScaleConfig, ready: u32, load: f64) -> f64 {
    let target = config.target_burst_capacity;
    if target <= 0.0 {
        return target;
    }
    (f64::from(ready) * config.total() - target - load).floor()
}

fn stable_reason(want: f64, got: u32, up_cap: f64, down_cap: f64) -> Reason {
    if want > up_cap {
        Reason::ScaleUpRate
    } else if want < down_cap {
        Reason::ScaleDownRate
    } else if got == 0 {
        Reason::Idle
    } else if f64::from(got) > want {
        Reason::ActivationScale
    } else {
        Reason::Average
    }
}

/// Without a delay there is no window: one of a single tick would keep the
/// larger of two decisions in it.
fn delay_window(config: &ScaleConfig) -> Option<MaxWindow> {
    let delay = config.scale_down_delay;
    (!delay.is_zero()).then(|| MaxWindow::new(delay, TICK))
}
