//! Reads what the demonstration shows, from the same places as the metrics port.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_limit::Breaker;
use plimsoll_meter::{Clock, ConcurrencyMeter, Tick};
use plimsoll_proxy::{MonotonicClock, Stats, StatsView};
use plimsoll_wire::Answer;

use crate::demo::ports::Addresses;
use crate::demo::state::{
    HISTORY_SECONDS, LATENCY_SECONDS, Latency, Outcomes, Report, Second, ViewState,
};
use crate::report::Published;
use crate::sidecar::Serving;

/// What was seen since the last report.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    looks: usize,
    slots: usize,
    queue_most: usize,
}

/// Looks at a running sidecar.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: MonotonicClock,
    began: Tick,
    published: Published,
    reported_uptime: f64,
    stats: Stats,
    meter: Arc<ConcurrencyMeter>,
    breaker: Breaker,
    seen: Seen,
    /// At the last reports, the oldest first: one more than [`LATENCY_SECONDS`].
    reported: VecDeque<StatsView>,
    state: ViewState,
}

// === impl Watch ===

impl Watch {
    /// Begins to look at `serving`, whose limit is `breaker`.
    pub(crate) fn new(serving: &Serving, breaker: Breaker, addresses: Addresses) -> Self {
        let clock = serving.running.clock();
        let stats = serving.running.stats();
        let state = ViewState {
            addresses,
            uptime: Duration::ZERO,
            slots: breaker.concurrency(),
            slots_in_use: 0,
            queue_capacity: breaker.queue_depth(),
            queue_depth: 0,
            in_flight: 0,
            report: None,
            latency: None,
            outcomes: Outcomes::default(),
            history: VecDeque::with_capacity(HISTORY_SECONDS),
        };
        Self {
            began: clock.now(),
            clock,
            published: serving.published.clone(),
            reported_uptime: 0.0,
            reported: VecDeque::from([stats.view()]),
            stats,
            meter: Arc::clone(serving.running.meter()),
            breaker,
            seen: Seen::default(),
            state,
        }
    }

    /// What is there now.
    pub(crate) fn state(&self) -> &ViewState {
        &self.state
    }

    /// Looks again. True if there is a new report, about once a second.
    pub(crate) fn look(&mut self) -> bool {
        let now = self.clock.now();
        self.state.uptime = now.saturating_duration_since(self.began);
        self.state.slots_in_use = self.breaker.running();
        self.state.queue_depth = self.breaker.waiting();
        self.state.in_flight = self.meter.in_flight().total;
        self.seen
            .add(self.state.slots_in_use, self.state.queue_depth);
        let stats = self.stats.view();
        self.state.outcomes = Outcomes::of(&stats);

        let report = self.published.latest();
        let is_new = report.uptime_seconds > self.reported_uptime;
        if is_new {
            self.reported_uptime = report.uptime_seconds;
            self.state.report = Some(Report {
                requests_per_second: report.requests_per_second,
                average_concurrency: report.average_concurrency,
            });
            self.second_passed(stats);
        }
        is_new
    }

    fn second_passed(&mut self, stats: StatsView) {
        let earlier = self.reported.back();
        let refused_before = earlier.map_or(0, |earlier| earlier.requests(Answer::QueueFull));
        let refused = stats.requests(Answer::QueueFull) - refused_before;
        if self.state.history.len() == HISTORY_SECONDS {
            self.state.history.pop_front();
        }
        let second = self.seen.second(refused, self.state.queue_capacity);
        self.state.history.push_back(second);
        self.seen = Seen::default();
        self.state.latency = Latency::between(self.reported.front(), &stats);
        if self.reported.len() > LATENCY_SECONDS {
            self.reported.pop_front();
        }
        self.reported.push_back(stats);
    }
}

// === impl Seen ===

impl Seen {
    fn add(&mut self, slots: usize, queue: usize) {
        self.looks += 1;
        self.slots += slots;
        self.queue_most = self.queue_most.max(queue);
    }

    fn second(self, refused: u64, queue_capacity: usize) -> Second {
        // Nothing is refused unless the queue is full, even if nobody looked then.
        let queue = if refused > 0 {
            queue_capacity
        } else {
            self.queue_most
        };
        Second {
            slots: self.slots as f64 / self.looks.max(1) as f64,
            queue,
            refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_second_is_the_mean_of_the_slots_and_the_peak_of_the_queue() {
        let mut seen = Seen::default();
        for (slots, queue) in [(8, 10), (8, 40), (5, 0), (3, 0)] {
            seen.add(slots, queue);
        }
        let expected = Second {
            slots: 6.0,
            queue: 40,
            refused: 0,
        };
        assert_eq!(seen.second(0, 80), expected);
        let full = seen.second(3, 80);
        assert_eq!((full.queue, full.refused), (80, 3));
        assert_eq!(Seen::default().second(0, 80).slots, 0.0);
    }
}
