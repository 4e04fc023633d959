//! The services at work, and how they become those of another plan without dropping anything.
//!
//! A service is known by its name. One that stays keeps its balancer and its counters, and so all that was learned;
//! one that goes is out of the routes at once, and ends when its last request does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_balance::{Balancer, EjectionEvent};
use plimsoll_meter::{Clock, Tick};
use plimsoll_proxy::{
    Demand, HostPattern, MonotonicClock, RefusalStatus, Route, Routes, Service, ServiceSettings,
};

use super::checks::Checks;
use super::ejections::EjectionLog;
use super::endpoints::Endpoints;
use super::files::ListFault;
use super::inputs::{Inputs, Lists, UpstreamTls};
use super::plan::ServicePlan;
use super::probe::Probe;
use super::resolvers::Resolvers;
use super::upstream::Upstream;
use crate::dice::Dice;
use crate::run::{Crew, Machine, waiting_page};

/// How often balancers do their housekeeping.
pub(crate) const ADVANCE_PERIOD: Duration = Duration::from_millis(100);

/// How long the start waits for the first answers of the resolver. Clients wait as long in the backlog of the port.
pub(crate) const FIRST_ANSWERS_MAX: Duration = Duration::from_secs(3);

/// How often it is looked whether the first answers are there.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// All services.
#[derive(Debug)]
pub(crate) struct Services {
    clock: MonotonicClock,
    workers: std::num::NonZeroUsize,
    dice: Arc<Dice>,
    members: ArcSwap<Vec<Arc<Member>>>,
    /// Those of them without a command. They always have something to be done about.
    unmanned: ArcSwap<Vec<Arc<Member>>>,
    /// Services that no route leads to any more, while requests are still with them.
    leaving: Mutex<Vec<Arc<Member>>>,
    /// Where replicas run, for services with a command.
    machine: Option<Machine>,
    ejections: Mutex<EjectionLog>,
}

/// One service at work.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) plan: ServicePlan,
    pub(crate) service: Arc<Service>,
    pub(crate) balancer: Balancer,
    pub(crate) endpoints: Arc<Endpoints>,
    resolvers: Arc<Resolvers>,
    tls: Option<UpstreamTls>,
    pub(crate) checks: Option<Arc<Checks>>,
    /// Its replicas, if it has a command.
    pub(crate) crew: Option<Arc<Crew>>,
}

impl Services {
    /// No services yet.
    pub(crate) fn new(clock: MonotonicClock, workers: std::num::NonZeroUsize, seed: u64) -> Self {
        Self {
            clock,
            workers,
            dice: Arc::new(Dice::new(seed)),
            members: ArcSwap::default(),
            unmanned: ArcSwap::default(),
            leaving: Mutex::default(),
            machine: None,
            ejections: Mutex::default(),
        }
    }

    /// Services with a command have their replicas on `machine`.
    pub(crate) fn with_machine(mut self, machine: Option<Machine>) -> Self {
        self.machine = machine;
        self
    }

    /// Whether services may have commands, so that this is `plimsoll run`.
    pub(crate) fn runs_commands(&self) -> bool {
        self.machine.is_some()
    }

    pub(crate) fn clock(&self) -> MonotonicClock {
        self.clock
    }

