//! The machine on which replicas run.

use std::sync::{Arc, Once};

use anyhow::Context;
use plimsoll_fleet::{Host, HostConfig, Keeper, OutputLine};
use plimsoll_proxy::{Demand, MonotonicClock, Service};

use super::crew::{Awake, Crew};
use super::plan::{RoomPlan, ScaledPlan};
use crate::gateway::endpoints::Endpoints;

/// The machine on which replicas run: one for all services.
#[derive(Clone)]
pub(crate) struct Machine {
    host: Host,
    /// How limits of memory are kept is told before the first.
    limits_told: Arc<Once>,
    awake: Arc<Awake>,
}

impl Machine {
    /// Must be called on the runtime that starts and watches the replicas.
    pub(crate) fn new(room: RoomPlan) -> anyhow::Result<Self> {
        let config = HostConfig {
            memory_max: room.memory,
            residence_min: room.residence,
            keeper: Some(Keeper::this_program()),
            output: Some(Arc::new(tell)),
            ..HostConfig::default()
        };
        let host = Host::new(config).context("cannot start processes")?;
        // Some thread has to be there for what waits for files, in case that none can be made later.
        drop(tokio::task::spawn_blocking(|| ()));
        Ok(Self {
            host,
            limits_told: Arc::new(Once::new()),
            awake: Arc::default(),
        })
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
        if plan.command.memory_max.is_some() {
            self.limits_told.call_once(|| self.tell_limits());
        }
        Crew::begin(
            (&self.host, &self.awake),
            plan,
            service,
            endpoints,
            demand,
            clock,
        )
    }

    /// The services about which there is something to do.
    pub(crate) fn awake(&self) -> &Awake {
        &self.awake
    }

    /// Says who keeps limits of memory.
    fn tell_limits(&self) {
        match self.host.memory_groups() {
            Ok(parent) => tracing::info!(
                "the kernel keeps limits of memory, in control groups below {parent}"
            ),
            Err(why) => tracing::info!("limits of memory are kept by measuring each second: {why}"),
        }
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
