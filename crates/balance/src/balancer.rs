//! The balancer: the set, the policy, and the way of a request between them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plimsoll_meter::Tick;

use crate::choose::Field;
use crate::config::{BalancerConfig, ConfigError, WhenEmpty};
use crate::core::{self, Core, Gate};
use crate::endpoint::{Endpoint, EndpointId, EndpointSpec};
use crate::error::{PickError, QueueError};
use crate::journal::EjectionEvents;
use crate::pick::{Entry, Pick, Waiting};
use crate::policy::Policy;
use crate::policy::weighted::Weights;
use crate::random::Random;
use crate::registry::{self, Registry, SetChange, SetError, check_weight, withdraw_probe};
use crate::retry::RetryBudget;
use crate::standing::{Control, Standing};
use crate::sync::Mutex;
use crate::view::{BalancerView, EndpointView};

/// Chooses among the endpoints of one service.
///
/// Clones share everything. All methods may be called from any thread.
#[derive(Clone)]
pub struct Balancer {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    /// What a pick reads, replaced as a whole.
    current: ArcSwap<Current>,
    registry: Mutex<Registry>,
    random: Random,
    retry_budget: RetryBudget,
}

/// What a pick reads.
struct Current {
    config: BalancerConfig,
    endpoints: Vec<Arc<Endpoint>>,
    /// For a policy that selects by weight.
    weights: Option<Weights>,
}

// === impl Balancer ===

impl Balancer {
    /// A balancer without endpoints.
    ///
    /// # Errors
    ///
    /// A setting that is out of its range.
    pub fn new(config: BalancerConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let shared = Shared {
            core: Arc::new(Core::new(&config)),
            registry: Mutex::new(Registry::default()),
            random: Random::new(config.seed),
            retry_budget: RetryBudget::new(config.retry_budget),
            current: ArcSwap::from_pointee(Current {
                config,
                endpoints: Vec::new(),
                weights: None,
            }),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Takes over other settings. All statistics stay; waiters get slots that
    /// this opens. The seed stays as it was.
    ///
    /// # Errors
    ///
    /// A setting that is out of its range; then nothing changes.
    pub fn reconfigure(&self, now: Tick, config: BalancerConfig) -> Result<(), ConfigError> {
        config.check()?;
        let registry = self.shared.registry.lock();
        self.shared.retry_budget.configure(config.retry_budget);
        self.shared.core.configure(&config);
        self.shared.publish(now, &registry, config);
        Ok(())
    }

    /// Makes `specs` the set.
    ///
    /// What was learned belongs to the address: it stays when an address stays,
    /// and for the configured retention when it leaves. Requests at an endpoint
    /// that leaves go on. O(endpoints).
    ///
    /// # Errors
    ///
    /// What is wrong with the set; then the old one stays.
    pub fn set_endpoints(&self, now: Tick, specs: &[EndpointSpec]) -> Result<SetChange, SetError> {
        Registry::check(specs)?;
        let mut registry = self.shared.registry.lock();
        let config = self.shared.current.load().config.clone();
        // Who leaves is used until picks see who joins: there is no moment without endpoints.
        let core = &self.shared.core;
        let (mut change, leaving) = registry.replace(now, specs, core, config.policy.decay());
        self.shared.publish(now, &registry, config);
        change.removed = leaving.len();
        if !leaving.is_empty() {
            registry::leave(now, &leaving, core);
            self.shared.grant(now);
        }
        Ok(change)
    }

    /// Chooses an endpoint that has a free slot now, other than those in
    /// `avoid`. Never waits: for retries.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn try_pick(&self, now: Tick, avoid: &[EndpointId]) -> Result<Pick, PickError> {
        let shared = &*self.shared;
        if !shared.core.limited() {
            return shared.pick(now, avoid, false);
        }
        let _gate = shared.core.gate();
        shared.pick(now, avoid, true)
    }

    /// Chooses an endpoint, or else takes a place in the queue. `bytes` is what
    /// the request occupies while it waits.
    ///
    /// Without slot limits this takes no lock and never waits, unless there is
    /// no endpoint and [`WhenEmpty::Wait`] is set.
    ///
    /// # Errors
    ///
    /// Why there is neither.
    pub fn enter(&self, now: Tick, bytes: u64) -> Result<Entry, PickError> {
        let shared = &*self.shared;
        if !shared.core.limited() {
            return match shared.pick(now, &[], false) {
                Err(PickError::NoEndpoints | PickError::AllDraining) => {
                    shared.enter_gated(now, bytes)
                }
                decided => decided.map(Entry::Running),
            };
        }
        shared.enter_gated(now, bytes)
    }

    /// Says what becomes of requests that find no endpoint, until the next
    /// [`reconfigure`](Self::reconfigure). With [`WhenEmpty::Refuse`], those who
    /// wait for one are sent away at once if there is none.
    pub fn set_when_empty(&self, now: Tick, when_empty: WhenEmpty) {
        let registry = self.shared.registry.lock();
        let mut config = self.shared.current.load().config.clone();
        if config.when_empty != when_empty {
            config.when_empty = when_empty;
            self.shared.publish(now, &registry, config);
        }
        if when_empty == WhenEmpty::Refuse {
            let mut gate = self.shared.core.gate();
            let current = self.shared.current.load();
            let wakers = if current.is_empty() {
                gate.send_away(QueueError::NoEndpoints)
            } else {
                Vec::new()
            };
            drop(gate);
            core::wake(wakers);
        }
    }

    /// Whether nothing can get a request: there are no endpoints, or all are draining. O(endpoints).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.current.load().is_empty()
    }

