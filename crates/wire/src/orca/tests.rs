//! Tests of all formats.

use proptest::prelude::*;

use super::*;

type Read = Result<LoadReport, ReportError>;

const CPU: fn(f64) -> Read = |cpu| {
    Ok(LoadReport {
        cpu_utilization: Some(cpu),
        ..LoadReport::default()
    })
};

fn header(value: &str) -> Read {
    LoadReport::from_header(value.as_bytes())
}

/// A report with a value of its own in each field.
fn full() -> LoadReport {
    LoadReport {
        application_utilization: Some(0.8),
        cpu_utilization: Some(0.7),
        mem_utilization: Some(0.9),
        rps: Some(1_000.5),
        eps: Some(2.0),
    }
}

#[test]
fn text_is_read_as_envoy_reads_it() {
    let all = "application_utilization=0.8,cpu_utilization:0.7, mem_utilization=0.9,\
               rps_fractional=1000.5 , eps = 2,named_metrics.foo=-3";
    assert_eq!(header(&format!("TEXT {all}")), Ok(full()));
    for (value, expected) in [
        ("TEXT cpu_utilization=0.3", CPU(0.3)),
        ("TEXT cpu_utilization=0", CPU(0.0)),
        ("TEXT cpu_utilization=-0", CPU(0.0)),
        ("TEXT cpu_utilization=1.5e0,", CPU(1.5)),
        ("TEXT ,, cpu_utilization=1000", CPU(1_000.0)),
        // A field of a newer message, and maps that nothing here uses.
        ("TEXT cpu_utilization=0.3,gpu=9", CPU(0.3)),
        (
            "TEXT utilization.a=0.5,request_cost.b=7,cpu_utilization=0.3",
            CPU(0.3),
        ),
    ] {
        assert_eq!(header(value), expected, "{value}");
    }
}

