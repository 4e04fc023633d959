//! What the demonstration shows at one moment.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_proxy::StatsView;
use plimsoll_wire::{Answer, CodeClass};

use crate::demo::ports::Addresses;
use crate::demo::quantile::quantile;

/// Seconds of history that are kept and drawn.
pub(crate) const HISTORY_SECONDS: usize = 60;

/// Seconds over which latencies are taken. One alone holds too few requests for a 99th percentile.
pub(crate) const LATENCY_SECONDS: usize = 5;

/// Everything there is to show at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ViewState {
    pub(crate) addresses: Addresses,
    /// Since the demonstration began.
    pub(crate) uptime: Duration,
    /// Requests the app may work on at once.
    pub(crate) slots: usize,
    /// Those it works on now.
    pub(crate) slots_in_use: usize,
    /// Requests that may wait.
    pub(crate) queue_capacity: usize,
    /// Those that wait now.
    pub(crate) queue_depth: usize,
    /// Requests that have arrived and are not finished.
    pub(crate) in_flight: u64,
    /// The last one; `None` in the first second.
    pub(crate) report: Option<Report>,
    /// Of the last [`LATENCY_SECONDS`]; `None` before the first report, and when nothing finished.
    pub(crate) latency: Option<Latency>,
    /// Since the demonstration began.
    pub(crate) outcomes: Outcomes,
    /// The last [`HISTORY_SECONDS`], the oldest first.
    pub(crate) history: VecDeque<Second>,
}

/// What the sidecar reported of the last second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Report {
    /// Arrivals.
    pub(crate) requests_per_second: f64,
    /// Requests in flight, the mean weighted by time.
    pub(crate) average_concurrency: f64,
}

/// How long requests took, as well as the histograms tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latency {
    /// Half of them were finished in this time.
    pub(crate) p50: Duration,
    /// 99 of 100 were.
    pub(crate) p99: Duration,
    /// 99 of 100 waited no longer than this for a slot. `None` if none got one.
    pub(crate) wait_p99: Option<Duration>,
}

/// Finished requests, by how they were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcomes {
    /// 2xx from the app.
    pub(crate) ok: u64,
    /// 503: slots and queue were full.
    pub(crate) refused: u64,
    /// 504: a time limit passed.
    pub(crate) timed_out: u64,
    /// Everything else, such as clients that went away.
    pub(crate) other: u64,
}

/// What is remembered of one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Second {
    /// Slots in use, the mean of what was seen.
    pub(crate) slots: f64,
    /// The longest queue that was seen; the capacity if any request was refused.
    pub(crate) queue: usize,
    /// Requests refused.
    pub(crate) refused: u64,
}

// === impl Latency ===

impl Latency {
    /// Of the requests that finished between two moments; without `earlier`, of all.
    pub(crate) fn between(earlier: Option<&StatsView>, later: &StatsView) -> Option<Self> {
        let time = |q| {
            quantile(
                earlier.map(|view| &view.request_time),
                &later.request_time,
                q,
            )
        };
        let wait = quantile(
            earlier.map(|view| &view.queue_wait),
            &later.queue_wait,
            0.99,
        );
        Some(Self {
            p50: time(0.5)?,
            p99: time(0.99)?,
            wait_p99: wait,
        })
    }
}

// === impl Outcomes ===

impl Outcomes {
    /// Sums what was counted.
    pub(crate) fn of(stats: &StatsView) -> Self {
        let ok = stats.requests(Answer::App(CodeClass::Success));
        let refused = stats.requests(Answer::QueueFull);
        let timed_out = stats.requests(Answer::Timeout);
        Self {
            ok,
            refused,
            timed_out,
            other: stats.requests_total() - ok - refused - timed_out,
        }
    }

