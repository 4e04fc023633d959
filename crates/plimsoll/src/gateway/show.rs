//! What the API shows, in the words and units of its documentation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plimsoll_balance::{
    BalancerView, EjectionChange, EjectionEvent, EjectionReason, EndpointView, LatencyView,
    LoadReport, WindowView,
};
use plimsoll_meter::Clock;
use plimsoll_proxy::MonotonicClock;
use serde::Serialize;

use super::admin::Desk;
use super::checks::Finding;
use super::dns::{Answer, State};
use super::endpoints::{SetByApi, SourcesView};
use super::files::ListFault;
use super::services::Member;
use super::status::Refused;
use crate::run::{self, Scale};

/// An endpoint of a service, and everything that decides what it gets.
#[derive(Debug, Serialize)]
pub(crate) struct Endpoint {
    service: String,
    pub(crate) address: Arc<str>,
    policy: &'static str,
    state: &'static str,
    weight: u32,
    weight_effective: f64,
    pick_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_set_by_api: Option<u32>,
    in_flight: u32,
    slots: Option<u32>,
    picks: u64,
    successes: u64,
    failures: BTreeMap<&'static str, u64>,
    cancelled: u64,
    success_rate: f64,
    failure_evidence: f64,
    ejections: BTreeMap<&'static str, u64>,
    ejected_for: Option<&'static str>,
    ejected_seconds: Option<f64>,
    latency_seconds: Latency,
    stall_seconds: Option<f64>,
    cost: f64,
    window: Option<Window>,
    load_report: Option<Report>,
    load_reports_ignored: u64,
    health_check: Option<HealthCheck>,
}

/// How long the answers of an endpoint take.
#[derive(Debug, Serialize)]
struct Latency {
    expected: Option<f64>,
    mean: Option<f64>,
    recent: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    /// Of how many answers of the last half to whole minute the quantiles are; see [`LatencyView::sampled`].
    sampled_answers: u64,
}

/// What the weight under `wrr` is made of.
#[derive(Debug, Serialize)]
struct Window {
    weight_ratio: f64,
    successes: u64,
    failures: u64,
    latency_seconds: Option<f64>,
    load: Option<f64>,
}

/// What an endpoint last said about its own load.
#[derive(Debug, Serialize)]
struct Report {
    application_utilization: Option<f64>,
    cpu_utilization: Option<f64>,
    mem_utilization: Option<f64>,
    rps: Option<f64>,
    eps: Option<f64>,
    age_seconds: f64,
}

/// What the last health check has found.
#[derive(Debug, Serialize)]
struct HealthCheck {
    healthy: bool,
    failure: Option<String>,
    at: String,
}

/// A service.
#[derive(Debug, Serialize)]
pub(crate) struct Service {
    name: String,
    policy: &'static str,
    routes: Vec<String>,
    endpoints: usize,
    requests_in_flight: u64,
    requests_total: u64,
    queue: Queue,
    retries: BTreeMap<&'static str, u64>,
    retries_refused: BTreeMap<&'static str, u64>,
    retries_available: f64,
    typical_latency_seconds: Option<f64>,
    sources: Sources,
    /// How many replicas there are, of a service with a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<Scale>,
}

#[derive(Debug, Serialize)]
struct Queue {
    depth: usize,
    capacity: usize,
    bytes: u64,
}

/// Where the endpoints come from, and how it goes.
#[derive(Debug, Serialize)]
struct Sources {
    upstreams: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileSource>,
    names: Vec<NameSource>,
    conflicts: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FileSource {
    path: String,
    upstreams: usize,
    /// Why what it says now is not in use.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NameSource {
    name: String,
    addresses: usize,
    /// Why the last question had no good answer.
    problem: Option<String>,
}

/// The gateway.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    version: &'static str,
    state: &'static str,
    uptime_seconds: f64,
    config: Config,
    /// What somebody should look at, in one line each. Empty is good.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Config {
    file: Option<String>,
    loaded_at: String,
    reloads: u64,
    reloads_refused: u64,
    refused: Option<RefusedConfig>,
    waiting_for_restart: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct RefusedConfig {
    at: String,
    problems: Vec<String>,
}

/// That an endpoint was left out for failing, or let in again.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    service: String,
    endpoint: Arc<str>,
    age_seconds: f64,
    event: &'static str,
    reason: Option<&'static str>,
    /// How long it is left out, or was.
    seconds: f64,
    text: String,
}

