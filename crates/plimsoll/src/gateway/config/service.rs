//! Settings of one service.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use plimsoll_proxy::{HostPattern, TimeLimits};

use super::knative::Cluster;
use super::process::pem_pair;
use super::section::{Found, Section};
use super::{balancing, path, scaled};
use crate::cli::values::DURATION_MAX;
use crate::gateway::plan::{
    DnsPlan, Family, HealthPlan, PROTOCOLS, RoutePlan, ServicePlan, TIMEOUT_DEFAULT,
    UpstreamTlsPlan,
};
use crate::gateway::upstream::{self, Host, UPSTREAMS_MAX, Upstream};

/// The longest name of a service, in bytes. It is a label of every series of the service.
const NAME_BYTES_MAX: usize = 63;

/// Names are not asked for more often than this.
pub(crate) const DNS_REFRESH_MIN: Duration = Duration::from_millis(100);

/// An endpoint is not checked more often than this.
pub(crate) const HEALTH_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// The longest run of checks that can be asked for.
pub(crate) const HEALTH_RUN_MAX: u64 = 1_000;

/// What is around a service in its file.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// Where paths begin.
    pub(super) folder: &'a Path,
    /// Whether services may have commands, as those of `plimsoll run` do.
    pub(super) commands: bool,
    /// Bytes that all replicas together may have.
    pub(super) replicas_memory: Option<u64>,
    /// Knative's settings of all services.
    pub(super) cluster: Cluster,
}

/// A service that has been read, and where its routes stand.
#[derive(Debug)]
pub(super) struct ReadService {
    pub(super) plan: ServicePlan,
    pub(super) route_places: Vec<RoutePlace>,
}

/// Where a route stands.
#[derive(Debug)]
pub(super) struct RoutePlace {
    /// Of each host.
    pub(super) hosts: Vec<Range<usize>>,
    /// Of the path if it has one, else of the whole.
    pub(super) path: Range<usize>,
}

/// Reads a service. What is wrong is told to the section, and a default takes its place.
pub(super) fn read(
    name: &Found<String>,
    section: Section<'_>,
    around: &Surroundings<'_>,
) -> ReadService {
    let Surroundings {
        folder, commands, ..
    } = *around;
    if let Err(message) = service_name(&name.value) {
        section.wrong(message);
    }
    let (routes, route_places) = read_routes(&section);
    let upstreams = read_upstreams(&section);
    let file = section.text("upstream-file", |text| path(folder, text));
    let mut plan = ServicePlan {
        routes,
        upstream_file: file.map(|found| found.value),
        ..ServicePlan::new(name.value.clone())
    };
    let has_command = section.has("command");
    if upstreams.is_none() && plan.upstream_file.is_none() && !has_command {
        section.wrong(if commands {
            "it has neither command = [\"PROGRAM\", \"{port}\"] nor upstreams = [\"HOST:PORT\"]"
        } else {
            "it has neither upstreams = [\"HOST:PORT\"] nor upstream-file = \"FILE\""
        });
    }
    if has_command && !commands {
        section.wrong_key(
            "command",
            "a gateway starts no commands; use plimsoll run --config FILE.toml",
        );
    }
    plan.upstreams = upstreams.unwrap_or_default();
    plan.balancer = balancing::read(&section);
    plan.limits = read_limits(&section);
    plan.per_try_timeout = limit(&section, "per-try-timeout");
    if let Some(protocol) = section.text("protocol", |text| word(text, &PROTOCOLS)) {
        plan.protocol = protocol.value;
    }
    if let Some(status) = section.number_among("refusal-status", &[503, 429]) {
        plan.refusal_status = status;
    }
    plan.dns = section.table("dns").map_or(DnsPlan::DEFAULT, read_dns);
    plan.health = section.table("health-check").and_then(read_health);
    let tls = section.table("tls");
    plan.tls = tls.and_then(|section| read_tls(section, &plan.upstreams, folder));
    if commands || has_command {
        scaled::read(&section, &mut plan, around);
    }
    if let Some(scaled) = &plan.scaled {
        plan.limits.upgraded = Some(scaled.websockets);
    }
    section.finish();
    ReadService { plan, route_places }
}

