//! What `plimsoll run` shows of each service that it keeps replicas of.

use crate::prometheus::{Descriptor, Exposition, HistogramView, Unit};

const DESIRED: Descriptor = Descriptor::gauge(
    "plimsoll_run_replicas_desired",
    "Replicas that there should be, by the last decision",
);
const READY: Descriptor =
    Descriptor::gauge("plimsoll_run_replicas_ready", "Replicas that take requests");
const STARTING: Descriptor = Descriptor::gauge(
    "plimsoll_run_replicas_starting",
    "Replicas that have been started and are not ready yet",
);
const DRAINING: Descriptor = Descriptor::gauge(
    "plimsoll_run_replicas_draining",
    "Replicas that finish what they have and get nothing new",
);
const PANIC: Descriptor = Descriptor::gauge(
    "plimsoll_run_panic",
    "Whether the policy kpa is in panic: 1 if it is",
);
const EXCESS_BURST_CAPACITY: Descriptor = Descriptor::gauge(
    "plimsoll_run_excess_burst_capacity",
    "Requests for which there is room beyond the target burst capacity; less than 0 if there is too little",
);
const REFUSING: Descriptor = Descriptor::gauge(
    "plimsoll_run_refusing",
    "Whether requests are refused because no replica can be started: 1 if they are",
);
const STARTS: Descriptor = Descriptor::counter(
    "plimsoll_run_replica_starts_total",
    "Replicas that have been started",
);
const START_FAILURES: Descriptor = Descriptor::counter(
    "plimsoll_run_replica_start_failures_total",
    "Replicas that could not be started, or ended before they were ready",
);
const START_DURATION: Descriptor = Descriptor::histogram(
    "plimsoll_run_replica_start_seconds",
    "Time from the start of a replica to its being ready",
)
.with_unit(Unit::Seconds);
const COLD_START: Descriptor = Descriptor::histogram(
    "plimsoll_run_cold_start_seconds",
    "Time that a request waited for a replica to start",
)
.with_unit(Unit::Seconds);
const DECISIONS: Descriptor = Descriptor::counter(
    "plimsoll_run_decisions_total",
    "Decisions that changed how many replicas there should be, by their reason",
);

/// One reading of the replicas of a service.
#[derive(Debug, Clone, Copy)]
pub struct ScaledSample<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Replicas that there should be.
    pub desired: u32,
    /// Replicas that take requests.
    pub ready: u32,
    /// Replicas that are not ready yet.
    pub starting: u32,
    /// Replicas that finish what they have.
    pub draining: u32,
    /// Whether the policy is in panic.
    pub panic: bool,
    /// Room beyond the target burst capacity, in requests.
    pub excess_burst_capacity: f64,
    /// Whether requests are refused because no replica can be started.
    pub refusing: bool,
    /// Replicas that have been started.
    pub starts: u64,
    /// Replicas that could not be started, or ended before they were ready.
    pub start_failures: u64,
    /// From the start of a replica to its being ready.
    pub start_duration: HistogramView<'a>,
    /// How long requests waited for a replica to start.
    pub cold_start: HistogramView<'a>,
    /// Decisions that changed the number, by the name of their reason: a fixed set.
    pub decisions: &'a [(&'a str, u64)],
}

/// Writes the families that have one label `service`. Nothing without such services.
pub(super) fn write(text: &mut Exposition, services: &[ScaledSample<'_>]) {
    if services.is_empty() {
        return;
    }
    type Number = fn(&ScaledSample<'_>) -> u64;
    let families: [(&Descriptor, Number); 8] = [
        (&DESIRED, |service| u64::from(service.desired)),
        (&READY, |service| u64::from(service.ready)),
        (&STARTING, |service| u64::from(service.starting)),
        (&DRAINING, |service| u64::from(service.draining)),
        (&PANIC, |service| u64::from(service.panic)),
        (&REFUSING, |service| u64::from(service.refusing)),
        (&STARTS, |service| service.starts),
        (&START_FAILURES, |service| service.start_failures),
    ];
    for (descriptor, number) in families {
        let mut family = text.family(descriptor);
        for service in services {
            family.integer(&[("service", service.name)], number(service));
        }
    }
    let mut excess = text.family(&EXCESS_BURST_CAPACITY);
    for service in services {
        excess.number(&[("service", service.name)], service.excess_burst_capacity);
    }
    let mut durations = text.family(&START_DURATION);
    for service in services {
        durations.histogram(&[("service", service.name)], &service.start_duration);
    }
    let mut waits = text.family(&COLD_START);
    for service in services {
        waits.histogram(&[("service", service.name)], &service.cold_start);
    }
    let mut decisions = text.family(&DECISIONS);
    for service in services {
        for (reason, count) in service.decisions {
            decisions.integer(&[("service", service.name), ("reason", reason)], *count);
        }
    }
}
