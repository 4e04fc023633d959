//! What Kratos's own tests expect of its windows.

use super::*;

/// Steps of a script: milliseconds to wait, then what to add.
type Script<V> = &'static [(u64, &'static [V])];

fn play_counter(size: usize, bucket_millis: u64, script: Script<u64>) -> Vec<Vec<u64>> {
    let counter = counter(size, bucket_millis);
    let mut now = 0;
    for (wait, values) in script {
        now += wait;
        values.iter().for_each(|&v| counter.add(at_ms(now), v));
    }
    points_of_counter(&counter, at_ms(now)).unwrap_or_default()
}

fn play_gauge(script: Script<i64>) -> Vec<Vec<i64>> {
    let gauge = gauge(3, 1_000);
    let mut now = 0;
    for (wait, values) in script {
        now += wait;
        values.iter().for_each(|&v| gauge.add(at_ms(now), v));
    }
    points_of_gauge(&gauge, at_ms(now)).unwrap_or_default()
}

#[test]
fn rolling_counter_add() {
    let script: Script<u64> = &[
        (0, &[1]),
        (1_000, &[2, 3]),
        (1_000, &[4, 5, 6]),
        (1_000, &[7]),
    ];
    let rows: [&[&[u64]]; 5] = [
        &[&[], &[], &[]],
        &[&[], &[], &[1]],
        &[&[], &[1], &[5]],
        &[&[1], &[5], &[15]],
        &[&[5], &[15], &[7]],
    ];
    for (steps, expected) in rows.iter().enumerate() {
        // Kratos begins with all buckets before the first; the origin of time
        // has none before it, so begin later.
        let counter = RollingCounter::new(shape(3, 1_000), at_ms(60_000));
        let mut now = 60_000;
        for (wait, values) in &script[..steps] {
            now += wait;
            values.iter().for_each(|&v| counter.add(at_ms(now), v));
        }
        let points = points_of_counter(&counter, at_ms(now)).unwrap();
        assert_eq!(points, *expected, "after {steps} steps");
    }
}

#[test]
fn rolling_counter_reduce() {
    let script: Script<u64> = &[(0, &[1]), (1_000, &[1, 1]), (1_000, &[1, 1, 1])];
    let points = play_counter(3, 1_000, script);
    assert_eq!(points.concat().iter().sum::<u64>(), 6);
}

#[test]
fn rolling_gauge_add() {
    let script: Script<i64> = &[
        (60_000, &[1]),
        (1_000, &[2, 3]),
        (1_000, &[4, 5, 6]),
        (1_000, &[7]),
    ];
    let rows: [&[&[i64]]; 4] = [
        &[&[], &[], &[1]],
        &[&[], &[1], &[2, 3]],
        &[&[1], &[2, 3], &[4, 5, 6]],
        &[&[2, 3], &[4, 5, 6], &[7]],
    ];
    for (step, expected) in rows.iter().enumerate() {
        assert_eq!(play_gauge(&script[..=step]), *expected, "step {step}");
    }
}

#[test]
fn rolling_gauge_reset() {
    let gauge = gauge(3, 1_000);
    gauge.add(at_ms(60_000), 1);
    let rows: [(u64, Option<&[&[i64]]>); 5] = [
        (60_000, Some(&[&[], &[], &[1]])),
        (61_000, Some(&[&[], &[1]])),
        (62_000, Some(&[&[1]])),
        (63_000, None),
        (65_000, None),
    ];
    for (now, expected) in rows {
        let points = points_of_gauge(&gauge, at_ms(now));
        assert_eq!(
            points.as_deref(),
            expected
                .map(|rows| rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>())
                .as_deref(),
            "at {now} ms"
        );
    }
}

#[test]
fn rolling_gauge_reduce() {
    let script: Script<i64> = &[(0, &[0]), (1_000, &[0, 1]), (1_000, &[0, 1, 2])];
    assert_eq!(play_gauge(script).concat().iter().sum::<i64>(), 4);
}

/// Both versions of Kratos find the same data; where in memory, only they can tell.
#[test]
fn rolling_policy_add() {
    type Row = (usize, u64, Script<u64>, &'static [&'static [u64]]);
    let rows: [Row; 7] = [
        (10, 300, &[(400, &[1]), (201, &[1])], &[&[], &[1], &[1]]),
        (3, 300, &[(294, &[1]), (3_200, &[1])], &[&[], &[], &[1]]),
        (
            3,
            300,
            &[(305, &[1]), (3_200, &[1]), (6_400, &[1])],
            &[&[], &[], &[1]],
        ),
        (3, 100, &[(150, &[1]), (51, &[1])], &[&[], &[1], &[1]]),
        (3, 100, &[(94, &[1]), (250, &[1])], &[&[], &[], &[1]]),
        (
            3,
            100,
            &[(150, &[1]), (300, &[1]), (600, &[1])],
            &[&[], &[], &[1]],
        ),
        (3, 100, &[(150, &[1]), (300, &[1])], &[&[], &[], &[1]]),
    ];
    for (size, bucket_millis, script, expected) in rows {
        assert_eq!(
            play_counter(size, bucket_millis, script),
            expected,
            "{script:?}"
        );
    }
}

#[test]
fn add_with_timespan() {
    // Kratos tells them by place in memory: the oldest was overwritten by 4.
    let first: Script<u64> = &[(0, &[0]), (101, &[1]), (101, &[2]), (201, &[4])];
    assert_eq!(play_counter(3, 100, first), [vec![2], vec![], vec![4]]);
    let second: Script<u64> = &[(0, &[0]), (101, &[1]), (101, &[2]), (501, &[4])];
    assert_eq!(play_counter(3, 100, second), [vec![], vec![], vec![4]]);
}

#[test]
fn a_call_that_adds_nothing_is_counted() {
    let counter = counter(3, 100);
    counter.add(at_ms(0), 0);
    counter.add(at_ms(0), 5);
    assert_eq!(counter.tally(at_ms(0)), Tally { count: 2, sum: 5 });
    assert_eq!(counter.mean_per_call(at_ms(0)), Some(2.5));
    assert_eq!(counter.mean(at_ms(0)), Some(5.0));
}

#[test]
fn points_of_a_counter_are_buckets_that_were_added_to() {
    let counter = counter(10, 100);
    for (millis, value) in [(0, 3), (100, 1), (101, 1), (700, 10)] {
        counter.add(at_ms(millis), value);
    }
    let now = at_ms(950);
    assert_eq!((counter.min(now), counter.max(now)), (Some(2), Some(10)));
    assert_eq!(counter.mean(now), Some(5.0));
    assert_eq!(counter.timespan(now), 2);
    assert_eq!(counter.timespan(at_ms(100_000)), 1_000 - 7);
}

#[test]
fn adding_and_reducing_at_once_is_no_race() {
    let counter = counter(10, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..20_000).for_each(|i| counter.add(Tick::from_nanos(i * 5_000), 1)));
        for i in 0..2_000 {
            let now = Tick::from_nanos(i * 50_000);
            let sum = counter.reduce(now, |buckets| {
                buckets
                    .map(|b| (b.sum == b.count).then_some(b.sum))
                    .sum::<Option<u64>>()
            });
            assert_ne!(sum, Some(None), "a sum without its count");
        }
    });
    assert_eq!(counter.sum(at_ms(99)), 2_000);
}
