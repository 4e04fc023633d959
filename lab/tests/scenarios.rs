//! The balancer scenarios in virtual time: that the files are sound, and that runs repeat.

use plimsoll_balance::{POLICY_NAMES, Policy};
use plimsoll_lab::scenario::{Metric, Scenario};
use plimsoll_lab::sim::{self, Player};

fn all() -> Vec<Scenario> {
    Scenario::load_all(Scenario::folder()).expect("the files of the repository")
}

fn named(name: &str) -> Scenario {
    let found = all().into_iter().find(|scenario| scenario.name == name);
    found.expect("a file of that name")
}

#[test]
fn every_scenario_of_the_list_has_a_file() {
    let ids: Vec<String> = all().into_iter().map(|scenario| scenario.id).collect();
    for number in 1..=18 {
        assert!(ids.contains(&format!("S{number}")), "S{number}");
    }
}

#[test]
fn a_file_that_makes_no_sense_is_refused_with_the_reason() {
    let sound = std::fs::read_to_string(Scenario::folder().join("s04.toml")).unwrap();
    let rows = [
        ("seconds = 60", "seconds = 0", "seconds must be above zero"),
        ("per_second = 1000.0", "per_second = -1.0", "arrivals"),
        ("slots = 1000", "slots = 0", "slots must be at least 1"),
        (
            "first = 3",
            "first = 11",
            "fault 1 hits backends that do not exist",
        ),
        ("to = 45.0", "to = 5.0", "fault 1 ends before it begins"),
        ("mean = 167.0", "mean = 0.0", "is no time"),
        ("least = 0.9995", "leest = 0.9995", "leest"),
    ];
    assert!(Scenario::parse(&sound).is_ok());
    for (from, to, complaint) in rows {
        let error = Scenario::parse(&sound.replace(from, to)).expect_err(to);
        assert!(error.to_string().contains(complaint), "{to}: {error}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let scenario = named("s06-retry").for_seconds(8.0);
    for name in POLICY_NAMES {
        let player: Player = name.parse().expect("a name of its own");
        let figures = |seed| {
            let score = sim::run(&scenario, &player, seed).expect("accepted");
            [Metric::MeanMs, Metric::P999Ms, Metric::Errors].map(|metric| score.figure(metric))
        };
        assert_eq!(figures(1), figures(1), "{name}");
        assert_ne!(figures(1), figures(2), "{name}");
    }
}

#[test]
fn nothing_is_better_than_the_oracle() {
    for name in ["s01", "s02", "s04", "s16"] {
        let scenario = named(name).for_seconds(8.0);
        let oracle = sim::run_oracle(&scenario, 1);
        let random = sim::run(&scenario, &Policy::Random.into(), 1).expect("accepted");
        let mean = |score: &plimsoll_lab::scenario::Score| score.figure(Metric::MeanMs);
        assert!(mean(&oracle) <= mean(&random), "{name}");
    }
}

/// The goals of one scenario, with the default policy and one seed.
fn reaches_its_goals(scenario: &Scenario) {
    let player = Policy::default().into();
    let oracle = sim::run_oracle(scenario, 1);
    let score = sim::run_compared(scenario, &player, 1, &oracle).expect("accepted");
    for goal in &scenario.goals {
        let figure = score.figure(goal.metric);
        assert!(
            goal.met_by(figure),
            "{}: {goal}, got {figure:?}",
            scenario.id
        );
    }
}

macro_rules! goals {
    ($($test:ident: $scenario:expr;)*) => {$(
        #[test]
        fn $test() {
            reaches_its_goals(&$scenario);
        }
    )*};
}

goals! {
    equal_backends_are_treated_as_equal: named("s01").for_seconds(10.0);
    the_fast_backend_does_the_work: named("s02");
    a_slow_backend_is_left_alone_by_each_of_ten_gateways: named("s03").for_seconds(15.0);
    a_backend_that_becomes_slow_is_left_alone_at_once: named("s04");
    two_slow_backends_of_four_do_no_harm: named("s05").for_seconds(5.0);
    failing_at_once_attracts_nobody: named("s06");
    failing_at_once_is_seen_by_nobody_with_a_retry: named("s06-retry");
    a_rate_limit_is_respected: named("s07");
    retry_after_is_respected: named("s07-retry-after");
    a_stall_is_seen_before_anything_times_out: named("s08");
    a_stall_of_one_of_two_is_seen: named("s08-pair");
    a_gray_failure_of_one_of_three_is_found: named("s09");
    a_gray_failure_of_one_of_ten_is_found: named("s09-ten");
    a_cold_backend_joins_without_harm: named("s11");
    an_outage_of_all_ends_when_it_ends: named("s12");
    a_lost_zone_is_not_noticed: named("s15");
    big_requests_do_not_mislead: named("s16").for_seconds(20.0);
    one_at_a_time_is_exact: named("s17");
    long_polls_and_streams_do_not_mislead: named("s18").for_seconds(10.0);
}
