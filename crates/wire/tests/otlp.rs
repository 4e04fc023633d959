//! What is sent to collectors, read by the decoders that collectors are built from.

#![allow(
    clippy::unwrap_used,
    reason = "clippy permits it in test functions, but not in what they call"
)]

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{span, status};
use plimsoll_wire::ProxyError;
use plimsoll_wire::otlp::{
    PartialSuccess, Span, SpanKind, metrics_request, partial_success, trace_request,
};
use plimsoll_wire::user::{
    Attribute, RequestLabels, RequestSeries, Revision, RouteTag, UserSample,
};
use prost::Message as _;

fn revision() -> Revision {
    Revision {
        service_name: None,
        namespace: "default".to_owned(),
        service: "hello".to_owned(),
        configuration: "hello".to_owned(),
        revision: "hello-00001".to_owned(),
        pod: "hello-00001-x7g9".to_owned(),
    }
}

fn attributes(all: &[KeyValue]) -> Vec<String> {
    let one = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => format!("{}={text}", pair.key),
        Value::IntValue(number) => format!("{}:{number}", pair.key),
        other => panic!("{other:?}"),
    };
    all.iter().map(one).collect()
}

fn metrics(depth: Option<u64>) -> ExportMetricsServiceRequest {
    let mut series = RequestSeries::empty(RequestLabels {
        method: "GET",
        status: 502,
        protocol_version: "1.0",
        server_address: "hello.default".to_owned(),
        server_port: Some(8080),
        scheme: "http",
        route_tag: RouteTag::Default,
        error: Some(ProxyError::ConnectionRefused),
    });
    // 20 ms, then 30 ms, of which the second never reached the application.
    for (bucket, nanos) in [(2, 20_000_000), (4, 30_000_000)] {
        series.duration.counts[bucket] += 1;
        series.duration.sum += nanos;
    }
    series.app_duration.counts[2] += 1;
    series.app_duration.sum += 20_000_000;
    series.request_size.counts[2] += 2;
    series.request_size.sum += 20;
    let sample = UserSample {
        revision: &revision(),
        version: "0.1.0",
        queue_depth: depth,
        app: ("127.0.0.1", 8081),
        requests: &[series],
        process: None,
    };
    ExportMetricsServiceRequest::decode(metrics_request(&sample, 7, 11).as_slice()).unwrap()
}

fn by_name<'a>(request: &'a ExportMetricsServiceRequest, name: &str) -> &'a Metric {
    let scopes = &request.resource_metrics[0].scope_metrics;
    let mut all = scopes.iter().flat_map(|scope| &scope.metrics);
    all.find(|metric| metric.name == name).unwrap()
}

#[test]
fn a_collector_reads_every_metric_with_its_unit_and_attributes() {
    let request = metrics(Some(4));
    let of_instance = attributes(
        &request.resource_metrics[0]
            .resource
            .as_ref()
            .unwrap()
            .attributes,
    );
    assert_eq!(
        of_instance,
        [
            "service.name=hello",
            "service.instance.id=hello-00001-x7g9",
            "service.version=0.1.0",
            "container.name=queue-proxy",
            "k8s.namespace.name=default",
            "k8s.pod.name=hello-00001-x7g9",
            "kn.service.name=hello",
            "kn.configuration.name=hello",
            "kn.revision.name=hello-00001",
        ]
    );
    let server = "http.request.method=GET http.response.status_code:502 network.protocol.name=http \
        network.protocol.version=1.0 server.address=hello.default server.port:8080 url.scheme=http \
        kn.route.tag=kn:default";
    let client = "http.request.method=GET error.type=connection_refused network.protocol.name=http \
        network.protocol.version=1.1 server.address=127.0.0.1 server.port:8081 url.scheme=http \
        kn.route.tag=kn:default";
    for (name, unit, expected, count, sum) in [
        (
            "kn.serving.invocation.duration",
            "s",
            "http.response.status_code:502",
            1,
            0.02,
        ),
        ("http.server.request.duration", "s", server, 2, 0.05),
        ("http.server.request.body.size", "By", server, 2, 20.0),
        ("http.server.response.body.size", "By", server, 0, 0.0),
        ("http.client.request.duration", "s", client, 1, 0.02),
        ("http.client.request.body.size", "By", client, 0, 0.0),
    ] {
        let metric = by_name(&request, name);
        assert_eq!(metric.unit, unit, "{name}");
        let Some(metric::Data::Histogram(histogram)) = &metric.data else {
            panic!("{name}: {metric:?}");
        };
        assert_eq!(
            histogram.aggregation_temporality(),
            AggregationTemporality::Cumulative
        );
        let point = &histogram.data_points[0];
        assert_eq!(attributes(&point.attributes).join(" "), expected, "{name}");
        assert_eq!((point.count, point.sum), (count, Some(sum)), "{name}");
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), count, "{name}");
        assert_eq!(
            point.bucket_counts.len(),
            point.explicit_bounds.len() + 1,
            "{name}"
        );
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (7, 11));
    }
}

