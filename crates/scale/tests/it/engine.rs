//! Knative's engine, by the numbers of its own tests.

use std::time::Duration;

use plimsoll_meter::Tick;
use plimsoll_scale::{Averages, Evaluation, KpaEngine, Metric, ScaleConfig};

fn at(millis: u64) -> Tick {
    Tick::from_nanos((1_000_000 + millis) * 1_000_000)
}

/// The settings that the rows have in common.
fn config(target: f64, burst: f64) -> ScaleConfig {
    ScaleConfig {
        target: Some(target / 0.75),
        utilization: 0.75,
        panic_threshold: 2.0,
        scale_up_rate: 10.0,
        scale_down_rate: 10.0,
        target_burst_capacity: burst,
        ..ScaleConfig::default()
    }
}

fn evaluate(
    engine: &mut KpaEngine,
    now: Tick,
    config: &ScaleConfig,
    ready: u32,
    (stable, panic): (f64, f64),
) -> Evaluation {
    engine
        .evaluate(now, config, Some(ready), Some(Averages { stable, panic }))
        .expect("all is known")
}

/// A call: averages of both windows, ready replicas, replicas wanted.
type Call = ((f64, f64), u32, u32);

/// The excess burst capacity as the formula has it.
fn excess(target: f64, burst: f64, ready: u32, panic: f64) -> f64 {
    match burst {
        0.0 => 0.0,
        -1.0 => -1.0,
        _ => (target / 0.75 * f64::from(ready) - burst - panic).floor(),
    }
}

#[test]
fn one_or_two_evaluations() {
    let rows: &[(f64, f64, &[Call])] = &[
        (10.0, 100.0, &[((0.0, 0.0), 1, 0)]),
        (181.0, -1.0, &[((21.0, 26.0), 1, 1)]),
        (10.0, 0.0, &[((50.0, 49.0), 1, 5)]),
        (10.0, 100.0, &[((50.0, 50.0), 1, 5)]),
        (10.0, 100.0, &[((50.0, 50.0), 5, 5)]),
        (10.0, 84.0, &[((50.0, 100.0), 1, 10)]),
        (10.0, 101.0, &[((50.0, 10.0), 1, 5), ((100.0, 10.0), 1, 10)]),
        (10.0, 98.0, &[((100.0, 100.0), 8, 10), ((50.0, 50.0), 8, 5)]),
        (10.0, 75.0, &[((1.0, 0.0), 1, 1), ((0.0, 0.0), 1, 0)]),
        (10.0, 81.0, &[((1000.0, 888.0), 0, 10)]),
        (
            10.0,
            61.0,
            &[((1000.0, 1001.0), 1, 10), ((1000.0, 1001.0), 10, 100)],
        ),
        (10.0, 61.0, &[((1.0, 1.0), 100, 10), ((1.0, 1.0), 10, 1)]),
    ];
    for (target, burst, calls) in rows {
        let config = config(*target, *burst);
        // As if it had run for long: no panic of the beginning.
        let mut engine = KpaEngine::new(at(0), None, &config);
        for (averages, ready, wanted) in *calls {
            let got = evaluate(&mut engine, at(0), &config, *ready, *averages);
            assert_eq!(
                got.desired, *wanted,
                "{target} {burst} {averages:?} {ready}"
            );
            let excess = excess(*target, *burst, *ready, averages.1);
            assert!((got.excess_burst_capacity - excess).abs() <= 1.0, "{got:?}");
        }
    }
    let first = config(10.0, 100.0);
    let got = evaluate(
        &mut KpaEngine::new(at(0), None, &first),
        at(0),
        &first,
        1,
        (0.0, 0.0),
    );
    assert_eq!(got.excess_burst_capacity, -87.0);
}

#[test]
fn requests_a_second_are_reckoned_alike() {
    let config = ScaleConfig {
        metric: Metric::Rps,
        ..config(10.0, 101.0)
    };
    let mut engine = KpaEngine::new(at(0), None, &config);
    assert_eq!(
        evaluate(&mut engine, at(0), &config, 1, (50.0, 50.0)).desired,
        5
    );
    assert_eq!(
        evaluate(&mut engine, at(0), &config, 1, (100.0, 99.0)).desired,
        10
    );
}

