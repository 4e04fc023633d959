//! gRFC A58's rules, one by one, and what reports cannot do.

use proptest::prelude::*;

use super::*;

fn report(rps: f64, utilization: f64, eps: f64) -> LoadReport {
    LoadReport {
        application_utilization: Some(utilization),
        rps: Some(rps),
        eps: Some(eps),
        ..LoadReport::default()
    }
}

fn at(seconds: f64) -> Tick {
    Tick::from_nanos((seconds * 1e9) as u64)
}

/// The weight that follows from one report at once.
fn weight(report: &LoadReport, error_penalty: f64) -> Option<f64> {
    let config = OrcaConfig {
        blackout: Duration::ZERO,
        error_penalty,
        ..OrcaConfig::default()
    };
    let mut reported = Reported::default();
    assert!(reported.hear(Tick::ZERO, report), "{report:?}");
    reported.weight(Tick::ZERO, &config)
}

#[test]
fn the_weight_is_what_an_endpoint_would_carry() {
    let of_cpu = |cpu| LoadReport {
        cpu_utilization: cpu,
        rps: Some(100.0),
        ..LoadReport::default()
    };
    let of_both = |application| LoadReport {
        application_utilization: application,
        ..of_cpu(Some(0.2))
    };
    let table: &[(LoadReport, f64, Option<f64>)] = &[
        (report(100.0, 0.5, 0.0), 1.0, Some(200.0)),
        (report(100.0, 0.5, 10.0), 1.0, Some(100.0 / 0.6)),
        (report(100.0, 0.5, 10.0), 0.0, Some(200.0)),
        (report(100.0, 0.5, 100.0), 2.0, Some(40.0)),
        (report(100.0, 2.0, 0.0), 1.0, Some(50.0)), // more than full is allowed
        (of_cpu(Some(0.25)), 1.0, Some(400.0)),
        (of_both(Some(0.8)), 1.0, Some(125.0)), // the application's own word first
        (of_both(Some(0.0)), 1.0, Some(500.0)), // zero is not set
        (of_both(None), 1.0, Some(500.0)),
        (of_cpu(None), 1.0, None),
        (of_cpu(Some(0.0)), 1.0, None),
        (report(0.0, 0.5, 0.0), 1.0, None),
        (
            LoadReport {
                rps: None,
                ..report(1.0, 0.5, 0.0)
            },
            1.0,
            None,
        ),
        (LoadReport::default(), 1.0, None),
        (
            report(f64::MIN_POSITIVE, 1_000.0, 0.0),
            1.0,
            Some(f64::MIN_POSITIVE / 1_000.0),
        ),
        (report(RATE_MAX, f64::MIN_POSITIVE / 4.0, 0.0), 1.0, None), // infinite
    ];
    for (report, penalty, expected) in table {
        assert_eq!(weight(report, *penalty), *expected, "{report:?}");
    }
}

#[test]
fn failing_never_attracts() {
    let mut last = f64::INFINITY;
    for eps in 0..=100 {
        let weight = weight(&report(100.0, 0.3, f64::from(eps)), 1.0).unwrap();
        assert!(weight < last, "{eps} errors: {weight}, before {last}");
        last = weight;
    }
}

#[test]
fn a_report_that_makes_no_sense_is_ignored_as_a_whole_and_counted() {
    let good = report(100.0, 0.5, 1.0);
    let fields: [fn(&mut LoadReport, f64); 5] = [
        |r, n| r.application_utilization = Some(n),
        |r, n| r.cpu_utilization = Some(n),
        |r, n| r.mem_utilization = Some(n),
        |r, n| r.rps = Some(n),
        |r, n| r.eps = Some(n),
    ];
    let config = OrcaConfig {
        blackout: Duration::ZERO,
        ..OrcaConfig::default()
    };
    for set in fields {
        for number in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.1,
            1.1e9,
            f64::MAX,
        ] {
            let mut reported = Reported::default();
            assert!(reported.hear(at(0.0), &good));
            let mut bad = good;
            set(&mut bad, number);
            assert!(!reported.hear(at(1.0), &bad));
            assert_eq!(reported.ignored(), 1, "{bad:?}");
            assert_eq!(
                reported.weight(at(1.0), &config),
                weight(&good, 1.0),
                "{bad:?}"
            );
            assert_eq!(reported.last(), Some((at(0.0), good)));
        }
    }
}

#[test]
fn a_report_that_says_too_little_is_neither_weighed_nor_counted() {
    let config = OrcaConfig {
        blackout: Duration::ZERO,
        ..OrcaConfig::default()
    };
    let mut reported = Reported::default();
    reported.hear(at(0.0), &report(100.0, 0.5, 0.0));
    let only_memory = LoadReport {
        mem_utilization: Some(0.4),
        ..LoadReport::default()
    };
    assert!(reported.hear(at(1.0), &only_memory));
    assert_eq!(reported.ignored(), 0);
    assert_eq!(reported.last(), Some((at(1.0), only_memory)));
    assert_eq!(reported.weight(at(1.0), &config), Some(200.0));
}

