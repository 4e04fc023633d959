//! A request at an endpoint, and one on its way there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use plimsoll_limit::Place;
use plimsoll_meter::Tick;

use crate::core::{Core, Granted};
use crate::endpoint::Endpoint;
use crate::error::QueueError;
use crate::learned::Ended;
use crate::outcome::Outcome;
use crate::report::LoadReport;

/// A request at an endpoint: its place in the in-flight count, and its slot.
///
/// Keep it for as long as the request lasts: until the *body* of the answer has
/// ended. Then [`finish`](Self::finish) it, so that the balancer learns how it
/// went. Dropping it instead counts as [`Outcome::Cancelled`].
#[must_use = "a pick that is dropped is a cancelled request"]
pub struct Pick {
    /// `None` once finished.
    endpoint: Option<Arc<Endpoint>>,
    began: Tick,
    head: Option<Tick>,
    /// Whether this is the one request by which an ejected endpoint is tried.
    probe: bool,
}

/// What [`Balancer::enter`](crate::Balancer::enter) gives.
#[derive(Debug)]
pub enum Entry {
    /// An endpoint had room.
    Running(Pick),
    /// A place in the queue.
    Waiting(Waiting),
}

/// A place in the queue; resolves to the [`Pick`], or to the end of the wait.
///
/// Dropping it leaves the queue at once. If a slot had already been granted,
/// that slot goes to the next waiter, so no wake-up is lost.
///
/// # Panics
///
/// If polled again after it resolved.
#[must_use = "a place in the queue is given up when it is dropped"]
pub struct Waiting {
    core: Arc<Core>,
    /// `None` once resolved.
    place: Option<Place>,
}

// === impl Pick ===

impl Pick {
    /// The caller has counted the request in at `endpoint`.
    pub(crate) const fn new(endpoint: Arc<Endpoint>, began: Tick, probe: bool) -> Self {
        Self {
            endpoint: Some(endpoint),
            began,
            head: None,
            probe,
        }
    }

    /// Where the request goes.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint
            .as_ref()
            .expect("only `finish` and `drop` take it, and both end the pick")
    }

    /// When it began: the time of the pick, or for one who waited, of the grant.
    #[must_use]
    pub const fn began(&self) -> Tick {
        self.began
    }

    /// Whether this is the one request by which an ejected endpoint is tried.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.probe
    }

    /// Sets the time from which the latency is taken, if it is later than what
    /// [`began`](Self::began) says: whoever waited may have been granted a slot
    /// before it could use it.
    pub fn begin_at(&mut self, now: Tick) {
        self.began = self.began.max(now);
    }

    /// The head of the answer is there. The latency is taken to here; without
    /// this call it is taken to the end. Later calls change nothing.
    #[inline]
    pub fn head_received(&mut self, now: Tick) {
        self.head.get_or_insert(now);
    }

    /// The endpoint has said how loaded it is.
    pub fn report(&mut self, now: Tick, report: &LoadReport) {
        self.endpoint().hear(now, report);
    }

    /// The request has ended: the balancer learns, and the slot is free.
    #[inline]
    pub fn finish(mut self, now: Tick, outcome: Outcome) {
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.learn(&self.ended(now, outcome));
            endpoint.core().release(&endpoint, Some(now));
        }
    }
}

impl Pick {
    #[inline]
    const fn ended(&self, now: Tick, outcome: Outcome) -> Ended {
        Ended {
            began: self.began,
            head: self.head,
            now,
            outcome,
            probe: self.probe,
        }
    }
}

impl From<Granted> for Pick {
    fn from(granted: Granted) -> Self {
        Self::new(granted.endpoint, granted.began, granted.probe)
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            // There is no time here. That of the beginning makes the request a
            // short one, which tells nothing.
            endpoint.learn(&self.ended(self.began, Outcome::Cancelled));
            endpoint.core().release(&endpoint, None);
        }
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pick")
            .field("endpoint", &self.endpoint)
            .field("began", &self.began)
            .field("head", &self.head)
            .field("probe", &self.probe)
            .finish()
    }
}

// === impl Waiting ===

impl Waiting {
    /// `place` is in the queue of `core`, and nobody else removes it.
    pub(crate) const fn new(core: Arc<Core>, place: Place) -> Self {
        Self {
            core,
            place: Some(place),
        }
    }
}

impl Future for Waiting {
    type Output = Result<Pick, QueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(place) = self.place else {
            panic!("`Waiting` polled after it resolved");
        };
        let Some(grant) = self.core.poll(place, cx.waker()) else {
            return Poll::Pending;
        };
        self.place = None;
        Poll::Ready(grant.map(Pick::from))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.core.leave(place);
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("resolved", &self.place.is_none())
            .finish_non_exhaustive()
    }
}
