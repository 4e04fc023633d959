//! The rules: who runs, who waits and who is refused.
//!
//! Plain sequential code; [`Breaker`](crate::Breaker) puts a lock around it.
//! What must happen outside that lock (waking, dropping a waker) is returned.
//!
//! Invariant: if somebody waits, no slot is free. It holds because every
//! change that frees a slot grants it to the oldest waiter in the same step,
//! and it is what makes a newcomer unable to overtake: a free slot means an
//! empty queue.

use std::task::Waker;

use crate::error::QueueFull;
use crate::queue::{Place, Standing, WaitQueue};

/// What a caller got on entering.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// A slot.
    Running,
    /// A place in the queue.
    Waiting(Place),
}

/// What a caller that gives up its place leaves to do outside the lock.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    /// To be woken: it got the slot that was granted to the one who left.
    pub(crate) wake: Option<Waker>,
    /// To be dropped.
    pub(crate) discard: Option<Waker>,
}

/// How loaded a breaker is at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// The number of slots.
    pub concurrency: usize,
    /// Slots taken, including those granted to a waiter that has not been
    /// polled since. Above `concurrency` only after the limit was lowered
    /// below what was running.
    pub running: usize,
    /// Callers in the queue.
    pub waiting: usize,
}

impl Occupancy {
    /// Running and waiting together.
    #[must_use]
    pub const fn in_system(&self) -> usize {
        self.running + self.waiting
    }
}

/// Slots and queue.
#[derive(Debug)]
pub(crate) struct State {
    concurrency: usize,
    running: usize,
    queue: WaitQueue<(), ()>,
    /// The number of callers that may be in the system at once.
    places: usize,
    queue_depth: usize,
    /// The concurrency at construction: `places` never falls below this plus
    /// the queue depth.
    nominal: usize,
}

impl State {
    /// The caller has checked both ranges.
    pub(crate) const fn new(concurrency: usize, queue_depth: usize) -> Self {
        Self {
            concurrency,
            running: 0,
            queue: WaitQueue::new(),
            places: concurrency + queue_depth,
            queue_depth,
            nominal: concurrency,
        }
    }

    pub(crate) const fn occupancy(&self) -> Occupancy {
        Occupancy {
            concurrency: self.concurrency,
            running: self.running,
            waiting: self.queue.waiting(),
        }
    }

    pub(crate) const fn queue_depth(&self) -> usize {
        self.queue_depth
    }

    /// A free slot, or else a place in the queue, or else refusal.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<Admission, QueueFull> {
        if self.try_reserve() {
            return Ok(Admission::Running);
        }
        if self.running + self.queue.waiting() >= self.places {
            return Err(QueueFull);
        }
        Ok(Admission::Waiting(self.queue.push_back(())))
    }

    /// Takes a slot if one is free.
    #[inline]
    pub(crate) const fn try_reserve(&mut self) -> bool {
        let free = self.running < self.concurrency;
        if free {
            debug_assert!(self.queue.waiting() == 0, "a free slot and a waiter");
            self.running += 1;
        }
        free
    }

    /// Gives a slot back; it goes to the oldest waiter. Returns who to wake.
    #[inline]
    pub(crate) fn release(&mut self) -> Option<Waker> {
        debug_assert!(self.running > 0, "a slot came back twice");
        self.running -= 1;
        self.grant_next().flatten()
    }

    /// Whether the waiter at `place` may run; if so the place is removed.
    pub(crate) fn poll(&mut self, place: Place, waker: &Waker) -> Result<(), Option<Waker>> {
        self.queue.poll(place, waker)
    }

    /// The caller at `place` went away, perhaps after it was granted a slot.
    pub(crate) fn leave(&mut self, place: Place) -> Departure {
        match self.queue.remove(place) {
            Standing::Waiting(discard, ()) => Departure {
                wake: None,
                discard,
            },
            Standing::Granted(()) => Departure {
                wake: self.release(),
                discard: None,
            },
        }
    }

    /// Changes the number of slots. Returns who to wake, oldest first.
    ///
    /// O(waiters granted).
    pub(crate) fn set_concurrency(&mut self, concurrency: usize) -> Vec<Waker> {
        self.concurrency = concurrency;
        self.places = self.queue_depth + concurrency.max(self.nominal);
        // `grant_next` returns `Some(None)` for a waiter that was never polled,
        // so the loop ends on the outer option only.
        std::iter::from_fn(|| self.grant_next()).flatten().collect()
    }

    /// Grants a free slot to the oldest waiter, if there are both.
    #[inline]
    fn grant_next(&mut self) -> Option<Option<Waker>> {
        if self.running >= self.concurrency {
            return None;
        }
        let ((), waker) = self.queue.grant_front(()).ok()?;
        self.running += 1;
        Some(waker)
    }
}
