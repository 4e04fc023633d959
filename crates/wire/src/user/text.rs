//! The families for users as Prometheus reads them.

use std::time::Duration;

use super::{
    CONTAINER, Distribution, OLDER_DURATION_BOUNDS, RequestLabels, RequestSeries, SIZE_BOUNDS,
    TODAY_DURATION_BOUNDS, UserSample,
};
use crate::answer::CodeClass;
use crate::prometheus::{Descriptor, Exposition, HistogramView, TextFormat, Unit};
use crate::user::DURATION_BOUNDS;

const INVOCATION_DURATION: Descriptor = Descriptor::histogram(
    "kn_serving_invocation_duration_seconds",
    "The duration of task execution",
)
.with_unit(Unit::Seconds);
const TODAY_QUEUE_DEPTH: Descriptor = Descriptor::gauge(
    "kn_serving_queue_depth",
    "Number of current requests in the queue",
);
const SERVER_DURATION: Descriptor = Descriptor::histogram(
    "http_server_request_duration_seconds",
    "Duration of HTTP server requests",
)
.with_unit(Unit::Seconds);
const SERVER_REQUEST_SIZE: Descriptor = Descriptor::histogram(
    "http_server_request_body_size_bytes",
    "Size of HTTP server request bodies",
)
.with_unit(Unit::Bytes);
const SERVER_RESPONSE_SIZE: Descriptor = Descriptor::histogram(
    "http_server_response_body_size_bytes",
    "Size of HTTP server response bodies",
)
.with_unit(Unit::Bytes);
const CLIENT_DURATION: Descriptor = Descriptor::histogram(
    "http_client_request_duration_seconds",
    "Duration of HTTP client requests",
)
.with_unit(Unit::Seconds);
const CLIENT_REQUEST_SIZE: Descriptor = Descriptor::histogram(
    "http_client_request_body_size_bytes",
    "Size of HTTP client request bodies",
)
.with_unit(Unit::Bytes);
const TARGET: Descriptor = Descriptor::info("target_info", "Facts about the instance");

const OLDER_REQUESTS: Descriptor = Descriptor::older_counter(
    "revision_request_count",
    "The number of requests that are routed to queue-proxy",
);
const OLDER_LATENCIES: Descriptor = Descriptor::histogram(
    "revision_request_latencies",
    "The response time in millisecond",
);
const OLDER_APP_REQUESTS: Descriptor = Descriptor::older_counter(
    "revision_app_request_count",
    "The number of requests that are routed to user-container",
);
const OLDER_APP_LATENCIES: Descriptor = Descriptor::histogram(
    "revision_app_request_latencies",
    "The response time in millisecond of the user-container",
);
const OLDER_QUEUE_DEPTH: Descriptor = Descriptor::gauge(
    "revision_queue_depth",
    "The number of items queued at this queue proxy.",
);

/// What the older families call a service that nobody has named.
const UNKNOWN: &str = "unknown";

