//! Windows against a list of all that was added.

use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

/// The rule about time in its shortest form: a list of slots and values.
#[derive(Default)]
struct List {
    added: Vec<(u64, u64)>,
    newest: u64,
    size: u64,
}

impl List {
    fn add(&mut self, slot: u64, value: u64) {
        self.newest = self.newest.max(slot);
        let is_in = slot + self.size > self.newest;
        self.added
            .push((if is_in { slot } else { self.newest }, value));
    }

    /// The values of each slot from the oldest to the newest written.
    fn buckets(&self, now_slot: u64) -> Vec<Vec<u64>> {
        let last = self.newest.max(now_slot);
        let first = (last + 1).saturating_sub(self.size);
        let of = |slot| {
            self.added
                .iter()
                .filter(move |(s, _)| *s == slot)
                .map(|(_, v)| *v)
        };
        (first..=self.newest)
            .map(|slot| of(slot).collect())
            .collect()
    }
}

#[derive(Clone, Debug)]
struct Step {
    move_micros: i64,
    value: u64,
    shard: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let moves = prop_oneof![
        4 => Just(0_i64),
        8 => 0..3_000_i64,
        2 => 0..100_000_i64,
        2 => -3_000..0_i64,
        1 => -200_000..200_000_i64,
    ];
    let values = prop_oneof![0..10_u64, 1_000..1_000_000_000_000_u64];
    let step = (moves, values, 0..4_usize).prop_map(|(move_micros, value, shard)| Step {
        move_micros,
        value,
        shard,
    });
    prop::collection::vec(step, 1..300)
}

/// Plays the steps, and after each has `check` compare.
fn play(
    size: usize,
    steps: &[Step],
    mut add: impl FnMut(Tick, &Step),
    mut check: impl FnMut(Tick, Vec<Vec<u64>>) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut list = List {
        size: size as u64,
        ..List::default()
    };
    let mut micros = 0_u64;
    for step in steps {
        micros = micros.saturating_add_signed(step.move_micros);
        let now = Tick::from_nanos(micros * 1_000);
        list.add(micros / 1_000, step.value);
        add(now, step);
        check(now, list.buckets(micros / 1_000))?;
        // And some time later, with nothing in between.
        let later = micros + 2_500;
        check(Tick::from_nanos(later * 1_000), list.buckets(later / 1_000))?;
    }
    Ok(())
}

proptest! {
    // Each case is hundreds of steps, and each step is checked twice.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_counter_is_the_sum_of_the_list(size in 1..12_usize, shards in 1..4_usize, steps in steps()) {
        let shards = NonZeroUsize::new(shards).unwrap();
        let counter = RollingCounter::with_shards(shape(size, 1), Tick::ZERO, shards);
        let add = |now, step: &Step| counter.add_to_shard(step.shard, now, step.value);
        play(size, &steps, add, |now, expected| {
            let tally = |values: &Vec<u64>| Tally {
                count: values.len() as u64,
                sum: values.iter().sum(),
            };
            let expected: Vec<_> = expected.iter().map(tally).collect();
            let buckets = counter.reduce(now, |b| b.collect::<Vec<_>>());
            prop_assert_eq!(&buckets.unwrap_or_default(), &expected);
            let points = expected.iter().filter(|b| b.count > 0).map(|b| b.sum);
            prop_assert_eq!(counter.min(now), points.clone().min());
            prop_assert_eq!(counter.max(now), points.clone().max());
            prop_assert_eq!(counter.sum(now), points.clone().sum::<u64>());
            prop_assert_eq!(counter.count(now), expected.iter().map(|b| b.count).sum::<u64>());
            let number = points.clone().count();
            let mean = (number > 0).then(|| points.sum::<u64>() as f64 / number as f64);
            prop_assert_eq!(counter.mean(now), mean);
            Ok(())
        })?;
    }

    #[test]
    fn a_gauge_has_the_first_points_and_the_sums_of_all(
        size in 1..6_usize,
        points_max in 0..5_usize,
        steps in steps(),
    ) {
        let gauge = RollingGauge::new(shape(size, 1), points_max, Tick::ZERO);
        let signed = |value: u64| value as i64 - 5;
        let add = |now, step: &Step| gauge.add(now, signed(step.value));
        play(size, &steps, add, |now, mut expected| {
            let all: Vec<_> = expected.concat().into_iter().map(signed).collect();
            prop_assert_eq!(gauge.count(now), all.len() as u64);
            prop_assert_eq!(gauge.sum(now), all.iter().copied().map(i128::from).sum::<i128>());
            prop_assert_eq!(gauge.min(now), all.iter().copied().min());
            prop_assert_eq!(gauge.max(now), all.iter().copied().max());
            expected.iter_mut().for_each(|values| values.truncate(points_max));
            let points: Vec<Vec<_>> = expected
                .into_iter()
                .map(|values| values.into_iter().map(signed).collect())
                .collect();
            prop_assert_eq!(points_of_gauge(&gauge, now).unwrap_or_default(), points);
            Ok(())
        })?;
    }

    #[test]
    fn a_summary_has_the_quantiles_of_the_list(size in 1..6_usize, steps in steps()) {
        let summary = RollingSummary::new(shape(size, 1), Tick::ZERO);
        let add = |now, step: &Step| summary.record(now, Duration::from_nanos(step.value));
        play(size, &steps, add, |now, expected| {
            let mut all = expected.concat();
            all.sort_unstable();
            let snapshot = summary.snapshot(now);
            prop_assert_eq!(snapshot.count(), all.len() as u64);
            prop_assert_eq!(summary.count(now), all.len() as u64);
            prop_assert_eq!(snapshot.sum().as_nanos(), all.iter().map(|&v| u128::from(v)).sum::<u128>());
            prop_assert_eq!(summary.mean(now), snapshot.mean());
            prop_assert_eq!(snapshot.min().map(|d| d.as_nanos() as u64), all.first().copied());
            prop_assert_eq!(snapshot.max().map(|d| d.as_nanos() as u64), all.last().copied());
            for q in [0.0, 0.5, 0.9, 0.99, 1.0] {
                let rank = ((q * all.len() as f64).ceil() as usize).max(1);
                let shown = snapshot.quantile(q).map(|d| d.as_nanos() as f64);
                let Some(&exact) = all.get(rank - 1) else {
                    prop_assert_eq!(shown, None);
                    continue;
                };
                let (exact, shown) = (exact as f64, shown.unwrap());
                let slack = if exact < 1_000.0 { 1_000.0 } else { exact * 0.02 };
                prop_assert!((shown - exact).abs() <= slack, "q {}: {} for {}", q, shown, exact);
            }
            Ok(())
        })?;
    }
}

