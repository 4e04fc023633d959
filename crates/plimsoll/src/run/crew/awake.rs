//! Services with a command about which there is something to do, so that the others cost nothing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use plimsoll_balance::EjectionEvents;
use plimsoll_meter::Tick;
use tokio::sync::Notify;

use super::Shared;

/// The services that have replicas, or requests that wait for one.
///
/// A service enters after a turn of its task, which takes one whenever a request waits or a replica is ready. It
/// leaves when its housekeeping finds it at rest.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    crews: Mutex<Vec<Weak<Shared>>>,
    entered: Notify,
}

impl Awake {
    /// Takes a service in, unless it is at rest or here already.
    pub(super) fn enter(&self, crew: &Arc<Shared>) {
        if !crew.is_at_rest() && !crew.is_awake.swap(true, Ordering::SeqCst) {
            self.crews.lock().push(Arc::downgrade(crew));
            self.wake();
        }
    }

    /// Does the housekeeping of those that are here; `tell` hears of ejections.
    pub(crate) fn tend(&self, now: Tick, mut tell: impl FnMut(&str, EjectionEvents)) {
        self.crews.lock().retain(|crew| {
            let Some(crew) = crew.upgrade() else {
                return false;
            };
            crew.balancer.advance(now);
            crew.endpoints.expire(now);
            tell(&crew.name, crew.balancer.take_events());
            !crew.is_at_rest() || {
                crew.is_awake.store(false, Ordering::SeqCst);
                // Somebody may have come in between, who saw it awake and did not enter.
                !crew.is_at_rest() && !crew.is_awake.swap(true, Ordering::SeqCst)
            }
        });
    }

    /// Whether nobody is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.crews.lock().is_empty()
    }

    /// Ends [`entered`](Self::entered) now or when it is next called.
    pub(crate) fn wake(&self) {
        self.entered.notify_one();
    }

    /// Waits until a service enters, if none has since this was last called.
    pub(crate) async fn entered(&self) {
        self.entered.notified().await;
    }
}