    /// The services of this moment, in the order of their names.
    pub(crate) fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.members.load_full()
    }

    pub(crate) fn member(&self, name: &str) -> Option<Arc<Member>> {
        let members = self.members.load();
        let found = members.iter().find(|member| member.plan.name == name);
        found.cloned()
    }

    /// Makes the services those of `inputs`. Nothing has changed if this fails.
    pub(crate) fn take_over(&self, inputs: &mut Inputs) -> anyhow::Result<Routes> {
        let before = self.members.load_full();
        let mut members = Vec::with_capacity(inputs.plan.services.len());
        // All that can fail comes first, and does nothing to what is at work.
        for plan in &inputs.plan.services {
            let in_service = || format!("services.{}", plan.name);
            plan.balancer.check().with_context(in_service)?;
            let same = |member: &&Arc<Member>| member.is_same_kind(plan);
            let before = before.iter().find(same);
            let tls = inputs.tls.get(&plan.name).cloned();
            let member = match before {
                Some(before) => changed(before, plan.clone(), tls),
                None => self.begun(plan.clone(), tls)?,
            };
            members.push((member, before));
        }
        let routes = routes(members.iter().map(|(member, _)| member))?;
        let members: Vec<Arc<Member>> = members
            .into_iter()
            .map(|(member, before)| {
                let list = inputs.lists.remove(&member.plan.name);
                Arc::new(self.put_to_work(member, before.map(Arc::as_ref), list))
            })
            .collect();
        let stays = |old: &Arc<Member>| {
            let same = |new: &Arc<Member>| old.is_same_kind(&new.plan);
            members.iter().any(same)
        };
        let gone = before.iter().filter(|old| !stays(old)).cloned();
        self.leaving.lock().extend(gone);
        let unmanned = members.iter().filter(|member| member.crew.is_none());
        self.unmanned.store(Arc::new(unmanned.cloned().collect()));
        self.members.store(Arc::new(members));
        if let Some(machine) = &self.machine {
            machine.awake().wake();
        }
        Ok(routes)
    }

    /// Has `member`, which was `before`, do what its plan says.
    fn put_to_work(
        &self,
        mut member: Member,
        before: Option<&Member>,
        list: Option<Result<Vec<Upstream>, ListFault>>,
    ) -> Member {
        let plan = &member.plan;
        let settings_before = before.map(|before| &before.plan.balancer);
        if settings_before.is_some_and(|settings| *settings != plan.balancer)
            && let Err(error) = member
                .balancer
                .reconfigure(self.clock.now(), plan.balancer.clone())
        {
            // They have been checked; still, what is refused has to be heard of.
            tracing::error!(service = plan.name, %error, "the balancer stays as it was");
        }
        if let (Some(_), Some(crew), Some(scaled)) = (before, &member.crew, &plan.scaled)
            && let Err(error) = crew.reconfigure(scaled)
        {
            tracing::error!(service = plan.name, %error, "its replicas stay as they were");
        }
        member.checks = match before.filter(|before| member.is_checked_like(before)) {
            Some(before) => before.checks.clone(),
            None => self.start_checks(&member, before.and_then(|it| it.checks.as_deref())),
        };
        member.endpoints.configure(&member.plan, list);
        member.resolvers.follow(member.plan.dns);
        member
    }

    /// A service that was not there, not yet at work.
    fn begun(&self, plan: ServicePlan, tls: Option<UpstreamTls>) -> anyhow::Result<Member> {
        let mut config = plan.balancer.clone();
        config.seed = self.dice.bits();
        let balancer = Balancer::new(config)?;
        let demand = plan.scaled.as_ref().map(|_| Arc::new(Demand::new()));
        let settings = settings(&plan, tls.as_ref(), demand.clone());
        let service = Service::new(&plan.name, balancer.clone(), settings, self.workers);
        let endpoints = Endpoints::new(plan.name.clone(), balancer.clone(), self.clock);
        let endpoints = Arc::new(endpoints);
        let crew = match (&self.machine, &plan.scaled, &demand) {
            (Some(machine), Some(scaled), Some(demand)) => {
                let crew = machine.crew(scaled, &service, &endpoints, demand, self.clock)?;
                Some(Arc::new(crew))
            }
            _ => None,
        };
        let resolvers = Resolvers::new(Arc::clone(&endpoints), Arc::clone(&self.dice));
        Ok(Member {
            plan,
            service: Arc::new(service),
            balancer,
            endpoints,
            resolvers: Arc::new(resolvers),
            tls,
            checks: None,
            crew,
        })
    }

    fn start_checks(&self, member: &Member, before: Option<&Checks>) -> Option<Arc<Checks>> {
        let Some(plan) = member.plan.health.clone() else {
            member.endpoints.trust_all();
            return None;
        };
        let probe = Probe {
            plan,
            protocol: member.plan.protocol,
            tls: member.tls.as_ref().map(|tls| Arc::clone(&tls.tls)),
        };
        Some(Arc::new(Checks::start(
            member,
            self.clock,
            probe,
            self.dice.bits(),
            before,
        )))
    }

    /// Takes over what the files of upstreams say.
    pub(crate) fn take_lists(&self, mut lists: Lists) {
        for member in self.members.load().iter() {
            if let Some(read) = lists.remove(&member.plan.name) {
                member.endpoints.list(read);
                member.resolvers.follow(member.plan.dns);
            }
        }
    }

    /// Does the housekeeping, for as long as it is polled. It sleeps while there is none.
    pub(crate) async fn keep_advancing(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(ADVANCE_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let is_at_rest = self.advance(self.clock.now());
            if is_at_rest && let Some(machine) = &self.machine {
                machine.awake().entered().await;
            }
        }
    }

    /// Linear in the services that do something. Gives whether there is none.
    fn advance(&self, now: Tick) -> bool {
        let mut ejections = self.ejections.lock();
        let unmanned = self.unmanned.load();
        for member in unmanned.iter() {
            member.balancer.advance(now);
            member.endpoints.expire(now);
            ejections.tell(now, &member.plan.name, member.balancer.take_events());
        }
        if let Some(machine) = &self.machine {
            let tell = |name: &str, events| ejections.tell(now, name, events);
            machine.awake().tend(now, tell);
        }
        ejections.sum_up(now);
        let all_told = ejections.all_told();
        drop(ejections);
        let mut leaving = self.leaving.lock();
        leaving.retain(|member| {
            member.balancer.advance(now);
            member.service.meter().in_flight().total > 0
        });
        let nobody = |machine: &Machine| machine.awake().is_empty();
        unmanned.is_empty()
            && leaving.is_empty()
            && all_told
            && self.machine.as_ref().is_none_or(nobody)
    }

    /// The last ejections and re-entries of `service`, or of all services, the newest first.
    pub(crate) fn ejections(&self, service: Option<&str>) -> Vec<(String, EjectionEvent)> {
        self.ejections.lock().recent(service)
    }

    /// Waits until each name has had an answer, good or bad, but not for long.
    pub(crate) async fn first_answers(&self) {
        let asked = async {
            let members = self.members.load_full();
            while !members
                .iter()
                .all(|member| member.endpoints.has_asked_all())
            {
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        };
        // Whoever has not answered by then is told in the status, and answers later.
        let _late = tokio::time::timeout(FIRST_ANSWERS_MAX, asked).await;
    }
}

