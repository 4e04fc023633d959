//! The families for users as Prometheus reads them.

use std::time::Duration;

use super::attributes::{Attribute, Attributes, of_client, of_invocation, of_revision, of_server};
use super::{
    CONTAINER, Distribution, OLDER_DURATION_BOUNDS, ProcessSample, RequestLabels, RequestSeries,
    SIZE_BOUNDS, TODAY_DURATION_BOUNDS, UserSample,
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

const PROCESS_CPU: Descriptor = Descriptor::counter(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
)
.with_unit(Unit::Seconds);
const PROCESS_RESIDENT: Descriptor = Descriptor::gauge(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
)
.with_unit(Unit::Bytes);
const PROCESS_VIRTUAL: Descriptor = Descriptor::gauge(
    "process_virtual_memory_bytes",
    "Virtual memory size in bytes.",
)
.with_unit(Unit::Bytes);
const PROCESS_OPEN: Descriptor =
    Descriptor::gauge("process_open_fds", "Number of open file descriptors.");
const PROCESS_OPEN_MAX: Descriptor = Descriptor::gauge(
    "process_max_fds",
    "Maximum number of open file descriptors.",
);
const PROCESS_STARTED: Descriptor = Descriptor::gauge(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
)
.with_unit(Unit::Seconds);

/// What the older families call a service that nobody has named.
const UNKNOWN: &str = "unknown";

/// Writes what users see in one of the two text formats. Linear in series.
#[must_use]
pub fn render_user(format: TextFormat, sample: &UserSample<'_>) -> Vec<u8> {
    let mut text = Exposition::new(format);
    write_today(&mut text, sample);
    write_older(&mut text, sample);
    if let Some(process) = &sample.process {
        write_process(&mut text, process);
    }
    text.family(&TARGET)
        .info(&Labels::of(&sample.resource()).pairs());
    text.finish()
        .expect(
            "names and labels are constants of this crate, and series are grouped by their text",
        )
        .into_bytes()
}

fn write_today(text: &mut Exposition, sample: &UserSample<'_>) {
    let by_status = sample.grouped(|labels| today(sample, of_invocation(labels)));
    durations(text, &INVOCATION_DURATION, &by_status, |series| {
        &series.app_duration
    });
    if let Some(depth) = sample.queue_depth {
        let labels = today(sample, Attributes::new());
        text.family(&TODAY_QUEUE_DEPTH)
            .integer(&Labels::of(&labels).pairs(), depth);
    }
    let of_server = sample.grouped(|labels| today(sample, of_server(labels)));
    durations(text, &SERVER_DURATION, &of_server, |series| {
        &series.duration
    });
    sizes(text, &SERVER_REQUEST_SIZE, &of_server, |series| {
        &series.request_size
    });
    sizes(text, &SERVER_RESPONSE_SIZE, &of_server, |series| {
        &series.response_size
    });
    let mut of_client = sample.grouped(|labels| today(sample, of_client(sample, labels)));
    // What was refused here failed without the application's part.
    of_client.retain(|_, series| series.labels.error.is_none() || series.app_duration.count() > 0);
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
        all.push(("route_tag", labels.route_tag.older().into()));
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
            .integer(&Labels::of(&older(sample)).pairs(), depth);
    }
}

/// Without labels, as everybody has them.
fn write_process(text: &mut Exposition, process: &ProcessSample) {
    text.family(&PROCESS_CPU).number(&[], process.cpu_seconds);
    text.family(&PROCESS_RESIDENT)
        .integer(&[], process.resident_bytes);
    text.family(&PROCESS_VIRTUAL)
        .integer(&[], process.virtual_bytes);
    text.family(&PROCESS_OPEN)
        .integer(&[], process.open_descriptors);
    if let Some(most) = process.descriptors_max {
        text.family(&PROCESS_OPEN_MAX).integer(&[], most);
    }
    text.family(&PROCESS_STARTED)
        .number(&[], process.started_at_seconds);
}

type Groups = std::collections::BTreeMap<Attributes, RequestSeries>;

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
        family.histogram(&Labels::of(labels).pairs(), &view);
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
            &Labels::of(labels).pairs(),
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
            &Labels::of(labels).pairs(),
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
        family.integer(&Labels::of(labels).pairs(), of(series).count());
    }
}

/// Labels as text: names in which a dot is an underscore.
struct Labels(Vec<(String, String)>);

impl Labels {
    fn of(attributes: &Attributes) -> Self {
        let text = |(name, value): &(&str, Attribute)| (name.replace('.', "_"), value.to_string());
        Self(attributes.iter().map(text).collect())
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter();
        pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }
}

/// Labels of one of today's series: its own, and which revision it is, so that no query needs a join.
fn today(sample: &UserSample<'_>, mut labels: Attributes) -> Attributes {
    labels.extend(of_revision(sample.revision));
    labels
}

fn older_with_status(sample: &UserSample<'_>, labels: &RequestLabels) -> Attributes {
    let class = CodeClass::of_status(labels.status).as_str();
    let mut all = older(sample);
    all.push(("response_code", labels.status.to_string().as_str().into()));
    all.push(("response_code_class", class.into()));
    all
}

fn older(sample: &UserSample<'_>) -> Attributes {
    let revision = sample.revision;
    let service = match revision.service.as_str() {
        "" => UNKNOWN,
        service => service,
    };
    vec![
        ("namespace_name", revision.namespace.as_str().into()),
        ("service_name", service.into()),
        ("configuration_name", revision.configuration.as_str().into()),
        ("revision_name", revision.revision.as_str().into()),
        ("pod_name", revision.pod.as_str().into()),
        ("container_name", CONTAINER.into()),
    ]
}
