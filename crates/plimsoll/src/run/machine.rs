//! The machine on which replicas run.

use std::sync::Arc;

use anyhow::Context;
use plimsoll_fleet::{Host, HostConfig, Keeper, OutputLine};
use plimsoll_proxy::{Demand, MonotonicClock, Service};

use super::crew::Crew;
use super::plan::ScaledPlan;
use crate::gateway::endpoints::Endpoints;

/// The machine on which replicas run: one for all services.
#[derive(Clone)]
pub(crate) struct Machine {
    host: Host,
}

impl Machine {
    /// Must be called on the runtime that starts and watches the replicas. All of them together may have `memory` bytes.
    pub(crate) fn new(memory: Option<u64>) -> anyhow::Result<Self> {
        let config = HostConfig {
            memory_max: memory,
            keeper: Some(Keeper::this_program()),
            output: Some(Arc::new(tell)),
            ..HostConfig::default()
        };
        let host = Host::new(config).context("cannot start processes")?;
        Ok(Self { host })
    }

    /// Begins to keep the replicas of a service.
    pub(crate) fn crew(
        &self,
        plan: &ScaledPlan,
        service: &Service,
        endpoints: &Arc<Endpoints>,
        demand: &Arc<Demand>,
        clock: MonotonicClock,
    ) -> anyhow::Result<Crew> {
        Crew::begin(&self.host, plan, service, endpoints, demand, clock)
    }

    /// Ends all replicas, and waits for it.
    pub(crate) async fn shutdown(&self) {
        self.host.shutdown().await;
    }
}

/// What a replica writes goes where log lines go, with its name.
fn tell(line: OutputLine<'_>) {
    tracing::info!(
        service = line.service,
        replica = line.replica.get(),
        "| {}",
        line.text
    );
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}
