//! Shares, evenness, and what happens when weights and eligibility change.

use std::collections::BTreeMap;
use std::thread;

use proptest::prelude::*;

use super::*;

fn anyone(_: usize) -> bool {
    true
}

fn picks(schedule: &Schedule, count: usize) -> Vec<usize> {
    (0..count)
        .map(|_| schedule.pick(anyone).expect("everybody is eligible"))
        .collect()
}

fn tally(picks: &[usize], endpoints: usize) -> Vec<usize> {
    let mut tally = vec![0; endpoints];
    for &pick in picks {
        tally[pick] += 1;
    }
    tally
}

/// The largest distance of any endpoint from its share after any number of picks.
fn largest_deviation(picks: &[usize], shares: &[f64]) -> f64 {
    let mut counts = vec![0.0_f64; shares.len()];
    let mut largest = 0.0_f64;
    for (made, &pick) in picks.iter().enumerate() {
        counts[pick] += 1.0;
        for (count, share) in counts.iter().zip(shares) {
            largest = largest.max((count - share * (made + 1) as f64).abs());
        }
    }
    largest
}

/// The largest number of picks between two of `index`.
fn largest_gap(picks: &[usize], index: usize) -> usize {
    let at = picks
        .iter()
        .enumerate()
        .filter(|(_, pick)| **pick == index)
        .map(|(at, _)| at);
    let at: Vec<usize> = at.collect();
    at.windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(picks.len())
}

#[test]
fn equal_weights_are_plain_round_robin() {
    for endpoints in 1..20 {
        let schedule = Schedule::new(&vec![3.7; endpoints], 42);
        let picks = picks(&schedule, endpoints * 50);
        for window in picks.windows(endpoints) {
            assert_eq!(tally(window, endpoints), vec![1; endpoints], "{picks:?}");
        }
    }
}

#[test]
fn picks_are_in_proportion_to_weights() {
    let table: &[&[f64]] = &[
        &[5.0, 1.0, 1.0],
        &[1.0, 65_535.0],
        &[0.001, 0.002, 0.003],
        &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1_000.0],
        &[1e300, 3e300],
        &[1e-300, 3e-300],
        &[0.1, 7.3, 2.9, 2.9, 11.0, 0.7],
    ];
    for weights in table {
        let schedule = Schedule::new(weights, 7);
        let picks = picks(&schedule, 200_000);
        let sum: f64 = weights.iter().map(|weight| weight / weights[0]).sum();
        let shares: Vec<f64> = weights
            .iter()
            .map(|weight| weight / weights[0] / sum)
            .collect();
        for (index, share) in shares.iter().enumerate() {
            let error = (schedule.shares()[index] - share).abs();
            assert!(
                error < 1e-12,
                "{weights:?}: {index} has {}",
                schedule.shares()[index]
            );
        }
        let deviation = largest_deviation(&picks, &shares);
        assert!(deviation < 3.0, "{weights:?}: {deviation}");
    }
}

#[test]
fn a_large_weight_is_spread_and_not_bunched() {
    // What nginx's algorithm is known for: a a b a c a a, and not a a a a a b c.
    let schedule = Schedule::new(&[5.0, 1.0, 1.0], 3);
    let picks = picks(&schedule, 700);
    let longest_run = picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
    assert!(longest_run <= Some(5), "{longest_run:?}");
    for window in picks.windows(14) {
        let tally = tally(window, 3);
        assert!((9..=11).contains(&tally[0]), "{window:?}");
    }
}

#[test]
fn weights_that_are_no_weights_count_as_the_mean() {
    let strange = [f64::NAN, f64::INFINITY, -1.0, 0.0, f64::NEG_INFINITY];
    for weight in strange {
        let schedule = Schedule::new(&[1.0, 3.0, weight], 1);
        assert!((schedule.shares()[2] - 1.0 / 3.0).abs() < 1e-12, "{weight}");
        let all = Schedule::new(&[weight; 4], 1);
        assert_eq!(tally(&picks(&all, 400), 4), [100; 4], "{weight}");
    }
}

