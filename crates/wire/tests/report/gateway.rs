//! The metrics of a gateway: their exact text, and what is absent.

use plimsoll_wire::gateway::{
    ConfigSample, DiscoverySample, EjectionReason, EndpointOutcome, EndpointSample, EndpointState,
    GatewayFamilies, LoadReportSample, QueueSample, ReportSample, RetrySample, ScaledSample,
    ServiceSample,
};
use plimsoll_wire::orca::ReportError;
use plimsoll_wire::prometheus::TextFormat;
use plimsoll_wire::{SummaryView, render_gateway};

use super::*;

/// An endpoint with all that can be known, and values of its own.
fn busy(address: &str) -> EndpointSample<'_> {
    EndpointSample {
        address,
        state: EndpointState::SlowStart,
        in_flight: 4,
        slots: Some(8),
        weight: 3,
        effective_weight: 1.5,
        score: Some(0.0125),
        picks: 1_000,
        outcomes: std::array::from_fn(|index| 400 + index as u64),
        ejections: std::array::from_fn(|index| 500 + index as u64),
        latency: SummaryView {
            quantiles: [5, 20, 90].map(|millis| Some(Duration::from_millis(millis))),
            count: 996,
            sum: Duration::new(7, 500),
        },
        report: Some(ReportSample {
            cpu_utilization: Some(0.75),
            application_utilization: Some(0.5),
            age: Duration::from_millis(1_500),
        }),
    }
}

/// An endpoint of which nothing is known.
fn new(address: &str) -> EndpointSample<'_> {
    EndpointSample {
        address,
        state: EndpointState::Healthy,
        in_flight: 0,
        slots: None,
        weight: 1,
        effective_weight: 1.0,
        score: None,
        picks: 0,
        outcomes: [0; EndpointOutcome::COUNT],
        ejections: [0; EjectionReason::COUNT],
        latency: SummaryView::default(),
        report: None,
    }
}

fn service<'a>(name: &'a str, endpoints: &'a [EndpointSample<'a>]) -> ServiceSample<'a> {
    ServiceSample {
        name,
        policy: "peak-ewma",
        requests: [0; Answer::COUNT],
        errors: [0; ProxyError::COUNT],
        requests_in_flight: 0,
        request_duration: HistogramView::EMPTY,
        upstream_duration: HistogramView::EMPTY,
        queue: QueueSample {
            depth: 0,
            capacity: None,
            wait: HistogramView::EMPTY,
        },
        retries: RetrySample::default(),
        load_reports: LoadReportSample::default(),
        discovery: None,
        endpoints,
    }
}

fn busy_service<'a>(name: &'a str, endpoints: &'a [EndpointSample<'a>]) -> ServiceSample<'a> {
    let of_the_sidecar = families();
    ServiceSample {
        policy: "wrr",
        requests: of_the_sidecar.requests,
        errors: of_the_sidecar.errors,
        requests_in_flight: 14,
        request_duration: of_the_sidecar.request_duration,
        upstream_duration: of_the_sidecar.upstream_duration,
        queue: QueueSample {
            depth: 6,
            capacity: Some(1_000),
            wait: of_the_sidecar.queue_wait,
        },
        retries: RetrySample {
            made: 21,
            budget_exhausted: 22,
        },
        load_reports: LoadReportSample {
            taken: 31,
            rejected: std::array::from_fn(|index| 300 + index as u64),
        },
        discovery: Some(DiscoverySample {
            successes: 41,
            failures: 42,
        }),
        ..service(name, endpoints)
    }
}

fn gateway<'a>(services: &'a [ServiceSample<'a>]) -> GatewayFamilies<'a> {
    GatewayFamilies {
        services,
        scaled: &[],
        unrouted: std::array::from_fn(|index| 600 + index as u64),
        unrouted_errors: std::array::from_fn(|index| 700 + index as u64),
        connections_open: 33,
        tls_handshake_failures: Some(34),
        config: ConfigSample {
            reloads_successful: 51,
            reloads_failed: 52,
            last_failed: true,
            loaded_at: Some(Duration::from_millis(1_700_000_000_250)),
        },
        version: "0.1.0",
    }
}

fn scaled() -> ScaledSample<'static> {
    ScaledSample {
        name: "shop",
        desired: 5,
        ready: 3,
        starting: 2,
        draining: 1,
        panic: true,
        excess_burst_capacity: -203.5,
        refusing: true,
        starts: 61,
        start_failures: 62,
        start_duration: HistogramView::EMPTY,
        cold_start: HistogramView::EMPTY,
        decisions: &[("demand", 63), ("idle", 64)],
    }
}

/// The metrics of `plimsoll run`.
pub(crate) fn run_text(format: TextFormat) -> String {
    let endpoints = [busy("127.0.0.1:23000")];
    let services = [service("shop", &endpoints)];
    let scaled = [scaled()];
    let families = GatewayFamilies {
        scaled: &scaled,
        ..gateway(&services)
    };
    render_gateway(format, &families).unwrap()
}