#[test]
fn a_weight_is_used_after_the_blackout_and_until_it_expires() {
    let config = OrcaConfig::default();
    let mut reported = Reported::default();
    let good = report(100.0, 0.5, 0.0);
    let known = |reported: &Reported, seconds| reported.weight(at(seconds), &config).is_some();
    assert!(!known(&reported, 1_000.0), "nothing was heard");
    reported.hear(at(1_000.0), &good);
    reported.hear(at(1_009.0), &good);
    assert!(!known(&reported, 1_009.999), "blackout");
    assert!(known(&reported, 1_010.0));
    assert!(known(&reported, 1_009.0 + 179.999));
    assert!(!known(&reported, 1_009.0 + 180.0), "expired");
    // After such a silence a report starts another blackout; without one it does not.
    reported.hear(at(1_300.0), &good);
    assert!(!known(&reported, 1_309.0));
    assert!(known(&reported, 1_310.0));
    reported.hear(at(1_300.0 + 179.0), &good);
    assert!(known(&reported, 1_300.0 + 179.0));
    // Another expiration, another silence.
    reported.set_expiration(Duration::from_secs(60));
    reported.hear(at(1_479.0 + 60.0), &good);
    assert!(!known(&reported, 1_479.0 + 60.0));
}

#[test]
fn without_a_blackout_the_first_report_counts() {
    let config = OrcaConfig {
        blackout: Duration::ZERO,
        ..OrcaConfig::default()
    };
    let mut reported = Reported::default();
    reported.hear(at(5.0), &report(100.0, 0.5, 0.0));
    assert_eq!(reported.weight(at(5.0), &config), Some(200.0));
}

#[test]
fn time_that_steps_back_loses_nothing() {
    let config = OrcaConfig {
        blackout: Duration::ZERO,
        ..OrcaConfig::default()
    };
    let mut reported = Reported::default();
    reported.hear(at(500.0), &report(100.0, 0.5, 0.0));
    reported.hear(at(100.0), &report(100.0, 0.25, 0.0));
    assert_eq!(reported.weight(at(50.0), &config), Some(400.0));
    assert_eq!(reported.weight(at(500.0), &config), Some(400.0));
    let newest = report(100.0, 0.25, 0.0);
    assert_eq!(reported.last(), Some((at(500.0), newest)));
}

#[test]
fn the_unknown_get_the_mean_and_below_two_all_are_equal() {
    let table: &[(&[Option<f64>], &[f64])] = &[
        (&[], &[]),
        (&[None, None, None], &[1.0, 1.0, 1.0]),
        (&[None, Some(300.0), None], &[1.0, 1.0, 1.0]),
        (&[Some(100.0), None, Some(300.0)], &[1.0, 2.0, 3.0]),
        (&[Some(100.0), Some(200.0), Some(400.0)], &[0.5, 1.0, 2.0]),
    ];
    for (known, expected) in table {
        assert_eq!(weights(known), *expected, "{known:?}");
    }
}

#[test]
fn whoever_boasts_gets_ten_times_the_median_and_no_more() {
    let mut known = [Some(100.0); 10];
    known[3] = Some(RATE_MAX / 1e-9);
    let mut expected = [1.0; 10];
    expected[3] = RATIO_MAX;
    assert_eq!(weights(&known), expected);

    known[3] = Some(1e-9);
    expected[3] = RATIO_MIN;
    assert_eq!(weights(&known), expected);

    assert_eq!(weights(&[Some(1.0), Some(1e15)]), [1.0, RATIO_MAX]);
}

#[test]
fn settings_out_of_range_are_refused() {
    assert_eq!(OrcaConfig::default().check(), Ok(()));
    let bad = |change: fn(&mut OrcaConfig)| {
        let mut config = OrcaConfig::default();
        change(&mut config);
        config.check().unwrap_err().setting
    };
    assert_eq!(bad(|c| c.blackout = Duration::MAX), "policy.orca.blackout");
    assert_eq!(
        bad(|c| c.expiration = Duration::MAX),
        "policy.orca.expiration"
    );
    assert_eq!(
        bad(|c| c.update_period = Duration::MAX),
        "policy.orca.update_period"
    );
    for penalty in [-1.0, f64::NAN, f64::INFINITY, 1_001.0] {
        let config = OrcaConfig {
            error_penalty: penalty,
            ..OrcaConfig::default()
        };
        assert_eq!(
            config.check().unwrap_err().setting,
            "policy.orca.error_penalty",
            "{penalty}"
        );
    }
    let hasty = OrcaConfig {
        update_period: Duration::ZERO,
        ..OrcaConfig::default()
    };
    assert_eq!((hasty.check(), hasty.period()), (Ok(()), UPDATE_PERIOD_MIN));
}

fn number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        any::<f64>().prop_map(Some),
        (0.0..1e3).prop_map(Some),
        prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE])
            .prop_map(Some),
    ]
}

proptest! {
    #[test]
    fn whatever_is_reported_weights_are_bounded(
        reports in prop::collection::vec((number(), number(), number(), number()), 0..20),
    ) {
        let config = OrcaConfig { blackout: Duration::ZERO, ..OrcaConfig::default() };
        let known: Vec<Option<f64>> = reports
            .into_iter()
            .map(|(application_utilization, cpu_utilization, rps, eps)| {
                let mem_utilization = None;
                let report =
                    LoadReport { application_utilization, cpu_utilization, mem_utilization, rps, eps };
                let mut reported = Reported::default();
                reported.hear(Tick::ZERO, &report);
                reported.weight(Tick::ZERO, &config)
            })
            .collect();
        for weight in weights(&known) {
            prop_assert!((RATIO_MIN..=RATIO_MAX).contains(&weight), "{known:?}: {weight}");
        }
    }
}
