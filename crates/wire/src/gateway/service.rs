//! What a gateway shows of each service.

use super::EndpointSample;
use crate::answer::Answer;
use crate::orca::ReportError;
use crate::prometheus::{Descriptor, Exposition, HistogramView, Unit};
use crate::proxy_error::ProxyError;

const INFO: Descriptor = Descriptor::info(
    "plimsoll_gateway_service_info",
    "The policy by which a service chooses among its endpoints",
);
const REQUESTS: Descriptor = Descriptor::counter(
    "plimsoll_gateway_requests_total",
    "Requests to a service that ended, by the class of their status and by who decided the answer",
);
const REQUEST_ERRORS: Descriptor = Descriptor::counter(
    "plimsoll_gateway_request_errors_total",
    "Requests to a service that failed, by the error type of RFC 9209",
);
const IN_FLIGHT: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_requests_in_flight",
    "Requests to a service that have begun and not ended, waiting ones included",
);
const REQUEST_DURATION: Descriptor = Descriptor::histogram(
    "plimsoll_gateway_request_duration_seconds",
    "Time from the head of a request to the end of its answer, waiting and retries included",
)
.with_unit(Unit::Seconds);
const UPSTREAM_DURATION: Descriptor = Descriptor::histogram(
    "plimsoll_gateway_upstream_duration_seconds",
    "Time from handing a request to its first endpoint to the end of its answer",
)
.with_unit(Unit::Seconds);
const QUEUE_DEPTH: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_queue_depth",
    "Requests that wait for an endpoint with a free slot",
);
const QUEUE_CAPACITY: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_queue_capacity",
    "Requests that may wait for an endpoint at the same time",
);
const QUEUE_WAIT: Descriptor = Descriptor::histogram(
    "plimsoll_gateway_queue_wait_seconds",
    "Time that a request waited for an endpoint with a free slot",
)
.with_unit(Unit::Seconds);
const RETRIES: Descriptor = Descriptor::counter(
    "plimsoll_gateway_retries_total",
    "Attempts to have another endpoint answer a request",
);
const RETRY_BUDGET_EXHAUSTED: Descriptor = Descriptor::counter(
    "plimsoll_gateway_retry_budget_exhausted_total",
    "Attempts that were not made because the retry budget was spent",
);
const LOAD_REPORTS: Descriptor = Descriptor::counter(
    "plimsoll_gateway_load_reports_total",
    "Load reports of endpoints that were taken",
);
const LOAD_REPORTS_REJECTED: Descriptor = Descriptor::counter(
    "plimsoll_gateway_load_reports_rejected_total",
    "Load reports of endpoints that were ignored, by what was wrong with them",
);
const DISCOVERIES: Descriptor = Descriptor::counter(
    "plimsoll_gateway_discoveries_total",
    "Attempts to learn the endpoints of a service, by their result",
);

/// One reading of a service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceSample<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// The name of its policy, e.g. `peak-ewma`.
    pub policy: &'a str,
    /// Requests that ended, indexed by [`Answer::index`]; of these, only
    /// [`Answer::SERVICE`] are shown.
    pub requests: [u64; Answer::COUNT],
    /// Requests that failed, indexed by [`ProxyError::index`].
    pub errors: [u64; ProxyError::COUNT],
    /// Requests that have begun and not ended, waiting ones included.
    pub requests_in_flight: u64,
    /// From the head of a request to the end of its answer.
    pub request_duration: HistogramView<'a>,
    /// From handing a request to its first endpoint to the end of its answer.
    pub upstream_duration: HistogramView<'a>,
    /// The queue.
    pub queue: QueueSample<'a>,
    /// Further attempts.
    pub retries: RetrySample,
    /// What endpoints say of themselves.
    pub load_reports: LoadReportSample,
    /// Where the endpoints come from; `None` if they are written in the
    /// configuration.
    pub discovery: Option<DiscoverySample>,
    /// The endpoints, each address once.
    pub endpoints: &'a [EndpointSample<'a>],
}

