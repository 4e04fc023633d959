//! What the API shows of replicas and decisions, in the words and units of its documentation.

use std::time::{Duration, SystemTime};

use plimsoll_fleet::ReplicaView;
use plimsoll_meter::{Clock, Tick};
use plimsoll_scale::{Decision, Inputs};
use serde::Serialize;

use super::crew::{Crew, Mode, Shared, State};
use crate::dashboard::Scaling;

/// How a service is scaled, and how that goes.
#[derive(Debug, Serialize)]
pub(crate) struct Scale {
    /// `auto`: the load says how many there are; `fixed`: somebody has said so; `stopped`: none, and requests are refused.
    pub(crate) mode: &'static str,
    /// `plimsoll` or `kpa`.
    pub(crate) policy: &'static str,
    pub(crate) desired: u32,
    pub(crate) ready: u32,
    pub(crate) starting: u32,
    pub(crate) draining: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// Requests a replica works on at once; `null` is without limit.
    pub(crate) concurrency: Option<u32>,
    pub(crate) panic: bool,
    pub(crate) excess_burst_capacity: f64,
    /// The last decision.
    pub(crate) decision: Option<DecisionShown>,
    /// What went wrong last, until a replica is ready again.
    pub(crate) problem: Option<String>,
    /// Requests are refused for so long, because no replica can be started.
    pub(crate) refused_seconds: Option<f64>,
    /// Replicas started, and failures to start one.
    pub(crate) starts: u64,
    pub(crate) start_failures: u64,
    pub(crate) learned: Learned,
    pub(crate) cold_starts: ColdStarts,
    pub(crate) replicas: Vec<Replica>,
}

/// What the policy has learned.
#[derive(Debug, Serialize)]
pub(crate) struct Learned {
    pub(crate) start_up_seconds: Option<f64>,
    pub(crate) service_time_seconds: Option<f64>,
    /// How long the last replica is kept when nobody comes.
    pub(crate) keep_alive_seconds: Option<f64>,
}

/// Requests that have waited for a replica to start.
#[derive(Debug, Serialize)]
pub(crate) struct ColdStarts {
    pub(crate) requests: u64,
    pub(crate) mean_seconds: Option<f64>,
}

/// A replica.
#[derive(Debug, Serialize)]
pub(crate) struct Replica {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) port: u16,
    /// `starting`, `ready`, `draining` or `stopping`.
    pub(crate) state: &'static str,
    pub(crate) age_seconds: f64,
    pub(crate) start_up_seconds: Option<f64>,
    pub(crate) in_flight: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    /// What it wrote last, the newest last.
    pub(crate) last_lines: Vec<String>,
}

/// A decision.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionShown {
    /// When it was made.
    pub(crate) at: String,
    pub(crate) age_seconds: f64,
    pub(crate) desired: u32,
    pub(crate) previous: u32,
    /// A word from a small set.
    pub(crate) reason: &'static str,
    /// In a sentence.
    pub(crate) text: String,
    pub(crate) panic: bool,
    pub(crate) excess_burst_capacity: f64,
    pub(crate) inputs: InputsShown,
}

/// What a decision follows from.
#[derive(Debug, Serialize)]
pub(crate) struct InputsShown {
    pub(crate) running: u32,
    pub(crate) waiting: u32,
    pub(crate) ready: u32,
    pub(crate) starting: u32,
    pub(crate) draining: u32,
    pub(crate) per_replica: f64,
    pub(crate) needed: Option<u32>,
    pub(crate) average: Option<f64>,
    pub(crate) panic_average: Option<f64>,
    pub(crate) service_time_seconds: Option<f64>,
    pub(crate) start_up_seconds: Option<f64>,
    /// For how long replicas that are not needed are kept.
    pub(crate) kept_seconds: Option<f64>,
}

/// How many replicas there are, and should be. Cheaper than the whole.
pub(crate) fn scaling(crew: &Crew) -> Scaling {
    let state = crew.shared().state.lock();
    let counts = state.roster.counts();
    Scaling {
        desired: state.desired(),
        starting: counts.starting,
        ready: counts.ready,
        draining: counts.draining,
    }
}

