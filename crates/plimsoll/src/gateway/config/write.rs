//! Writing a plan as a configuration file that says everything: what `--check` shows.
//!
//! What is written can be read again and gives the same plan.

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::Duration;

use plimsoll_balance::Policy;
use plimsoll_fleet::Readiness;

use super::balancing::WRR_MODES;
use super::scaled::{AGGREGATIONS, METRICS, POLICIES};
use crate::cli::{LogFormat, values};
use crate::gateway::plan::{
    DnsPlan, Family, HealthPlan, PROTOCOLS, PemPair, Plan, ProcessPlan, RoutePlan, ServicePlan,
    UpstreamTlsPlan,
};
use crate::run::plan::{RESIDENCE_DEFAULT, ScaledPlan};

/// A string with quotes, as TOML has it.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                letter if letter.is_control() => write!(f, "\\u{:04X}", u32::from(letter))?,
                letter => f.write_char(letter)?,
            }
        }
        f.write_char('"')
    }
}

/// Writes lines `key = value`.
struct Lines(String);

impl Lines {
    fn table(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    fn bare(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.bare(key, Quoted(&value.to_string()));
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.text(key, values::written(value));
    }

    fn limit(&mut self, key: &str, value: Option<Duration>) {
        self.duration(key, value.unwrap_or_default());
    }

    fn path(&mut self, key: &str, value: &Path) {
        self.text(key, value.display());
    }

    fn share(&mut self, key: &str, value: f64) {
        self.text(key, format_args!("{}%", value * 100.0));
    }

    fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let values: Vec<_> = values.map(|value| Quoted(&value).to_string()).collect();
        self.bare(key, format_args!("[{}]", values.join(", ")));
    }

    fn pair(&mut self, pair: &PemPair) {
        self.path("cert", &pair.cert);
        self.path("key", &pair.key);
    }
}

impl Plan {
    /// As a configuration file.
    pub(crate) fn to_toml(&self) -> String {
        let mut lines = Lines(String::new());
        process(&mut lines, &self.process);
        for plan in &self.services {
            service(&mut lines, plan);
        }
        lines.0
    }
}

fn process(lines: &mut Lines, plan: &ProcessPlan) {
    lines.text("listen", plan.listen);
    lines.text("admin", plan.admin);
    lines.bare("workers", plan.workers);
    lines.duration("drain-quiet", plan.drain_quiet);
    lines.text(
        "log-format",
        match plan.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
    );
    if let Some(bytes) = plan.room.memory {
        lines.text("replicas-memory", values::written_bytes(bytes));
    }
    if plan.room.residence != RESIDENCE_DEFAULT {
        lines.duration("replicas-residence", plan.room.residence);
    }
    if let Some(pair) = &plan.tls {
        lines.table("tls");
        lines.pair(pair);
    }
}

fn service(lines: &mut Lines, plan: &ServicePlan) {
    let name = if plan.name.contains('.') {
        format!("services.{}", Quoted(&plan.name))
    } else {
        format!("services.{}", plan.name)
    };
    lines.table(&name);
    if let Some(scaled) = &plan.scaled {
        command(lines, scaled);
    } else {
        lines.list("upstreams", plan.upstreams.iter().map(ToString::to_string));
    }
    if let Some(file) = &plan.upstream_file {
        lines.path("upstream-file", file);
    }
    lines.text("policy", &plan.balancer.policy);
    let own_concurrency = plan.balancer.endpoint_concurrency;
    if let Some(concurrency) = own_concurrency.filter(|_| plan.scaled.is_none()) {
        lines.bare("endpoint-concurrency", concurrency);
    }
    lines.text("protocol", word(plan.protocol, &PROTOCOLS));
    lines.limit("timeout", plan.limits.total);
    lines.limit("response-start-timeout", plan.limits.response_start);
    lines.limit("idle-timeout", plan.limits.idle);
    lines.limit("per-try-timeout", plan.per_try_timeout);
    lines.bare("refusal-status", plan.refusal_status);
    if plan.scaled.is_none() {
        lines.duration("slow-start", plan.balancer.slow_start);
        lines.duration("retention", plan.balancer.retention);
    }
    balancing(lines, &name, plan);
    match &plan.scaled {
        Some(scaled) => scaled_tables(lines, &name, scaled),
        None => dns(lines, &name, plan.dns),
    }
    if let Some(health) = &plan.health {
        health_check(lines, &name, health);
    }
    if let Some(plan) = &plan.tls {
        tls(lines, &name, plan);
    }
    for route in &plan.routes {
        lines.0.push_str(&format!("\n[[{name}.routes]]\n"));
        let RoutePlan { hosts, path } = route;
        lines.list("hosts", hosts.iter().cloned());
        lines.text("path", path);
    }
}

/// The command of a service, and what belongs to it.
fn command(lines: &mut Lines, plan: &ScaledPlan) {
    let command = &plan.command;
    let words = std::iter::once(&command.program).chain(&command.arguments);
    lines.list("command", words.cloned());
    if let Some(directory) = &command.directory {
        lines.path("directory", directory);
    }
    match &command.readiness {
        Readiness::Http(path) => lines.text("ready-path", path),
        Readiness::LogLine(pattern) => lines.text("ready-line", pattern.as_str()),
        _ => {}
    }
    lines.duration("start-timeout", command.start_timeout);
    lines.text("stop-signal", command.stop_signal);
    lines.duration("stop-grace", command.stop_grace);
    if let Some(bytes) = command.memory_max {
        lines.text("memory", values::written_bytes(bytes));
    }
    if let Some(group) = &command.group {
        lines.text("exclusive-group", group);
    }
    lines.bare(
        "concurrency",
        plan.scale.concurrency.map_or(0, std::num::NonZeroU32::get),
    );
    lines.bare("waiting-page", plan.waiting_page);
    lines.limit("websocket-timeout", plan.websockets.total);
    lines.limit("websocket-idle-timeout", plan.websockets.idle);
}