/// A name that can stand in a label, a path of the API and a log line.
fn service_name(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is no name of a service; write 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`"
        ))
    }
}

fn read_routes(section: &Section<'_>) -> (Vec<RoutePlan>, Vec<RoutePlace>) {
    let mut routes = Vec::new();
    let mut places = Vec::new();
    for table in section.tables("routes") {
        let hosts = table.list("hosts", host_pattern);
        let path = table.text("path", path_prefix);
        places.push(RoutePlace {
            hosts: hosts.iter().map(|found| found.span.clone()).collect(),
            path: path
                .as_ref()
                .map_or_else(|| table.span(), |found| found.span.clone()),
        });
        let path = path.map_or_else(|| "/".to_owned(), |found| found.value);
        routes.push(RoutePlan {
            hosts: hosts.into_iter().map(|found| found.value).collect(),
            // To a route, a slash at the end means nothing.
            path: format!("/{}", path.trim_matches('/')),
        });
        table.finish();
    }
    if routes.is_empty() {
        routes.push(RoutePlan::everything());
        places.push(RoutePlace {
            hosts: Vec::new(),
            path: section.span(),
        });
    }
    (routes, places)
}

/// A host of a route: a name, `*.` before a name, or an address; without a port.
pub(crate) fn host_pattern(text: &str) -> Result<String, String> {
    text.parse::<HostPattern>()
        .map(|pattern| pattern.to_string())
        .map_err(|error| error.to_string())
}

/// A path of a route, or of a health check.
pub(crate) fn path_prefix(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    if text.starts_with('/') && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is no path; write one that begins with / and has no spaces, ? or #"
        ))
    }
}

fn read_upstreams(section: &Section<'_>) -> Option<Vec<Upstream>> {
    let found = section.list("upstreams", |text| {
        text.parse::<Upstream>()
            .map_err(|error| format!("`{text}`: {error}"))
    });
    let upstreams: Vec<Upstream> = found.iter().map(|found| found.value.clone()).collect();
    for (again, first) in upstream::duplicates(&upstreams) {
        let Upstream { host, port, .. } = &upstreams[again];
        let line = section.line_of(&found[first]);
        section.wrong_at(
            &found[again],
            format!("{host}:{port} is on line {line} already"),
        );
    }
    if upstreams.len() > UPSTREAMS_MAX {
        let message = format!("there are more than {UPSTREAMS_MAX} upstreams");
        section.wrong_at(&found[UPSTREAMS_MAX], message);
    }
    // An empty list is a list: a service that has nobody yet.
    section.has("upstreams").then_some(upstreams)
}

fn read_limits(section: &Section<'_>) -> TimeLimits {
    TimeLimits {
        total: if section.has("timeout") {
            limit(section, "timeout")
        } else {
            section.asks("timeout");
            Some(TIMEOUT_DEFAULT)
        },
        response_start: limit(section, "response-start-timeout"),
        idle: limit(section, "idle-timeout"),
        upgraded: None,
    }
}

/// A time limit; zero is off.
pub(super) fn limit(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    let limit = section.duration(key, Duration::ZERO..=DURATION_MAX);
    limit.filter(|limit| !limit.is_zero())
}

/// One of a few words.
pub(crate) fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let accepted: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not accepted; write {}", accepted.join(", "))
    })
}

fn read_dns(section: Section<'_>) -> DnsPlan {
    let refresh = section.duration("refresh", DNS_REFRESH_MIN..=DURATION_MAX);
    let family = section.text("family", |text| word(text, &Family::WORDS));
    let plan = DnsPlan {
        refresh: refresh.unwrap_or(DnsPlan::DEFAULT.refresh),
        family: family.map_or(DnsPlan::DEFAULT.family, |found| found.value),
    };
    section.finish();
    plan
}

fn read_health(section: Section<'_>) -> Option<HealthPlan> {
    let path = section.text("path", path_prefix);
    let host = section.text("host", |text| {
        http::HeaderValue::from_str(text)
            .map(|_| text.to_owned())
            .map_err(|_| format!("`{text}` is no value of Host"))
    });
    let interval = section.duration("interval", HEALTH_INTERVAL_MIN..=DURATION_MAX);
    let timeout = section.duration("timeout", Duration::from_millis(1)..=DURATION_MAX);
    let run = |key| {
        let found = section.number(key, 1..=HEALTH_RUN_MAX);
        found.and_then(|run| u32::try_from(run).ok())
    };
    let (healthy, unhealthy) = (run("healthy-after"), run("unhealthy-after"));
    if path.is_none() && !section.has("path") {
        section.wrong("it needs a path, such as path = \"/healthz\"");
    }
    section.finish();
    let defaults = HealthPlan::of(path?.value);
    Some(HealthPlan {
        host: host.map(|found| found.value),
        interval: interval.unwrap_or(defaults.interval),
        timeout: timeout.unwrap_or(defaults.timeout),
        healthy_after: healthy.unwrap_or(defaults.healthy_after),
        unhealthy_after: unhealthy.unwrap_or(defaults.unhealthy_after),
        ..defaults
    })
}

fn read_tls(
    section: Section<'_>,
    upstreams: &[Upstream],
    folder: &Path,
) -> Option<UpstreamTlsPlan> {
    let ca = section.text("ca", |text| path(folder, text));
    let name = section.text("server-name", |text| Ok(text.to_owned()));
    let insecure = section.flag("insecure").is_some_and(|found| found.value);
    let client = pem_pair(&section, folder);
    if client.is_none() && (section.has("cert") || section.has("key")) {
        section.wrong("write both cert and key, or neither");
    }
    let server_name = name
        .map(|found| Ok(Some(found.value)))
        .unwrap_or_else(|| only_name(upstreams).map(|name| name.map(str::to_owned)))
        .unwrap_or_else(|message| {
            section.wrong(format!("it needs a server-name: {message}"));
            None
        });
    section.finish();
    Some(UpstreamTlsPlan {
        ca: ca.map(|found| found.value),
        server_name,
        insecure,
        client,
    })
}

/// The name of the upstreams; `None` if they are addresses, whose certificates are for the address.
///
/// # Errors
/// They have several names.
pub(crate) fn only_name(upstreams: &[Upstream]) -> Result<Option<&str>, String> {
    let mut names = upstreams
        .iter()
        .filter_map(|upstream| match &upstream.host {
            Host::Name(name) => Some(name.as_str()),
            Host::Ip(_) => None,
        });
    let Some(first) = names.next() else {
        return Ok(None);
    };
    match names.find(|name| *name != first) {
        None => Ok(Some(first)),
        Some(other) => Err(format!(
            "the upstreams have several, such as {first} and {other}"
        )),
    }
}
