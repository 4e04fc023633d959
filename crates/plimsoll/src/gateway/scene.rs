//! What the dashboard shows of a gateway.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_balance::{EjectionChange, EjectionEvent};
use plimsoll_meter::{Clock, Tick};

use super::admin::Desk;
use super::plan::RoutePlan;
use super::show;
use crate::dashboard::{Detail, Head, Source, Told, Watched};
use crate::demo::numbers;

impl Source for Desk {
    fn head(&self) -> Head {
        Head {
            mode: "gateway",
            version: env!("CARGO_PKG_VERSION"),
            state: self.ready.word(),
            uptime: since_start(self.services.clock().now()),
            problems: show::problems(self),
        }
    }

    fn services(&self) -> Vec<Watched> {
        let members = self.services.members();
        let watched = members.iter().map(|member| Watched {
            service: Arc::clone(&member.service),
            scaling: None,
        });
        watched.collect()
    }

    fn detail(&self, name: &str) -> Option<Detail> {
        let member = self.services.member(name)?;
        let now = self.services.clock().now();
        Some(Detail {
            routes: member.plan.routes.iter().map(RoutePlan::told).collect(),
            balancer: member.balancer.view(now),
            why: None,
            replicas: Vec::new(),
            told: self
                .services
                .ejections(Some(name))
                .into_iter()
                .map(|(_, event)| told(now, &event))
                .collect(),
        })
    }
}

/// The clock counts from the start.
fn since_start(now: Tick) -> Duration {
    Duration::from_nanos(now.as_nanos())
}

/// What has happened to an endpoint, in words.
pub(crate) fn told(now: Tick, event: &EjectionEvent) -> Told {
    let address = &event.address;
    let (what, text) = match event.change {
        EjectionChange::Ejected { reason, wait } => (
            "ejected",
            format!(
                "{address} for {}: it gets nothing for {}, then one request that tries it",
                reason.name(),
                numbers::time(wait)
            ),
        ),
        EjectionChange::Readmitted { after } => (
            "let in again",
            format!("{address} after {}: it has answered", numbers::time(after)),
        ),
        EjectionChange::Forgiven { after } => (
            "let in again",
            format!(
                "{address} after {}: the others fail as well",
                numbers::time(after)
            ),
        ),
    };
    Told {
        age: now.saturating_duration_since(event.at),
        what,
        text,
    }
}
