//! Knative's settings, by the rows of its own tests.

use std::time::Duration;

use plimsoll_scale::knative::{Annotations, ConfigMap, PREFIX, resolve};
use plimsoll_scale::{Aggregation, ScaleConfig};

/// The settings of the cluster in the rows about targets.
fn cluster(entries: &[(&str, &str)]) -> ConfigMap {
    let all = [("container-concurrency-target-percentage", "1.0")];
    ConfigMap::parse(all.into_iter().chain(entries.iter().copied())).expect("they are valid")
}

fn keyed<'a>(entries: &[(&str, &'a str)]) -> Vec<(String, &'a str)> {
    let whole = |(name, value): &(&str, &'a str)| (format!("{PREFIX}{name}"), *value);
    entries.iter().map(whole).collect()
}

fn annotations(entries: &[(&str, &str)], cluster: &ConfigMap) -> Result<Annotations, String> {
    let entries = keyed(entries);
    let entries = entries.iter().map(|(key, value)| (key.as_str(), *value));
    Annotations::parse(entries, cluster).map_err(|error| error.to_string())
}

fn resolved(map: &[(&str, &str)], revision: &[(&str, &str)], slots: u32) -> ScaleConfig {
    let cluster = cluster(map);
    let revision = annotations(revision, &cluster).expect("they are valid");
    let config = resolve(&cluster, &revision, slots, true);
    assert_eq!(config.check(), Ok(()));
    config
}

#[test]
fn targets_come_from_three_places() {
    const FRACTION: &str = "container-concurrency-target-percentage";
    const DEFAULT: &str = "container-concurrency-target-default";
    const SHARE: &str = "target-utilization-percentage";
    type Row = (
        &'static [(&'static str, &'static str)],
        &'static [(&'static str, &'static str)],
        u32,
        (f64, f64),
    );
    let rows: &[Row] = &[
        (&[], &[], 0, (100.0, 100.0)),
        (&[(FRACTION, "0.8")], &[], 0, (80.0, 100.0)),
        (&[(DEFAULT, "2"), (FRACTION, "0.3")], &[], 0, (0.6, 2.0)),
        (&[(FRACTION, "0.8")], &[(SHARE, "75")], 12, (9.0, 12.0)),
        (&[(FRACTION, "0.8")], &[], 10, (8.0, 10.0)),
        (&[(FRACTION, "0.8")], &[], 1, (0.8, 1.0)),
        (&[], &[], 1, (1.0, 1.0)),
        (&[], &[], 10, (10.0, 10.0)),
        (&[], &[("target", "1")], 0, (1.0, 1.0)),
        (&[], &[("target", "500")], 0, (500.0, 500.0)),
        (&[(FRACTION, "0.001")], &[("target", "1")], 0, (0.01, 1.0)),
        (&[(FRACTION, "0.75")], &[("target", "1")], 0, (0.75, 1.0)),
        (&[(FRACTION, "0.75")], &[("target", "10")], 0, (7.5, 10.0)),
        (&[], &[("target", "1")], 10, (1.0, 1.0)),
        (&[], &[("target", "10")], 1, (1.0, 1.0)),
        (&[], &[("metric", "rps")], 0, (140.0, 200.0)),
        (&[], &[("metric", "rps"), ("target", "1")], 0, (0.7, 1.0)),
        (&[], &[("metric", "rps"), (SHARE, "75")], 0, (150.0, 200.0)),
        (
            &[],
            &[("metric", "rps"), ("target", "300")],
            0,
            (210.0, 300.0),
        ),
    ];
    for (map, revision, slots, (value, total)) in rows {
        let config = resolved(map, revision, *slots);
        assert!(
            (config.target_value() - value).abs() < 1e-9,
            "{map:?} {revision:?} {slots}"
        );
        assert_eq!(config.total(), *total, "{map:?} {revision:?} {slots}");
    }
}

#[test]
fn the_panic_window_is_a_share_of_the_window() {
    for (window, share, seconds) in [
        ("10s", "10", 1),
        ("10m", "10", 60),
        ("60s", "50", 30),
        ("60s", "51", 31),
        ("60s", "31", 19),
    ] {
        let revision = [("window", window), ("panic-window-percentage", share)];
        let config = resolved(&[], &revision, 0);
        assert_eq!(
            config.panic_window(),
            Duration::from_secs(seconds),
            "{window} {share}"
        );
    }
}

#[test]
fn a_config_map_is_taken() {
    let map = |entries: &[(&'static str, &'static str)]| {
        ConfigMap::parse(entries.iter().copied())
            .unwrap_or_else(|error| panic!("{entries:?}: {error}"))
    };
    assert_eq!(map(&[]), ConfigMap::default());
    let share = "container-concurrency-target-percentage";
    for (text, fraction) in [("0.71", 0.71), ("0.5", 0.5), ("55", 0.55)] {
        assert_eq!(map(&[(share, text)]).target_fraction, fraction);
    }
    for (text, burst) in [("0", 0.0), ("-1", -1.0), ("12345", 12_345.0)] {
        assert_eq!(
            map(&[("target-burst-capacity", text)]).target_burst_capacity,
            burst
        );
    }
    assert_eq!(
        map(&[("max-scale-up-rate", "1.001")]).max_scale_up_rate,
        1.001
    );
    let minutes = |entries| map(entries).scale_down_delay.as_secs() / 60;
    assert_eq!(minutes(&[("scale-down-delay", "15m")]), 15);
    let retention = map(&[("scale-to-zero-pod-retention-period", "2m3s")]).retention;
    assert_eq!(retention, Duration::from_secs(123));
    assert!(map(&[("enable-scale-to-zero", "TRUE")]).enable_scale_to_zero);
    assert!(!map(&[("enable-scale-to-zero", "no")]).enable_scale_to_zero);
    assert_eq!(map(&[("min-scale", "4")]).min_scale, 4);
    let zero = map(&[("initial-scale", "0"), ("allow-zero-initial-scale", "true")]);
    assert_eq!(zero.initial_scale, 0);
    assert_eq!(
        map(&[("max-scale", "10"), ("max-scale-limit", "11")]).max_scale,
        10
    );
    assert_eq!(
        map(&[("tick-interval", "2s"), ("a", "b")]).unknown,
        ["a", "tick-interval"]
    );
}

#[test]
fn a_config_map_is_refused_with_the_reason() {
    let rows: &[&[(&str, &str)]] = &[
        &[("target-burst-capacity", "not a float")],
        &[("scale-down-delay", "-1m23s")],
        &[("scale-down-delay", "61984ms")],
        &[("scale-to-zero-pod-retention-period", "-4m11s")],
        &[("stable-window", "1s")],
        &[("stable-window", "1h1s")],
        &[("stable-window", "61984ms")],
        &[("target-burst-capacity", "-11")],
        &[("container-concurrency-target-percentage", "-42")],
        &[("container-concurrency-target-percentage", "142.4")],
        &[("requests-per-second-target-default", "-5.25")],
        &[("max-scale-up-rate", "1")],
        &[("max-scale-down-rate", "1")],
        &[("max-scale-down-rate", "-55")],
        &[("activator-capacity", ".95")],
        &[("panic-window-percentage", ".1")],
        &[("panic-window-percentage", "110")],
        &[
            ("container-concurrency-target-percentage", "1"),
            ("container-concurrency-target-default", ".001"),
        ],
        &[("scale-to-zero-grace-period", "0s")],
        &[("initial-scale", "0")],
        &[("initial-scale", "-1")],
        &[("initial-scale", "invalid")],
        &[("max-scale", "-1")],
        &[("max-scale", "10"), ("max-scale-limit", "9")],
        &[("max-scale-limit", "-9")],
        &[("max-scale", "0"), ("max-scale-limit", "11")],
        &[("min-scale", "4"), ("max-scale", "3")],
    ];
    for entries in rows {
        let error = ConfigMap::parse(entries.iter().copied()).expect_err(entries[0].0);
        let message = error.to_string();
        assert!(
            message.contains(entries[0].0) && message.lines().count() == 1,
            "{message}"
        );
    }
    let both = ConfigMap::parse([("max-scale-up-rate", "1"), ("target-burst-capacity", "-11")]);
    assert_eq!(
        both.expect_err("two mistakes").to_string(),
        "target-burst-capacity must be either non-negative or -1 (for unlimited), was: -11.000000"
    );
}

#[test]
fn annotations_are_taken() {
    let cluster = cluster(&[]);
    let got = annotations(
        &[
            ("class", "kpa.autoscaling.knative.dev"),
            ("minScale", "2"),
            ("max-scale", "20"),
            ("maxScale", "7"),
            ("activation-scale", "3"),
            ("initial-scale", "4"),
            ("scale-down-delay", "1m"),
            ("window", "1h"),
            ("metric-aggregation-algorithm", "weightedExponential"),
            ("scale-to-zero-pod-retention-period", "1m500ms"),
            ("target-burst-capacity", "-1"),
            ("panic-threshold-percentage", "110"),
            ("something-else", "x"),
        ],
        &cluster,
    )
    .expect("they are valid");
    assert_eq!(
        (got.min_scale, got.max_scale),
        (Some(2), Some(20)),
        "kebab case goes first"
    );
    assert_eq!(got.aggregation, Some(Aggregation::WeightedExponential));
    assert_eq!(got.retention, Some(Duration::from_millis(60_500)));
    let config = resolve(&cluster, &got, 0, true);
    assert_eq!(
        (config.min, config.initial, config.activation_scale),
        (2, 4, 3)
    );
    assert_eq!(
        (config.panic_threshold, config.target_burst_capacity),
        (1.1, -1.0)
    );

    let foreign = annotations(
        &[("class", "mine.example.com"), ("metric", "cpu")],
        &cluster,
    );
    assert_eq!(foreign.expect("it is for others").metric, None);
}

type Refused = (&'static [(&'static str, &'static str)], &'static str);

/// Annotations, and the mistakes in them; `P/` stands for the prefix.
const REFUSED: &[Refused] = &[
    (
        &[("class", "x.knative.dev")],
        "invalid value: x.knative.dev: P/class",
    ),
    (
        &[("min-scale", "-1")],
        "expected 0 <= -1 <= 2147483647: P/min-scale",
    ),
    (&[("maxScale", "two")], "invalid value: two: P/maxScale"),
    (
        &[("max-scale", "2"), ("min-scale", "5")],
        "max-scale=2 is less than min-scale=5: P/max-scale, P/min-scale",
    ),
    (
        &[("max-scale", "11")],
        "expected 1 <= 11 <= 10: P/max-scale",
    ),
    (
        &[("max-scale", "0")],
        "max-scale=0 (unlimited), must be less than 10: P/max-scale",
    ),
    (
        &[("activation-scale", "1")],
        "activation-scale=1 must be greater than 1: P/activation-scale",
    ),
    (
        &[("activation-scale", "2"), ("min-scale", "3")],
        "min-scale=3 is greater than activation-scale=2: P/activation-scale, P/min-scale",
    ),
    (
        &[("activation-scale", "2"), ("max-scale", "1")],
        "max-scale=1 is less than activation-scale=2: P/activation-scale, P/max-scale",
    ),
    (
        &[("initial-scale", "0")],
        "invalid value: 0: P/initial-scale=0 not allowed by cluster",
    ),
    (
        &[("initial-scale", "-1")],
        "invalid value: -1: P/initial-scale=-1 must be greater than 0",
    ),
    (
        &[("scale-down-delay", "311m")],
        "expected 0s <= 311m <= 1h0m0s: P/scale-down-delay",
    ),
    (
        &[("scale-down-delay", "1500ms")],
        "scale-down-delay=1500ms must be specified with at most second precision: P/scale-down-delay",
    ),
    (&[("metric", "cpu")], "invalid value: cpu: P/metric"),
    (
        &[("target", "-11")],
        "target -11 should be at least 0.01: P/target",
    ),
    (
        &[("target-utilization-percentage", "0")],
        "expected 1 <= 0 <= 100: P/target-utilization-percentage",
    ),
    (
        &[("target-burst-capacity", "-11")],
        "invalid value: -11: P/target-burst-capacity",
    ),
    (&[("window", "1s")], "expected 6s <= 1s <= 1h0m0s: P/window"),
    (
        &[("panic-window-percentage", "202")],
        "expected 1 <= 202 <= 100: P/panic-window-percentage",
    ),
    (
        &[("panic-threshold-percentage", "109")],
        "expected 110 <= 109 <= 1000: P/panic-threshold-percentage",
    ),
    (
        &[
            ("class", "kpa.autoscaling.knative.dev"),
            ("metric-aggregation-algorithm", "random-selection"),
        ],
        "invalid value: random-selection: P/metric-aggregation-algorithm",
    ),
    (
        &[("window", "1s"), ("target", "0")],
        "expected 6s <= 1s <= 1h0m0s: P/window\ntarget 0 should be at least 0.01: P/target",
    ),
];

#[test]
fn annotations_are_refused_with_every_reason() {
    let limited = cluster(&[("max-scale", "5"), ("max-scale-limit", "10")]);
    for (entries, wanted) in REFUSED {
        let error = annotations(entries, &limited).expect_err(wanted);
        assert_eq!(error.replace(PREFIX, "P/"), *wanted);
        // Whatever got past admission is as good as not there.
        let entries = keyed(entries);
        let entries = entries.iter().map(|(key, value)| (key.as_str(), *value));
        let config = resolve(
            &limited,
            &Annotations::parse_leniently(entries, &limited),
            0,
            true,
        );
        assert_eq!(config.check(), Ok(()));
    }
}