    /// However they were answered.
    pub(crate) fn total(&self) -> u64 {
        self.ok + self.refused + self.timed_out + self.other
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use plimsoll_meter::{Histogram, REQUEST_TIME_BOUNDS};

    use super::*;
    use crate::demo::ports::Address;

    /// Just begun.
    pub(crate) fn idle() -> ViewState {
        let address = |text: &str| Address {
            socket: text.parse().expect("an address"),
            instead_of: None,
        };
        ViewState {
            addresses: Addresses {
                data: address("127.0.0.1:8012"),
                metrics: address("127.0.0.1:9090"),
            },
            uptime: Duration::ZERO,
            slots: 8,
            slots_in_use: 0,
            queue_capacity: 80,
            queue_depth: 0,
            in_flight: 0,
            report: None,
            latency: None,
            outcomes: Outcomes::default(),
            history: VecDeque::new(),
        }
    }

    /// Twelve seconds in, with room left.
    pub(crate) fn busy() -> ViewState {
        let millis = Duration::from_millis;
        ViewState {
            uptime: millis(12_345),
            slots_in_use: 5,
            in_flight: 5,
            report: Some(Report {
                requests_per_second: 98.0,
                average_concurrency: 4.916_666,
            }),
            latency: Some(Latency {
                p50: millis(52),
                p99: millis(98),
                wait_p99: Some(Duration::from_micros(99)),
            }),
            outcomes: Outcomes {
                ok: 1_184,
                ..Outcomes::default()
            },
            history: (1..=12)
                .map(|i| Second {
                    slots: f64::from(i) / 2.0,
                    queue: 0,
                    refused: 0,
                })
                .collect(),
            ..idle()
        }
    }

    /// Two minutes in, with a full queue and usual ports that were taken.
    pub(crate) fn overloaded() -> ViewState {
        let mut state = ViewState {
            uptime: Duration::from_secs(123),
            slots_in_use: 8,
            queue_depth: 80,
            in_flight: 88,
            report: Some(Report {
                requests_per_second: 431.7,
                average_concurrency: 80.25,
            }),
            latency: Some(Latency {
                p50: Duration::from_millis(471),
                p99: Duration::from_millis(1_204),
                wait_p99: Some(Duration::from_millis(982)),
            }),
            outcomes: Outcomes {
                ok: 12_345,
                refused: 678,
                timed_out: 9,
                other: 1,
            },
            history: (1..=HISTORY_SECONDS)
                .map(|i| Second {
                    slots: 8.0_f64.min(i as f64 / 4.0),
                    queue: (i * 2).saturating_sub(40),
                    refused: (i as u64).saturating_sub(58),
                })
                .collect(),
            ..idle()
        };
        state.addresses.data.socket.set_port(40_123);
        state.addresses.data.instead_of = Some(8012);
        state
    }

    fn stats(counts: &[(Answer, u64)], times: &[u64]) -> StatsView {
        let histogram = Histogram::new(&REQUEST_TIME_BOUNDS).expect("rising bounds");
        let empty = histogram.snapshot();
        for &time in times {
            histogram.record(Duration::from_millis(time));
        }
        let mut requests = [0; Answer::COUNT];
        for &(answer, count) in counts {
            requests[answer.index()] += count;
        }
        StatsView {
            requests,
            errors: Default::default(),
            request_time: histogram.snapshot(),
            queue_wait: empty.clone(),
            upstream_time: empty,
            connections: 0,
            handshake_failures: 0,
        }
    }

    #[test]
    fn every_answer_is_in_one_outcome() {
        let view = stats(&Answer::ALL.map(|answer| (answer, 1)), &[]);
        let outcomes = Outcomes::of(&view);
        let expected = Outcomes {
            ok: 1,
            refused: 1,
            timed_out: 1,
            other: Answer::COUNT as u64 - 3,
        };
        assert_eq!(outcomes, expected);
        assert_eq!(outcomes.total(), view.requests_total());
    }

    #[test]
    fn latency_is_unknown_until_something_has_finished() {
        let idle = stats(&[], &[]);
        let busy = stats(&[], &[30; 100]);
        assert_eq!(Latency::between(None, &idle), None);
        assert_eq!(Latency::between(Some(&busy), &busy), None);
        let latency = Latency::between(Some(&idle), &busy).expect("100 have finished");
        // All in the bucket from 25 to 50 ms.
        assert_eq!(latency.p50, Duration::from_micros(37_500));
        assert_eq!(latency.wait_p99, None, "none of them got a slot");
    }
}
