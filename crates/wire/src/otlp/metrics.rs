//! What users see, as a collector takes it.

use std::collections::BTreeMap;

use prost::Message as _;

use super::message::{
    CUMULATIVE, Data, Gauge, Histogram, HistogramPoint, Metric, MetricsRequest, NumberPoint,
    Resource, ResourceMetrics, Scope, ScopeMetrics, key_values,
};
use crate::user::{
    Attributes, DURATION_BOUNDS, Distribution, RequestSeries, SIZE_BOUNDS, TODAY_DURATION_BOUNDS,
    UserSample, of_client, of_invocation, of_server,
};

/// Nanoseconds in a second.
const NANOS: f64 = 1e9;

type Groups = BTreeMap<Attributes, RequestSeries>;

/// The scopes in which Knative's queue-proxy has these metrics.
const SERVING: &str = "knative.dev/serving/pkg/queue";
const HTTP: &str = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp";

/// The times of a request, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    since: u64,
    now: u64,
}

/// The body of a request to a collector: today's families, counted since `since`, as they are `now`, both in
/// nanoseconds since 1970. Linear in series.
#[must_use]
pub fn metrics_request(sample: &UserSample<'_>, since: u64, now: u64) -> Vec<u8> {
    let times = Times { since, now };
    let scope = |name: &str, metrics| ScopeMetrics {
        scope: Some(Scope {
            name: name.to_owned(),
            version: sample.version.to_owned(),
        }),
        metrics,
    };
    let message = MetricsRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: key_values(&sample.resource()),
            }),
            scope_metrics: vec![
                scope(SERVING, of_serving(sample, times)),
                scope(HTTP, of_http(sample, times)),
            ],
        }],
    };
    message.encode_to_vec()
}

fn of_serving(sample: &UserSample<'_>, times: Times) -> Vec<Metric> {
    let groups = sample.grouped(of_invocation);
    let mut metrics = vec![durations(
        "kn.serving.invocation.duration",
        "The duration of task execution",
        &groups,
        times,
        |series| &series.app_duration,
    )];
    if let Some(depth) = sample.queue_depth {
        let point = NumberPoint {
            time_unix_nano: times.now,
            as_int: Some(i64::try_from(depth).unwrap_or(i64::MAX)),
        };
        metrics.push(Metric {
            name: "kn.serving.queue.depth".to_owned(),
            description: "Number of current requests in the queue".to_owned(),
            unit: "{request}".to_owned(),
            data: Some(Data::Gauge(Gauge {
                data_points: vec![point],
            })),
        });
    }
    metrics
}

fn of_http(sample: &UserSample<'_>, times: Times) -> Vec<Metric> {
    let server = sample.grouped(of_server);
    let mut client = sample.grouped(|labels| of_client(sample, labels));
    client.retain(|_, series| series.labels.error.is_none() || series.app_duration.count() > 0);
    vec![
        durations(
            "http.server.request.duration",
            "Duration of HTTP server requests",
            &server,
            times,
            |series| &series.duration,
        ),
        sizes(
            "http.server.request.body.size",
            "Size of HTTP server request bodies",
            &server,
            times,
            |series| &series.request_size,
        ),
        sizes(
            "http.server.response.body.size",
            "Size of HTTP server response bodies",
            &server,
            times,
            |series| &series.response_size,
        ),
        durations(
            "http.client.request.duration",
            "Duration of HTTP client requests",
            &client,
            times,
            |series| &series.app_duration,
        ),
        sizes(
            "http.client.request.body.size",
            "Size of HTTP client request bodies",
            &client,
            times,
            |series| &series.app_request_size,
        ),
    ]
}

fn durations(
    name: &str,
    description: &str,
    groups: &Groups,
    times: Times,
    of: impl Fn(&RequestSeries) -> &Distribution,
) -> Metric {
    let bounds = TODAY_DURATION_BOUNDS.map(|bound| bound as f64 / NANOS);
    let points = groups.iter().map(|(attributes, series)| {
        let counts = of(series).by(&DURATION_BOUNDS, &TODAY_DURATION_BOUNDS);
        point(attributes, &bounds, counts, 1.0 / NANOS, times)
    });
    histogram(name, description, "s", points.collect())
}

fn sizes(
    name: &str,
    description: &str,
    groups: &Groups,
    times: Times,
    of: impl Fn(&RequestSeries) -> &Distribution,
) -> Metric {
    let bounds = SIZE_BOUNDS.map(|bound| bound as f64);
    let points = groups
        .iter()
        .map(|(attributes, series)| point(attributes, &bounds, of(series).clone(), 1.0, times));
    histogram(name, description, "By", points.collect())
}

fn point(
    attributes: &Attributes,
    bounds: &[f64],
    counts: Distribution,
    unit: f64,
    times: Times,
) -> HistogramPoint {
    HistogramPoint {
        start_time_unix_nano: times.since,
        time_unix_nano: times.now,
        count: counts.count(),
        sum: Some(counts.sum as f64 * unit),
        bucket_counts: counts.counts,
        explicit_bounds: bounds.to_vec(),
        attributes: key_values(attributes),
    }
}

fn histogram(name: &str, description: &str, unit: &str, points: Vec<HistogramPoint>) -> Metric {
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(Data::Histogram(Histogram {
            data_points: points,
            aggregation_temporality: CUMULATIVE,
        })),
    }
}
