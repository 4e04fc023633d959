//! One reading of everything, as the metrics want it.

use plimsoll_balance::{BalancerView, EndpointState as Standing, EndpointView};
use plimsoll_meter::{Clock, Tick};
use plimsoll_proxy::{NoRetry, ServiceView};
use plimsoll_wire::SummaryView;
use plimsoll_wire::gateway::{
    DiscoverySample, EjectionReason, EndpointOutcome, EndpointSample, EndpointState,
    GatewayFamilies, LoadReportSample, QueueSample, ReportSample, RetrySample, ServiceSample,
};
use plimsoll_wire::prometheus::{ExpositionError, TextFormat};

use super::admin::Desk;
use super::services::Member;
use crate::admin::histogram;
use crate::run::ScaledReading;

/// What is read of one service, so that samples can borrow from it.
struct Reading {
    member: std::sync::Arc<Member>,
    in_flight: u64,
    balancer: BalancerView,
    counted: ServiceView,
    discovery: Option<DiscoverySample>,
}

impl Reading {
    fn of(member: &std::sync::Arc<Member>, now: Tick) -> Self {
        Self {
            // Before the counts: a request leaves after it was counted, so none is in neither.
            in_flight: member.service.meter().in_flight().total,
            balancer: member.balancer.view(now),
            counted: member.service.view(),
            discovery: member.endpoints.discovery(),
            member: std::sync::Arc::clone(member),
        }
    }

    fn service<'a>(&'a self, endpoints: &'a [EndpointSample<'a>]) -> ServiceSample<'a> {
        let counted = &self.counted.requests;
        let has_slots = endpoints.iter().any(|endpoint| endpoint.slots.is_some());
        ServiceSample {
            name: &self.member.plan.name,
            policy: self.balancer.policy,
            requests: counted.requests,
            errors: counted.errors,
            requests_in_flight: self.in_flight,
            request_duration: histogram(&counted.request_time),
            upstream_duration: histogram(&counted.upstream_time),
            queue: QueueSample {
                depth: self.balancer.queue_depth as u64,
                capacity: has_slots.then_some(self.balancer.queue_capacity as u64),
                wait: histogram(&counted.queue_wait),
            },
            retries: RetrySample {
                made: self.counted.retries.iter().sum(),
                budget_exhausted: self.counted.not_retried[NoRetry::Budget as usize],
            },
            load_reports: LoadReportSample {
                taken: self.counted.reports_taken,
                rejected: self.counted.reports_rejected,
            },
            discovery: self.discovery,
            endpoints,
        }
    }
}

/// The metrics as text.
pub(crate) fn render(desk: &Desk, format: TextFormat) -> Result<String, ExpositionError> {
    let now = desk.services.clock().now();
    let members = desk.services.members();
    let readings: Vec<_> = members
        .iter()
        .map(|member| Reading::of(member, now))
        .collect();
    let endpoints: Vec<Vec<_>> = readings
        .iter()
        .map(|reading| reading.balancer.endpoints.iter().map(endpoint).collect())
        .collect();
    let services: Vec<_> = readings
        .iter()
        .zip(&endpoints)
        .map(|(reading, endpoints)| reading.service(endpoints))
        .collect();
    let kept: Vec<_> = members.iter().filter_map(ScaledReading::of).collect();
    let scaled: Vec<_> = kept.iter().map(ScaledReading::sample).collect();
    let unrouted = desk.stats.view();
    let families = GatewayFamilies {
        services: &services,
        scaled: &scaled,
        unrouted: unrouted.requests,
        unrouted_errors: unrouted.errors,
        connections_open: unrouted.connections as u64,
        tls_handshake_failures: desk.has_tls.then_some(unrouted.handshake_failures),
        config: desk.status.sample(),
        version: env!("CARGO_PKG_VERSION"),
    };
    plimsoll_wire::gateway::render_gateway(format, &families)
}

fn endpoint(view: &EndpointView) -> EndpointSample<'_> {
    let mut outcomes = [0; EndpointOutcome::COUNT];
    outcomes[EndpointOutcome::Success.index()] = view.successes;
    outcomes[EndpointOutcome::Cancelled.index()] = view.cancelled;
    for (name, count) in view.failures.iter() {
        if let Some(outcome) = EndpointOutcome::ALL
            .iter()
            .find(|outcome| outcome.as_str() == name)
        {
            outcomes[outcome.index()] = count;
        }
    }
    EndpointSample {
        address: &view.address,
        state: state(view.state),
        in_flight: u64::from(view.in_flight),
        slots: view.slots.map(|slots| u64::from(slots.get())),
        weight: u64::from(view.weight),
        effective_weight: view.effective_weight,
        score: Some(score(view)),
        picks: view.picks,
        outcomes,
        ejections: ejections(view),
        latency: SummaryView {
            quantiles: [view.latency.p50, view.latency.p90, view.latency.p99],
            count: view.successes,
            sum: view.latency.sum,
        },
        report: view.report.map(|(report, age)| ReportSample {
            cpu_utilization: report.cpu_utilization,
            application_utilization: report.application_utilization,
            age,
        }),
    }
}

fn ejections(view: &EndpointView) -> [u64; EjectionReason::COUNT] {
    let mut counts = [0; EjectionReason::COUNT];
    for reason in plimsoll_balance::EjectionReason::ALL {
        let label = match reason {
            plimsoll_balance::EjectionReason::Failures => EjectionReason::Failures,
            plimsoll_balance::EjectionReason::RetryAfter => EjectionReason::RetryAfter,
            plimsoll_balance::EjectionReason::ProbeFailed => EjectionReason::ProbeFailed,
        };
        counts[label.index()] = view.ejections[reason.index()];
    }
    counts
}

/// What the policy goes by: the weight under `wrr`, else the cost of a request more.
fn score(view: &EndpointView) -> f64 {
    view.window
        .as_ref()
        .map_or(view.cost, |window| window.ratio)
}

fn state(standing: Standing) -> EndpointState {
    match standing {
        Standing::Healthy => EndpointState::Healthy,
        Standing::SlowStart => EndpointState::SlowStart,
        Standing::Ejected => EndpointState::Ejected,
        Standing::Probing => EndpointState::Probing,
        Standing::Draining => EndpointState::Draining,
        Standing::Unhealthy => EndpointState::Unhealthy,
    }
}
