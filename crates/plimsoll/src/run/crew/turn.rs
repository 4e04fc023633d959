//! One turn: look, decide, and do what follows.

use std::time::Duration;

use plimsoll_fleet::ReplicaId;
use plimsoll_meter::{Clock, Tick};
use plimsoll_proxy::WakeOn;
use plimsoll_scale::{Load, Observation};

use super::roster::Standing;
use super::{Mode, Shared, State};

/// How often the load is looked at while requests come and go.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// How often it is looked at while requests only stay.
const QUIET_LOOK_PERIOD: Duration = Duration::from_secs(1);

/// For how long after the last arrival it is looked at often.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked whether a replica has finished what it had.
const DRAIN_LOOK_PERIOD: Duration = Duration::from_millis(25);

/// How long a draining replica is left alone although nothing seems to be there: a request may have been given to it a
/// moment before, and not have been counted.
const DRAIN_SETTLE: Duration = Duration::from_millis(50);

/// Somebody who was shown the waiting page asks again every second, and wants a replica for so long after the last time.
const PAGE_WISH: Duration = Duration::from_secs(5);

/// No decision asks to be made again sooner than this.
const AGAIN_MIN: Duration = Duration::from_millis(5);

/// What a look at the service has found, and when to look again.
struct Look {
    observation: Observation,
    in_flight: u32,
    again: Option<Tick>,
}

impl Look {
    /// Whether anybody is there, or waits.
    fn is_wanted(&self) -> bool {
        let load = self.observation.load;
        self.in_flight > 0 || load.is_some_and(|load| load.waiting > 0)
    }
}

impl Shared {
    /// Looks, decides, and starts and stops replicas. Gives when the next turn is due if nothing happens before.
    pub(super) fn turn(&self) -> Option<Tick> {
        let mut state = self.state.lock();
        let state = &mut *state;
        // Before the look: whoever comes too late to be seen rings.
        self.demand.wake_on(WakeOn::Arrival);
        let now = self.clock.now();
        let look = self.look(state, now);
        if look.in_flight > 0 {
            // Arrivals are seen at the next look, which is soon.
            self.demand.wake_on(WakeOn::Waiting);
        }
        if look.is_wanted() {
            state.gave_way = false;
        }
        state.scaler.observe(now, &look.observation);
        let decision = state.scaler.decide(now);
        let again = decision
            .next
            .map(|at| at.max(now.saturating_add(AGAIN_MIN)));
        state.note(decision);
        self.act(state, now);
        let draining = state.roster.counts().draining > 0;
        let drain_look = draining.then(|| now.saturating_add(DRAIN_LOOK_PERIOD));
        [again, look.again, drain_look, state.retry_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What there is to see now.
    fn look(&self, state: &mut State, now: Tick) -> Look {
        let report = state.reporter.report(now);
        let in_flight = u32::try_from(report.in_flight.total).unwrap_or(u32::MAX);
        let queued = u32::try_from(self.balancer.waiting()).unwrap_or(u32::MAX);
        let page_until = self
            .demand
            .page_given()
            .map(|at| at.saturating_add(PAGE_WISH))
            .filter(|until| *until > now);
        // Whoever looks at the page waits too.
        let waiting = queued.max(u32::from(page_until.is_some()));
        state.arrivals += report.requests;
        if report.requests > 0 {
            state.last_arrival = now;
        }
        if report.requests > 0 || in_flight > 0 {
            self.used(now);
        }
        let is_quiet = now.saturating_duration_since(state.last_arrival) >= QUIET_AFTER;
        let period = if is_quiet {
            QUIET_LOOK_PERIOD
        } else {
            LOOK_PERIOD
        };
        let again = (in_flight > 0).then(|| now.saturating_add(period));
        Look {
            observation: Observation {
                load: Some(Load {
                    running: in_flight.saturating_sub(queued),
                    waiting,
                    arrivals: state.arrivals,
                    concurrency: (!report.period.is_zero()).then_some(report.average_concurrency),
                    service_time: None,
                }),
                replicas: state.roster.counts(),
            },
            in_flight,
            again: [again, page_until].into_iter().flatten().min(),
        }
    }

    /// Makes the replicas as many as there are to be.
    fn act(&self, state: &mut State, now: Tick) {
        if state.retry_at.is_some_and(|at| at <= now) {
            self.recover(state);
        }
        if state.mode == Mode::Stopped {
            self.refuse_stopped();
        }
        let desired = state.desired();
        let present = state.roster.counts().present();
        if desired > present {
            self.grow(state, now, desired - present);
        } else if desired < present {
            let in_flight = |address: std::net::SocketAddr| {
                let address = address.to_string();
                self.balancer.in_flight(&address).unwrap_or(0)
            };
            let surplus = (present - desired) as usize;
            for id in state.roster.dispensable(surplus, in_flight) {
                self.retire(state, id);
            }
        }
        self.stop_drained(state, now);
    }

    /// Takes back who was about to go, and starts others.
    fn grow(&self, state: &mut State, now: Tick, missing: u32) {
        let mut missing = missing as usize;
        for (id, address) in state.roster.reclaimable().into_iter().take(missing) {
            state.roster.set(id, Standing::Ready(address));
            self.balancer.set_draining(now, &address.to_string(), false);
            missing -= 1;
        }
        if state.retry_at.is_some() {
            return;
        }
        for _ in 0..missing {
            match self.replicas.start() {
                Ok(id) => {
                    state.starts += 1;
                    state.waits_for_room = false;
                    state.roster.started(now, id);
                }
                Err(error) => return self.cannot_start(state, &error),
            }
        }
    }

    /// Lets a replica go: at once if it has not begun, else when it has finished what it has.
    pub(super) fn retire(&self, state: &mut State, id: ReplicaId) {
        match state.roster.standing(id) {
            Some(Standing::Starting) => {
                state.roster.set(id, Standing::Stopping);
                self.replicas.stop(id);
            }
            Some(Standing::Ready(address)) => {
                let now = self.clock.now();
                state.roster.set(id, Standing::Draining(address, now));
                self.balancer.set_draining(now, &address.to_string(), true);
            }
            Some(Standing::Draining(..) | Standing::Stopping) | None => {}
        }
    }

    /// Stops those that have finished what they had.
    fn stop_drained(&self, state: &mut State, now: Tick) {
        let mut stopped = false;
        for (id, address, since) in state.roster.draining() {
            let is_empty = self.balancer.in_flight(&address.to_string()).unwrap_or(0) == 0;
            if is_empty && now.saturating_duration_since(since) >= DRAIN_SETTLE {
                state.roster.set(id, Standing::Stopping);
                stopped = true;
                self.replicas.stop(id);
            }
        }
        if stopped {
            self.publish(state);
        }
    }
}
