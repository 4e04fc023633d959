//! What has happened to endpoints that somebody may want to be told of.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_meter::Tick;

use crate::eject::{Ejection, EjectionReason};

/// Events that are kept until somebody takes them. Of more, the oldest are forgotten.
pub const EVENTS_MAX: usize = 256;

/// That an endpoint was left out, or let in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectionEvent {
    /// Its address.
    pub address: Arc<str>,
    /// When it happened.
    pub at: Tick,
    /// What happened.
    pub change: EjectionChange,
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionChange {
    /// It gets nothing for some time.
    Ejected {
        /// Why.
        reason: EjectionReason,
        /// For how long, until it is tried with one request.
        wait: Duration,
    },
    /// It gets requests again, for it has answered one.
    Readmitted {
        /// How long it had been left out, without what came before the last
        /// probing request that failed.
        after: Duration,
    },
    /// It gets requests again although nothing has shown that it is well: those
    /// that were not left out fail as much.
    Forgiven {
        /// How long it had been left out, as with `Readmitted`.
        after: Duration,
    },
}

/// Events taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EjectionEvents {
    /// The events, oldest first; at most [`EVENTS_MAX`].
    pub events: Vec<EjectionEvent>,
    /// Older events that were forgotten because nobody took them in time.
    pub forgotten: u64,
}

/// The events that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    events: VecDeque<EjectionEvent>,
    forgotten: u64,
}

// === impl EjectionChange ===

impl EjectionChange {
    /// `ejection` has begun.
    pub(crate) fn begun(ejection: &Ejection) -> Self {
        Self::Ejected {
            reason: ejection.reason,
            wait: ejection.until.saturating_duration_since(ejection.since),
        }
    }
}

// === impl Journal ===

impl Journal {
    pub(crate) fn write(&mut self, address: &Arc<str>, at: Tick, change: EjectionChange) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.forgotten += 1;
        }
        self.events.push_back(EjectionEvent {
            address: Arc::clone(address),
            at,
            change,
        });
    }

    pub(crate) fn take(&mut self) -> EjectionEvents {
        EjectionEvents {
            events: self.events.drain(..).collect(),
            forgotten: std::mem::take(&mut self.forgotten),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_bounded_and_the_newest_stays() {
        let mut journal = Journal::default();
        let more = 3;
        let wait = Duration::ZERO;
        for number in 0..EVENTS_MAX + more {
            let at = Tick::from_nanos(number as u64);
            journal.write(&"a".into(), at, EjectionChange::Readmitted { after: wait });
        }
        let EjectionEvents { events, forgotten } = journal.take();
        assert_eq!((events.len(), forgotten), (EVENTS_MAX, more as u64));
        assert_eq!(events[0].at, Tick::from_nanos(more as u64));
        assert_eq!(journal.take(), EjectionEvents::default());
    }
}
