//! Tests of the writer as a whole.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const GAUGE: Descriptor =
    Descriptor::gauge("a_seconds", "A \"quoted\" \\ text\nin two lines").with_unit(Unit::Seconds);
const COUNTER: Descriptor =
    Descriptor::counter("b_seconds_total", "Time spent").with_unit(Unit::Seconds);
const HISTOGRAM: Descriptor =
    Descriptor::histogram("c_seconds", "How long").with_unit(Unit::Seconds);
const SUMMARY: Descriptor = Descriptor::summary("e_seconds", "How long").with_unit(Unit::Seconds);
const INFO: Descriptor = Descriptor::info("d_info", "Facts");

fn everything(format: TextFormat) -> String {
    let mut text = Exposition::new(format);
    text.family(&GAUGE)
        .number(&[("x", "a\\b\"c\nd")], 2.0)
        .number(&[], f64::NAN)
        .integer(&[("x", "é")], 7);
    text.family(&COUNTER).number(&[], 0.5);
    let bounds = [10, 5_000, 1_000_000].map(Duration::from_micros);
    let sum = Duration::new(12, 1);
    let view = HistogramView::new(&bounds, &[1, 2, 2, 3], sum).unwrap();
    text.family(&HISTOGRAM)
        .histogram(&[], &view)
        .histogram(&[("x", "y")], &HistogramView::EMPTY);
    text.family(&INFO).info(&[("version", "1.2.3")]);
    let view = SummaryView {
        quantiles: [
            Some(Duration::from_millis(1500)),
            None,
            Some(Duration::from_secs(2)),
        ],
        count: 3,
        sum: Duration::from_secs(4),
    };
    text.family(&SUMMARY)
        .summary(&[], &view)
        .summary(&[("x", "y")], &SummaryView::default());
    text.finish().unwrap()
}