/// The last ejections and re-entries, the newest first.
pub(crate) fn events(desk: &Desk, service: Option<&str>) -> Vec<Event> {
    let now = desk.services.clock().now();
    let show = |(service, event): (String, EjectionEvent)| {
        let (reason, wait) = match event.change {
            EjectionChange::Ejected { reason, wait } => (Some(reason.name()), wait),
            EjectionChange::Readmitted { after } | EjectionChange::Forgiven { after } => {
                (None, after)
            }
        };
        let told = super::scene::told(now, &event);
        Event {
            service,
            age_seconds: told.age.as_secs_f64(),
            event: told.what,
            reason,
            seconds: wait.as_secs_f64(),
            text: told.text,
            endpoint: event.address,
        }
    };
    let events = desk.services.ejections(service);
    events.into_iter().map(show).collect()
}

/// The endpoints of a service.
pub(crate) fn endpoints(member: &Member, clock: MonotonicClock) -> Vec<Endpoint> {
    let BalancerView {
        policy, endpoints, ..
    } = member.balancer.view(clock.now());
    let set_by_api = member.endpoints.set_by_api();
    let checks = member.checks.as_ref();
    let findings = checks.map(|checks| checks.findings()).unwrap_or_default();
    let show = |view: EndpointView| {
        let finding = findings.get(&view.address);
        let set = set_by_api.get(&view.address);
        endpoint(&member.plan.name, policy, view, set, finding)
    };
    endpoints.into_iter().map(show).collect()
}

fn endpoint(
    service: &str,
    policy: &'static str,
    view: EndpointView,
    set: Option<&SetByApi>,
    finding: Option<&Finding>,
) -> Endpoint {
    Endpoint {
        service: service.to_owned(),
        policy,
        state: view.state.name(),
        weight: view.weight,
        weight_effective: view.effective_weight,
        pick_share: view.pick_share,
        weight_set_by_api: set.and_then(|set| set.weight),
        in_flight: view.in_flight,
        slots: view.slots.map(u32::from),
        picks: view.picks,
        successes: view.successes,
        failures: view.failures.iter().collect(),
        cancelled: view.cancelled,
        success_rate: view.success_rate,
        failure_evidence: view.failure_evidence,
        ejections: EjectionReason::ALL
            .iter()
            .map(|reason| (reason.name(), view.ejections[reason.index()]))
            .collect(),
        ejected_for: view.ejected_for.map(EjectionReason::name),
        ejected_seconds: seconds(view.ejected_until),
        latency_seconds: latency(&view.latency),
        stall_seconds: seconds(view.stall_age),
        cost: view.cost,
        window: view.window.as_ref().map(window),
        load_reports_ignored: view.reports_ignored,
        load_report: view.report.map(|(report, age)| load_report(report, age)),
        health_check: finding.map(|finding| HealthCheck {
            healthy: finding.healthy,
            failure: finding.failure.clone(),
            at: time(finding.at),
        }),
        address: view.address,
    }
}

fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

fn latency(view: &LatencyView) -> Latency {
    Latency {
        expected: seconds(view.expected),
        mean: seconds(view.mean),
        recent: seconds(view.recent),
        p50: seconds(view.p50),
        p90: seconds(view.p90),
        p99: seconds(view.p99),
        sampled_answers: view.sampled,
    }
}

fn window(view: &WindowView) -> Window {
    Window {
        weight_ratio: view.ratio,
        successes: view.successes,
        failures: view.failures,
        latency_seconds: seconds(view.latency),
        load: view.load,
    }
}

fn load_report(report: LoadReport, age: Duration) -> Report {
    Report {
        application_utilization: report.application_utilization,
        cpu_utilization: report.cpu_utilization,
        mem_utilization: report.mem_utilization,
        rps: report.rps,
        eps: report.eps,
        age_seconds: age.as_secs_f64(),
    }
}

