//! The rows of Kratos's tests, and of what its code computes.

use super::*;

/// An endpoint that finished `requests` requests of the same latency.
fn observed(errors: u64, requests: u64, latency: u64, cpu: u64) -> Observed {
    Observed {
        errors,
        requests,
        latency_sum: latency * requests,
        latency_count: requests,
        cpu,
    }
}

fn tally(picker: &mut Picker, picks: usize) -> Vec<usize> {
    let mut tally = vec![0; picker.nodes.len()];
    for _ in 0..picks {
        tally[picker.pick(|_| true).expect("everybody is eligible")] += 1;
    }
    tally
}

fn effective(picker: &Picker) -> Vec<i64> {
    picker.weights().map(|(effective, _)| effective).collect()
}

#[test]
fn scores_and_weights_of_the_table() {
    // successes, latency in 0.1 ms, permille, score, weight at a static weight of 10
    let table = [
        (1.0, 200, 500, 100.000, 1_000),
        (0.5, 200, 500, 70.711, 707),
        (0.0, 200, 500, 31.623, 316),
        (1.0, 2_000, 500, 31.623, 316),
        (1.0, 200, 900, 74.536, 745),
        (1.0, 200, 100, 223.607, 2_236),
        (1.0, 1, 500, 1_414.214, 14_142),
        (1.0, 2, 500, 1_000.0, 10_000),
        (0.0, 2, 500, 316.228, 3_162),
    ];
    for (success, latency, cpu, expected, weight) in table {
        let errors = 100 - (100.0 * success) as u64;
        let row = observed(errors, 100, latency, cpu);
        let got = score(row).unwrap();
        assert!((got - expected).abs() < 0.000_5, "{row:?}: {got}");

        let mut picker = Picker::new([10, 10]);
        assert!(picker.update_if_due(Tick::ZERO, |_| row));
        assert_eq!(effective(&picker), [weight, weight], "{row:?}");
    }
}

#[test]
fn few_requests_are_not_judged_as_hard() {
    assert_eq!(
        score(observed(5, 5, 200, 500)),
        score(observed(10, 10, 200, 500))
    );
    let of_few = score(observed(4, 5, 200, 500)).unwrap();
    let of_many = score(observed(85, 100, 200, 500)).unwrap();
    assert!((of_few - (0.2_f64 * 1e4).sqrt()).abs() < 1e-9, "{of_few}");
    assert!(
        (of_many - (0.15_f64 * 1e4).sqrt()).abs() < 1e-9,
        "{of_many}"
    );
}

/// Two healthy endpoints of 20 ms and one that fails in 0.2 ms, 100 requests each.
fn with_a_failing_one(errors: u64) -> Picker {
    let mut picker = Picker::new([10, 10, 10]);
    let rows = [
        observed(0, 100, 200, 500),
        observed(0, 100, 200, 500),
        observed(errors, 100, 2, 500),
    ];
    assert!(picker.update_if_due(Tick::ZERO, |index| rows[index]));
    picker
}

#[test]
fn r01_failing_fast_wins_traffic() {
    // The two rows that the corrected form has to turn round, here as Kratos has them. One of
    // Kratos's healthy endpoints took 20.01 ms, whence its weight of 999.
    let slower = Observed {
        latency_sum: 20_004,
        ..observed(0, 100, 200, 500)
    };

    let rows = [slower, observed(0, 100, 200, 500), observed(0, 100, 2, 500)];
    let mut unknown = Picker::new([10, 10, 10]);
    unknown.update(|index| rows[index]);
    assert_eq!(effective(&unknown), [999, 1_000, 10_000]);
    assert_eq!(tally(&mut unknown, 12_000), [999, 1_000, 10_001]);

    let rows = [
        slower,
        observed(0, 100, 200, 500),
        observed(100, 100, 2, 500),
    ];
    let mut unavailable = Picker::new([10, 10, 10]);
    unavailable.update(|index| rows[index]);
    assert_eq!(effective(&unavailable), [999, 1_000, 3_162]);
    assert_eq!(tally(&mut unavailable, 12_000), [2_323, 2_325, 7_352]);
}

