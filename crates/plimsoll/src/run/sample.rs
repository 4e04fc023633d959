//! One reading of the replicas of a service, as the metrics want it.

use std::sync::Arc;

use plimsoll_meter::HistogramSnapshot;
use plimsoll_scale::{Reason, Replicas};
use plimsoll_wire::gateway::ScaledSample;

use crate::admin::histogram;
use crate::gateway::services::Member;

/// What is read of one service, so that a sample can borrow from it.
pub(crate) struct ScaledReading {
    member: Arc<Member>,
    replicas: Replicas,
    desired: u32,
    panic: bool,
    excess_burst_capacity: f64,
    refusing: bool,
    starts: u64,
    start_failures: u64,
    start_ups: HistogramSnapshot,
    cold_starts: HistogramSnapshot,
    decisions: Vec<(&'static str, u64)>,
}

impl ScaledReading {
    /// `None` if no replicas are kept of it.
    pub(crate) fn of(member: &Arc<Member>) -> Option<Self> {
        let shared = member.crew.as_ref()?.shared();
        let state = shared.state.lock();
        let decided = Reason::ALL.iter().zip(state.decided);
        Some(Self {
            replicas: state.roster.counts(),
            desired: state.desired(),
            panic: state.decision.is_some_and(|decision| decision.panic),
            excess_burst_capacity: state
                .decision
                .map_or(0.0, |decision| decision.excess_burst_capacity),
            refusing: state.trouble.is_some(),
            starts: state.starts,
            start_failures: state.failures,
            start_ups: state.start_ups.snapshot(),
            cold_starts: shared.demand.cold_starts(),
            decisions: decided
                .map(|(reason, count)| (reason.as_str(), count))
                .collect(),
            member: Arc::clone(member),
        })
    }

    pub(crate) fn sample(&self) -> ScaledSample<'_> {
        ScaledSample {
            name: &self.member.plan.name,
            desired: self.desired,
            ready: self.replicas.ready,
            starting: self.replicas.starting,
            draining: self.replicas.draining,
            panic: self.panic,
            excess_burst_capacity: self.excess_burst_capacity,
            refusing: self.refusing,
            starts: self.starts,
            start_failures: self.start_failures,
            start_duration: histogram(&self.start_ups),
            cold_start: histogram(&self.cold_starts),
            decisions: &self.decisions,
        }
    }
}