#[test]
fn durations_have_the_bounds_of_today_in_seconds() {
    let request = metrics(None);
    let durations = by_name(&request, "kn.serving.invocation.duration");
    let Some(metric::Data::Histogram(durations)) = &durations.data else {
        panic!("{durations:?}");
    };
    let point = &durations.data_points[0];
    assert_eq!(point.explicit_bounds[..3], [0.005, 0.01, 0.025]);
    assert_eq!(point.bucket_counts[..3], [0, 0, 1]);
}

#[test]
fn the_depth_of_the_queue_is_a_gauge_and_absent_without_a_limit() {
    let request = metrics(Some(4));
    let metric = by_name(&request, "kn.serving.queue.depth");
    assert_eq!(metric.unit, "{request}");
    let Some(metric::Data::Gauge(gauge)) = &metric.data else {
        panic!("{metric:?}");
    };
    let point = &gauge.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsInt(4)));
    assert_eq!(point.time_unix_nano, 11);
    let without = metrics(None);
    let scopes = &without.resource_metrics[0].scope_metrics;
    assert!(scopes.iter().all(|scope| {
        scope
            .metrics
            .iter()
            .all(|m| m.name != "kn.serving.queue.depth")
    }));
}

#[test]
fn a_collector_reads_every_span() {
    let failed = Span {
        trace_id: [1; 16],
        span_id: [2; 8],
        parent: Some([3; 8]),
        trace_state: "vendor=1".to_owned(),
        name: "GET".to_owned(),
        kind: SpanKind::Server,
        start: 5,
        end: 9,
        attributes: vec![("http.response.status_code", Attribute::Whole(502))],
        failure: Some("connection_refused".to_owned()),
    };
    let root = Span {
        parent: None,
        kind: SpanKind::Internal,
        failure: None,
        ..failed.clone()
    };
    let client = Span {
        kind: SpanKind::Client,
        ..root.clone()
    };
    let resource = revision().resource("0.1.0");
    let bytes = trace_request(&resource, "0.1.0", [failed, root, client]);
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
    let of_instance = request.resource_spans[0].resource.as_ref().unwrap();
    assert!(
        attributes(&of_instance.attributes).contains(&"kn.revision.name=hello-00001".to_owned())
    );
    let scope = &request.resource_spans[0].scope_spans[0];
    assert_eq!(scope.scope.as_ref().unwrap().version, "0.1.0");
    let [failed, root, client] = &scope.spans[..] else {
        panic!("{scope:?}");
    };
    assert_eq!(
        (failed.trace_id.as_slice(), failed.span_id.as_slice()),
        (&[1; 16][..], &[2; 8][..])
    );
    assert_eq!(failed.parent_span_id, [3; 8]);
    assert_eq!(
        (failed.name.as_str(), failed.trace_state.as_str()),
        ("GET", "vendor=1")
    );
    assert_eq!(
        (failed.start_time_unix_nano, failed.end_time_unix_nano),
        (5, 9)
    );
    assert_eq!(
        attributes(&failed.attributes),
        ["http.response.status_code:502"]
    );
    let status = failed.status.as_ref().unwrap();
    assert_eq!(
        (status.code(), status.message.as_str()),
        (status::StatusCode::Error, "connection_refused")
    );
    assert_eq!(
        (failed.kind(), root.kind(), client.kind()),
        (
            span::SpanKind::Server,
            span::SpanKind::Internal,
            span::SpanKind::Client
        )
    );
    assert!(root.parent_span_id.is_empty() && root.status.is_none());
}

#[test]
fn what_a_collector_did_not_take_is_read_from_its_answer() {
    let answer = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 5,
            error_message: "too old".to_owned(),
        }),
    };
    let expected = PartialSuccess {
        rejected: 5,
        message: "too old".to_owned(),
    };
    assert_eq!(partial_success(&answer.encode_to_vec()), Some(expected));
}
