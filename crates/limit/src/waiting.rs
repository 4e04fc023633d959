//! A place in the queue, as a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::breaker::Core;
use crate::queue::Place;
use crate::slot::Slot;

/// What [`Breaker::enter`](crate::Breaker::enter) gives.
#[derive(Debug)]
pub enum Entry {
    /// A slot was free: run.
    Running(Slot),
    /// A place in the queue: wait.
    Waiting(Waiting),
}

/// A place in the queue; resolves to the [`Slot`].
///
/// Dropping it leaves the queue at once. If a slot had already been granted,
/// that slot goes to the next waiter, so no wake-up is lost.
///
/// `Unpin`, two words in size, and never allocates.
///
/// # Panics
///
/// If polled again after it resolved.
#[must_use = "a place in the queue is given up when it is dropped"]
pub struct Waiting {
    /// `None` once resolved.
    place: Option<(Arc<Core>, Place)>,
}

impl Waiting {
    /// `place` is in the queue of `core`, and nobody else removes it.
    pub(crate) const fn new(core: Arc<Core>, place: Place) -> Self {
        Self {
            place: Some((core, place)),
        }
    }
}

impl Future for Waiting {
    type Output = Slot;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Slot> {
        let Some((core, place)) = &self.place else {
            panic!("`Waiting` polled after it resolved");
        };
        if !core.poll(*place, cx.waker()) {
            return Poll::Pending;
        }
        let slot = Slot::new(Arc::clone(core));
        self.place = None;
        Poll::Ready(slot)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((core, place)) = self.place.take() {
            core.leave(place);
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