    /// How many requests wait in the queue. Takes the lock of the queue, and nothing else.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.core.gate().level().waiting
    }

    /// How many requests run at the endpoint of that address; `None` if it is not in the set. With slot limits, what
    /// follows [`set_draining`](Self::set_draining) is never too low.
    #[must_use]
    pub fn in_flight(&self, address: &str) -> Option<u32> {
        let registry = self.shared.registry.lock();
        registry
            .member(address)
            .map(|endpoint| endpoint.in_flight())
    }

    /// Housekeeping, to be called every 100 ms or so: compares the endpoints,
    /// lets in again who may come back, renews weights, ends waits that have
    /// lasted too long, and forgets addresses that have not been used for long.
    /// O(endpoints).
    pub fn advance(&self, now: Tick) {
        let shared = &*self.shared;
        let wakers = shared.core.gate().expire(now);
        core::wake(wakers);
        let mut registry = shared.registry.lock();
        let current = shared.current.load();
        registry.expire(now, current.config.retention);
        let trials = matches!(current.config.policy, Policy::PeakEwma(_));
        shared.core.tend(now, &current.endpoints, trials);
        if let Some(weights) = &current.weights {
            weights.renew(now, &current.config.policy, &current.endpoints);
        }
        drop(registry);
        shared.grant(now);
    }

    /// How many retries there may be.
    #[must_use]
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.shared.retry_budget
    }

    /// Takes over what an active check has found. An unhealthy endpoint is used
    /// only when there is no other. `false` if no endpoint has this address.
    pub fn set_health(&self, now: Tick, address: &str, healthy: bool) -> bool {
        self.shared
            .control(now, address, |control| control.unhealthy = !healthy)
    }

    /// A draining endpoint gets nothing new; what runs there goes on. `false`
    /// if no endpoint has this address.
    pub fn set_draining(&self, now: Tick, address: &str, draining: bool) -> bool {
        self.shared
            .control(now, address, |control| control.draining = draining)
    }

    /// Changes the static weight of an endpoint, until the next
    /// [`set_endpoints`](Self::set_endpoints).
    ///
    /// # Errors
    ///
    /// The weight is out of range, or no endpoint has this address.
    pub fn set_weight(&self, now: Tick, address: &str, weight: u32) -> Result<(), SetError> {
        let known: Arc<str> = address.into();
        check_weight(&known, weight)?;
        if !self
            .shared
            .control(now, address, |control| control.weight = weight)
        {
            return Err(SetError::Unknown { address: known });
        }
        Ok(())
    }

    /// What has happened to endpoints since this was last called: who was left
    /// out for failing, and who was let in again.
    ///
    /// For logs. Nobody needs to call it: what is kept is bounded by
    /// [`EVENTS_MAX`](crate::EVENTS_MAX).
    #[must_use]
    pub fn take_events(&self) -> EjectionEvents {
        self.shared.core.roll.lock().journal.take()
    }

    /// Everything there is to see. O(endpoints).
    #[must_use]
    pub fn view(&self, now: Tick) -> BalancerView {
        let current = self.shared.current.load();
        let queue = self.shared.core.gate().level();
        let typical = self.shared.core.peers.latency();
        let shares = current.weights.as_ref().map(Weights::shares);
        let share = |index: usize| shares.as_ref().map(|shares| shares[index]);
        let endpoints = current.endpoints.iter().enumerate();
        BalancerView {
            policy: current.config.policy.name(),
            endpoints: endpoints
                .map(|(index, endpoint)| EndpointView::of(endpoint, now, share(index)))
                .collect(),
            queue_depth: queue.waiting,
            queue_capacity: current.config.queue.depth,
            queue_bytes: queue.bytes,
            retries_available: self.shared.retry_budget.available(now),
            typical_latency: typical.and_then(|latency| Duration::try_from_secs_f64(latency).ok()),
        }
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.shared.current.load();
        f.debug_struct("Balancer")
            .field("policy", &current.config.policy.name())
            .field("endpoints", &current.endpoints)
            .finish_non_exhaustive()
    }
}

