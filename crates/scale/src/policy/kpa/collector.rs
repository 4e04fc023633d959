//! The load of each second, as a queue-proxy would report it.

use plimsoll_meter::Tick;

use super::engine::Averages;
use crate::config::{Aggregation, Metric, ScaleConfig};
use crate::observation::Load;
use crate::window::{LinearWindow, WeightedWindow};

/// Nanoseconds of a period, and of a bucket.
const PERIOD: u64 = 1_000_000_000;

const SECOND: std::time::Duration = std::time::Duration::from_nanos(PERIOD);

/// Turns observations into one number a second, and keeps the windows of it.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    stable: Window,
    panic: Window,
    metric: Metric,
    /// Until when the period of now has been added up.
    at: Tick,
    /// Of the period of now: requests × nanoseconds, and requests that came.
    integral: f64,
    came: u64,
}

#[derive(Clone, Debug)]
enum Window {
    Linear(LinearWindow),
    Weighted(WeightedWindow),
}

impl Window {
    fn new(aggregation: Aggregation, length: std::time::Duration) -> Self {
        match aggregation {
            Aggregation::Linear => Self::Linear(LinearWindow::new(length, SECOND)),
            Aggregation::WeightedExponential => Self::Weighted(WeightedWindow::new(length, SECOND)),
        }
    }

    fn record(&mut self, at: Tick, value: f64) {
        match self {
            Self::Linear(window) => window.record(at, value),
            Self::Weighted(window) => window.record(at, value),
        }
    }

    /// An empty window is no load, as in Knative without somebody to ask.
    fn average(&self, now: Tick) -> f64 {
        match self {
            Self::Linear(window) => window.average(now),
            Self::Weighted(window) => window.average(now),
        }
        .unwrap_or(0.0)
    }

    fn resize(&mut self, now: Tick, length: std::time::Duration) {
        match self {
            Self::Linear(window) => window.resize(now, length),
            Self::Weighted(window) => window.resize(now, length),
        }
    }

    const fn aggregation(&self) -> Aggregation {
        match self {
            Self::Linear(_) => Aggregation::Linear,
            Self::Weighted(_) => Aggregation::WeightedExponential,
        }
    }
}

impl Collector {
    pub(super) fn new(now: Tick, config: &ScaleConfig) -> Self {
        Self {
            stable: Window::new(config.aggregation, config.window),
            panic: Window::new(config.aggregation, config.panic_window()),
            metric: config.metric,
            at: now,
            integral: 0.0,
            came: 0,
        }
    }

    pub(super) fn reconfigure(&mut self, now: Tick, config: &ScaleConfig) {
        if config.metric != self.metric || config.aggregation != self.stable.aggregation() {
            *self = Self::new(now, config);
            return;
        }
        self.stable.resize(now, config.window);
        self.panic.resize(now, config.panic_window());
    }

    /// Adds up what there was since `then`, and closes the periods that are over.
    pub(super) fn observe(&mut self, then: (Tick, &Load), now: (Tick, &Load), ready: u32) {
        let (_, before) = then;
        let (end, load) = now;
        let average = load
            .concurrency
            .unwrap_or_else(|| f64::from(before.in_system()));
        // Of a silence longer than any window the end is all that counts.
        let longest = 2 * 3_600 * PERIOD;
        let mut at = self
            .at
            .as_nanos()
            .max(end.as_nanos().saturating_sub(longest));
        while at < end.as_nanos() {
            let period_end = (at / PERIOD + 1).saturating_mul(PERIOD);
            let until = period_end.min(end.as_nanos());
            self.integral += average * (until - at) as f64;
            at = until;
            if at == period_end {
                self.close(Tick::from_nanos(at), ready);
            }
        }
        self.at = Tick::from_nanos(at.max(self.at.as_nanos()));
        self.came += load.arrivals.saturating_sub(before.arrivals);
    }

    /// What the first request at zero says, without waiting for the second to end.
    pub(super) fn report_at_once(&mut self, now: Tick, load: &Load) {
        let value = match self.metric {
            Metric::Concurrency => f64::from(load.in_system()),
            Metric::Rps => self.came as f64,
        };
        self.stable.record(now, value);
        self.panic.record(now, value);
        self.came = 0;
    }

    pub(super) const fn resume(&mut self, now: Tick, _load: &Load) {
        self.at = now;
        self.integral = 0.0;
        self.came = 0;
    }

    fn close(&mut self, at: Tick, ready: u32) {
        let value = match self.metric {
            Metric::Concurrency => self.integral / PERIOD as f64,
            Metric::Rps => self.came as f64,
        };
        self.integral = 0.0;
        self.came = 0;
        // Nobody to ask and nothing to say is no report.
        if ready > 0 || value > 0.0 {
            self.stable.record(at, value);
            self.panic.record(at, value);
        }
    }

    pub(super) fn averages(&self, now: Tick) -> Averages {
        Averages {
            stable: self.stable.average(now),
            panic: self.panic.average(now),
        }
    }
}
