//! What becomes of replicas, and what follows for the requests that wait for one.

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_balance::WhenEmpty;
use plimsoll_fleet::{End, NoRoom, ReplicaEvent, ReplicaId, StartError};
use plimsoll_meter::Clock;
use plimsoll_proxy::Unavailable;

use super::roster::Standing;
use super::{Shared, State, Trouble};

/// When it is tried again to start a replica after a failure that says nothing about that.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// Failures in a row from which on requests do not wait for the next attempt. Once, something that was well may die.
const FAILURES_BORNE: u32 = 1;

/// When clients of a service that somebody has stopped may ask again.
const STOPPED_RETRY: Duration = Duration::from_secs(60);

impl Shared {
    /// Takes in what has become of a replica.
    pub(super) fn hear(&self, event: ReplicaEvent) {
        let mut state = self.state.lock();
        match event {
            ReplicaEvent::Ready {
                id,
                address,
                start_up,
            } => self.ready(&mut state, id, address, start_up),
            ReplicaEvent::Ended { id, end } => self.ended(&mut state, id, &end),
            ReplicaEvent::EvictionWanted { id, for_service } => {
                tracing::info!(
                    service = self.name,
                    replica = id.get(),
                    "gives way to {for_service}"
                );
                state.gave_way = true;
                state.roster.give_way(id);
                self.retire(&mut state, id);
            }
            ReplicaEvent::RoomFreed => state.retry_at = None,
            // The process has begun, or its last trace is gone: nothing follows for requests.
            _ => {}
        }
    }

    fn ready(&self, state: &mut State, id: ReplicaId, address: SocketAddr, start_up: Duration) {
        if !state.roster.set(id, Standing::Ready(address)) {
            return;
        }
        let now = self.clock.now();
        state.scaler.replica_ready(now, start_up);
        state.start_ups.record(start_up);
        state.problem = None;
        self.recover(state);
        self.publish(state);
        // Another process may have had this port, and may have been draining.
        self.balancer.set_draining(now, &address.to_string(), false);
        tracing::info!(
            service = self.name,
            replica = id.get(),
            endpoint = %address,
            seconds = start_up.as_secs_f64(),
            "a replica is ready"
        );
    }

    fn ended(&self, state: &mut State, id: ReplicaId, end: &End) {
        let stood = state.roster.ended(id);
        if stood.is_some_and(|standing| standing.address().is_some()) {
            self.publish(state);
        }
        if !end.cause.is_failure() {
            tracing::info!(service = self.name, replica = id.get(), "{end}");
            return;
        }
        tracing::warn!(service = self.name, replica = id.get(), "{end}");
        state.was_well = end.ready_for.is_some();
        state.problem = Some(end.to_string());
        if !state.was_well {
            state.failures += 1;
            state.scaler.replica_failed(self.clock.now());
        }
        let failures = self.replicas.back_off().map_or(0, |view| view.failures);
        if !state.was_well || failures > FAILURES_BORNE {
            self.give_up(state, end.to_string(), end.retry_after);
        }
    }

    /// A replica could not even be started.
    pub(super) fn cannot_start(&self, state: &mut State, error: &StartError) {
        // The program is ending, or the service goes: nobody is to be told of it, and nothing is amiss.
        if matches!(error, StartError::Closed) {
            return;
        }
        let wait = error.retry_after().unwrap_or(RETRY_DEFAULT);
        let now = self.clock.now();
        state.retry_at = Some(now.saturating_add(wait));
        let is_borne = match error {
            // Requests wait: something that was well has died, or another service is about to make room.
            StartError::BackingOff(view) => state.was_well && view.failures <= FAILURES_BORNE,
            StartError::NoRoom(why) => !matches!(why, NoRoom::Never { .. }),
            _ => false,
        };
        let reason = match error {
            StartError::BackingOff(view) => view.last_failure.to_string(),
            // Nothing is waited for.
            StartError::NoRoom(why @ NoRoom::Never { .. }) => why.to_string(),
            error => error.to_string(),
        };
        match error {
            StartError::BackingOff(_) => {}
            // For how long still is told by the API; the log is told once.
            StartError::NoRoom(why) if !matches!(why, NoRoom::Never { .. }) => {
                let is_told = std::mem::replace(&mut state.waits_for_room, true);
                if !is_told {
                    tracing::info!(service = self.name, "{reason}");
                }
            }
            _ if state.problem.as_ref() != Some(&reason) => {
                tracing::error!(service = self.name, "no replica was started: {reason}");
                state.failures += 1;
            }
            _ => {}
        }
        state.problem = Some(reason.clone());
        if !is_borne {
            self.give_up(state, reason, wait);
        }
    }

    /// Nobody is to wait for a replica before it is tried again, unless there is another one, or one on its way.
    fn give_up(&self, state: &mut State, reason: String, wait: Duration) {
        let counts = state.roster.counts();
        if counts.present() > 0 {
            return;
        }
        let now = self.clock.now();
        let until = now.saturating_add(wait);
        state.retry_at = Some(until);
        state.trouble = Some(Trouble {
            reason: reason.clone(),
            until,
        });
        self.refuse(reason, wait);
    }

    /// Somebody has stopped the service.
    pub(super) fn refuse_stopped(&self) {
        self.refuse(
            "is stopped; `plimsoll start` starts it again".to_owned(),
            STOPPED_RETRY,
        );
    }

    fn refuse(&self, reason: String, retry_after: Duration) {
        self.demand.set_unavailable(Some(Unavailable {
            reason,
            retry_after,
        }));
        let now = self.clock.now();
        self.balancer.set_when_empty(now, WhenEmpty::Refuse);
    }

    /// Requests may wait for a replica again.
    pub(super) fn recover(&self, state: &mut State) {
        state.trouble = None;
        state.retry_at = None;
        self.demand.set_unavailable(None);
        let now = self.clock.now();
        self.balancer.set_when_empty(now, WhenEmpty::Wait);
    }

    /// Gives requests the replicas there are.
    pub(super) fn publish(&self, state: &State) {
        self.endpoints.set_replicas(state.roster.addresses());
    }
}
