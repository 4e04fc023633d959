//! The exact text of a report. It is a contract with whoever reads it.

use plimsoll_wire::Stat;

use super::*;

#[test]
fn prometheus_text() {
    insta::assert_snapshot!(text(Format::PrometheusText, &sample(), &families()));
}

#[test]
fn open_metrics() {
    insta::assert_snapshot!(text(Format::OpenMetrics, &sample(), &families()));
}

#[test]
fn a_knative_stat_has_the_pod_and_the_sample() {
    let bytes = render(Format::KnativeStat, &identity(), &sample(), &families());
    let stat = Stat::from_bytes(&bytes).unwrap();
    assert_eq!(stat, Stat::new(identity().pod(), &sample()).unwrap());
}

#[test]
fn without_a_limit_there_are_no_slots_and_nothing_waits() {
    for format in TEXT_FORMATS {
        let text = text(format, &sample(), &idle());
        for absent in [
            "plimsoll_slots",
            "plimsoll_slots_in_use",
            "plimsoll_queue_capacity",
        ] {
            assert!(!text.contains(absent), "{absent} in {format:?}");
        }
        assert!(text.contains("\nplimsoll_queue_depth 0\n"), "{format:?}");
    }
}

#[test]
fn every_counter_is_there_before_the_first_request() {
    for format in TEXT_FORMATS {
        let text = text(format, &ReporterSample::default(), &idle());
        let zeros = |name: &str| {
            let of_family = |line: &&str| line.starts_with(name) && line.ends_with("} 0");
            text.lines().filter(of_family).count()
        };
        assert_eq!(zeros("plimsoll_requests_total{"), Answer::SIDECAR.len());
        assert_eq!(
            zeros("plimsoll_request_errors_total{"),
            ProxyError::SIDECAR.len()
        );
    }
}