/// A service as a whole.
pub(crate) fn service(member: &Member, clock: MonotonicClock) -> Service {
    // Before the counts: a request leaves after it was counted, so none is in neither.
    let requests_in_flight = member.service.meter().in_flight().total;
    let balancer = member.balancer.view(clock.now());
    let counted = member.service.view();
    let reasons = plimsoll_proxy::RetryReason::ALL.map(plimsoll_proxy::RetryReason::as_str);
    let refusals = plimsoll_proxy::NoRetry::ALL.map(plimsoll_proxy::NoRetry::as_str);
    Service {
        name: member.plan.name.clone(),
        policy: balancer.policy,
        routes: member
            .plan
            .routes
            .iter()
            .map(super::plan::RoutePlan::told)
            .collect(),
        endpoints: balancer.endpoints.len(),
        requests_in_flight,
        requests_total: counted.requests.requests_total(),
        queue: Queue {
            depth: balancer.queue_depth,
            capacity: balancer.queue_capacity,
            bytes: balancer.queue_bytes,
        },
        retries: reasons.into_iter().zip(counted.retries).collect(),
        retries_refused: refusals.into_iter().zip(counted.not_retried).collect(),
        retries_available: balancer.retries_available,
        typical_latency_seconds: seconds(balancer.typical_latency),
        sources: sources(member.endpoints.sources()),
        scale: member.crew.as_deref().map(run::show::scale),
    }
}

fn sources(view: SourcesView) -> Sources {
    let name = |(name, answer): (String, Answer)| NameSource {
        name,
        addresses: answer.addresses.len(),
        problem: match answer.state {
            State::Resolved => None,
            State::Asking => Some("no answer yet".to_owned()),
            State::Failing(why) => Some(why),
        },
    };
    Sources {
        upstreams: view.fixed,
        file: view.file.map(|file| FileSource {
            path: file.path.display().to_string(),
            upstreams: view.listed,
            problems: file
                .fault
                .as_ref()
                .map(ListFault::lines)
                .unwrap_or_default(),
        }),
        names: view.names.into_iter().map(name).collect(),
        conflicts: view.conflicts,
    }
}

/// The gateway as a whole.
pub(crate) fn status(desk: &Desk) -> Status {
    let loading = desk.status.view();
    let refused = loading
        .refused
        .map(|Refused { at, problems }| RefusedConfig {
            at: time(at),
            problems,
        });
    Status {
        version: env!("CARGO_PKG_VERSION"),
        state: desk.ready.word(),
        uptime_seconds: desk.services.clock().now().as_nanos() as f64 / 1e9,
        config: Config {
            file: desk
                .config_file
                .as_ref()
                .map(|path| path.display().to_string()),
            loaded_at: time(loading.loaded_at),
            reloads: loading.successes,
            reloads_refused: loading.failures,
            refused,
            waiting_for_restart: loading.waiting_for_restart,
        },
        problems: problems(desk),
    }
}

/// What somebody should look at, in one line each.
pub(crate) fn problems(desk: &Desk) -> Vec<String> {
    let loading = desk.status.view();
    let mut problems = Vec::new();
    if let Some(refused) = &loading.refused {
        problems.push(format!(
            "the configuration was refused at {}; the one of {} is in use",
            time(refused.at),
            time(loading.loaded_at)
        ));
    }
    for setting in &loading.waiting_for_restart {
        problems.push(format!("only a restart can change {setting}"));
    }
    for member in desk.services.members().iter() {
        problems.extend(troubles(member));
    }
    problems
}

/// What is wrong with where a service's endpoints come from.
fn troubles(member: &Member) -> Vec<String> {
    let service = &member.plan.name;
    let sources = sources(member.endpoints.sources());
    let mut found = Vec::new();
    if let Some(crew) = &member.crew {
        let trouble = run::show::trouble(crew);
        found.extend(trouble.map(|trouble| format!("service {service}: {trouble}")));
    } else if member.endpoints.addresses().is_empty() {
        found.push(format!("service {service} has no endpoints"));
    }
    let in_file = sources.file.into_iter().flat_map(|file| file.problems);
    found.extend(in_file.map(|problem| format!("service {service}: {problem}")));
    for name in sources.names {
        if let Some(problem) = name.problem {
            found.push(format!(
                "service {service}: {} does not resolve: {problem}; {} addresses are kept",
                name.name, name.addresses
            ));
        }
    }
    let conflicts = sources.conflicts.into_iter();
    found.extend(conflicts.map(|conflict| format!("service {service}: {conflict}")));
    found
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