#[test]
fn what_run_adds_is_each_number_at_its_name() {
    let text = run_text(TextFormat::Prometheus);
    for (name, value) in [
        ("replicas_desired", "5"),
        ("replicas_ready", "3"),
        ("replicas_starting", "2"),
        ("replicas_draining", "1"),
        ("panic", "1"),
        ("excess_burst_capacity", "-203.5"),
        ("refusing", "1"),
        ("replica_starts_total", "61"),
        ("replica_start_failures_total", "62"),
        ("replica_start_seconds_count", "0"),
        ("cold_start_seconds_count", "0"),
    ] {
        let line = format!("\nplimsoll_run_{name}{{service=\"shop\"}} {value}\n");
        assert!(text.contains(&line), "{line}");
    }
    let line = "plimsoll_run_decisions_total{service=\"shop\",reason=\"idle\"} 64\n";
    assert!(text.contains(line));
    assert!(!gateway_text(TextFormat::Prometheus).contains("plimsoll_run"));
}

/// The metrics of a gateway with a busy service, and one that has just begun.
pub(crate) fn gateway_text(format: TextFormat) -> String {
    let endpoints = [busy("10.0.0.1:8080"), new("10.0.0.2:8080")];
    let services = [busy_service("shop", &endpoints), service("empty", &[])];
    render_gateway(format, &gateway(&services)).unwrap()
}

#[test]
fn gateway_prometheus_text() {
    insta::assert_snapshot!(gateway_text(TextFormat::Prometheus));
}

#[test]
fn gateway_open_metrics() {
    insta::assert_snapshot!(gateway_text(TextFormat::OpenMetrics));
}

#[test]
fn what_is_not_known_of_an_endpoint_is_absent() {
    let endpoints = [new("10.0.0.2:8080")];
    let services = [service("a", &endpoints)];
    let text = render_gateway(TextFormat::Prometheus, &gateway(&services)).unwrap();
    for absent in [
        "plimsoll_gateway_endpoint_slots{",
        "plimsoll_gateway_endpoint_score{",
        "plimsoll_gateway_endpoint_cpu_utilization_ratio{",
        "plimsoll_gateway_endpoint_application_utilization_ratio{",
        "plimsoll_gateway_endpoint_load_report_age_seconds{",
        "plimsoll_gateway_queue_capacity{",
        "plimsoll_gateway_discoveries_total{",
        "quantile=",
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
    assert!(text.contains("plimsoll_gateway_queue_depth{service=\"a\"} 0\n"));
}

#[test]
fn every_counter_of_a_gateway_is_there_before_the_first_request() {
    let endpoints = [new("10.0.0.2:8080")];
    let services = [service("a", &endpoints)];
    let text = render_gateway(TextFormat::Prometheus, &gateway(&services)).unwrap();
    let zeros = |name: &str| {
        let of_family = |line: &&str| line.starts_with(name) && line.ends_with("} 0");
        text.lines().filter(of_family).count()
    };
    for (name, series) in [
        ("requests_total", Answer::SERVICE.len()),
        ("request_errors_total", ProxyError::COUNT - 1),
        ("load_reports_rejected_total", ReportError::COUNT),
        ("endpoint_outcomes_total", EndpointOutcome::COUNT),
        ("endpoint_ejections_total", EjectionReason::COUNT),
        ("retries_total", 1),
        ("endpoint_picks_total", 1),
    ] {
        assert_eq!(
            zeros(&format!("plimsoll_gateway_{name}{{")),
            series,
            "{name}"
        );
    }
}

#[test]
fn an_endpoint_is_in_one_state() {
    for state in EndpointState::ALL {
        let endpoints = [EndpointSample { state, ..new("e") }];
        let services = [service("a", &endpoints)];
        let text = render_gateway(TextFormat::Prometheus, &gateway(&services)).unwrap();
        let ones: Vec<_> = text
            .lines()
            .filter(|line| {
                line.starts_with("plimsoll_gateway_endpoint_state{") && line.ends_with(" 1")
            })
            .collect();
        let labels = format!("service=\"a\",endpoint=\"e\",state=\"{}\"", state.as_str());
        assert_eq!(
            ones,
            [format!("plimsoll_gateway_endpoint_state{{{labels}}} 1")]
        );
    }
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    let endpoints = [new("e")];
    for services in [
        vec![service("a", &[]), service("a", &[])],
        vec![service("a", &endpoints), service("a", &endpoints)],
    ] {
        let refused = render_gateway(TextFormat::Prometheus, &gateway(&services)).unwrap_err();
        assert!(refused.to_string().contains("occurs twice"), "{refused}");
    }
    let endpoints = [new("e"), new("e")];
    let services = [service("a", &endpoints)];
    let refused = render_gateway(TextFormat::Prometheus, &gateway(&services)).unwrap_err();
    assert!(refused.to_string().contains("endpoint=\"e\""), "{refused}");
    // The same address in two services is no offence.
    let endpoints = [new("e")];
    let services = [service("a", &endpoints), service("b", &endpoints)];
    assert!(render_gateway(TextFormat::Prometheus, &gateway(&services)).is_ok());
}
