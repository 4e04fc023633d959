//! What the dashboard shows of a gateway, or of `plimsoll run`.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_balance::{EjectionChange, EjectionEvent};
use plimsoll_meter::{Clock, Tick};

use super::admin::Desk;
use super::plan::RoutePlan;
use super::show;
use crate::dashboard::{Detail, Head, Replica, Source, Told, Watched};
use crate::demo::numbers;
use crate::run::{self, Crew};

/// Decisions that the page shows.
const DECISIONS_MAX: usize = 50;

impl Source for Desk {
    fn head(&self) -> Head {
        Head {
            mode: if self.services.runs_commands() {
                "run"
            } else {
                "gateway"
            },
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
            scaling: member.crew.as_deref().map(run::show::scaling),
        });
        watched.collect()
    }

    fn detail(&self, name: &str) -> Option<Detail> {
        let member = self.services.member(name)?;
        let now = self.services.clock().now();
        let crew = member.crew.as_deref();
        Some(Detail {
            routes: member.plan.routes.iter().map(RoutePlan::told).collect(),
            balancer: member.balancer.view(now),
            why: crew.and_then(why),
            replicas: crew.map(replicas).unwrap_or_default(),
            told: match crew {
                Some(crew) => decisions(crew),
                None => {
                    let events = self.services.ejections(Some(name));
                    events.iter().map(|(_, event)| told(now, event)).collect()
                }
            },
        })
    }
}

/// What was decided last, or what keeps it from being done.
fn why(crew: &Crew) -> Option<String> {
    let scale = run::show::scale(crew);
    let decision = scale.decision.map(|decision| decision.text);
    match (scale.mode, scale.problem) {
        ("stopped", _) => Some("Stopped: requests are refused until it is started.".to_owned()),
        (_, Some(problem)) => Some(format!("Problem: {problem}")),
        ("fixed", _) => Some("Somebody has said so many, whatever the load.".to_owned()),
        _ => decision,
    }
}

fn replicas(crew: &Crew) -> Vec<Replica> {
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let show = |replica: run::show::Replica| Replica {
        pid: Some(replica.pid),
        address: format!("127.0.0.1:{}", replica.port),
        state: replica.state,
        age: seconds(replica.age_seconds),
        memory: replica.memory_bytes,
        said: replica.last_lines.last().cloned(),
    };
    let scale = run::show::scale(crew);
    scale.replicas.into_iter().map(show).collect()
}

fn decisions(crew: &Crew) -> Vec<Told> {
    let show = |decision: run::show::DecisionShown| Told {
        age: Duration::try_from_secs_f64(decision.age_seconds).unwrap_or_default(),
        what: decision.reason,
        text: decision.text,
    };
    let decisions = run::show::decisions(crew, DECISIONS_MAX);
    decisions.into_iter().map(show).collect()
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