#[test]
fn in_panic_the_larger_of_both_windows_counts() {
    for ((stable, panic), wanted) in [((50.0, 30.0), 50), ((20.0, 30.0), 30)] {
        let config = config(1.0, 100.0);
        // Five ready at the beginning are a panic, five seconds ago.
        let mut engine = KpaEngine::new(at(0), Some(5), &config);
        assert_eq!(engine.max_panic_replicas(), 5);
        let got = evaluate(&mut engine, at(5_000), &config, 5, (stable, panic));
        assert_eq!((got.desired, got.panic), (wanted, true));
    }
}

#[test]
fn rates_limit_and_activation_scale_lifts() {
    let rows: [(ScaleConfig, (f64, f64), u32, u32); 5] = [
        (
            ScaleConfig {
                scale_up_rate: 1.1,
                ..config(1.0, 1982.0)
            },
            (3.0, 3.1),
            2,
            3,
        ),
        (
            ScaleConfig {
                scale_down_rate: 1.1,
                ..config(10.0, 1982.0)
            },
            (1.0, 1.0),
            100,
            90,
        ),
        (
            ScaleConfig {
                scale_down_rate: 1.1,
                reachable: false,
                ..config(10.0, 1982.0)
            },
            (1.0, 1.0),
            100,
            1,
        ),
        (
            ScaleConfig {
                activation_scale: 2,
                ..config(10.0, 75.0)
            },
            (0.0, 0.0),
            1,
            0,
        ),
        (
            ScaleConfig {
                activation_scale: 2,
                ..config(10.0, 75.0)
            },
            (1.0, 0.0),
            1,
            2,
        ),
    ];
    for (config, averages, ready, wanted) in rows {
        let mut engine = KpaEngine::new(at(0), None, &config);
        let got = evaluate(&mut engine, at(0), &config, ready, averages);
        assert_eq!(got.desired, wanted, "{averages:?} {ready}");
    }
}

#[test]
fn what_is_not_known_changes_nothing() {
    let config = config(10.0, 81.0);
    let mut engine = KpaEngine::new(at(0), None, &config);
    let load = Averages {
        stable: 1000.0,
        panic: 888.0,
    };
    assert_eq!(engine.evaluate(at(0), &config, None, Some(load)), None);
    assert_eq!(engine.evaluate(at(0), &config, Some(1), None), None);
    assert_eq!(
        (engine.panic_since(), engine.max_panic_replicas()),
        (None, 0)
    );
}

#[test]
fn other_settings_count_at_the_next_evaluation() {
    let before = config(10.0, 77.0);
    let mut engine = KpaEngine::new(at(0), None, &before);
    assert_eq!(
        evaluate(&mut engine, at(0), &before, 1, (100.0, 101.0)).desired,
        10
    );
    let after = config(1.0, 71.0);
    engine.reconfigure(&after);
    assert_eq!(
        evaluate(&mut engine, at(0), &after, 10, (100.0, 101.0)).desired,
        100
    );
}

#[test]
fn a_panic_ends_a_window_after_it_was_last_renewed() {
    let config = config(1.0, 98.0);
    let mut engine = KpaEngine::new(at(0), None, &config);
    assert_eq!(
        evaluate(&mut engine, at(0), &config, 10, (11.0, 25.0)).desired,
        25
    );
    assert_eq!(engine.panic_since(), Some(at(0)));
    let mut renewed = engine.clone();

    assert_eq!(
        evaluate(&mut engine, at(30_000), &config, 40, (30.0, 41.0)).desired,
        41
    );
    assert_eq!(engine.panic_since(), Some(at(0)));
    assert_eq!(
        evaluate(&mut engine, at(62_000), &config, 55, (50.0, 56.0)).desired,
        50
    );
    assert_eq!(engine.panic_since(), None);

    assert_eq!(
        evaluate(&mut renewed, at(30_000), &config, 40, (30.0, 80.0)).desired,
        80
    );
    assert_eq!(renewed.panic_since(), Some(at(30_000)));
}