#[test]
fn r02_an_endpoint_that_answers_at_once_is_never_scored() {
    assert_eq!(score(observed(0, 1_000, 0, 500)), None);
    // One of a thousand samples crossed a tenth of a millisecond: the score is of the truncation.
    let noise = Observed {
        latency_sum: 2,
        ..observed(0, 1_000, 0, 500)
    };
    assert!((score(noise).unwrap() - 31_622.8).abs() < 0.1);

    // Two of three without a score: nothing changes, and 10 is all they will ever have.
    let mut picker = Picker::new([10; 3]);
    let rows = [
        noise,
        observed(0, 1_000, 0, 500),
        observed(0, 1_000, 0, 500),
    ];
    picker.update(|index| rows[index]);
    assert_eq!(effective(&picker), [10, 10, 10]);
}

#[test]
fn r03_an_idle_endpoint_keeps_its_score() {
    let mut picker = with_a_failing_one(100);
    let rows = [
        observed(0, 100, 200, 500),
        observed(0, 100, 200, 500),
        observed(0, 0, 0, 500),
    ];
    for second in 1..1_000 {
        assert!(
            picker.update_if_due(Tick::from_nanos(second * 1_000_000_000), |index| rows
                [index])
        );
    }
    assert_eq!(effective(&picker)[2], 3_162);
}

#[test]
fn an_unknown_endpoint_takes_the_mean_for_good() {
    let mut picker = Picker::new([10, 10, 20]);
    let known = |index: usize, unknown| match index {
        0 => observed(0, 100, 200, 500),
        1 => observed(0, 100, 2_000, 500),
        _ => unknown,
    };
    let nothing = observed(0, 0, 0, 500);
    picker.update(|index| known(index, nothing));
    assert_eq!(effective(&picker), [1_000, 316, 1_316]); // mean 65.811, times 20
    // Others change, and it does not follow them.
    picker.update(|index| {
        if index < 2 {
            observed(0, 100, 20_000, 500)
        } else {
            nothing
        }
    });
    assert_eq!(effective(&picker), [100, 100, 1_316]);
}

#[test]
fn an_update_is_due_with_the_first_completion_and_once_a_second() {
    let mut picker = Picker::new([10, 10]);
    let row = |_| observed(0, 1, 200, 500);
    let due = [0, 1, 999, 1_000, 1_500, 1_999, 2_000, 5_500, 6_499, 6_500].map(|millis| {
        let now = Tick::from_nanos(millis * 1_000_000);
        (millis, picker.update_if_due(now, row))
    });
    let due = due
        .into_iter()
        .filter(|(_, due)| *due)
        .map(|(millis, _)| millis);
    assert_eq!(due.collect::<Vec<_>>(), [0, 1_000, 2_000, 5_500, 6_500]);
}

#[test]
fn r05_credit_of_the_old_scale_disturbs_the_new_one() {
    let mut picker = Picker::new([10, 10]);
    picker.pick(|_| true);
    assert_eq!(picker.nodes[0].credit, -10);
    picker.update(|_| observed(0, 100, 200, 500));
    assert_eq!(
        picker.nodes[0].credit, -10,
        "credit is kept, weights are a hundred times larger"
    );
}

#[test]
fn r06_a_weight_can_fall_to_nothing() {
    let mut picker = Picker::new([1, 1]);
    let rows = [
        observed(0, 100, 200, 500),
        observed(0, 100, 3_000_000, 1_000),
    ];
    picker.update(|index| rows[index]);
    assert_eq!(effective(&picker), [100, 0]);
    assert_eq!(tally(&mut picker, 10_000), [10_000, 0]);
}

#[test]
fn smooth_selection_is_that_of_nginx() {
    let mut picker = Picker::new([5, 1, 1]);
    let picks: Vec<usize> = (0..14).map(|_| picker.pick(|_| true).unwrap()).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    // Kratos's own row, of the endpoints of colour red: weights 4 and 2.
    let mut picker = Picker::new([4, 2]);
    let picks: Vec<usize> = (0..6).map(|_| picker.pick(|_| true).unwrap()).collect();
    assert_eq!(picks, [0, 1, 0, 0, 1, 0]);
}

#[test]
fn whoever_may_not_be_picked_is_passed_over() {
    let mut picker = Picker::new([5, 1, 1]);
    let picks: Vec<Option<usize>> = (0..4).map(|_| picker.pick(|index| index != 0)).collect();
    assert_eq!(picks, [Some(1), Some(2), Some(1), Some(2)]);
    assert_eq!(picker.pick(|_| false), None);
    assert_eq!(Picker::new([]).pick(|_| true), None);
}
