//! What a balancer could do that knew everything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::scenario::{Arrivals, Draws, Fate, Record, Recorder, Scenario, Score};

/// The moments at which the slots of a backend become free, soonest first.
struct Slots(BinaryHeap<Reverse<Nanos>>);

/// Nanoseconds from the start: numbers that can be ordered.
type Nanos = u64;

/// Runs the scenario with an omniscient balancer: each request goes, when it comes, to the backend that will have
/// answered it first. It knows the work of every request before that is done, the slots and queues of every
/// backend, and which of them will fail. Join-shortest-queue with known service times.
///
/// It has no gateways, no time-outs and no limits of concurrency: those are means, and it needs none.
#[must_use]
pub fn run_oracle(scenario: &Scenario, seed: u64) -> Score {
    let mut slots: Vec<Slots> = (0..scenario.backend_count())
        .map(|backend| Slots::new(scenario.group(backend).slots))
        .collect();
    let mut recorder = Recorder::new(scenario);
    let mut serve = |number: u64, arrival: f64| {
        let draws = Scenario::draws(seed, number);
        let answered = answer(scenario, &mut slots, &mut recorder, arrival, &draws);
        recorder.record(Record {
            arrival,
            latency: answered - arrival,
            fate: Fate::Answered,
            class: scenario.class(&draws),
        });
        answered + scenario.body_time(&draws).as_secs_f64()
    };
    if let Arrivals::Closed { clients, requests } = scenario.arrivals {
        let mut free: BinaryHeap<Reverse<Nanos>> = (0..clients).map(|_| Reverse(0)).collect();
        for number in 0..requests {
            let Some(Reverse(at)) = free.pop() else { break };
            let over = serve(number as u64, seconds(at));
            free.push(Reverse(nanos(over)));
        }
    } else {
        let moments = scenario.arrivals.moments(scenario.seconds, seed);
        for (number, arrival) in moments.enumerate() {
            serve(number as u64, arrival);
        }
    }
    recorder.score()
}

/// Sends one request to where it is answered first; the moment at which it is.
fn answer(
    scenario: &Scenario,
    slots: &mut [Slots],
    recorder: &mut Recorder,
    arrival: f64,
    draws: &Draws,
) -> f64 {
    let mut best: Option<(f64, usize)> = None;
    // If nobody can answer well, the least wait there is.
    for anybody in [false, true] {
        for (backend, slots) in slots.iter().enumerate() {
            let condition = scenario.condition(backend, arrival);
            if !condition.answers() && !anybody {
                continue;
            }
            let begins = arrival.max(slots.soonest());
            let ends = begins + scenario.service_time(&condition, draws).as_secs_f64();
            if best.is_none_or(|(least, _)| ends < least) {
                best = Some((ends, backend));
            }
        }
        if best.is_some() {
            break;
        }
    }
    let (ends, backend) = best.unwrap_or((arrival, 0));
    slots[backend].occupy_until(ends + scenario.body_time(draws).as_secs_f64());
    recorder.attempt(arrival, backend, 1);
    ends
}

impl Slots {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| Reverse(0)).collect())
    }

    fn soonest(&self) -> f64 {
        self.0.peek().map_or(0.0, |Reverse(at)| seconds(*at))
    }

    fn occupy_until(&mut self, second: f64) {
        self.0.pop();
        self.0.push(Reverse(nanos(second)));
    }
}

fn nanos(second: f64) -> Nanos {
    (second * 1e9) as Nanos
}

fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Arrivals, Metric, example};

    #[test]
    fn it_goes_where_the_answer_comes_first() {
        let backends = "
            { count = 1, slots = 1, service = { fixed_ms = 10 } },
            { count = 1, slots = 1, service = { fixed_ms = 15 } },
            { count = 1, slots = 9, service = { fixed_ms = 1 } }";
        let stall = r#"{ first = 2, count = 1, from = 0, to = 20, what = "stall" }"#;
        let scenario = Scenario {
            arrivals: Arrivals::Constant { per_second: 150.0 },
            ..example(backends, stall)
        };
        let score = run_oracle(&scenario, 1);
        // At 150 a second the first cannot do all, together they can: nobody waits behind another for long.
        let p99 = score.figure(Metric::P99Ms).unwrap();
        assert!((10.0..=20.0).contains(&p99), "{p99}");
        assert_eq!(score.figure(Metric::FaultyShare), Some(0.0));
    }
}
