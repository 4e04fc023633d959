//! The windows, by the numbers of Knative's own.

use std::time::Duration;

use plimsoll_meter::Tick;
use plimsoll_scale::{LinearWindow, WeightedWindow};
use proptest::prelude::*;

/// A time in milliseconds from a whole second that is not the origin.
fn at(millis: i64) -> Tick {
    Tick::from_nanos((1_000_000 + millis) as u64 * 1_000_000)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn linear(window: u64) -> LinearWindow {
    LinearWindow::new(seconds(window), seconds(1))
}

/// What is written (second, value), and then what is read when (milliseconds).
type Step = (&'static [(i64, f64)], i64, Option<f64>);

#[test]
fn a_linear_window_of_five_seconds() {
    let steps: &[Step] = &[
        (&[(0, 1.0)], 0, Some(1.0)),
        (&[(1, 2.0), (2, 3.0), (3, 4.0), (4, 5.0)], 4_000, Some(3.0)),
        (&[], 3_600, Some(3.0)),
        (&[], 6_000, Some(4.0)),
        (&[], 10_000, None),
        (&[(6, 91.0)], 6_000, Some(20.6)),
        (&[(60, 1984.0)], 60_000, Some(1984.0)),
        (&[(57, 4.0)], 60_000, Some(497.0)),
        (&[(61, 5.0)], 61_000, Some(398.6)),
        (&[(58, 10.0)], 61_000, Some(400.6)),
        (&[(55, 10.0)], 61_000, Some(400.6)),
        (&[(56, 10.0)], 61_000, Some(400.6)),
        (&[(66, 10.0)], 66_000, Some(10.0)),
    ];
    let mut window = linear(5);
    for (writes, when, wanted) in steps {
        for &(second, value) in *writes {
            window.record(at(second * 1_000), value);
        }
        assert_eq!(
            window.average(at(*when)),
            *wanted,
            "{writes:?}, read {when}"
        );
    }
}

#[test]
fn the_order_of_writes_does_not_matter() {
    let mut window = linear(5);
    for second in (0..=8).rev() {
        window.record(at(second * 1_000), 5.0);
    }
    assert_eq!(window.average(at(5_000)), Some(5.0));

    let mut window = linear(5);
    for second in 0..=4 {
        window.record(at(second * 1_000), second as f64 + 1.0);
    }
    window.record(at(8_000), 2.0);
    assert_eq!(window.total(), 7.0);

    for order in [[0, 1, 2, 3, 4], [0, 3, 2, 1, 4]] {
        let mut window = linear(5);
        for _ in 0..5 {
            for second in order {
                for value in order {
                    window.record(at(second * 1_000), (second + value) as f64 / 5.0);
                }
            }
        }
        assert!((window.total() - 100.0).abs() < 1e-9);
    }
}

#[test]
fn what_falls_into_one_bucket_adds_up() {
    let mut window = linear(5);
    for (millis, value) in [(0, 1.0), (900, 10.0), (1_000, 1.0), (3_000, 1.0)] {
        window.record(at(millis), value);
    }
    assert_eq!(window.average(at(3_000)), Some(13.0 / 4.0));

    // The origin of these tests, 1,000 s, is the beginning of a bucket of 5 s too.
    let mut window = LinearWindow::new(seconds(10), seconds(5));
    for (millis, value) in [(0, 1.0), (3_000, 11.0), (6_000, 1.0)] {
        window.record(at(millis), value);
    }
    assert_eq!(window.average(at(6_000)), Some(6.5));
}

#[test]
fn a_linear_window_can_get_another_length() {
    let mut window = linear(5);
    for second in 0..=5 {
        window.record(at(second * 1_000), second as f64 + 1.0);
    }
    let now = at(5_000);
    assert_eq!((window.total(), window.average(now)), (20.0, Some(4.0)));
    window.resize(now, seconds(10));
    assert_eq!(window.buckets(), 10);
    assert_eq!((window.total(), window.average(now)), (20.0, Some(4.0)));
    window.record(at(6_000), 7.0);
    assert_eq!(
        (window.total(), window.average(at(6_000))),
        (27.0, Some(4.5))
    );
    for _ in 0..2 {
        window.resize(at(6_000), seconds(4));
        assert_eq!(window.buckets(), 4);
        assert_eq!(
            (window.total(), window.average(at(6_000))),
            (22.0, Some(5.5))
        );
    }
}

#[test]
fn buckets_need_not_be_seconds() {
    // From the origin, so that buckets of three seconds begin at 0.
    let at = |millis: u64| Tick::from_nanos(millis * 1_000_000);
    let mut window = LinearWindow::new(seconds(5), seconds(3));
    assert_eq!(window.buckets(), 2);
    for (second, value) in [10.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].into_iter().enumerate() {
        window.record(at(second as u64 * 1_000), value);
    }
    assert_eq!(window.total(), 22.0);
    window.resize(at(6_000), seconds(10));
    assert_eq!((window.buckets(), window.total()), (4, 22.0));
    window.record(at(9_300), 42.0);
    assert_eq!(window.total(), 64.0);
    window.resize(at(9_300), seconds(4));
    assert_eq!((window.buckets(), window.total()), (2, 49.0));
}

#[test]
fn another_length_does_not_revive_what_is_too_old_nor_age_what_is_young() {
    let mut window = linear(5);
    window.record(at(-60_000), 9.0);
    window.resize(at(0), seconds(10));
    assert_eq!(window.average(at(0)), None);
    window.record(at(0), 4.0);
    assert_eq!(
        window.average(at(0)),
        Some(4.0),
        "the first write was forgotten"
    );

    // One second of 10 stays an average of 10.
    let mut window = linear(60);
    window.record(at(0), 10.0);
    window.resize(at(0), seconds(120));
    assert_eq!(window.average(at(0)), Some(10.0));
}

#[test]
fn the_weights_of_a_weighted_window() {
    for (buckets, wanted) in [
        (1, 0.9999),
        (2, 0.99),
        (5, 0.841_51),
        (6, 0.784_56),
        (10, 0.601_89),
        (30, 0.264_36),
        (40, 0.205_67),
        (42, 0.2),
        (60, 0.2),
        (100, 0.2),
    ] {
        let alpha = WeightedWindow::new(seconds(buckets), seconds(1)).alpha();
        assert!(
            (alpha - wanted).abs() < 6e-6 || buckets == 42 && alpha < 0.2002,
            "{buckets}: {alpha}"
        );
    }
}

#[test]
fn a_weighted_window_of_five_seconds() {
    let close = |got: Option<f64>, wanted: f64| {
        let got = got.expect("there is data");
        assert!((got - wanted).abs() < 1e-9, "{got} is not {wanted}");
    };
    let mut window = WeightedWindow::new(seconds(5), seconds(1));
    let alpha = window.alpha();
    window.record(at(0), 2.0);
    close(window.average(at(0)), 2.0 * alpha);
    close(window.average(at(1_000)), 2.0 * alpha * (1.0 - alpha));
    close(window.normalized(at(0)), 2.0);
    window.record(at(1_000), 2.0);
    close(
        window.average(at(1_000)),
        2.0 * alpha * (1.0 - alpha) + 2.0 * alpha,
    );
    close(window.normalized(at(1_000)), 2.0);

    let mut window = WeightedWindow::new(seconds(5), seconds(1));
    for second in 0..=4 {
        window.record(at(second * 1_000), second as f64 + 2.0);
    }
    let got = window.average(at(4_000)).expect("there is data");
    assert_eq!((got * 1_000.0).round(), 5_812.0);
    assert_eq!(window.average(at(14_000)), None);
    window.resize(at(4_000), seconds(10));
    let ten = WeightedWindow::new(seconds(10), seconds(1)).alpha();
    assert_eq!(window.alpha(), ten);
}

proptest! {
    #[test]
    fn an_average_without_gaps_is_within_its_samples(
        window in 1_u64..30,
        values in prop::collection::vec(0.0_f64..1e6, 1..80),
        later in 0_i64..3_000,
    ) {
        let mut linear = linear(window);
        let mut weighted = WeightedWindow::new(seconds(window), seconds(1));
        for (second, &value) in values.iter().enumerate() {
            linear.record(at(second as i64 * 1_000), value);
            weighted.record(at(second as i64 * 1_000), value);
        }
        let kept = &values[values.len().saturating_sub(window as usize)..];
        let least = kept.iter().copied().fold(f64::INFINITY, f64::min) - 1e-3;
        let most = kept.iter().copied().fold(0.0, f64::max) + 1e-3;
        let now = at((values.len() as i64 - 1) * 1_000 + later);
        for average in [linear.average(now), weighted.normalized(now)].into_iter().flatten() {
            prop_assert!((least..=most).contains(&average), "{average} of {kept:?}");
        }
    }
}
