//! Plimsoll's own metric families.
//!
//! The input is plain values and borrowed histograms. Whoever measures fills
//! in [`Families`] once per scrape; nothing here knows how it measured.
//!
//! Every series that can occur is written from the start, with 0, so that
//! `increase()` sees the first event. What does not apply is absent instead:
//! an instance without a concurrency limit has no slots and no queue, and 0
//! would be a lie that a graph of free slots would believe.

use crate::answer::Answer;
use crate::prometheus::{Descriptor, Exposition, HistogramView, Unit};
use crate::proxy_error::ProxyError;

const REQUESTS: Descriptor = Descriptor::counter(
    "plimsoll_requests_total",
    "Requests that ended, by the class of their status and by who decided the answer",
);
const REQUEST_ERRORS: Descriptor = Descriptor::counter(
    "plimsoll_request_errors_total",
    "Requests that failed, by the error type of RFC 9209",
);
const REQUESTS_IN_FLIGHT: Descriptor = Descriptor::gauge(
    "plimsoll_requests_in_flight",
    "Requests that have begun and not ended, waiting ones included",
);
const QUEUE_DEPTH: Descriptor =
    Descriptor::gauge("plimsoll_queue_depth", "Requests that wait for a slot");
const QUEUE_CAPACITY: Descriptor = Descriptor::gauge(
    "plimsoll_queue_capacity",
    "Requests that may wait for a slot at the same time",
);
const SLOTS: Descriptor = Descriptor::gauge(
    "plimsoll_slots",
    "Requests that may run in the application at the same time",
);
const SLOTS_IN_USE: Descriptor = Descriptor::gauge(
    "plimsoll_slots_in_use",
    "Requests that run in the application",
);
pub(crate) const CONNECTIONS_OPEN: Descriptor = Descriptor::gauge(
    "plimsoll_connections_open",
    "Connections from clients that are open",
);
pub(crate) const BUILD_INFO: Descriptor =
    Descriptor::info("plimsoll_build_info", "The version of Plimsoll that runs");
const REQUEST_DURATION: Descriptor = Descriptor::histogram(
    "plimsoll_request_duration_seconds",
    "Time from the head of a request to the end of its answer, waiting included",
)
.with_unit(Unit::Seconds);
const QUEUE_WAIT: Descriptor = Descriptor::histogram(
    "plimsoll_queue_wait_seconds",
    "Time that a request waited for a slot",
)
.with_unit(Unit::Seconds);
const UPSTREAM_DURATION: Descriptor = Descriptor::histogram(
    "plimsoll_upstream_duration_seconds",
    "Time from handing a request to the application to the end of its answer",
)
.with_unit(Unit::Seconds);

/// The state of the concurrency limit and its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitSample {
    /// Requests that may run at the same time.
    pub slots: u64,
    /// Requests that run. It can exceed `slots` for a while after an adaptive
    /// limit was lowered.
    pub slots_in_use: u64,
    /// Requests that wait for a slot.
    pub queue_depth: u64,
    /// Requests that may wait at the same time.
    pub queue_capacity: u64,
}

/// One reading of everything that Plimsoll's own families show.
#[derive(Debug, Clone, Copy)]
pub struct Families<'a> {
    /// Requests that ended, indexed by [`Answer::index`].
    pub requests: [u64; Answer::COUNT],
    /// Requests that failed, indexed by [`ProxyError::index`].
    pub errors: [u64; ProxyError::COUNT],
    /// Requests that have begun and not ended, waiting ones included.
    pub requests_in_flight: u64,
    /// Connections from clients that are open.
    pub connections_open: u64,
    /// The concurrency limit. With `None`, concurrency is unlimited, and the
    /// families for slots and the queue's capacity are absent. The queue's
    /// depth is then known to be 0 and is shown.
    pub limit: Option<LimitSample>,
    /// The version of the program.
    pub version: &'a str,
    /// From the head of a request to the end of its answer.
    pub request_duration: HistogramView<'a>,
    /// The wait for a slot, of each request that asked for one.
    pub queue_wait: HistogramView<'a>,
    /// From handing a request to the application to the end of its answer.
    pub upstream_duration: HistogramView<'a>,
}

/// Writes all families.
pub(crate) fn write(text: &mut Exposition, families: &Families<'_>) {
    write_counters(text, families);
    write_gauges(text, families);
    text.family(&REQUEST_DURATION)
        .histogram(&[], &families.request_duration);
    text.family(&QUEUE_WAIT)
        .histogram(&[], &families.queue_wait);
    text.family(&UPSTREAM_DURATION)
        .histogram(&[], &families.upstream_duration);
    text.family(&BUILD_INFO)
        .info(&[("version", families.version)]);
}

fn write_counters(text: &mut Exposition, families: &Families<'_>) {
    let mut requests = text.family(&REQUESTS);
    for answer in Answer::SIDECAR {
        let labels = [
            ("code_class", answer.code_class().as_str()),
            ("source", answer.source().as_str()),
        ];
        requests.integer(&labels, families.requests[answer.index()]);
    }
    let mut errors = text.family(&REQUEST_ERRORS);
    for error in ProxyError::SIDECAR {
        errors.integer(&[("error", error.as_str())], families.errors[error.index()]);
    }
}

fn write_gauges(text: &mut Exposition, families: &Families<'_>) {
    let limit = families.limit.unwrap_or_default();
    let always = [
        (&REQUESTS_IN_FLIGHT, families.requests_in_flight),
        (&CONNECTIONS_OPEN, families.connections_open),
        (&QUEUE_DEPTH, limit.queue_depth),
    ];
    let only_with_a_limit = [
        (&QUEUE_CAPACITY, limit.queue_capacity),
        (&SLOTS, limit.slots),
        (&SLOTS_IN_USE, limit.slots_in_use),
    ];
    let limited = only_with_a_limit
        .into_iter()
        .filter(|_| families.limit.is_some());
    for (descriptor, value) in always.into_iter().chain(limited) {
        text.family(descriptor).integer(&[], value);
    }
}