impl Member {
    /// Whether it can become what `plan` says: replicas of a command are kept by somebody, upstreams are not.
    fn is_same_kind(&self, plan: &ServicePlan) -> bool {
        self.plan.name == plan.name && self.crew.is_some() == plan.scaled.is_some()
    }

    /// Whether the active checks of `before` are those that are wanted.
    fn is_checked_like(&self, before: &Self) -> bool {
        let tls = |member: &Self| member.tls.as_ref().map(|tls| Arc::as_ptr(&tls.tls));
        before.plan.health == self.plan.health
            && before.plan.protocol == self.plan.protocol
            && tls(before) == tls(self)
    }
}

/// A service that was there, with what is different about it; not yet at work.
fn changed(before: &Member, plan: ServicePlan, tls: Option<UpstreamTls>) -> Member {
    // The same files make the same: connections and sessions are worth keeping.
    let tls = match (&before.tls, tls) {
        (Some(old), Some(new)) if old.is_as(&new) => Some(old.clone()),
        (_, tls) => tls,
    };
    let demand = before.service.settings().demand.clone();
    let settings = settings(&plan, tls.as_ref(), demand);
    Member {
        plan,
        service: Arc::new(before.service.with_settings(settings)),
        balancer: before.balancer.clone(),
        endpoints: Arc::clone(&before.endpoints),
        resolvers: Arc::clone(&before.resolvers),
        tls,
        checks: None,
        crew: before.crew.clone(),
    }
}

