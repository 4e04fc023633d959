//! Settings of a service whose replicas are local processes: its command, and how many of it there are.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use plimsoll_fleet::{CommandSpec, LinePattern, Readiness, StopSignal};
use plimsoll_proxy::UpgradedLimits;
use plimsoll_scale::{Metric, Policy, REPLICAS_MAX, ScaleConfig, WINDOW_MAX, WINDOW_MIN};

use super::section::Section;
use super::service::{limit, path_prefix, word};
use crate::cli::values::{self, DURATION_MAX};
use crate::gateway::plan::ServicePlan;
use crate::run::plan::{CONCURRENCY_DEFAULT, MAX_DEFAULT, QUEUE_AGE_DEFAULT, ScaledPlan};

/// The policies, in the words of settings.
pub(super) const POLICIES: [(&str, Policy); 2] =
    [("plimsoll", Policy::Plimsoll), ("kpa", Policy::Kpa)];

/// What load is measured in, in the words of settings.
pub(super) const METRICS: [(&str, Metric); 2] =
    [("concurrency", Metric::Concurrency), ("rps", Metric::Rps)];

/// Reads the command of a service and what belongs to it, if it has one.
pub(super) fn read(section: &Section<'_>, plan: &mut ServicePlan, folder: &Path) {
    let words = section.list("command", |text| Ok(text.to_owned()));
    if !section.has("command") {
        return;
    }
    let mut words = words.into_iter().map(|found| found.value);
    let Some(program) = words.next() else {
        section.wrong("command is empty; write command = [\"PROGRAM\", \"ARGUMENT\", \"{port}\"]");
        return;
    };
    let mut command = CommandSpec::new(program, words);
    read_process(section, &mut command, folder);
    let concurrency = section.number("concurrency", 0..=u64::from(u32::MAX));
    let concurrency = concurrency.map_or(CONCURRENCY_DEFAULT, |number| number as u32);
    let mut scale = ScaleConfig {
        concurrency: NonZeroU32::new(concurrency),
        ..scale_default()
    };
    if let Some(table) = section.table("scale") {
        read_scale(table, &mut scale);
    }
    if let Err(error) = scale.check() {
        section.wrong(format!("scale: {error}"));
    }
    if let Err(error) = command.validate() {
        section.wrong(error.to_string());
    }
    for (key, instead) in [
        ("endpoint-concurrency", "concurrency"),
        ("upstreams", "command alone"),
        ("upstream-file", "command alone"),
        ("tls", "nothing: replicas are on this machine"),
        ("dns", "nothing: replicas have no names"),
    ] {
        if section.has(key) {
            section.wrong(format!(
                "a service with a command has no {key}; write {instead}"
            ));
        }
    }
    plan.balancer.endpoint_concurrency = scale.concurrency;
    for_replicas(plan);
    if section.has("slow-start") || section.has("retention") {
        section.wrong("a service with a command has no slow-start and no retention: a new replica is a new one");
    }
    if !section.has("queue") {
        plan.balancer.queue.age_max = QUEUE_AGE_DEFAULT;
    }
    let waiting_page = section
        .flag("waiting-page")
        .is_some_and(|found| found.value);
    plan.scaled = Some(ScaledPlan {
        command,
        scale,
        waiting_page,
        websockets: UpgradedLimits {
            total: limit(section, "websocket-timeout"),
            idle: limit(section, "websocket-idle-timeout"),
        },
    });
}

/// How a service with a command is scaled without a setting.
pub(crate) fn scale_default() -> ScaleConfig {
    ScaleConfig {
        concurrency: NonZeroU32::new(CONCURRENCY_DEFAULT),
        max: NonZeroU32::new(MAX_DEFAULT),
        ..ScaleConfig::default()
    }
}

/// What holds for every service with a command: a replica is new and knows nothing of who had its port before, and
/// requests wait while there is none.
pub(crate) fn for_replicas(plan: &mut ServicePlan) {
    plan.balancer.when_empty = plimsoll_balance::WhenEmpty::Wait;
    plan.balancer.slow_start = Duration::ZERO;
    plan.balancer.retention = Duration::ZERO;
}