/// One reading of a service's queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueSample<'a> {
    /// Requests that wait.
    pub depth: u64,
    /// Requests that may wait at the same time; `None` if endpoints have no
    /// slots, so that nothing ever waits.
    pub capacity: Option<u64>,
    /// The wait of each request that asked for a slot.
    pub wait: HistogramView<'a>,
}

/// Attempts to have another endpoint answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetrySample {
    /// Attempts that were made.
    pub made: u64,
    /// Attempts that were not made because the budget was spent.
    pub budget_exhausted: u64,
}

/// What became of the load reports of a service's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReportSample {
    /// Taken.
    pub taken: u64,
    /// Ignored, indexed by [`ReportError::index`].
    pub rejected: [u64; ReportError::COUNT],
}

/// Attempts to learn the endpoints of a service: resolutions of a name, or
/// readings of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiscoverySample {
    /// Attempts that gave a set, changed or not.
    pub successes: u64,
    /// Attempts that failed. The set before stays in use.
    pub failures: u64,
}

/// Writes the families that have one label `service`.
pub(super) fn write(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    let mut info = text.family(&INFO);
    for service in services {
        info.info(&[("service", service.name), ("policy", service.policy)]);
    }
    write_requests(text, services);
    write_durations(text, services);
    write_numbers(text, services);
    write_load_reports(text, services);
    let mut discoveries = text.family(&DISCOVERIES);
    for service in services {
        if let Some(discovery) = service.discovery {
            let labels = |result| [("service", service.name), ("result", result)];
            discoveries
                .integer(&labels("success"), discovery.successes)
                .integer(&labels("failure"), discovery.failures);
        }
    }
}

fn write_requests(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    let mut requests = text.family(&REQUESTS);
    for service in services {
        for answer in Answer::SERVICE {
            let labels = [
                ("service", service.name),
                ("code_class", answer.code_class().as_str()),
                ("source", answer.source().as_str()),
            ];
            requests.integer(&labels, service.requests[answer.index()]);
        }
    }
    let mut errors = text.family(&REQUEST_ERRORS);
    for service in services {
        let of_a_service = |error: &ProxyError| *error != ProxyError::DestinationNotFound;
        for error in ProxyError::ALL.into_iter().filter(of_a_service) {
            let labels = [("service", service.name), ("error", error.as_str())];
            errors.integer(&labels, service.errors[error.index()]);
        }
    }
}

fn write_durations(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    type Histogram = for<'a> fn(&ServiceSample<'a>) -> HistogramView<'a>;
    let families: [(&Descriptor, Histogram); 3] = [
        (&REQUEST_DURATION, |service| service.request_duration),
        (&UPSTREAM_DURATION, |service| service.upstream_duration),
        (&QUEUE_WAIT, |service| service.queue.wait),
    ];
    for (descriptor, histogram) in families {
        let mut family = text.family(descriptor);
        for service in services {
            family.histogram(&[("service", service.name)], &histogram(service));
        }
    }
}

fn write_numbers(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    type Number = fn(&ServiceSample<'_>) -> Option<u64>;
    let families: [(&Descriptor, Number); 6] = [
        (&IN_FLIGHT, |service| Some(service.requests_in_flight)),
        (&QUEUE_DEPTH, |service| Some(service.queue.depth)),
        (&QUEUE_CAPACITY, |service| service.queue.capacity),
        (&RETRIES, |service| Some(service.retries.made)),
        (&RETRY_BUDGET_EXHAUSTED, |service| {
            Some(service.retries.budget_exhausted)
        }),
        (&LOAD_REPORTS, |service| Some(service.load_reports.taken)),
    ];
    for (descriptor, number) in families {
        let mut family = text.family(descriptor);
        for service in services {
            if let Some(value) = number(service) {
                family.integer(&[("service", service.name)], value);
            }
        }
    }
}

fn write_load_reports(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    let mut rejected = text.family(&LOAD_REPORTS_REJECTED);
    for service in services {
        for reason in ReportError::ALL {
            let labels = [("service", service.name), ("reason", reason.as_str())];
            rejected.integer(&labels, service.load_reports.rejected[reason.index()]);
        }
    }
}
