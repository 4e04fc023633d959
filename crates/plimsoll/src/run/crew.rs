//! The replicas of one service at work, and the task that decides how many there are.
//!
//! The task sleeps until something happens: a request waits or arrives ([`Demand`]), a replica has become ready or has
//! ended, somebody asks for something else, or a time has come that the last decision named. Then it takes one turn
//! ([`turn`]). Requests never wait for it as long as there are replicas: if it stalls, all that is missing are changes.

mod awake;
mod events;
pub(super) mod roster;
mod state;
mod turn;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use plimsoll_balance::Balancer;
use plimsoll_fleet::{Host, Observer, ReplicaEvent, ReplicaSet, Usage};
use plimsoll_meter::{Clock, ConcurrencyMeter, Tick};
use plimsoll_proxy::{Demand, MonotonicClock, Service};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) use self::awake::Awake;
pub(crate) use self::state::{Mode, State, Trouble};
use crate::gateway::endpoints::Endpoints;
use crate::gateway::tasks::Task;
use crate::run::plan::ScaledPlan;

/// Two turns are at least so far apart if requests ask for them, so that a full queue costs one turn and not thousands.
const TURN_GAP: Duration = Duration::from_millis(1);

/// The replicas of one service. When this is dropped, they end.
#[derive(Debug)]
pub(crate) struct Crew {
    shared: Arc<Shared>,
    _task: Task,
}

/// What the task, the API and the metrics have in common.
pub(crate) struct Shared {
    pub(super) name: String,
    pub(super) clock: MonotonicClock,
    pub(super) balancer: Balancer,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) demand: Arc<Demand>,
    pub(super) replicas: ReplicaSet,
    pub(super) state: Mutex<State>,
    ears: Arc<Ears>,
    awake: Arc<Awake>,
    /// Whether it is among those in `awake`.
    is_awake: AtomicBool,
    /// Somebody has asked for something else.
    asked: Notify,
}

/// Hears of the replicas, and says how much they are used.
struct Ears {
    events: tokio::sync::mpsc::UnboundedSender<ReplicaEvent>,
    meter: Arc<ConcurrencyMeter>,
    clock: MonotonicClock,
    /// When a request was last seen, in nanoseconds.
    last_used: AtomicU64,
}

impl Observer for Ears {
    fn event(&self, event: ReplicaEvent) {
        // Nobody listens when the service is gone; then nobody needs to.
        drop(self.events.send(event));
    }

    fn usage(&self) -> Usage {
        if self.meter.in_flight().total > 0 {
            return Usage::Busy;
        }
        let last = Tick::from_nanos(self.last_used.load(Ordering::Relaxed));
        Usage::Idle(self.clock.now().saturating_duration_since(last))
    }
}

impl Crew {
    /// Begins to keep the replicas of a service. There are none yet.
    pub(crate) fn begin(
        (host, awake): (&Host, &Arc<Awake>),
        plan: &ScaledPlan,
        service: &Service,
        endpoints: &Arc<Endpoints>,
        demand: &Arc<Demand>,
        clock: MonotonicClock,
    ) -> anyhow::Result<Self> {
        let now = clock.now();
        let (events, heard) = unbounded_channel();
        let ears = Arc::new(Ears {
            events,
            meter: Arc::clone(service.meter()),
            clock,
            last_used: AtomicU64::new(now.as_nanos()),
        });
        let name = service.name();
        let observer: Arc<dyn Observer> = Arc::clone(&ears) as Arc<dyn Observer>;
        let replicas = ReplicaSet::new(host, name, plan.command.clone(), observer);
        let replicas = replicas.with_context(|| format!("services.{name}"))?;
        let state = State::new(plan.clone(), service.meter(), now);
        let state = state.with_context(|| format!("services.{name}"))?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            clock,
            balancer: service.balancer().clone(),
            endpoints: Arc::clone(endpoints),
            demand: Arc::clone(demand),
            replicas,
            state: Mutex::new(state),
            ears,
            awake: Arc::clone(awake),
            is_awake: AtomicBool::new(false),
            asked: Notify::new(),
        });
        let task = Task::spawn(Arc::clone(&shared).keep(heard));
        Ok(Self {
            shared,
            _task: task,
        })
    }

    /// Takes over other settings. Replicas that run go on; those that start from now on are as the new ones say.
    pub(crate) fn reconfigure(&self, plan: &ScaledPlan) -> anyhow::Result<()> {
        let mut state = self.shared.state.lock();
        if state.plan == *plan {
            return Ok(());
        }
        let now = self.shared.clock.now();
        state.scaler.reconfigure(now, plan.scale.clone())?;
        if state.plan.command != plan.command {
            self.shared.replicas.reconfigure(plan.command.clone())?;
            self.shared.recover(&mut state);
        }
        state.plan = plan.clone();
        drop(state);
        self.shared.asked.notify_one();
        Ok(())
    }

    /// Lets somebody else than the load say how many there are, or the load again.
    pub(crate) fn set_mode(&self, mode: Mode) {
        let mut state = self.shared.state.lock();
        state.mode = mode;
        self.shared.replicas.forget_failures();
        self.shared.recover(&mut state);
        drop(state);
        tracing::info!(service = self.shared.name, "{mode}, says the API");
        self.shared.asked.notify_one();
    }

    /// The most replicas there may be.
    pub(crate) fn max(&self) -> u32 {
        self.shared.state.lock().plan.scale.max_replicas()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.replicas.close();
    }
}

impl Shared {
    /// Takes turns, for as long as it is polled.
    async fn keep(self: Arc<Self>, mut heard: UnboundedReceiver<ReplicaEvent>) {
        loop {
            let next = self.turn();
            self.awake.enter(&self);
            let turned = self.clock.now();
            tokio::select! {
                Some(event) = heard.recv() => {
                    self.hear(event);
                    while let Ok(event) = heard.try_recv() {
                        self.hear(event);
                    }
                }
                () = self.demand.rung() => {
                    let since = self.clock.now().saturating_duration_since(turned);
                    if since < TURN_GAP {
                        tokio::time::sleep(TURN_GAP - since).await;
                    }
                }
                () = self.asked.notified() => {}
                () = self.until(next) => {}
            }
        }
    }

    /// Waits for a time; for ever without one.
    fn until(&self, next: Option<Tick>) -> impl Future<Output = ()> + use<> {
        let wait = next.map(|next| next.saturating_duration_since(self.clock.now()));
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Whether nothing needs to be looked at: nobody is there and nobody waits.
    fn is_at_rest(&self) -> bool {
        self.endpoints.addresses().is_empty() && self.balancer.waiting() == 0
    }

    /// A request has been seen.
    fn used(&self, now: Tick) {
        self.ears.last_used.store(now.as_nanos(), Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