#[test]
fn every_kind_in_the_0_0_4_format() {
    insta::assert_snapshot!(everything(TextFormat::Prometheus), @r##"
    # HELP a_seconds A "quoted" \\ text\nin two lines
    # TYPE a_seconds gauge
    a_seconds{x="a\\b\"c\nd"} 2
    a_seconds NaN
    a_seconds{x="é"} 7
    # HELP b_seconds_total Time spent
    # TYPE b_seconds_total counter
    b_seconds_total 0.5
    # HELP c_seconds How long
    # TYPE c_seconds histogram
    c_seconds_bucket{le="1e-05"} 1
    c_seconds_bucket{le="0.005"} 2
    c_seconds_bucket{le="1"} 2
    c_seconds_bucket{le="+Inf"} 3
    c_seconds_sum 12.000000001
    c_seconds_count 3
    c_seconds_bucket{x="y",le="+Inf"} 0
    c_seconds_sum{x="y"} 0
    c_seconds_count{x="y"} 0
    # HELP d_info Facts
    # TYPE d_info gauge
    d_info{version="1.2.3"} 1
    # HELP e_seconds How long
    # TYPE e_seconds summary
    e_seconds{quantile="0.5"} 1.5
    e_seconds{quantile="0.99"} 2
    e_seconds_sum 4
    e_seconds_count 3
    e_seconds_sum{x="y"} 0
    e_seconds_count{x="y"} 0
    "##);
}

#[test]
fn every_kind_in_open_metrics() {
    insta::assert_snapshot!(everything(TextFormat::OpenMetrics), @r##"
    # HELP a_seconds A \"quoted\" \\ text\nin two lines
    # TYPE a_seconds gauge
    # UNIT a_seconds seconds
    a_seconds{x="a\\b\"c\nd"} 2.0
    a_seconds NaN
    a_seconds{x="é"} 7
    # HELP b_seconds Time spent
    # TYPE b_seconds counter
    # UNIT b_seconds seconds
    b_seconds_total 0.5
    # HELP c_seconds How long
    # TYPE c_seconds histogram
    # UNIT c_seconds seconds
    c_seconds_bucket{le="1e-05"} 1
    c_seconds_bucket{le="0.005"} 2
    c_seconds_bucket{le="1.0"} 2
    c_seconds_bucket{le="+Inf"} 3
    c_seconds_sum 12.000000001
    c_seconds_count 3
    c_seconds_bucket{x="y",le="+Inf"} 0
    c_seconds_sum{x="y"} 0
    c_seconds_count{x="y"} 0
    # HELP d Facts
    # TYPE d info
    d_info{version="1.2.3"} 1
    # HELP e_seconds How long
    # TYPE e_seconds summary
    # UNIT e_seconds seconds
    e_seconds{quantile="0.5"} 1.5
    e_seconds{quantile="0.99"} 2
    e_seconds_sum 4
    e_seconds_count 3
    e_seconds_sum{x="y"} 0
    e_seconds_count{x="y"} 0
    # EOF
    "##);
}

/// What `write` is refused with, in both formats.
#[track_caller]
fn assert_refused(write: impl Fn(&mut Exposition), expected: &str) {
    for format in TextFormat::ALL {
        let mut text = Exposition::new(format);
        write(&mut text);
        assert_eq!(text.finish().unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_family_twice_is_refused() {
    assert_refused(
        |text| {
            text.family(&GAUGE).number(&[], 1.0);
            text.family(&GAUGE).number(&[("x", "y")], 2.0);
        },
        "metric family a_seconds occurs twice",
    );
    // OpenMetrics would declare both as `b_seconds`.
    const CLASH: Descriptor = Descriptor::gauge("b_seconds", "");
    assert_refused(
        |text| {
            text.family(&COUNTER).number(&[], 1.0);
            text.family(&CLASH).number(&[], 2.0);
        },
        "metric family b_seconds occurs twice",
    );
}

#[test]
fn a_series_twice_is_refused() {
    assert_refused(
        |text| {
            text.family(&GAUGE)
                .number(&[("x", "y")], 1.0)
                .integer(&[("x", "y")], 2);
        },
        "series a_seconds{x=\"y\"} occurs twice",
    );
}

#[test]
fn label_names_are_checked() {
    assert_refused(
        |text| {
            text.family(&SUMMARY)
                .summary(&[("quantile", "")], &SummaryView::default());
        },
        "label name \"quantile\" of e_seconds is not allowed",
    );
    for label in ["", "9", "a-b", "a:b", "__name__", "le"] {
        assert_refused(
            |text| {
                text.family(&HISTOGRAM)
                    .histogram(&[(label, "v")], &HistogramView::EMPTY);
            },
            &format!("label name {label:?} of c_seconds is not allowed"),
        );
    }
    assert_refused(
        |text| {
            text.family(&GAUGE).number(&[("x", "1"), ("x", "2")], 1.0);
        },
        "label name \"x\" of a_seconds is not allowed",
    );
}

#[test]
fn a_sample_must_fit_its_kind() {
    assert_refused(
        |text| {
            text.family(&HISTOGRAM).number(&[], 1.0);
        },
        "a sample of c_seconds does not fit its kind",
    );
    assert_refused(
        |text| {
            text.family(&GAUGE).info(&[]);
        },
        "a sample of a_seconds does not fit its kind",
    );
}

#[test]
fn the_first_mistake_is_told_and_the_rest_goes_on() {
    let mut text = Exposition::new(TextFormat::Prometheus);
    text.family(&GAUGE).info(&[]).number(&[("-", "")], 1.0);
    assert_eq!(text.finish(), Err(ExpositionError::Kind("a_seconds")));
}

/// Undoes the escapes of a label value, as a parser does.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => panic!("lone backslash in {text:?}"),
            },
            other => other,
        });
    }
    out
}

proptest! {
    #[test]
    fn any_label_value_stays_on_its_line_and_reads_back(value in any::<String>()) {
        for format in TextFormat::ALL {
            let mut text = Exposition::new(format);
            text.family(&INFO).info(&[("v", &value)]);
            let text = text.finish().unwrap();
            let line = text.split('\n').find(|line| line.starts_with("d_info{")).unwrap();
            let inner = line.strip_prefix("d_info{v=\"").and_then(|rest| rest.strip_suffix("\"} 1"));
            prop_assert_eq!(unescape(inner.unwrap()), value.clone());
        }
    }
}
