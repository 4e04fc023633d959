//! What users read of their requests: the exact text, that Prometheus reads it, and that clients cannot break it.

use plimsoll_wire::prometheus::TextFormat;
use plimsoll_wire::user::{
    DURATION_BOUNDS, Distribution, ProcessSample, RequestLabels, RequestSeries, Revision, RouteTag,
    UserSample, render_user,
};

use super::promtool::{lint, promtool_is_here, series_of};
use super::*;

fn revision() -> Revision {
    Revision {
        service_name: None,
        namespace: "default".to_owned(),
        service: "hello".to_owned(),
        configuration: "hello".to_owned(),
        revision: "hello-00001".to_owned(),
        pod: "hello-00001-deployment-x7g9".to_owned(),
    }
}

fn labels(status: u16, address: &str, tag: RouteTag) -> RequestLabels {
    RequestLabels {
        method: "GET",
        status,
        protocol_version: "1.1",
        server_address: address.to_owned(),
        server_port: None,
        scheme: "http",
        route_tag: tag,
        error: None,
    }
}

/// Requests that each took 30 ms, 20 of them in the application, with 7 bytes up and 300 down.
fn series(labels: RequestLabels, requests: u64) -> RequestSeries {
    let mut series = RequestSeries::empty(labels);
    let observe = |distribution: &mut Distribution, bounds: &[u64], value: u64| {
        let bucket = bounds.partition_point(|bound| *bound < value);
        distribution.counts[bucket] += requests;
        distribution.sum += requests * value;
    };
    observe(&mut series.duration, &DURATION_BOUNDS, 30_000_000);
    observe(&mut series.app_duration, &DURATION_BOUNDS, 20_000_001);
    let sizes = &plimsoll_wire::user::SIZE_BOUNDS;
    observe(&mut series.request_size, sizes, 7);
    observe(&mut series.app_request_size, sizes, 7);
    observe(&mut series.response_size, sizes, 300);
    series
}

fn requests() -> Vec<RequestSeries> {
    let over_https = RequestLabels {
        method: "_OTHER",
        protocol_version: "2",
        server_port: Some(8443),
        scheme: "https",
        ..labels(200, "example.com", RouteTag::Tag("blue".to_owned()))
    };
    let failed = RequestLabels {
        error: Some(ProxyError::ConnectionRefused),
        ..labels(502, "hello.default", RouteTag::Disabled)
    };
    vec![
        series(labels(200, "hello.default", RouteTag::Disabled), 3),
        series(over_https, 2),
        series(failed, 1),
    ]
}

/// A reading with all that there can be.
pub(super) fn user_text(format: TextFormat) -> String {
    rendered(format, &requests(), Some(4))
}

fn rendered(format: TextFormat, requests: &[RequestSeries], depth: Option<u64>) -> String {
    let sample = UserSample {
        revision: &revision(),
        version: "0.1.0",
        queue_depth: depth,
        app: ("127.0.0.1", 8080),
        requests,
        process: Some(ProcessSample {
            cpu_seconds: 12.25,
            resident_bytes: 6_291_456,
            virtual_bytes: 73_400_320,
            open_descriptors: 23,
            descriptors_max: Some(1_048_576),
            started_at_seconds: 1_700_000_000.5,
        }),
    };
    String::from_utf8(render_user(format, &sample)).unwrap()
}

/// Without buckets that have a bound: those are the same everywhere, and many.
fn without_buckets(text: &str) -> String {
    let is_bucket = |line: &&str| line.contains("_bucket{") && !line.contains("le=\"+Inf\"");
    let lines = text.lines().filter(|line| !is_bucket(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn prometheus_text_for_users() {
    insta::assert_snapshot!(without_buckets(&user_text(TextFormat::Prometheus)));
}

#[test]
fn the_bounds_are_those_of_either_generation() {
    let text = user_text(TextFormat::Prometheus);
    let bounds = |family: &str| {
        let start = format!("{family}_bucket{{");
        let mut bounds: Vec<&str> = (text.lines())
            .filter(|line| line.starts_with(&start))
            .map(|line| line.split("le=\"").nth(1).unwrap())
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        bounds.dedup();
        let one = bounds.iter().position(|bound| *bound == "+Inf").unwrap();
        bounds[..one].join(" ")
    };
    assert_eq!(
        bounds("kn_serving_invocation_duration_seconds"),
        "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10"
    );
    assert_eq!(
        bounds("http_server_request_body_size_bytes"),
        "0 5 10 25 50 75 100 250 500 750 1000 2500 5000 7500 10000"
    );
    assert_eq!(
        bounds("revision_request_latencies"),
        "5 10 20 40 60 80 100 150 200 250 300 350 400 450 500 600 700 800 900 1000 2000 5000 10000 \
         20000 50000 100000"
    );
}

#[test]
fn an_observation_is_at_its_place_by_either_generations_bounds() {
    let text = user_text(TextFormat::Prometheus);
    let count = |start: &str, bound: &str| -> u64 {
        let end = format!("le=\"{bound}\"}} ");
        let counts = text.lines().filter(|line| line.starts_with(start));
        let counts = counts.filter_map(|line| line.split(&end).nth(1));
        counts.map(|count| count.parse::<u64>().unwrap()).sum()
    };
    // 20.000001 ms of six requests.
    let today = "kn_serving_invocation_duration_seconds_bucket";
    assert_eq!((count(today, "0.01"), count(today, "0.025")), (0, 6));
    let older = "revision_app_request_latencies_bucket";
    assert_eq!((count(older, "20"), count(older, "40")), (0, 6));
}

#[test]
fn what_clients_say_cannot_make_two_series_of_one_name() {
    let tag = |text: &str| RouteTag::Tag(text.to_owned());
    let rivals = [
        series(labels(200, "other", tag("kn:disabled")), 1),
        series(labels(200, "other", RouteTag::Disabled), 1),
        series(labels(200, "other", tag("DISABLED")), 1),
        series(labels(200, "a\"b\\c\nd", tag("\"")), 1),
    ];
    for format in TextFormat::ALL {
        let text = rendered(format, &rivals, None);
        let merged = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
            http_response_status_code=\"200\",network_protocol_name=\"http\",network_protocol_version=\"1.1\",\
            server_address=\"other\",url_scheme=\"http\",kn_route_tag=\"kn:disabled\",";
        let line = text.lines().find(|line| line.starts_with(merged)).unwrap();
        assert!(line.ends_with(" 2"), "{line}");
        assert!(!text.contains("queue_depth"), "{text}");
    }
}

#[test]
fn the_linter_objects_to_nothing_but_the_older_names() {
    if !promtool_is_here() {
        return;
    }
    let (_, remarks) = lint(&user_text(TextFormat::Prometheus));
    let is_of_today = |remark: &&str| !remark.starts_with("revision_");
    let of_today: Vec<&str> = remarks.lines().filter(is_of_today).collect();
    assert_eq!(of_today, Vec::<&str>::new(), "{remarks}");
    // Names that were chosen before there were rules: they stay, for somebody reads them.
    assert!(remarks.contains("revision_request_count"), "{remarks}");
    assert!(!remarks.contains("error"), "{remarks}");
}

#[test]
fn the_parser_of_the_server_reads_every_series_for_users() {
    if !promtool_is_here() {
        return;
    }
    let report = user_text(TextFormat::OpenMetrics);
    let written = report.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(series_of("user", &report), Ok(written));
}