/// Labels of one series. Text decides which series are the same, whoever it came from.
type Labels = Vec<(&'static str, String)>;

/// Writes what users see in one of the two text formats. Linear in series.
#[must_use]
pub fn render_user(format: TextFormat, sample: &UserSample<'_>) -> Vec<u8> {
    let mut text = Exposition::new(format);
    write_today(&mut text, sample);
    write_older(&mut text, sample);
    let facts: Labels = sample.resource();
    let facts: Vec<_> = (facts.iter())
        .map(|(name, value)| (name.replace('.', "_"), value.as_str()))
        .collect();
    let facts: Vec<_> = (facts.iter())
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    text.family(&TARGET).info(&facts);
    text.finish()
        .expect(
            "names and labels are constants of this crate, and series are grouped by their text",
        )
        .into_bytes()
}

fn write_today(text: &mut Exposition, sample: &UserSample<'_>) {
    let by_status = sample.grouped(|labels| {
        let status = labels.status.to_string();
        today(sample, vec![("http_response_status_code", status)])
    });
    durations(text, &INVOCATION_DURATION, &by_status, |series| {
        &series.app_duration
    });
    if let Some(depth) = sample.queue_depth {
        let labels = today(sample, Labels::new());
        text.family(&TODAY_QUEUE_DEPTH)
            .integer(&borrowed(&labels), depth);
    }
    let of_server = sample.grouped(|labels| today(sample, server(labels)));
    durations(text, &SERVER_DURATION, &of_server, |series| {
        &series.duration
    });
    sizes(text, &SERVER_REQUEST_SIZE, &of_server, |series| {
        &series.request_size
    });
    sizes(text, &SERVER_RESPONSE_SIZE, &of_server, |series| {
        &series.response_size
    });
    let of_client = sample.grouped(|labels| today(sample, client(sample, labels)));
    durations(text, &CLIENT_DURATION, &of_client, |series| {
        &series.app_duration
    });
    sizes(text, &CLIENT_REQUEST_SIZE, &of_client, |series| {
        &series.app_request_size
    });
}

fn write_older(text: &mut Exposition, sample: &UserSample<'_>) {
    let with_tag = sample.grouped(|labels| {
        let mut all = older_with_status(sample, labels);
        all.push(("route_tag", labels.route_tag.older().to_owned()));
        all
    });
    counts(text, &OLDER_REQUESTS, &with_tag, |series| &series.duration);
    millis(text, &OLDER_LATENCIES, &with_tag, |series| &series.duration);
    let without_tag = sample.grouped(|labels| older_with_status(sample, labels));
    counts(text, &OLDER_APP_REQUESTS, &without_tag, |series| {
        &series.app_duration
    });
    millis(text, &OLDER_APP_LATENCIES, &without_tag, |series| {
        &series.app_duration
    });
    if let Some(depth) = sample.queue_depth {
        text.family(&OLDER_QUEUE_DEPTH)
            .integer(&borrowed(&older(sample)), depth);
    }
}

type Groups = std::collections::BTreeMap<Labels, RequestSeries>;

fn durations(
    text: &mut Exposition,
    family: &Descriptor,
    groups: &Groups,
    of: impl Fn(&RequestSeries) -> &Distribution,
) {
    let bounds = TODAY_DURATION_BOUNDS.map(Duration::from_nanos);
    let mut family = text.family(family);
    for (labels, series) in groups {
        let counts = of(series).by(&DURATION_BOUNDS, &TODAY_DURATION_BOUNDS);
        let cumulative = counts.cumulative();
        let view = HistogramView::new(&bounds, &cumulative, Duration::from_nanos(counts.sum))
            .expect("constant bounds rise, and a running sum does not fall");
        family.histogram(&borrowed(labels), &view);
    }
}

fn sizes(
    text: &mut Exposition,
    family: &Descriptor,
    groups: &Groups,
    of: impl Fn(&RequestSeries) -> &Distribution,
) {
    let mut family = text.family(family);
    for (labels, series) in groups {
        let counts = of(series);
        family.whole_histogram(
            &borrowed(labels),
            &SIZE_BOUNDS,
            &counts.cumulative(),
            counts.sum as f64,
        );
    }
}

fn millis(
    text: &mut Exposition,
    family: &Descriptor,
    groups: &Groups,
    of: impl Fn(&RequestSeries) -> &Distribution,
) {
    let bounds = OLDER_DURATION_BOUNDS.map(|bound| bound * super::MILLI);
    let mut family = text.family(family);
    for (labels, series) in groups {
        let counts = of(series).by(&DURATION_BOUNDS, &bounds);
        family.whole_histogram(
            &borrowed(labels),
            &OLDER_DURATION_BOUNDS,
            &counts.cumulative(),
            counts.sum as f64 / super::MILLI as f64,
        );
    }
}

fn counts(
    text: &mut Exposition,
    family: &Descriptor,
    groups: &Groups,
    of: impl Fn(&RequestSeries) -> &Distribution,
) {
    let mut family = text.family(family);
    for (labels, series) in groups {
        family.integer(&borrowed(labels), of(series).count());
    }
}

fn borrowed(labels: &Labels) -> Vec<(&'static str, &str)> {
    let pairs = labels.iter();
    pairs.map(|(name, value)| (*name, value.as_str())).collect()
}

/// Labels of one of today's series: its own, and which revision it is, so that no query needs a join.
fn today(sample: &UserSample<'_>, mut labels: Labels) -> Labels {
    let revision = sample.revision;
    let all = [
        ("k8s_namespace_name", &revision.namespace),
        ("kn_service_name", &revision.service),
        ("kn_configuration_name", &revision.configuration),
        ("kn_revision_name", &revision.revision),
    ];
    let told = all.into_iter().filter(|(_, value)| !value.is_empty());
    labels.extend(told.map(|(name, value)| (name, value.clone())));
    labels
}

fn server(labels: &RequestLabels) -> Labels {
    let mut all = vec![
        ("http_request_method", labels.method.to_owned()),
        ("http_response_status_code", labels.status.to_string()),
        ("network_protocol_name", "http".to_owned()),
        (
            "network_protocol_version",
            labels.protocol_version.to_owned(),
        ),
        ("server_address", labels.server_address.clone()),
    ];
    if let Some(port) = labels.server_port {
        all.push(("server_port", port.to_string()));
    }
    all.push(("url_scheme", labels.scheme.to_owned()));
    all.push(("kn_route_tag", labels.route_tag.today().to_owned()));
    all
}

fn client(sample: &UserSample<'_>, labels: &RequestLabels) -> Labels {
    let (address, port) = sample.app;
    let result = match labels.error {
        None => ("http_response_status_code", labels.status.to_string()),
        Some(error) => ("error_type", error.as_str().to_owned()),
    };
    vec![
        ("http_request_method", labels.method.to_owned()),
        result,
        ("network_protocol_name", "http".to_owned()),
        ("network_protocol_version", labels.upstream_version().into()),
        ("server_address", address.to_owned()),
        ("server_port", port.to_string()),
        ("url_scheme", "http".to_owned()),
        ("kn_route_tag", labels.route_tag.today().to_owned()),
    ]
}

fn older_with_status(sample: &UserSample<'_>, labels: &RequestLabels) -> Labels {
    let class = CodeClass::of_status(labels.status).as_str();
    let mut all = older(sample);
    all.push(("response_code", labels.status.to_string()));
    all.push(("response_code_class", class.to_owned()));
    all
}

fn older(sample: &UserSample<'_>) -> Labels {
    let revision = sample.revision;
    let service = match revision.service.as_str() {
        "" => UNKNOWN,
        service => service,
    };
    vec![
        ("namespace_name", revision.namespace.clone()),
        ("service_name", service.to_owned()),
        ("configuration_name", revision.configuration.clone()),
        ("revision_name", revision.revision.clone()),
        ("pod_name", revision.pod.clone()),
        ("container_name", CONTAINER.to_owned()),
    ]
}
