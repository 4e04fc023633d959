//! The health checks of one service at work, and what they have found.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use plimsoll_balance::Balancer;
use plimsoll_meter::Clock;
use plimsoll_proxy::MonotonicClock;

use super::endpoints::Endpoints;
use super::health::{self, Checked};
use super::probe::Probe;
use super::services::Member;
use super::tasks::Task;

/// The checks of a service. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Checks {
    site: Arc<Site>,
    _task: Task,
}

/// What the last check of an endpoint has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) healthy: bool,
    pub(crate) failure: Option<String>,
    pub(crate) at: SystemTime,
}

/// Where checks find their endpoints and leave what they find.
#[derive(Debug)]
struct Site {
    service: String,
    endpoints: Arc<Endpoints>,
    balancer: Balancer,
    clock: MonotonicClock,
    probe: Probe,
    findings: Mutex<BTreeMap<Arc<str>, Finding>>,
}

impl Checks {
    /// Begins to check. `before` are the checks that these replace: what they found unhealthy stays so until a
    /// check says otherwise.
    pub(crate) fn start(
        member: &Member,
        clock: MonotonicClock,
        probe: Probe,
        seed: u64,
        before: Option<&Self>,
    ) -> Self {
        let findings = before.map_or_else(BTreeMap::new, Self::findings);
        let unhealthy: BTreeSet<Arc<str>> = findings
            .iter()
            .filter(|(_, finding)| !finding.healthy)
            .map(|(address, _)| Arc::clone(address))
            .collect();
        member.endpoints.trust_checks();
        let plan = probe.plan.clone();
        let site = Arc::new(Site {
            service: member.plan.name.clone(),
            endpoints: Arc::clone(&member.endpoints),
            balancer: member.balancer.clone(),
            clock,
            probe,
            findings: Mutex::new(findings),
        });
        let checking = health::keep_checking(plan, seed, unhealthy, Arc::clone(&site));
        Self {
            site,
            _task: Task::spawn(checking),
        }
    }

    /// What the last check of each endpoint has found.
    pub(crate) fn findings(&self) -> BTreeMap<Arc<str>, Finding> {
        self.site.findings.lock().clone()
    }
}

impl Checked for Site {
    fn addresses(&self) -> Arc<Vec<Arc<str>>> {
        let addresses = self.endpoints.addresses();
        let mut findings = self.findings.lock();
        if findings.len() > addresses.len() {
            let present: BTreeSet<&Arc<str>> = addresses.iter().collect();
            findings.retain(|address, _| present.contains(address));
        }
        addresses
    }

    fn checked(&self, address: &Arc<str>, healthy: bool, failure: Option<&str>) {
        // Every time: an endpoint that has left and come back may stand otherwise with the balancer.
        self.balancer.set_health(self.clock.now(), address, healthy);
        let finding = Finding {
            healthy,
            failure: failure.map(str::to_owned),
            at: SystemTime::now(),
        };
        let before = self.findings.lock().insert(Arc::clone(address), finding);
        let was_healthy = before.is_none_or(|before| before.healthy);
        let service = &self.service;
        match (was_healthy, healthy) {
            (true, false) => {
                let why = failure.unwrap_or_default();
                tracing::warn!(service, endpoint = %address, "unhealthy: {why}");
            }
            (false, true) => tracing::info!(service, endpoint = %address, "healthy again"),
            _ => {}
        }
    }

    fn check(
        &self,
        address: Arc<str>,
    ) -> impl Future<Output = Result<(), String>> + Send + 'static {
        self.probe.clone().ask(address)
    }
}
