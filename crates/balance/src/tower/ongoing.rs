//! A request at an endpoint, until it is told how it went.

use std::fmt;
use std::sync::Arc;

use plimsoll_meter::Clock;

use crate::endpoint::Endpoint;
use crate::outcome::Outcome;
use crate::pick::Pick;
use crate::report::LoadReport;

/// The clock that a service was given.
pub(super) type SharedClock = Arc<dyn Clock + Send + Sync>;

/// A request at an endpoint: its place in the in-flight count, its slot, and the
/// measuring of its time.
///
/// Keep it until the last of the answer is there, then [`finish`](Self::finish)
/// it. Dropped, it counts as given up by the caller, unless
/// [`if_dropped`](Self::if_dropped) has said what stands.
#[must_use = "an ongoing request that is dropped is a cancelled one"]
pub struct Ongoing {
    /// `None` once finished.
    pick: Option<Pick>,
    clock: SharedClock,
    if_dropped: Outcome,
}

impl Ongoing {
    pub(super) const fn new(pick: Pick, clock: SharedClock) -> Self {
        Self {
            pick: Some(pick),
            clock,
            if_dropped: Outcome::Cancelled,
        }
    }

    /// Where the request is.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.pick().endpoint()
    }

    /// The latency is taken to here. Later calls change nothing.
    pub(super) fn head_received(&mut self) {
        let now = self.clock.now();
        if let Some(pick) = &mut self.pick {
            pick.head_received(now);
        }
    }

    /// The endpoint has said how loaded it is.
    pub fn report(&mut self, report: &LoadReport) {
        let now = self.clock.now();
        if let Some(pick) = &mut self.pick {
            pick.report(now, report);
        }
    }

    /// What counts if the request is dropped before it is finished: for an answer
    /// that has said already that it is a failure.
    pub const fn if_dropped(&mut self, outcome: Outcome) {
        self.if_dropped = outcome;
    }

    /// The request has ended: the balancer learns, and the slot is free.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(pick) = self.pick.take() {
            pick.finish(self.clock.now(), outcome);
        }
    }

    const fn pick(&self) -> &Pick {
        self.pick
            .as_ref()
            .expect("only `finish` and `drop` take it, and both end it")
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.end(self.if_dropped);
    }
}

impl fmt::Debug for Ongoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ongoing")
            .field("pick", &self.pick)
            .field("if_dropped", &self.if_dropped)
            .finish_non_exhaustive()
    }
}
