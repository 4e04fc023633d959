//! The gateway in a scenario of the lab: one backend that fails at once, among others that work.

use plimsoll_lab::compare::{Kind, Peer};
use plimsoll_lab::scenario::{Metric, Scenario};
use plimsoll_lab::wire::{self, Entrant, Place, Tuning};

const SCENARIO: &str = r#"
    id = "X"
    title = "One of four fails at once"
    origin = "this test"
    about = "From the first quarter of a second on, one backend answers 503 at once."
    seconds = 2
    arrivals = { process = "constant", per_second = 200 }
    client = { timeout_ms = 5000 }
    backends = [{ count = 4, slots = 64, service = { fixed_ms = 20 } }]
    faults = [{ first = 1, count = 1, from = 0.25, to = 3, what = { status = { code = 503, after_ms = 1 } } }]
    goals = [{ metric = "errors", most = 5 }]
"#;

#[test]
fn a_backend_that_fails_at_once_is_soon_left_alone() {
    let entrant = Entrant {
        peer: Peer {
            kind: Kind::Plimsoll,
            program: env!("CARGO_BIN_EXE_plimsoll").into(),
            extra: Vec::new(),
        },
        tuning: Tuning::Default,
    };
    let scenario = Scenario::parse(SCENARIO).unwrap();
    let score = wire::run(&scenario, &entrant, 1, Place::default()).unwrap();
    let figure = |metric| score.figure(metric).unwrap();
    let due = scenario.arrivals.moments(scenario.seconds, 1).count();
    assert_eq!(score.requests, due, "every request is scored");
    // Nothing is sent again: the first to meet it must fail, and of its share of 350 only a few may.
    let errors = figure(Metric::Errors);
    assert!((1.0..=5.0).contains(&errors), "{errors} failed");
    let share = figure(Metric::FaultyShare);
    assert!(share < 0.5, "it got {share} of its share");
}