/// How to know that a replica is ready; it is one of two keys, or neither.
fn read_readiness(section: &Section<'_>, command: &mut CommandSpec) {
    let path = section.text("ready-path", path_prefix);
    let line = section.text("ready-line", |text| {
        LinePattern::new(text).map_err(|error| error.problem)
    });
    match (path, line) {
        (Some(_), Some(line)) => section.wrong_at(
            &line,
            "ready-path is given as well; write one of them, or neither for a TCP connection",
        ),
        (Some(path), None) => command.readiness = Readiness::Http(path.value),
        (None, Some(line)) => command.readiness = Readiness::LogLine(line.value),
        (None, None) => {}
    }
}

fn read_process(section: &Section<'_>, command: &mut CommandSpec, folder: &Path) {
    read_readiness(section, command);
    command.environment = section.texts("environment");
    let directory = section.text("directory", |text| super::path(folder, text));
    command.directory = directory.map(|found| found.value);
    let times = Duration::from_millis(1)..=plimsoll_fleet::DURATION_MAX;
    if let Some(time) = section.duration("start-timeout", times) {
        command.start_timeout = time;
    }
    if let Some(time) =
        section.duration("stop-grace", Duration::ZERO..=plimsoll_fleet::DURATION_MAX)
    {
        command.stop_grace = time;
    }
    if let Some(signal) = section.text("stop-signal", stop_signal) {
        command.stop_signal = signal.value;
    }
    let memory = section.text("memory", |text| match values::bytes(text)? {
        0 => Err("0 bytes are none; leave it out for no limit".to_owned()),
        bytes => Ok(bytes),
    });
    command.memory_max = memory.map(|found| found.value);
    let group = section.text("exclusive-group", |text| match text {
        "" => Err("name the group, or leave it out".to_owned()),
        name => Ok(name.to_owned()),
    });
    command.group = group.map(|found| found.value);
}

fn stop_signal(text: &str) -> Result<StopSignal, String> {
    let words = StopSignal::ALL.map(|signal| (signal.as_str(), signal));
    word(text, &words)
}

fn read_scale(section: Section<'_>, scale: &mut ScaleConfig) {
    let whole = |key, least: u32| {
        let found = section.number(key, u64::from(least)..=u64::from(REPLICAS_MAX));
        found.and_then(|number| u32::try_from(number).ok())
    };
    let time = |key, default: &mut Duration| {
        if let Some(time) = section.duration(key, Duration::ZERO..=DURATION_MAX) {
            *default = time;
        }
    };
    scale.min = whole("min", 0).unwrap_or(scale.min);
    scale.max = whole("max", 1).and_then(NonZeroU32::new).or(scale.max);
    scale.initial = whole("initial", 0).unwrap_or(scale.initial);
    scale.activation_scale = whole("activation-scale", 1).unwrap_or(scale.activation_scale);
    scale.starts_max = whole("starts-max", 1).unwrap_or(scale.starts_max);
    if let Some(policy) = section.text("policy", |text| word(text, &POLICIES)) {
        scale.policy = policy.value;
    }
    if let Some(metric) = section.text("metric", |text| word(text, &METRICS)) {
        scale.metric = metric.value;
    }
    if let Some(target) = section.real("target", plimsoll_scale::TARGET_MIN..=1e9) {
        scale.target = Some(target);
    }
    if let Some(share) = section.text("utilization", values::share) {
        scale.utilization = share.value;
    }
    if let Some(window) = section.duration("window", WINDOW_MIN..=WINDOW_MAX) {
        scale.window = window;
    }
    if let Some(capacity) = section.real("target-burst-capacity", -1.0..=1e9) {
        scale.target_burst_capacity = capacity;
    }
    time("keep-alive-min", &mut scale.keep_alive.min);
    time("keep-alive-max", &mut scale.keep_alive.max);
    time("scale-down-delay", &mut scale.scale_down_delay);
    time("scale-to-zero-grace", &mut scale.scale_to_zero_grace);
    time("retention", &mut scale.scale_to_zero_retention);
    if let Some(flag) = section.flag("scale-to-zero") {
        scale.scale_to_zero = flag.value;
    }
    section.finish();
}
