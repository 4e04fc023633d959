//! Settings of a service whose replicas are local processes: its command, and how many of it there are.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use plimsoll_fleet::{CommandSpec, LinePattern, Readiness, StopSignal};
use plimsoll_proxy::UpgradedLimits;
use plimsoll_scale::{
    Aggregation, Metric, Policy, REPLICAS_MAX, ScaleConfig, WINDOW_MAX, WINDOW_MIN,
};

use super::process::memory;
use super::section::Section;
use super::service::{Surroundings, limit, path_prefix, word};
use crate::cli::values::{self, DURATION_MAX};
use crate::gateway::plan::ServicePlan;
use crate::run::plan::{CONCURRENCY_DEFAULT, MAX_DEFAULT, QUEUE_AGE_DEFAULT, ScaledPlan};

/// The policies, in the words of settings.
pub(super) const POLICIES: [(&str, Policy); 2] =
    [("plimsoll", Policy::Plimsoll), ("kpa", Policy::Kpa)];

/// What load is measured in, in the words of settings.
pub(super) const METRICS: [(&str, Metric); 2] =
    [("concurrency", Metric::Concurrency), ("rps", Metric::Rps)];

/// How the seconds of a window become one number, in the words of settings.
pub(super) const AGGREGATIONS: [(&str, Aggregation); 2] = [
    ("linear", Aggregation::Linear),
    ("weighted-exponential", Aggregation::WeightedExponential),
];

/// Reads the command of a service and what belongs to it, if it has one.
pub(super) fn read(section: &Section<'_>, plan: &mut ServicePlan, around: &Surroundings<'_>) {
    let words = section.list("command", |text| Ok(text.to_owned()));
    if !section.has("command") {
        return;
    }
    let mut words = words.into_iter().map(|found| found.value);
    let Some(program) = words.next() else {
        section.wrong_value(
            "command",
            "it is empty; write command = [\"PROGRAM\", \"ARGUMENT\", \"{port}\"]",
        );
        return;
    };
    let mut command = CommandSpec::new(program, words);
    read_process(section, &mut command, around.folder);
    if let (Some(one), Some(all)) = (command.memory_max, around.replicas_memory)
        && one > all
    {
        let all = values::written_bytes(all);
        let message = format!("all replicas together may have {all}, says replicas-memory");
        section.wrong_value("memory", message);
    }
    let concurrency = section.number("concurrency", 0..=u64::from(u32::MAX));
    let concurrency = concurrency.map_or(CONCURRENCY_DEFAULT, |number| number as u32);
    let slots = NonZeroU32::new(concurrency);
    let knative = around.cluster.scale(section, slots);
    let mut scale = knative.unwrap_or_else(|| ScaleConfig {
        concurrency: slots,
        ..scale_default()
    });
    match section.table("scale") {
        Some(table) => {
            read_scale(&table, &mut scale);
            check_scale(&table, &scale);
            table.finish();
        }
        None => check_scale(section, &scale),
    }
    if let Err(error) = command.validate() {
        section.wrong_value(key_of(error.key), error.problem);
    }
    refuse_others(section);
    plan.balancer.endpoint_concurrency = scale.concurrency;
    for_replicas(plan);
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

/// Tells of what only services without a command have.
fn refuse_others(section: &Section<'_>) {
    for (key, instead) in [
        ("endpoint-concurrency", "write concurrency"),
        ("upstreams", "write command alone"),
        ("upstream-file", "write command alone"),
        ("tls", "replicas are on this machine"),
        ("dns", "replicas have no names"),
        ("slow-start", "a new replica is a new one"),
        ("retention", "a new replica is a new one"),
    ] {
        if section.has(key) {
            let message = format!("a service with a command has no {key}; {instead}");
            section.wrong_key(key, message);
        }
    }
}

/// The key of the file for a field of [`CommandSpec`].
fn key_of(field: &str) -> &'static str {
    match field {
        "environment" => "environment",
        "group" => "exclusive-group",
        "memory_max" => "memory",
        "start_timeout" => "start-timeout",
        "stop_grace" => "stop-grace",
        "readiness" => "ready-path",
        // The program and its arguments; there is no key for the others.
        _ => "command",
    }
}

/// Whatever the scaler minds and no key has minded before.
fn check_scale(section: &Section<'_>, scale: &ScaleConfig) {
    let Err(error) = scale.check() else {
        return;
    };
    let key = match error.setting {
        "scale_to_zero_retention" => "retention".to_owned(),
        "panic_threshold" => "panic-threshold-percentage".to_owned(),
        setting => setting.replace(['_', '.'], "-"),
    };
    let accepted = if error.accepted == "0 to max" {
        format!("0 to {}, which max is", scale.max_replicas())
    } else {
        error.accepted.to_owned()
    };
    section.wrong_value(&key, format!("it is {}; accepted: {accepted}", error.got));
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
    let memory = section.text("memory", memory);
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

fn read_scale(section: &Section<'_>, scale: &mut ScaleConfig) {
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
    if let Some(share) = section.text("utilization", utilization) {
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
    read_panic(section, scale);
}

/// What only `kpa` reads.
fn read_panic(section: &Section<'_>, scale: &mut ScaleConfig) {
    if let Some(words) = section.text("aggregation", |text| word(text, &AGGREGATIONS)) {
        scale.aggregation = words.value;
    }
    if let Some(share) = section.real("panic-window-percentage", 1.0..=100.0) {
        scale.panic_window_percentage = share;
    }
    if let Some(percentage) = section.real("panic-threshold-percentage", 1.0..=1e9) {
        scale.panic_threshold = percentage / 100.0;
    }
    if let Some(rate) = section.real("scale-up-rate", 1.0..=1e9) {
        scale.scale_up_rate = rate;
    }
    if let Some(rate) = section.real("scale-down-rate", 1.0..=1e9) {
        scale.scale_down_rate = rate;
    }
}

/// A share of a target; none of it would need replicas without end.
fn utilization(text: &str) -> Result<f64, String> {
    let share = values::share(text)?;
    if share > 0.0 {
        Ok(share)
    } else {
        Err("write more than 0% and at most 100%, such as 70%".to_owned())
    }
}
