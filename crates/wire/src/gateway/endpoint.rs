//! What a gateway shows of each endpoint.

use std::time::Duration;

use super::{EjectionReason, EndpointOutcome, EndpointState, ServiceSample};
use crate::prometheus::{Descriptor, Exposition, SummaryView, Unit};

const STATE: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_state",
    "What an endpoint may be given: 1 at its state, 0 at the others",
);
const IN_FLIGHT: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_requests_in_flight",
    "Requests that an endpoint works on",
);
const SLOTS: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_slots",
    "Requests that an endpoint may work on at the same time",
);
const WEIGHT: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_weight",
    "The weight of an endpoint in the configuration",
);
const EFFECTIVE_WEIGHT: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_effective_weight",
    "The weight by which an endpoint is chosen now",
);
const SCORE: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_score",
    "What the policy has computed of an endpoint",
);
const PICKS: Descriptor = Descriptor::counter(
    "plimsoll_gateway_endpoint_picks_total",
    "Times that an endpoint was chosen",
);
const OUTCOMES: Descriptor = Descriptor::counter(
    "plimsoll_gateway_endpoint_outcomes_total",
    "Requests to an endpoint that ended, by how",
);
const EJECTIONS: Descriptor = Descriptor::counter(
    "plimsoll_gateway_endpoint_ejections_total",
    "Times that an endpoint was ejected, by why",
);
const LATENCY: Descriptor = Descriptor::summary(
    "plimsoll_gateway_endpoint_latency_seconds",
    "Time from handing a request to an endpoint to the head of its answer",
)
.with_unit(Unit::Seconds);
const CPU: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_cpu_utilization_ratio",
    "The part of its processor time that an endpoint says it uses",
)
.with_unit(Unit::Ratio);
const APPLICATION: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_application_utilization_ratio",
    "The part of its capacity that an endpoint says it uses",
)
.with_unit(Unit::Ratio);
const REPORT_AGE: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_endpoint_load_report_age_seconds",
    "Time since the newest load report of an endpoint",
)
.with_unit(Unit::Seconds);

/// One reading of an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct EndpointSample<'a> {
    /// Its address.
    pub address: &'a str,
    /// What it may be given.
    pub state: EndpointState,
    /// Requests that it works on.
    pub in_flight: u64,
    /// Requests that it may work on at the same time; `None` without a limit.
    pub slots: Option<u64>,
    /// Its weight in the configuration, or as set by the API.
    pub weight: u64,
    /// The weight by which it is chosen now.
    pub effective_weight: f64,
    /// What the policy has computed of it, a cost or a score; `None` if the
    /// policy computes nothing, or has nothing to compute from.
    pub score: Option<f64>,
    /// Times that it was chosen.
    pub picks: u64,
    /// Requests that ended, indexed by [`EndpointOutcome::index`].
    pub outcomes: [u64; EndpointOutcome::COUNT],
    /// Times that it was ejected, indexed by [`EjectionReason::index`].
    pub ejections: [u64; EjectionReason::COUNT],
    /// From handing it a request to the head of its answer.
    pub latency: SummaryView,
    /// What it last said of itself; `None` if it has said nothing.
    pub report: Option<ReportSample>,
}

/// What an endpoint last said of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReportSample {
    /// The part of its processor time that it uses.
    pub cpu_utilization: Option<f64>,
    /// The part of its capacity that it uses.
    pub application_utilization: Option<f64>,
    /// How long ago.
    pub age: Duration,
}

/// Writes the families that have labels `service` and `endpoint`.
pub(super) fn write(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    write_states(text, services);
    write_integers(text, services);
    write_numbers(text, services);
    write_counts(text, services);
    let mut latency = text.family(&LATENCY);
    for (service, endpoint) in endpoints(services) {
        latency.summary(&labels(service, endpoint), &endpoint.latency);
    }
}

fn endpoints<'a>(
    services: &'a [ServiceSample<'a>],
) -> impl Iterator<Item = (&'a ServiceSample<'a>, &'a EndpointSample<'a>)> {
    let of_one = |service: &'a ServiceSample<'a>| {
        let endpoints = service.endpoints.iter();
        endpoints.map(move |endpoint| (service, endpoint))
    };
    services.iter().flat_map(of_one)
}

fn labels<'a>(
    service: &ServiceSample<'a>,
    endpoint: &EndpointSample<'a>,
) -> [(&'static str, &'a str); 2] {
    [("service", service.name), ("endpoint", endpoint.address)]
}

fn write_states(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    let mut states = text.family(&STATE);
    for (service, endpoint) in endpoints(services) {
        let [service, address] = labels(service, endpoint);
        for state in EndpointState::ALL {
            let is_in_it = u64::from(endpoint.state == state);
            states.integer(&[service, address, ("state", state.as_str())], is_in_it);
        }
    }
}

fn write_integers(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    type Integer = fn(&EndpointSample<'_>) -> Option<u64>;
    let families: [(&Descriptor, Integer); 4] = [
        (&IN_FLIGHT, |endpoint| Some(endpoint.in_flight)),
        (&SLOTS, |endpoint| endpoint.slots),
        (&WEIGHT, |endpoint| Some(endpoint.weight)),
        (&PICKS, |endpoint| Some(endpoint.picks)),
    ];
    for (descriptor, integer) in families {
        let mut family = text.family(descriptor);
        for (service, endpoint) in endpoints(services) {
            if let Some(value) = integer(endpoint) {
                family.integer(&labels(service, endpoint), value);
            }
        }
    }
}

fn write_numbers(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    type Number = fn(&EndpointSample<'_>) -> Option<f64>;
    let families: [(&Descriptor, Number); 5] = [
        (&EFFECTIVE_WEIGHT, |endpoint| {
            Some(endpoint.effective_weight)
        }),
        (&SCORE, |endpoint| endpoint.score),
        (&CPU, |endpoint| endpoint.report?.cpu_utilization),
        (&APPLICATION, |endpoint| {
            endpoint.report?.application_utilization
        }),
        (&REPORT_AGE, |endpoint| {
            Some(endpoint.report?.age.as_secs_f64())
        }),
    ];
    for (descriptor, number) in families {
        let mut family = text.family(descriptor);
        for (service, endpoint) in endpoints(services) {
            if let Some(value) = number(endpoint) {
                family.number(&labels(service, endpoint), value);
            }
        }
    }
}

fn write_counts(text: &mut Exposition, services: &[ServiceSample<'_>]) {
    let mut outcomes = text.family(&OUTCOMES);
    for (service, endpoint) in endpoints(services) {
        let [service, address] = labels(service, endpoint);
        for outcome in EndpointOutcome::ALL {
            let labels = [service, address, ("outcome", outcome.as_str())];
            outcomes.integer(&labels, endpoint.outcomes[outcome.index()]);
        }
    }
    let mut ejections = text.family(&EJECTIONS);
    for (service, endpoint) in endpoints(services) {
        let [service, address] = labels(service, endpoint);
        for reason in EjectionReason::ALL {
            let labels = [service, address, ("reason", reason.as_str())];
            ejections.integer(&labels, endpoint.ejections[reason.index()]);
        }
    }
}