// === impl Current ===

impl Current {
    /// Whether nothing can get a request: there are no endpoints, or all are draining.
    fn is_empty(&self) -> bool {
        let out = Standing::Out as u8;
        let mut endpoints = self.endpoints.iter();
        endpoints.all(|endpoint| endpoint.standing() == out)
    }

    /// How the best of the endpoints that may be used at all stands.
    fn best_standing(&self) -> u8 {
        let standings = self.endpoints.iter().map(|endpoint| endpoint.standing());
        let used = standings.filter(|standing| *standing < Standing::Out as u8);
        used.min().unwrap_or(Standing::Usable as u8)
    }
}

// === impl Shared ===

impl Shared {
    /// Chooses an endpoint, or else takes a place in the queue, as one step.
    ///
    /// Whoever changes the set looks for those who wait afterwards, under the same lock: either the change is seen
    /// here, or the place that is taken here is seen there.
    fn enter_gated(&self, now: Tick, bytes: u64) -> Result<Entry, PickError> {
        let mut gate = self.core.gate();
        if gate.level().waiting == 0 {
            match self.pick(now, &[], self.core.limited()) {
                Err(PickError::NoSlot) => {}
                Err(PickError::NoEndpoints | PickError::AllDraining) if self.waits_when_empty() => {
                }
                decided => return decided.map(Entry::Running),
            }
        }
        let place = gate.join(now, bytes)?;
        Ok(Entry::Waiting(Waiting::new(Arc::clone(&self.core), place)))
    }

    fn waits_when_empty(&self) -> bool {
        self.current.load().config.when_empty == WhenEmpty::Wait
    }

    /// Chooses an endpoint and counts the request in. With `slots`, the caller
    /// holds the lock of the gate.
    #[inline]
    fn pick(&self, now: Tick, avoid: &[EndpointId], slots: bool) -> Result<Pick, PickError> {
        let current = self.current.load();
        let field = Field {
            endpoints: &current.endpoints,
            floor: self.core.floor(),
            slots,
            avoid,
            spotless: false,
        };
        // A retry has failed once and should not again: better not where others have failed lately.
        let spotless = Field {
            spotless: true,
            ..field
        };
        let retried = (!avoid.is_empty()).then(|| self.select(now, &current, spotless));
        let selected = retried
            .flatten()
            .or_else(|| self.select(now, &current, field));
        let Some((endpoint, probe)) = selected else {
            return self.pick_by_sight(now, &current, field);
        };
        endpoint.begin(now);
        Ok(Pick::new(Arc::clone(endpoint), now, probe))
    }

