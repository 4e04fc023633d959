//! The tables and lists of the page.

use std::fmt::{Display, Write};
use std::time::Duration;

use plimsoll_balance::{EndpointState, EndpointView};

use super::chart::{self, Curve, Paint};
use super::history::{History, Line};
use super::html::{Query, Text};
use super::scene::{Detail, Replica, Scaling, Watched};
use crate::demo::numbers;

/// Endpoints that the page lists. Of more, those in trouble come first.
const ENDPOINTS_MAX: usize = 100;

/// Lines of the log that the page shows.
const TOLD_MAX: usize = 50;

fn put(page: &mut String, text: impl Display) {
    write!(page, "{text}").expect("a string takes everything");
}

/// `1234`, `12.3`, `0`.
pub(crate) fn count(value: f32) -> String {
    if value >= 99.95 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// Seconds, as `48 ms`.
pub(crate) fn time(seconds: f32) -> String {
    numbers::time(Duration::try_from_secs_f32(seconds).unwrap_or_default())
}

fn some_time(duration: Option<Duration>) -> String {
    numbers::if_known(duration, numbers::time)
}

/// How long something has been, in one number: `12 s`, `4 min`, `3 h`, `2 d`.
fn roughly(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `12 MiB`.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..=1_048_575 => format!("{} KiB", bytes / 1_024),
        1_048_576..=1_073_741_823 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// A line of the list of services.
pub(crate) fn service(
    page: &mut String,
    history: &History,
    watched: &Watched,
    line: Option<Line>,
    scales: bool,
    chosen: bool,
) {
    let name = watched.service.name();
    let current = if chosen { " aria-current=\"page\"" } else { "" };
    put(
        page,
        format_args!(
            "<tr{}><th scope=\"row\"><a href=\"?service={}\"{current}>{}</a></th>",
            if chosen { " class=\"chosen\"" } else { "" },
            Query(name),
            Text(name),
        ),
    );
    let number = |of: fn(Line) -> f32| numbers::if_known(line.map(of), count);
    for value in [
        number(|line| line.rate),
        number(|line| line.running),
        number(|line| line.waiting),
    ] {
        put(page, format_args!("<td class=\"number\">{value}</td>"));
    }
    if scales {
        let scaling = watched.scaling.unwrap_or_default();
        let goal = if scaling.ready == scaling.desired {
            String::new()
        } else {
            format!(" of {}", scaling.desired)
        };
        put(
            page,
            format_args!("<td class=\"number\">{}{goal}</td>", scaling.ready),
        );
    }
    let p99 = numbers::if_known(line.and_then(|line| line.latency), |it| time(it[2]));
    let failed = number(|line| line.failed);
    let class = if line.is_some_and(|line| line.failed > 0.0) {
        "number wide bad"
    } else {
        "number wide"
    };
    put(
        page,
        format_args!(
            "<td class=\"number\">{p99}</td><td class=\"{class}\">{failed}</td><td class=\"wide\">{}</td></tr>",
            sparkline(history, name),
        ),
    );
}

fn sparkline(history: &History, name: &str) -> String {
    let series = history.series(name);
    let in_flight = |line: &Line| line.running + line.waiting;
    let curve = Curve {
        paint: Paint::Running,
        values: (series.0.iter().map(|point| point.as_ref().map(in_flight))).collect(),
        floor: None,
        steps: false,
    };
    if series.most(in_flight) == 0.0 {
        return "<span class=\"quiet\">nothing</span>".to_owned();
    }
    chart::spark(&curve)
}

/// The numbers of a service at this moment.
pub(crate) fn tiles(
    page: &mut String,
    detail: &Detail,
    line: Option<Line>,
    scaling: Option<Scaling>,
) {
    let mut tile = |name: &str, value: &str, of: &str| {
        put(
            page,
            format_args!("<div><dt>{name}</dt><dd>{value}<small>{of}</small></dd></div>"),
        );
    };
    let number = |of: fn(Line) -> f32| numbers::if_known(line.map(of), count);
    tile("requests/s", &number(|line| line.rate), "");
    tile("running", &number(|line| line.running), "");
    let capacity = format!(" of {}", detail.balancer.queue_capacity);
    tile(
        "waiting",
        &detail.balancer.queue_depth.to_string(),
        &capacity,
    );
    if let Some(scaling) = scaling {
        let desired = format!(" of {}", scaling.desired);
        tile("replicas ready", &scaling.ready.to_string(), &desired);
        tile("starting", &scaling.starting.to_string(), "");
        tile("draining", &scaling.draining.to_string(), "");
    }
    let latency = line.and_then(|line| line.latency);
    for (index, name) in ["p50", "p90", "p99"].into_iter().enumerate() {
        tile(name, &numbers::if_known(latency, |it| time(it[index])), "");
    }
    tile("failed/s", &number(|line| line.failed), "");
}

/// The replicas as processes.
pub(crate) fn replicas(page: &mut String, detail: &Detail) {
    put(
        page,
        "<section aria-labelledby=\"replicas-title\">\n<h2 id=\"replicas-title\">Replicas</h2>\n\
         <div id=\"replicas\" data-live class=\"scroll\"><table><thead><tr><th scope=\"col\">address</th>\
         <th scope=\"col\">state</th><th scope=\"col\" class=\"number\">pid</th>\
         <th scope=\"col\" class=\"number\">age</th><th scope=\"col\" class=\"number\">memory</th>\
         <th scope=\"col\" class=\"wide\">last line it wrote</th></tr></thead><tbody>",
    );
    for replica in detail.replicas.iter().take(ENDPOINTS_MAX) {
        one_replica(page, replica);
    }
    put(page, "</tbody></table></div>\n</section>\n");
}

fn one_replica(page: &mut String, replica: &Replica) {
    let (sign, class) = match replica.state {
        "ready" => ("●", "good"),
        "starting" => ("◐", "fair"),
        "draining" | "stopping" => ("↓", "fair"),
        _ => ("✕", "bad"),
    };
    put(
        page,
        format_args!(
            "<tr><th scope=\"row\">{}</th><td class=\"{class}\"><span aria-hidden=\"true\">{sign}</span> {}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"wide said\">{}</td></tr>",
            Text(&replica.address),
            replica.state,
            numbers::if_known(replica.pid, |pid| pid.to_string()),
            roughly(replica.age),
            numbers::if_known(replica.memory, bytes),
            Text(replica.said.as_deref().unwrap_or("–")),
        ),
    );
}

/// The endpoints, and all that decides what each gets.
pub(crate) fn endpoints(page: &mut String, detail: &Detail) {
    let balancer = &detail.balancer;
    put(
        page,
        format_args!(
            "<section aria-labelledby=\"endpoints-title\">\n<h2 id=\"endpoints-title\">Endpoints</h2>\n\
             <div id=\"endpoints\" data-live class=\"scroll\"><p>{} in the set, chosen by <b>{}</b>{}</p>",
            balancer.endpoints.len(),
            balancer.policy,
            match balancer.typical_latency {
                Some(typical) => format!(", typical latency {}", numbers::time(typical)),
                None => String::new(),
            },
        ),
    );
    if balancer.endpoints.is_empty() {
        put(page, "</div>\n</section>\n");
        return;
    }
    put(
        page,
        "<table><thead><tr><th scope=\"col\">address</th><th scope=\"col\">state</th>\
         <th scope=\"col\">share</th><th scope=\"col\" class=\"number\">running</th>\
         <th scope=\"col\" class=\"number wide\">weight</th><th scope=\"col\" class=\"number wide\">answered</th>\
         <th scope=\"col\" class=\"number\">failed</th><th scope=\"col\" class=\"number wide\">p50</th>\
         <th scope=\"col\" class=\"number\">p99</th><th scope=\"col\" class=\"number wide\">ejected</th>\
         </tr></thead><tbody>",
    );
    let picks: u64 = balancer.endpoints.iter().map(|it| it.picks).sum();
    let mut listed: Vec<&EndpointView> = balancer.endpoints.iter().collect();
    if listed.len() > ENDPOINTS_MAX {
        listed.sort_by_key(|endpoint| endpoint.state == EndpointState::Healthy);
        listed.truncate(ENDPOINTS_MAX);
    }
    for endpoint in &listed {
        one_endpoint(page, endpoint, picks);
    }
    put(page, "</tbody></table>");
    let more = balancer.endpoints.len() - listed.len();
    if more > 0 {
        put(
            page,
            format_args!("<p>And {more} more. Those in trouble are listed first.</p>"),
        );
    }
    put(page, "</div>\n</section>\n");
}

fn one_endpoint(page: &mut String, endpoint: &EndpointView, picks: u64) {
    let (sign, class) = match endpoint.state {
        EndpointState::Healthy => ("●", "good"),
        EndpointState::SlowStart => ("◐", "fair"),
        EndpointState::Probing => ("?", "fair"),
        EndpointState::Draining => ("↓", "fair"),
        EndpointState::Ejected | EndpointState::Unhealthy => ("✕", "bad"),
    };
    let share = endpoint.pick_share;
    let share = share.unwrap_or_else(|| endpoint.picks as f64 / picks.max(1) as f64);
    let running = match endpoint.slots {
        Some(slots) => format!("{} of {slots}", endpoint.in_flight),
        None => endpoint.in_flight.to_string(),
    };
    let failures = endpoint.failures.total();
    let ejections: u64 = endpoint.ejections.iter().sum();
    put(
        page,
        format_args!(
            "<tr><th scope=\"row\">{}</th><td class=\"{class}\"><span aria-hidden=\"true\">{sign}</span> {}{}</td>\
             <td><meter min=\"0\" max=\"1\" value=\"{share:.3}\">{percent}</meter> {percent}</td>\
             <td class=\"number\">{running}</td>",
            Text(&endpoint.address),
            endpoint.state.name(),
            why(endpoint),
            percent = format_args!("{:.0} %", share * 100.0),
        ),
    );
    put(
        page,
        format_args!(
            "<td class=\"number wide\">{}</td><td class=\"number wide\">{}</td><td class=\"number{}\">{}</td>\
             <td class=\"number wide\">{}</td><td class=\"number\">{}</td><td class=\"number wide\">{}</td></tr>",
            count(endpoint.effective_weight as f32),
            numbers::count(endpoint.successes),
            if failures > 0 { " bad" } else { "" },
            numbers::count(failures),
            some_time(endpoint.latency.p50),
            some_time(endpoint.latency.p99),
            numbers::count(ejections),
        ),
    );
}

/// Why it is not used, and for how long.
fn why(endpoint: &EndpointView) -> String {
    match (endpoint.ejected_for, endpoint.ejected_until) {
        (Some(reason), Some(left)) if !left.is_zero() => {
            format!(" for {}, {} left", reason.name(), roughly(left))
        }
        (Some(reason), _) => format!(" for {}", reason.name()),
        _ => String::new(),
    }
}

/// What has happened, the newest first.
pub(crate) fn told(page: &mut String, detail: &Detail, scales: bool) {
    let title = if scales { "Decisions" } else { "Events" };
    put(
        page,
        format_args!(
            "<section aria-labelledby=\"told-title\">\n<h2 id=\"told-title\">{title}</h2>\n\
             <ol id=\"told\" data-live class=\"told\">"
        ),
    );
    if detail.told.is_empty() {
        put(page, "<li class=\"quiet\">nothing so far</li>");
    }
    for told in detail.told.iter().take(TOLD_MAX) {
        put(
            page,
            format_args!(
                "<li><span class=\"ago\">{} ago</span> <b>{}</b> {}</li>",
                roughly(told.age),
                told.what,
                Text(&told.text),
            ),
        );
    }
    put(page, "</ol>\n</section>\n");
}