#[test]
fn nobody_is_picked_from_nobody() {
    let schedule = Schedule::new(&[], 1);
    assert_eq!(schedule.pick(anyone), None);
    assert_eq!(schedule.with_weights(&[]).pick(anyone), None);
    assert_eq!(schedule.with_weights(&[1.0]).pick(anyone), Some(0));
    assert_eq!(Schedule::new(&[1.0; 100], 1).pick(|_| false), None);
}

#[test]
fn the_only_eligible_one_is_found_however_small_its_weight() {
    let mut weights = vec![1_000.0; 1_000];
    weights[617] = 0.001;
    let schedule = Schedule::new(&weights, 5);
    for _ in 0..100 {
        assert_eq!(schedule.pick(|index| index == 617), Some(617));
    }
}

#[test]
fn whoever_drops_out_does_not_burden_a_neighbour() {
    // A walk to the next on the ring would give one endpoint a double share.
    let schedule = Schedule::new(&[1.0; 10], 11);
    let picks: Vec<usize> = (0..900)
        .map(|_| schedule.pick(|index| index != 4).unwrap())
        .collect();
    let tally = tally(&picks, 10);
    for (index, count) in tally.into_iter().enumerate() {
        let wanted = if index == 4 { 0 } else { 100 };
        assert_eq!(count, wanted, "endpoint {index}");
    }
}

#[test]
fn few_eligible_ones_share_by_weight() {
    let mut weights = vec![1.0; 2_000];
    weights[3] = 3.0;
    let schedule = Schedule::new(&weights, 13);
    let mut counts = BTreeMap::new();
    for _ in 0..4_000 {
        let pick = schedule.pick(|index| index == 3 || index == 1_500).unwrap();
        *counts.entry(pick).or_insert(0) += 1;
    }
    // Three to one; four standard deviations of 4,000 draws are 110.
    assert!((2_890..=3_110).contains(&counts[&3]), "{counts:?}");
}

#[test]
fn chance_has_the_same_proportions() {
    let weights = [1.0, 2.0, 4.0, 0.5, 92.5];
    let schedule = Schedule::new(&weights, 5);
    let draw = |eligible: fn(usize) -> bool| {
        let picks: Vec<usize> = (0..200_000)
            .filter_map(|draw| schedule.pick_by_chance(mixed(9, draw), eligible))
            .collect();
        assert_eq!(picks.len(), 200_000);
        tally(&picks, weights.len())
    };
    for (index, &picks) in draw(anyone).iter().enumerate() {
        // Five standard deviations of the count.
        let expected = weights[index] * 2_000.0;
        let off = (picks as f64 - expected).abs();
        assert!(off < 5.0 * expected.sqrt(), "{index}: {picks}");
    }
    let rare = draw(|index| index == 3);
    assert_eq!(rare, [0, 0, 0, 200_000, 0]);
    assert_eq!(schedule.pick_by_chance(7, |_| false), None);
}

#[test]
fn two_threads_together_pick_what_one_would() {
    const PICKS: usize = 30_000;
    let weights = [1.0, 2.0, 3.0, 0.5, 20.0];
    let alone = tally(
        &picks(&Schedule::new(&weights, 9), 2 * PICKS),
        weights.len(),
    );
    let shared = Schedule::new(&weights, 9);
    let of_threads = thread::scope(|scope| {
        let threads = [0, 1].map(|_| scope.spawn(|| picks(&shared, PICKS)));
        threads.map(|thread| tally(&thread.join().unwrap(), weights.len()))
    });
    let [first, second] = of_threads;
    for (index, alone) in alone.into_iter().enumerate() {
        // Threads may differ from one in what each holds when it stops: a number or two.
        let together = first[index] + second[index];
        assert!(
            together.abs_diff(alone) <= 2,
            "{index}: {together}, alone {alone}"
        );
    }
}

#[test]
fn other_seeds_have_other_orders() {
    let orders: Vec<Vec<usize>> = (0..50)
        .map(|seed| picks(&Schedule::new(&[1.0; 10], seed), 10))
        .collect();
    let mut first = vec![0; 10];
    for order in &orders {
        first[order[0]] += 1;
    }
    assert!(
        first.iter().all(|&count| count < 20),
        "all begin alike: {first:?}"
    );
}