    /// Chooses when nothing was found in `current`: the set, or how low one must go, may just have changed, and then
    /// it counts how the endpoints of the newest set stand now.
    #[cold]
    fn pick_by_sight(
        &self,
        now: Tick,
        current: &Arc<Current>,
        tried: Field<'_>,
    ) -> Result<Pick, PickError> {
        let mut seen = Arc::clone(current);
        let mut floor = tried.floor;
        loop {
            let newest = self.current.load_full();
            let best = newest.best_standing();
            let is_same = Arc::ptr_eq(&seen, &newest) && floor == best;
            let field = Field {
                endpoints: &newest.endpoints,
                floor: best,
                ..tried
            };
            if is_same {
                return Err(field.refusal());
            }
            if let Some((endpoint, probe)) = self.select(now, &newest, field) {
                endpoint.begin(now);
                return Ok(Pick::new(Arc::clone(endpoint), now, probe));
            }
            (seen, floor) = (newest, best);
        }
    }

    /// Chooses an endpoint, and says whether the request is to find out how it is.
    #[inline]
    fn select<'a>(
        &self,
        now: Tick,
        current: &'a Current,
        field: Field<'a>,
    ) -> Option<(&'a Arc<Endpoint>, bool)> {
        // A retry has failed once already and is not made a probe.
        if self.core.is_probe_due()
            && field.avoid.is_empty()
            && let Some(endpoint) = field.claim_probe()
        {
            return Some((endpoint, true));
        }
        let random = self.random.next(now);
        let chosen = match &current.config.policy {
            Policy::PeakEwma(_) => field.cheapest(random, |endpoint| endpoint.cost(now)),
            Policy::LeastLoaded => field.cheapest(random, Endpoint::load),
            Policy::P2c => field.better_of_two(random),
            Policy::Random => current.weights.as_ref()?.pick_by_chance(field, random),
            Policy::RoundRobin | Policy::Wrr(_) | Policy::Orca(_) => {
                current.weights.as_ref()?.pick(field)
            }
        };
        chosen.map(|endpoint| (endpoint, false))
    }

    /// Replaces what picks read. The caller holds the lock of the registry.
    fn publish(&self, now: Tick, registry: &Registry, config: BalancerConfig) {
        let endpoints = registry.members();
        let mut gate = self.core.gate();
        let mut limited = false;
        for (endpoint, spec) in endpoints.iter().zip(registry.specs()) {
            let slots = spec.concurrency.or(config.endpoint_concurrency);
            limited |= slots.is_some();
            endpoint.set_slots(slots);
        }
        self.core.set_limited(&mut gate, limited);
        let previous = self.current.load();
        let seed = self.random.next(now);
        let previous = previous.weights.as_ref();
        let weights = Weights::new(now, &config.policy, &endpoints, seed, previous);
        self.current.store(Arc::new(Current {
            config,
            endpoints,
            weights,
        }));
        let wakers = self.grant_free(&mut gate, now);
        drop(gate);
        core::wake(wakers);
    }

    /// Changes what is said about the endpoint of that address, if it is in the set.
    fn control(&self, now: Tick, address: &str, change: impl FnOnce(&mut Control)) -> bool {
        let registry = self.registry.lock();
        let Some(endpoint) = registry.member(address) else {
            return false;
        };
        let mut roll = self.core.roll.lock();
        let mut control = endpoint.control.lock();
        change(&mut control);
        if control.draining || control.unhealthy {
            withdraw_probe(endpoint, &mut control);
        }
        endpoint.set_share(control.share(now, roll.slow_start));
        roll.settle(endpoint, &control);
        self.core.publish(&roll);
        drop(control);
        endpoint.estimate(now);
        drop(roll);
        drop(registry);
        self.grant(now);
        true
    }

    /// Gives free slots to those who wait.
    fn grant(&self, now: Tick) {
        let mut gate = self.core.gate();
        let wakers = self.grant_free(&mut gate, now);
        drop(gate);
        core::wake(wakers);
    }

    fn grant_free(&self, gate: &mut Gate, now: Tick) -> Vec<std::task::Waker> {
        let current = self.current.load();
        let field = Field {
            endpoints: &current.endpoints,
            floor: self.core.floor(),
            slots: true,
            avoid: &[],
            spotless: false,
        };
        gate.grant_while(now, || {
            let (endpoint, probe) = self.select(now, &current, field)?;
            Some((Arc::clone(endpoint), probe))
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let wakers = self.core.gate().close();
        core::wake(wakers);
    }
}