#[test]
fn a_panic_grows_as_fast_as_replicas_become_ready() {
    let config = config(1.0, 101.0);
    let mut engine = KpaEngine::new(at(0), None, &config);
    let mut ready = 1;
    for (second, load) in [(1, 6), (2, 36), (3, 216), (4, 1296)] {
        let both = (f64::from(load), f64::from(load));
        let got = evaluate(&mut engine, at(second * 1_000), &config, ready, both);
        assert_eq!(got.desired, load as u32);
        assert_eq!(engine.panic_since(), Some(at(second * 1_000)));
        ready = load as u32;
    }
    let got = evaluate(&mut engine, at(5_000), &config, ready, (1296.0, 1296.0));
    assert_eq!((got.desired, engine.panic_since()), (1296, Some(at(4_000))));
}

#[test]
fn nothing_is_taken_away_in_panic() {
    let config = config(10.0, 93.0);
    let mut engine = KpaEngine::new(at(0), None, &config);
    assert_eq!(
        evaluate(&mut engine, at(0), &config, 1, (100.0, 100.0)).desired,
        10
    );
    assert_eq!(
        evaluate(&mut engine, at(0), &config, 10, (100.0, 1000.0)).desired,
        100
    );
    assert_eq!(
        evaluate(&mut engine, at(30_000), &config, 10, (1.0, 1.0)).desired,
        100
    );
    assert_eq!(
        evaluate(&mut engine, at(61_000), &config, 10, (1.0, 1.0)).desired,
        1
    );
}

#[test]
fn a_delay_holds_the_most_of_its_time() {
    let delayed = |delay: u64| ScaleConfig {
        panic_threshold: 100.0,
        scale_down_delay: Duration::from_secs(delay),
        ..config(10.0, 0.0)
    };
    let config = delayed(300);
    let mut engine = KpaEngine::new(at(0), Some(0), &config);
    let minute = 60_000;
    for (millis, load, wanted) in [
        (2_000, 40.0, 4),
        (5 * minute, 0.0, 4),
        (5 * minute + 2_000, 0.0, 0),
        (9 * minute, 40.0, 4),
        (10 * minute, 30.0, 4),
        (11 * minute, 0.0, 4),
        (14 * minute, 0.0, 3),
        (15 * minute, 0.0, 0),
    ] {
        let got = evaluate(&mut engine, at(millis), &config, 0, (load, load));
        assert_eq!(got.desired, wanted, "at {millis}");
    }
    assert_eq!(
        evaluate(&mut engine, at(16 * minute), &config, 0, (40.0, 40.0)).desired,
        4
    );
    let gone = ScaleConfig {
        reachable: false,
        ..config
    };
    assert_eq!(
        evaluate(&mut engine, at(16 * minute), &gone, 0, (0.0, 0.0)).desired,
        0
    );

    let none = delayed(0);
    let mut engine = KpaEngine::new(at(0), Some(0), &none);
    assert_eq!(
        evaluate(&mut engine, at(0), &none, 0, (40.0, 40.0)).desired,
        4
    );
    assert_eq!(
        evaluate(&mut engine, at(500), &none, 0, (20.0, 20.0)).desired,
        2
    );
}

#[test]
fn an_engine_that_finds_replicas_begins_in_panic() {
    let config = config(10.0, 100.0);
    for (ready, panic, most) in [
        (None, false, 0),
        (Some(0), false, 0),
        (Some(1), false, 1),
        (Some(2), true, 2),
    ] {
        let engine = KpaEngine::new(at(0), ready, &config);
        assert_eq!(engine.panic_since().is_some(), panic, "{ready:?}");
        assert_eq!(engine.max_panic_replicas(), most, "{ready:?}");
    }
}