#[test]
fn a_replaced_schedule_continues() {
    let cell = ScheduleCell::new(&[1.0; 5], 3);
    let mut counts = [0; 5];
    for round in 0..1_000 {
        // Fewer picks than endpoints between two changes: what is lost now is lost for good.
        for _ in 0..3 {
            counts[cell.pick(anyone).unwrap()] += 1;
        }
        let wobble = 1.0 + 0.01 * f64::from(round % 7);
        cell.set_weights(&[1.0, wobble, 1.0, 1.0, 1.0]);
    }
    // 3,000 picks; the mean of the wobble is 1.03.
    assert!((cell.shares()[0] - 0.2).abs() < 0.01);
    assert!(
        counts.iter().all(|&count| (590..=625).contains(&count)),
        "{counts:?}"
    );
}

fn weights() -> impl Strategy<Value = Vec<f64>> {
    let weight = prop_oneof![
        3 => 0.5..2.0,
        2 => 0.01..10.0,
        1 => (0..16_u32).prop_map(|exponent| f64::from(1 << exponent)),
    ];
    prop::collection::vec(weight, 1..40)
}

proptest! {
    #[test]
    fn no_endpoint_is_ever_far_from_its_share(weights in weights(), seed: u64) {
        let schedule = Schedule::new(&weights, seed);
        let shares = schedule.shares();
        let picks = picks(&schedule, 4_000);
        // At most one pick of its own rounding, one of the part of a turn, and its share of the others'.
        let others = 2.0 * weights.len() as f64;
        for (index, share) in shares.iter().enumerate() {
            let of_one: Vec<usize> = picks.iter().map(|&pick| usize::from(pick != index)).collect();
            let deviation = largest_deviation(&of_one, &[*share, 1.0 - share]);
            prop_assert!(deviation <= 2.0 + share * others, "{} of share {}: {}", index, share, deviation);
        }
    }

    #[test]
    fn nobody_waits_long_beyond_its_turn(weights in weights(), seed: u64) {
        let schedule = Schedule::new(&weights, seed);
        let picks = picks(&schedule, 20_000);
        for index in 0..weights.len() {
            let share = schedule.shares()[index];
            // One turn more than fair, and a turn has at most two picks per endpoint.
            let bound = 1.0 / share + 2.0 * weights.len() as f64 + 4.0;
            if bound < 10_000.0 {
                let gap = largest_gap(&picks, index);
                prop_assert!(gap as f64 <= bound, "{} of share {}: {}", index, share, gap);
            }
        }
    }

    #[test]
    fn the_same_weights_again_change_nothing(
        weights in weights(),
        rounds in prop::collection::vec(0..60_usize, 1..60),
        seed: u64,
    ) {
        let untouched = Schedule::new(&weights, seed);
        let mut renewed = Schedule::new(&weights, seed);
        for count in rounds {
            prop_assert_eq!(picks(&renewed, count), picks(&untouched, count));
            renewed = renewed.with_weights(&weights);
        }
    }

    #[test]
    fn changes_of_weight_starve_nobody(
        rounds in prop::collection::vec((prop::collection::vec(0.2..5.0, 8), 1..40_usize), 1..200),
        seed: u64,
    ) {
        let mut schedule = Schedule::new(&[1.0; 8], seed);
        let mut expected = [0.0; 8];
        let mut counts = [0.0; 8];
        for (weights, picks) in rounds {
            schedule = schedule.with_weights(&weights);
            for _ in 0..picks {
                counts[schedule.pick(anyone).unwrap()] += 1.0;
            }
            for (index, expected) in expected.iter_mut().enumerate() {
                *expected += picks as f64 * schedule.shares()[index];
            }
        }
        for (index, (count, expected)) in counts.iter().zip(expected).enumerate() {
            prop_assert!((count - expected).abs() < 30.0, "{}: {} for {}", index, count, expected);
        }
    }
}
