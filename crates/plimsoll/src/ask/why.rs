//! `plimsoll why`: what decides what a service gets, in words and numbers.

use std::fmt::Write;

use super::answers::{Decision, Endpoint, Event, Scale, Service};
use super::text;
use crate::demo::numbers;

/// Columns of addresses.
const ADDRESS_COLUMNS: usize = 26;

/// Endpoints that are told of. Of more, those in trouble come first.
const ENDPOINTS_MAX: usize = 50;

fn put(told: &mut String, text: std::fmt::Arguments<'_>) {
    told.write_fmt(text).expect("a string takes everything");
}

/// Why there are so many replicas.
pub(crate) fn decisions(service: &Service, decisions: &[Decision]) -> String {
    let mut told = String::new();
    if let Some(scale) = &service.scale {
        scaling(&mut told, service, scale);
    }
    if decisions.is_empty() {
        told.push_str("\nnothing has been decided yet\n");
    }
    for decision in decisions {
        let change = if decision.previous == decision.desired {
            format!("stays at {}", decision.desired)
        } else {
            format!("{} to {}", decision.previous, decision.desired)
        };
        put(
            &mut told,
            format_args!(
                "\n{:<12} {change}: {}\n",
                text::ago(decision.age_seconds),
                decision.reason
            ),
        );
        text::wrap(&mut told, 4, &decision.text);
    }
    told
}

fn scaling(told: &mut String, service: &Service, scale: &Scale) {
    put(
        told,
        format_args!(
            "{}: {} desired, {} ready, {} starting, {} draining\n",
            service.name,
            text::counted(scale.desired, "replica"),
            scale.ready,
            scale.starting,
            scale.draining
        ),
    );
    let who = match scale.mode.as_str() {
        "auto" => format!(
            "the load decides, by the policy {}, from {} to {}",
            scale.policy, scale.min, scale.max
        ),
        "stopped" => "it is stopped, and requests are refused until it is started".to_owned(),
        _ => "somebody has said so many; `plimsoll start` lets the load decide again".to_owned(),
    };
    text::wrap(told, 0, &who);
    put(
        told,
        format_args!(
            "{} in flight, {} of them waiting\n",
            service.requests_in_flight, service.queue.depth
        ),
    );
    if let Some(problem) = &scale.problem {
        text::wrap(told, 0, &format!("problem: {problem}"));
    }
}

/// What has become of a service that was told something.
pub(crate) fn changed(service: &Service) -> String {
    let mut told = String::new();
    if let Some(scale) = &service.scale {
        scaling(&mut told, service, scale);
    }
    told
}

/// Why endpoints get what they get.
pub(crate) fn endpoints(service: &Service, endpoints: &[Endpoint], events: &[Event]) -> String {
    let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
    let mut told = format!(
        "{}: {}, chosen by {}, typical latency {}\n{} in flight, {} of them waiting\n",
        service.name,
        text::counted(count, "endpoint"),
        service.policy,
        text::time(service.typical_latency_seconds),
        service.requests_in_flight,
        service.queue.depth
    );
    let picks: u64 = endpoints.iter().map(|it| it.picks).sum();
    let mut shown: Vec<&Endpoint> = endpoints.iter().collect();
    if shown.len() > ENDPOINTS_MAX {
        shown.sort_by_key(|endpoint| endpoint.state == "healthy");
        shown.truncate(ENDPOINTS_MAX);
    }
    for endpoint in &shown {
        one(&mut told, endpoint, picks);
    }
    if shown.len() < endpoints.len() {
        put(
            &mut told,
            format_args!("\nand {} more\n", endpoints.len() - shown.len()),
        );
    }
    if !events.is_empty() {
        told.push('\n');
    }
    for event in events {
        put(
            &mut told,
            format_args!("{:<12} {}\n", text::ago(event.age_seconds), event.event),
        );
        text::wrap(&mut told, 4, &event.text);
    }
    told
}

fn one(told: &mut String, endpoint: &Endpoint, picks: u64) {
    put(
        told,
        format_args!(
            "\n{:ADDRESS_COLUMNS$} {}\n",
            text::cut(&endpoint.address, ADDRESS_COLUMNS),
            standing(endpoint)
        ),
    );
    let share = endpoint.picks as f64 / picks.max(1) as f64 * 100.0;
    let running = match endpoint.slots {
        Some(slots) => format!("{} of {slots} running", endpoint.in_flight),
        None => format!("{} running", endpoint.in_flight),
    };
    let numbers = format!(
        "{running}; {share:.0} % of all requests so far; {} failed; lately {:.0} % succeed; p50 {}, p99 {}",
        numbers::count(endpoint.failed()),
        endpoint.success_rate * 100.0,
        text::time(endpoint.latency_seconds.p50),
        text::time(endpoint.latency_seconds.p99),
    );
    text::wrap(told, 4, &numbers);
}

/// Whether it is used, and if not, why.
fn standing(endpoint: &Endpoint) -> String {
    let mut told = endpoint.state.clone();
    if let Some(reason) = &endpoint.ejected_for {
        put(&mut told, format_args!(" for {reason}"));
    }
    if let Some(left) = endpoint.ejected_seconds.filter(|left| *left > 0.0) {
        put(&mut told, format_args!(", {} left", text::roughly(left)));
    }
    let check = endpoint.health_check.as_ref();
    if let Some(failure) = check.and_then(|check| check.failure.as_ref()) {
        put(&mut told, format_args!(": {}", text::cut(failure, 40)));
    }
    told
}