/// Far more claims than a generation has numbers, with words that are written
/// once and never again.
#[test]
fn what_is_long_past_never_comes_back() {
    let summary = RollingSummary::new(shape(2, 1), Tick::ZERO);
    let gauge = RollingGauge::new(shape(2, 1), 300, Tick::ZERO);
    for sample in 0..300 {
        gauge.add(at_ms(0), sample);
    }
    for bin in 0..40 {
        summary.record(at_ms(0), Duration::from_nanos(1_500 << bin.min(29)));
    }
    let hour = Duration::from_secs(3_600);
    for turn in 1..2_000 {
        // Sometimes nothing happens for a long time, as long as 256 turns.
        let now = at_ms(2 * turn + 512 * (turn / 7));
        summary.record(now, hour);
        gauge.add(now, -1);
        // Bin by bin what it would be in a summary that knows of nothing else.
        let fresh = RollingSummary::new(shape(2, 1), now);
        fresh.record(now, hour);
        assert_eq!(summary.snapshot(now), fresh.snapshot(now), "turn {turn}");
        let points = points_of_gauge(&gauge, now).unwrap().concat();
        assert_eq!(points, [-1], "turn {turn}");
        assert_eq!((gauge.min(now), gauge.max(now)), (Some(-1), Some(-1)));
    }
}

/// Beyond what a bin counts one by one, a sample of the rest stands for it.
#[test]
fn a_bin_that_overflows_still_has_its_share() {
    let summary = RollingSummary::new(shape(1, 1_000), Tick::ZERO);
    // 600,000 of 1 ms and 200,000 of 9 ms, in a rhythm of four.
    for _ in 0..200_000 {
        for millis in [1, 1, 9, 1] {
            summary.record(at_ms(1), Duration::from_millis(millis));
        }
    }
    let snapshot = summary.snapshot(at_ms(1));
    assert_eq!(snapshot.count(), 800_000);
    let millis = |q: f64| snapshot.quantile(q).unwrap().as_secs_f64() * 1e3;
    assert!((millis(0.74) - 1.0).abs() < 0.02, "{}", millis(0.74));
    assert!((millis(0.76) - 9.0).abs() < 0.18, "{}", millis(0.76));
}

#[test]
fn a_quantile_is_asked_between_0_and_1() {
    let summary = RollingSummary::new(shape(1, 1_000), Tick::ZERO);
    summary.record(at_ms(1), Duration::from_millis(3));
    for q in [-0.1, 1.1, f64::NAN] {
        assert_eq!(summary.quantile(at_ms(1), q), None);
    }
    assert_eq!(
        summary.quantile(at_ms(1), 0.5),
        Some(Duration::from_millis(3))
    );
    assert!(format!("{summary:?} {:?}", summary.snapshot(at_ms(1))).contains("count: 1"));
}

#[test]
fn merged_snapshots_are_one_of_both() {
    let both = RollingSummary::new(shape(1, 1_000), Tick::ZERO);
    let [left, right] = [7, 11].map(|factor| {
        let summary = RollingSummary::new(shape(1, 1_000), Tick::ZERO);
        for i in 1..100 {
            let duration = Duration::from_micros(factor * i * i);
            summary.record(at_ms(1), duration);
            both.record(at_ms(1), duration);
        }
        summary.snapshot(at_ms(1))
    });
    let mut merged = left;
    merged.merge(&right);
    assert_eq!(merged, both.snapshot(at_ms(1)));
    merged.merge(&SummarySnapshot::default());
    assert_eq!(merged, both.snapshot(at_ms(1)));
}
