//! `plimsoll status`: all services in a line each, and what somebody should look at.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::answers::{Endpoint, Scale, Service, Status};
use super::text;
use crate::demo::numbers;

/// Columns of the names of services.
const NAME_COLUMNS: usize = 22;

/// Columns of what is behind a service.
const BEHIND_COLUMNS: usize = 28;

/// All there is to say.
pub(crate) fn render(
    admin: SocketAddr,
    head: &Status,
    services: &[Service],
    endpoints: &[Endpoint],
) -> String {
    let mut told = title(admin, head);
    told.push('\n');
    told.push_str(&heading());
    for service in services {
        told.push_str(&line(service, endpoints));
    }
    if services.is_empty() {
        told.push_str("no services\n");
    }
    if !head.problems.is_empty() {
        told.push_str("\nlook at this:\n");
        for problem in &head.problems {
            text::wrap(&mut told, 2, problem);
        }
    }
    told
}

/// What runs, and since when.
pub(crate) fn title(admin: SocketAddr, head: &Status) -> String {
    let uptime = Duration::try_from_secs_f64(head.uptime_seconds).unwrap_or_default();
    format!(
        "plimsoll {} at {admin}: {} for {}\n",
        head.version,
        head.state,
        numbers::clock(uptime)
    )
}

/// Above the lines.
pub(crate) fn heading() -> String {
    format!(
        "{:NAME_COLUMNS$} {:>8} {:>8} {:>10}  behind it\n",
        "service", "running", "waiting", "requests"
    )
}

/// One service.
pub(crate) fn line(service: &Service, endpoints: &[Endpoint]) -> String {
    let behind = match &service.scale {
        Some(scale) => replicas(scale),
        None => states(service, endpoints),
    };
    let waiting = service.queue.depth;
    format!(
        "{:NAME_COLUMNS$} {:>8} {:>8} {:>10}  {}\n",
        text::cut(&service.name, NAME_COLUMNS),
        service.requests_in_flight.saturating_sub(waiting),
        waiting,
        numbers::count(service.requests_total),
        text::cut(&behind, BEHIND_COLUMNS),
    )
}

/// How many endpoints are in which state.
fn states(service: &Service, endpoints: &[Endpoint]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|it| it.service == service.name) {
        *counts.entry(&endpoint.state).or_default() += 1;
    }
    if counts.is_empty() {
        return "no endpoints".to_owned();
    }
    let mut told: Vec<(bool, String)> = counts
        .into_iter()
        .map(|(state, count)| (state != "healthy", format!("{count} {state}")))
        .collect();
    told.sort();
    let told: Vec<String> = told.into_iter().map(|(_, text)| text).collect();
    told.join(", ")
}

/// How many replicas there are, in short.
pub(crate) fn replicas(scale: &Scale) -> String {
    let mut told = if scale.desired == scale.ready {
        format!("{} ready", scale.ready)
    } else {
        format!("{}/{} ready", scale.ready, scale.desired)
    };
    for (count, word) in [(scale.starting, "starting"), (scale.draining, "draining")] {
        if count > 0 {
            write!(told, ", {count} {word}").expect("a string takes everything");
        }
    }
    if scale.mode != "auto" {
        write!(told, ", {}", scale.mode).expect("a string takes everything");
    }
    told
}