#[test]
fn json_is_read_in_both_spellings() {
    let all = r#"{"application_utilization": 0.8, "cpuUtilization": "0.7", "mem_utilization": 0.9,
        "rpsFractional": 1000.5, "eps": 2, "named_metrics": {"foo": -3, "bar": "1e3"}}"#;
    assert_eq!(header(&format!("JSON {all}")), Ok(full()));
    for (json, expected) in [
        (r#"{"cpu_utilization": 0.3}"#, CPU(0.3)),
        (r#"{"cpu_utilization": 3, "new": {"a": [1, {}]}}"#, CPU(3.0)),
        (
            r#"{"cpu_utilization": 0.3, "eps": null, "named_metrics": null}"#,
            CPU(0.3),
        ),
        ("{}", Ok(LoadReport::default())),
    ] {
        assert_eq!(header(&format!("JSON {json}")), expected, "{json}");
    }
}

/// The example of the guide that Envoy and Triton show: cpu 0.1, 2 requests
/// per second, two named metrics.
const EXAMPLE: &str = "CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8=";

#[test]
fn the_binary_form_is_read_with_and_without_padding_and_prefix() {
    let expected = Ok(LoadReport {
        cpu_utilization: Some(0.1),
        rps: Some(2.0),
        ..LoadReport::default()
    });
    let bare = EXAMPLE.trim_end_matches('=');
    for value in [EXAMPLE, bare] {
        assert_eq!(LoadReport::from_binary_header(value.as_bytes()), expected);
        assert_eq!(header(&format!("BIN {value}")), expected);
    }
    let empty = LoadReport::from_binary_header(b"");
    assert_eq!(empty, Ok(LoadReport::default()));
}

#[test]
fn the_deprecated_whole_rate_counts_where_there_is_no_other() {
    for (value, rps) in [
        ("TEXT rps=7", 7.0),
        ("TEXT rps=7,rps_fractional=6.5", 6.5),
        ("TEXT rps_fractional=6.5,rps=7", 6.5),
        (r#"JSON {"rps": 7}"#, 7.0),
        // Field 3, a varint.
        ("BIN GAc=", 7.0),
    ] {
        assert_eq!(header(value).unwrap().rps, Some(rps), "{value}");
    }
}

#[test]
fn a_report_with_something_wrong_is_refused_whole() {
    use ReportError::*;
    for (value, expected) in [
        ("", UnknownFormat),
        ("TEXT", UnknownFormat),
        ("text cpu_utilization=0.3", UnknownFormat),
        ("cpu_utilization=0.3", UnknownFormat),
        ("XML cpu", UnknownFormat),
        ("TEXT ", Malformed),
        ("TEXT ,", Malformed),
        ("TEXT cpu_utilization", Malformed),
        ("TEXT cpu_utilization=", Malformed),
        ("TEXT =0.3", Malformed),
        ("TEXT cpu_utilization=0.3=4", Malformed),
        ("TEXT cpu_utilization=30%", Malformed),
        ("TEXT cpu_utilization=0.3 mem_utilization=0.3", Malformed),
        ("TEXT new=much", Malformed),
        ("TEXT cpu_utilization=NaN", NotFinite),
        ("TEXT cpu_utilization=inf", NotFinite),
        ("TEXT cpu_utilization=-Infinity", NotFinite),
        ("TEXT cpu_utilization=1e999", NotFinite),
        ("TEXT named_metrics.a=nan", NotFinite),
        ("TEXT cpu_utilization=-0.1", Negative),
        ("TEXT eps=-1e300", Negative),
        ("TEXT cpu_utilization=1000.1", TooLarge),
        ("TEXT mem_utilization=1.01", TooLarge),
        ("TEXT rps_fractional=1e10", TooLarge),
        ("TEXT eps=0.1,eps=0.1", Duplicate),
        ("TEXT named_metrics.a=1,named_metrics.a=1", Duplicate),
        ("JSON ", Malformed),
        ("JSON []", Malformed),
        ("JSON {", Malformed),
        ("JSON {} {}", Malformed),
        (r#"JSON {"cpu_utilization": true}"#, Malformed),
        (r#"JSON {"cpu_utilization": "much"}"#, Malformed),
        (r#"JSON {"cpu_utilization": {}}"#, Malformed),
        (r#"JSON {"named_metrics": 1}"#, Malformed),
        (r#"JSON {"cpu_utilization": "NaN"}"#, NotFinite),
        (r#"JSON {"named_metrics": {"a": "Infinity"}}"#, NotFinite),
        (r#"JSON {"cpu_utilization": -1}"#, Negative),
        (r#"JSON {"rps": 18446744073709551615}"#, TooLarge),
        (r#"JSON {"eps": 1, "eps": 1}"#, Duplicate),
        (
            r#"JSON {"cpuUtilization": 1, "cpu_utilization": 1}"#,
            Duplicate,
        ),
        ("BIN !", Malformed),
        ("BIN AAA", Malformed),
        // Two values joined, as gRPC would send them.
        ("BIN GAc=,GAc=", Malformed),
        // cpu_utilization: NaN, -1, infinity.
        ("BIN CQAAAAAAAPh/", NotFinite),
        ("BIN CQAAAAAAAPC/", Negative),
        ("BIN CQAAAAAAAPB/", NotFinite),
        // Field 3: the largest 64-bit number.
        ("BIN GP///////////wE=", TooLarge),
    ] {
        assert_eq!(header(value), Err(expected), "{value}");
    }
    assert_eq!(LoadReport::from_header(b"TEXT \xff"), Err(Malformed));
    assert_eq!(LoadReport::from_binary_header(b"\xff"), Err(Malformed));
}

#[test]
fn the_number_of_metrics_is_bounded_in_every_format() {
    let names: Vec<_> = (0..=METRICS_MAX).map(|index| format!("m{index}")).collect();
    let text = |names: &[String]| {
        let items = names.iter().map(|name| format!("named_metrics.{name}=1"));
        header(&format!("TEXT {}", items.collect::<Vec<_>>().join(",")))
    };
    let json = |names: &[String]| {
        let items = names.iter().map(|name| format!("\"{name}\":1"));
        let items = items.collect::<Vec<_>>().join(",");
        header(&format!("JSON {{\"named_metrics\":{{{items}}}}}"))
    };
    let binary = |names: &[String]| {
        let empty_entries = [0x42, 0].repeat(names.len());
        LoadReport::from_binary_header(BASE64.encode(empty_entries).as_bytes())
    };
    let fits = &names[..METRICS_MAX];
    for read in [text(fits), json(fits), binary(fits)] {
        assert_eq!(read, Ok(LoadReport::default()));
    }
    for read in [text(&names), json(&names), binary(&names)] {
        assert_eq!(read, Err(ReportError::TooMany));
    }
}

#[test]
fn the_length_is_bounded_before_anything_is_read() {
    let value = format!("TEXT cpu_utilization=0.3{}", ",".repeat(REPORT_BYTES_MAX));
    let (fits, longer) = (&value[..REPORT_BYTES_MAX], &value[..=REPORT_BYTES_MAX]);
    assert_eq!(header(fits), CPU(0.3));
    assert_eq!(header(longer), Err(ReportError::TooLong));
    let binary = LoadReport::from_binary_header(longer.as_bytes());
    assert_eq!(binary, Err(ReportError::TooLong));
}

#[test]
fn what_is_sent_looks_like_this() {
    let report = full();
    assert_eq!(
        report.to_text_header(),
        "TEXT application_utilization=0.8, cpu_utilization=0.7, mem_utilization=0.9, \
         rps_fractional=1000.5, eps=2"
    );
    assert_eq!(
        report.to_json_header(),
        r#"JSON {"application_utilization":0.8,"cpu_utilization":0.7,"mem_utilization":0.9,"rps_fractional":1000.5,"eps":2}"#
    );
    let example = LoadReport {
        cpu_utilization: Some(0.1),
        rps: Some(2.0),
        ..LoadReport::default()
    };
    assert_eq!(example.to_binary_header(), EXAMPLE[..24]);
}

#[test]
fn utilization_is_the_applications_own_if_it_has_one() {
    for (application, cpu, expected) in [
        (Some(0.5), Some(0.9), Some(0.5)),
        (Some(0.0), Some(0.9), Some(0.9)),
        (None, Some(0.9), Some(0.9)),
        (None, Some(0.0), None),
        (None, None, None),
    ] {
        let report = LoadReport {
            application_utilization: application,
            cpu_utilization: cpu,
            ..LoadReport::default()
        };
        assert_eq!(report.utilization(), expected);
    }
}

#[test]
fn reasons_are_dense_and_have_words_of_their_own() {
    let words: std::collections::BTreeSet<_> = ReportError::ALL.map(ReportError::as_str).into();
    assert_eq!(words.len(), ReportError::COUNT);
    for (position, reason) in ReportError::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), position, "{reason:?}");
    }
}

fn value_up_to(max: f64) -> impl Strategy<Value = Option<f64>> {
    prop::option::of(prop_oneof![Just(0.0), Just(max), 0.0..=max, Just(1e-300)])
}

prop_compose! {
    fn reports()(
        application_utilization in value_up_to(UTILIZATION_MAX),
        cpu_utilization in value_up_to(UTILIZATION_MAX),
        mem_utilization in value_up_to(1.0),
        rps in value_up_to(RATE_MAX),
        eps in value_up_to(RATE_MAX),
    ) -> LoadReport {
        LoadReport { application_utilization, cpu_utilization, mem_utilization, rps, eps }
    }
}

proptest! {
    #[test]
    fn every_format_reads_back_what_it_wrote(report in reports()) {
        let from_json = header(&report.to_json_header()).unwrap();
        for metric in Metric::ALL {
            // The JSON library rounds a float's last digit as it pleases.
            let (read, written) = (from_json.value(metric), report.value(metric));
            prop_assert_eq!(read.is_some(), written.is_some());
            let apart = (read.unwrap_or(0.0) - written.unwrap_or(0.0)).abs();
            prop_assert!(apart <= written.unwrap_or(0.0) * 1e-15, "{metric:?} {read:?}");
        }
        if !report.is_empty() {
            prop_assert_eq!(header(&report.to_text_header()), Ok(report));
        }
        let without_zeros = LoadReport {
            application_utilization: report.application_utilization.filter(|value| *value != 0.0),
            cpu_utilization: report.cpu_utilization.filter(|value| *value != 0.0),
            mem_utilization: report.mem_utilization.filter(|value| *value != 0.0),
            rps: report.rps.filter(|value| *value != 0.0),
            eps: report.eps.filter(|value| *value != 0.0),
        };
        let binary = report.to_binary_header();
        prop_assert_eq!(LoadReport::from_binary_header(binary.as_bytes()), Ok(without_zeros));
    }

    #[test]
    fn whatever_is_read_is_within_bounds(
        value in prop_oneof![
            "(TEXT |JSON |BIN )[ -~]{0,80}",
            "TEXT (cpu_utilization|eps|rps|mem_utilization|x)[=:][-+.eE0-9]{1,6}(,eps=[-.e0-9]{1,5})?",
            "JSON \\{\"(cpu_utilization|eps|named_metrics)\": ?[-.eE0-9\"{}:a]{1,12}\\}",
        ],
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for read in [
            header(&value),
            LoadReport::from_header(&bytes),
            LoadReport::from_binary_header(BASE64.encode(&bytes).as_bytes()),
        ] {
            for (metric, value) in read.iter().flat_map(LoadReport::metrics) {
                prop_assert!((0.0..=metric.max()).contains(&value), "{metric:?} {value}");
                prop_assert!(value.is_sign_positive());
            }
        }
    }
}