fn routes<'a>(members: impl Iterator<Item = &'a Member>) -> anyhow::Result<Routes> {
    let mut routes = Vec::new();
    for member in members {
        for route in &member.plan.routes {
            let hosts = route.hosts.iter().map(|host| host.parse::<HostPattern>());
            routes.push(Route {
                hosts: hosts.collect::<Result<_, _>>()?,
                path_prefix: route.path.clone(),
                service: Arc::clone(&member.service),
            });
        }
    }
    Ok(Routes::new(routes)?)
}

fn settings(
    plan: &ServicePlan,
    tls: Option<&UpstreamTls>,
    demand: Option<Arc<Demand>>,
) -> ServiceSettings {
    let shows_page = plan
        .scaled
        .as_ref()
        .is_some_and(|scaled| scaled.waiting_page);
    ServiceSettings {
        protocol: plan.protocol,
        tls: tls.map(|tls| Arc::clone(&tls.tls)),
        limits: plan.limits,
        per_try_timeout: plan.per_try_timeout,
        refusal: match plan.refusal_status {
            429 => RefusalStatus::TooManyRequests,
            _ => RefusalStatus::ServiceUnavailable,
        },
        demand,
        waiting_page: shows_page.then(|| waiting_page(&plan.name)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;

    use super::super::config::{self, ProcessSettings};
    use super::super::plan::Plan;
    use super::*;

    fn plan(text: &str) -> Plan {
        config::parse("g.toml", text, &ProcessSettings::default()).expect("valid")
    }

    fn take_over(services: &Services, plan: Plan) -> anyhow::Result<Routes> {
        let inputs = Inputs::of(plan, BTreeMap::new());
        services.take_over(&mut inputs.expect("no files"))
    }

    /// The services with their policies and addresses, as they are at work.
    fn at_work(services: &Services) -> Vec<String> {
        let members = services.members();
        let show = |member: &Arc<Member>| {
            let view = member.balancer.view(services.clock().now());
            let addresses = view.endpoints.iter().map(|it| it.address.to_string());
            let addresses: Vec<_> = addresses.collect();
            format!("{} {} {addresses:?}", member.plan.name, view.policy)
        };
        members.iter().map(show).collect()
    }

    #[test]
    fn a_plan_that_fails_late_has_changed_nothing() {
        let services = Services::new(MonotonicClock::start(), NonZeroUsize::MIN, 1);
        let first = "[services.a]\nupstreams = [\"10.0.0.1:1\"]\nroutes = [{ path = \"/a\" }]\n";
        take_over(&services, plan(first)).expect("it can be used");
        let before = at_work(&services);
        assert_eq!(before, ["a peak-ewma [\"10.0.0.1:1\"]"]);
        let second = "[services.a]\nupstreams = [\"10.0.0.2:2\"]\npolicy = \"random\"\nroutes = [{ path = \"/a\" }]\n\
            [services.b]\nupstreams = [\"10.0.0.3:3\"]\nroutes = [{ path = \"/b\" }]\n";
        let mut conflicting = plan(second);
        // What reading the file would have refused, had it known of it.
        let taken = conflicting.services[0].routes.clone();
        conflicting.services[1].routes = taken;
        let error = take_over(&services, conflicting).expect_err("two services, one route");
        assert!(format!("{error:#}").contains("/a"), "{error:#}");
        assert_eq!(at_work(&services), before);
        let mut impossible = plan(second);
        impossible.services[1].balancer.ejection.share_max = 2.0;
        let error = take_over(&services, impossible).expect_err("more than all");
        assert!(format!("{error:#}").contains("services.b"), "{error:#}");
        assert_eq!(at_work(&services), before);
        take_over(&services, plan(second)).expect("it can be used");
        let after = ["a random [\"10.0.0.2:2\"]", "b peak-ewma [\"10.0.0.3:3\"]"];
        assert_eq!(at_work(&services), after);
    }
}