/// How the service of `crew` is scaled.
pub(crate) fn scale(crew: &Crew) -> Scale {
    let shared = crew.shared();
    let now = shared.clock.now();
    let state = shared.state.lock();
    let counts = state.roster.counts();
    let view = state.scaler.view();
    let cold = shared.demand.cold_starts();
    let config = &state.plan.scale;
    let refused = state.trouble.as_ref().map(|trouble| trouble.until);
    Scale {
        mode: state.mode.name(),
        policy: view.policy.as_str(),
        desired: state.desired(),
        ready: counts.ready,
        starting: counts.starting,
        draining: counts.draining,
        min: config.min,
        max: config.max_replicas(),
        concurrency: config.concurrency.map(u32::from),
        panic: state.decision.is_some_and(|decision| decision.panic),
        excess_burst_capacity: state
            .decision
            .map_or(0.0, |decision| decision.excess_burst_capacity),
        decision: state.decision.map(|last| decision(&last, now)),
        problem: state.problem.clone(),
        refused_seconds: refused.map(|until| until.saturating_duration_since(now).as_secs_f64()),
        starts: state.starts,
        start_failures: state.failures,
        learned: Learned {
            start_up_seconds: seconds(view.start_up),
            service_time_seconds: seconds(view.service_time),
            keep_alive_seconds: seconds(view.keep_alive_last),
        },
        cold_starts: ColdStarts {
            requests: cold.count(),
            mean_seconds: (cold.count() > 0)
                .then(|| cold.sum().as_secs_f64() / cold.count() as f64),
        },
        replicas: replicas(shared, &state),
    }
}

fn replicas(shared: &Shared, state: &State) -> Vec<Replica> {
    let show = |view: ReplicaView| {
        let standing = state.roster.standing(view.id);
        let address = standing.and_then(super::crew::roster::Standing::address);
        Replica {
            id: view.id.get(),
            pid: view.pid,
            port: view.port,
            state: standing.map_or("stopping", super::crew::roster::Standing::name),
            age_seconds: view.age.as_secs_f64(),
            start_up_seconds: seconds(view.start_up),
            in_flight: address.and_then(|at| shared.balancer.in_flight(&at.to_string())),
            memory_bytes: view.memory,
            last_lines: view.last_lines,
        }
    };
    shared.replicas.view().into_iter().map(show).collect()
}

/// The last decisions, the newest first.
pub(crate) fn decisions(crew: &Crew, limit: usize) -> Vec<DecisionShown> {
    let shared = crew.shared();
    let now = shared.clock.now();
    let state = shared.state.lock();
    let kept = state.log.iter().rev().take(limit);
    kept.map(|kept| decision(kept, now)).collect()
}

fn decision(made: &Decision, now: Tick) -> DecisionShown {
    let age = now.saturating_duration_since(made.at);
    let at = SystemTime::now()
        .checked_sub(age)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    DecisionShown {
        at: humantime::format_rfc3339_millis(at).to_string(),
        age_seconds: age.as_secs_f64(),
        desired: made.desired,
        previous: made.previous,
        reason: made.reason.as_str(),
        text: made.to_string(),
        panic: made.panic,
        excess_burst_capacity: made.excess_burst_capacity,
        inputs: inputs(&made.inputs, made.at),
    }
}

fn inputs(inputs: &Inputs, at: Tick) -> InputsShown {
    InputsShown {
        running: inputs.running,
        waiting: inputs.waiting,
        ready: inputs.ready,
        starting: inputs.starting,
        draining: inputs.draining,
        per_replica: inputs.per_replica,
        needed: inputs.needed,
        average: inputs.average,
        panic_average: inputs.panic_average,
        service_time_seconds: seconds(inputs.service_time),
        start_up_seconds: seconds(inputs.start_up),
        kept_seconds: seconds(
            inputs
                .kept_until
                .map(|until| until.saturating_duration_since(at)),
        ),
    }
}

fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

/// What is wrong with a service, for the status of the program; `None` is good.
pub(crate) fn trouble(crew: &Crew) -> Option<String> {
    let state = crew.shared().state.lock();
    match state.mode {
        Mode::Stopped => Some("is stopped".to_owned()),
        _ => state.problem.clone(),
    }
}