/// How many replicas there are to be, and the variables they get.
fn scaled_tables(lines: &mut Lines, name: &str, plan: &ScaledPlan) {
    let scale = &plan.scale;
    lines.table(&format!("{name}.scale"));
    lines.text("policy", word(scale.policy, &POLICIES));
    lines.text("metric", word(scale.metric, &METRICS));
    if let Some(target) = scale.target {
        lines.bare("target", target);
    }
    lines.share("utilization", scale.utilization);
    lines.duration("window", scale.window);
    lines.bare("min", scale.min);
    lines.bare("max", scale.max_replicas());
    lines.bare("initial", scale.initial);
    lines.bare("activation-scale", scale.activation_scale);
    lines.bare("starts-max", scale.starts_max);
    lines.bare("target-burst-capacity", scale.target_burst_capacity);
    lines.duration("keep-alive-min", scale.keep_alive.min);
    lines.duration("keep-alive-max", scale.keep_alive.max);
    lines.duration("scale-down-delay", scale.scale_down_delay);
    lines.duration("scale-to-zero-grace", scale.scale_to_zero_grace);
    lines.duration("retention", scale.scale_to_zero_retention);
    lines.bare("scale-to-zero", scale.scale_to_zero);
    lines.text("aggregation", word(scale.aggregation, &AGGREGATIONS));
    lines.bare("panic-window-percentage", scale.panic_window_percentage);
    let threshold = scale.panic_threshold * 100.0;
    lines.bare("panic-threshold-percentage", threshold);
    lines.bare("scale-up-rate", scale.scale_up_rate);
    lines.bare("scale-down-rate", scale.scale_down_rate);
    if !plan.command.environment.is_empty() {
        lines.table(&format!("{name}.environment"));
        for (key, value) in &plan.command.environment {
            lines.text(&Quoted(key).to_string(), value);
        }
    }
}

fn balancing(lines: &mut Lines, name: &str, plan: &ServicePlan) {
    policy(lines, name, &plan.balancer.policy);
    let queue = &plan.balancer.queue;
    lines.table(&format!("{name}.queue"));
    lines.bare("depth", queue.depth);
    lines.text("bytes", values::written_bytes(queue.bytes_max));
    lines.duration("age", queue.age_max);
    let retry = &plan.balancer.retry_budget;
    lines.table(&format!("{name}.retry"));
    lines.share("budget", retry.ratio);
    lines.bare("min-per-second", retry.min_per_second);
    let ejection = &plan.balancer.ejection;
    lines.table(&format!("{name}.ejection"));
    lines.bare("enabled", ejection.enabled);
    lines.duration("base", ejection.base);
    lines.duration("max", ejection.max);
    lines.share("share", ejection.share_max);
}

/// The settings of a policy that has some.
fn policy(lines: &mut Lines, name: &str, policy: &Policy) {
    match policy {
        Policy::PeakEwma(config) => {
            lines.table(&format!("{name}.peak-ewma"));
            lines.duration("decay", config.decay);
        }
        Policy::Wrr(config) => {
            lines.table(&format!("{name}.wrr"));
            lines.text("mode", word(config.mode, &WRR_MODES));
            lines.duration("update-period", config.update_period);
            lines.duration("failure-penalty", config.failure_penalty);
        }
        Policy::Orca(config) => {
            lines.table(&format!("{name}.orca"));
            lines.duration("blackout", config.blackout);
            lines.duration("expiration", config.expiration);
            lines.duration("update-period", config.update_period);
            lines.bare("error-penalty", config.error_penalty);
        }
        Policy::P2c | Policy::LeastLoaded | Policy::RoundRobin | Policy::Random => {}
    }
}

fn dns(lines: &mut Lines, name: &str, plan: DnsPlan) {
    lines.table(&format!("{name}.dns"));
    lines.duration("refresh", plan.refresh);
    lines.text("family", word(plan.family, &Family::WORDS));
}

fn health_check(lines: &mut Lines, name: &str, plan: &HealthPlan) {
    lines.table(&format!("{name}.health-check"));
    lines.text("path", &plan.path);
    if let Some(host) = &plan.host {
        lines.text("host", host);
    }
    lines.duration("interval", plan.interval);
    lines.duration("timeout", plan.timeout);
    lines.bare("healthy-after", plan.healthy_after);
    lines.bare("unhealthy-after", plan.unhealthy_after);
}

fn tls(lines: &mut Lines, name: &str, plan: &UpstreamTlsPlan) {
    lines.table(&format!("{name}.tls"));
    if let Some(name) = &plan.server_name {
        lines.text("server-name", name);
    }
    lines.bare("insecure", plan.insecure);
    if let Some(ca) = &plan.ca {
        lines.path("ca", ca);
    }
    if let Some(pair) = &plan.client {
        lines.pair(pair);
    }
}

fn word<T: PartialEq + Copy>(value: T, words: &[(&'static str, T)]) -> &'static str {
    let found = words.iter().find(|(_, other)| *other == value);
    found.map_or("", |(word, _)| *word)
}
