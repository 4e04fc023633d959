//! The breaker: the rules of `State` behind one lock.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use crate::error::{BreakerError, QueueFull};
use crate::queue::Place;
use crate::slot::Slot;
use crate::state::{Admission, Occupancy, State};
use crate::sync::{Mutex, MutexGuard};
use crate::waiting::{Entry, Waiting};

/// The most slots a breaker can have: 2^31 − 1, Knative's `MaxBreakerCapacity`.
pub const MAX_CONCURRENCY: usize = i32::MAX as usize;

/// The most places a queue can have: 2^31 − 1.
pub const MAX_QUEUE_DEPTH: usize = i32::MAX as usize;

/// Places in the queue for each slot, where the depth is not given.
///
/// Knative's queue-proxy uses the same.
pub const DEFAULT_QUEUE_PER_SLOT: usize = 10;

/// Holds callers to a number of slots, with a bounded queue behind them.
///
/// - A caller gets a free **slot**, or else a place in the **queue**, or else
///   is refused at once with [`QueueFull`].
/// - The queue is strictly first in, first out, in the order of the calls to
///   [`enter`](Self::enter) or of the first polls of [`acquire`](Self::acquire).
///   A newcomer never overtakes a waiter.
/// - A caller that goes away, running or waiting, frees what it held at once,
///   even if it had just been granted a slot: that slot goes to the next.
/// - [`set_concurrency`](Self::set_concurrency) changes the number of slots
///   while it works.
///
/// Clones share the same slots and queue.
///
/// ```
/// use plimsoll_limit::{Breaker, Entry};
///
/// let breaker = Breaker::new(1, 1)?;
/// let running = breaker.enter()?;
/// let waiting = breaker.enter()?;
/// assert!(matches!(running, Entry::Running(_)));
/// assert!(matches!(waiting, Entry::Waiting(_)));
/// assert!(breaker.enter().is_err(), "one slot and one place are taken");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Breaker {
    core: Arc<Core>,
}

/// What slots, waiters and the breaker's handles share.
pub(crate) struct Core {
    state: Mutex<State>,
}

impl Breaker {
    /// A breaker with `concurrency` slots and `queue_depth` places behind them.
    ///
    /// `concurrency` may be 0: then callers wait until
    /// [`set_concurrency`](Self::set_concurrency) opens slots.
    ///
    /// # Errors
    ///
    /// [`BreakerError::Concurrency`] above [`MAX_CONCURRENCY`];
    /// [`BreakerError::QueueDepth`] outside 1 to [`MAX_QUEUE_DEPTH`].
    pub fn new(concurrency: usize, queue_depth: usize) -> Result<Self, BreakerError> {
        check_concurrency(concurrency)?;
        if !(1..=MAX_QUEUE_DEPTH).contains(&queue_depth) {
            return Err(BreakerError::QueueDepth { got: queue_depth });
        }
        let state = Mutex::new(State::new(concurrency, queue_depth));
        Ok(Self {
            core: Arc::new(Core { state }),
        })
    }

    /// A breaker with [`DEFAULT_QUEUE_PER_SLOT`] places in the queue for each
    /// slot, at most [`MAX_QUEUE_DEPTH`].
    ///
    /// # Errors
    ///
    /// [`BreakerError::Concurrency`] above [`MAX_CONCURRENCY`];
    /// [`BreakerError::QueueDepth`] if `concurrency` is 0, which gives no
    /// measure for the queue: use [`new`](Self::new).
    pub fn with_default_queue(concurrency: usize) -> Result<Self, BreakerError> {
        check_concurrency(concurrency)?;
        let depth = concurrency.saturating_mul(DEFAULT_QUEUE_PER_SLOT);
        Self::new(concurrency, depth.min(MAX_QUEUE_DEPTH))
    }

    /// Takes a free slot, or else joins the queue, at once.
    ///
    /// The place in the queue is taken by this call, not by the first poll of
    /// the [`Waiting`] it returns.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] if as many callers are in the system as it has places:
    /// the queue depth plus the number of slots. Slots taken away by
    /// [`set_concurrency`](Self::set_concurrency) still count as places, up to
    /// the number at construction, so lowering the limit makes callers wait
    /// and not fail.
    #[inline]
    pub fn enter(&self) -> Result<Entry, QueueFull> {
        // The guard lives for this statement only: `Core::lock` is not
        // re-entrant and a `Slot` dropped on the way would take it again.
        let admission = self.core.lock().enter()?;
        let core = Arc::clone(&self.core);
        Ok(match admission {
            Admission::Running => Entry::Running(Slot::new(core)),
            Admission::Waiting(place) => Entry::Waiting(Waiting::new(core, place)),
        })
    }

    /// [`enter`](Self::enter), then waits for the slot.
    ///
    /// Cancel-safe: a future that is dropped leaves the queue.
    ///
    /// # Errors
    ///
    /// [`QueueFull`], as [`enter`](Self::enter), on the first poll.
    pub async fn acquire(&self) -> Result<Slot, QueueFull> {
        match self.enter()? {
            Entry::Running(slot) => Ok(slot),
            Entry::Waiting(waiting) => Ok(waiting.await),
        }
    }

    /// Takes a slot only if one is free now. Never waits and never joins the
    /// queue; `None` whenever somebody waits.
    #[inline]
    #[must_use = "a slot that is dropped is given back"]
    pub fn try_reserve(&self) -> Option<Slot> {
        let reserved = self.core.lock().try_reserve();
        reserved.then(|| Slot::new(Arc::clone(&self.core)))
    }

    /// Changes the number of slots.
    ///
    /// Raising it wakes as many waiters as there are new slots, oldest first.
    /// Lowering it interrupts nothing: no caller starts until fewer run than
    /// the new limit. At 0 nothing starts until the limit is raised. The
    /// change is one step: a caller that enters after this call returned sees
    /// the new limit, whatever other threads are doing.
    ///
    /// Takes time in proportion to the waiters it wakes.
    ///
    /// # Errors
    ///
    /// [`BreakerError::Concurrency`] above [`MAX_CONCURRENCY`]; the limit stays.
    pub fn set_concurrency(&self, concurrency: usize) -> Result<(), BreakerError> {
        check_concurrency(concurrency)?;
        let wakers = self.core.lock().set_concurrency(concurrency);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// The number of slots, taken or free.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.occupancy().concurrency
    }

    /// The number of places in the queue, as given at construction.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.core.lock().queue_depth()
    }

    /// How many slots are taken, including those granted to a waiter that has
    /// not been polled since.
    #[must_use]
    pub fn running(&self) -> usize {
        self.occupancy().running
    }

    /// How many callers are in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.occupancy().waiting
    }

    /// How many callers run or wait. Knative calls this `InFlight`.
    #[must_use]
    pub fn in_system(&self) -> usize {
        self.occupancy().in_system()
    }

    /// The counts, all from the same instant.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.core.lock().occupancy()
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Occupancy {
            concurrency,
            running,
            waiting,
        } = self.occupancy();
        f.debug_struct("Breaker")
            .field("concurrency", &concurrency)
            .field("queue_depth", &self.queue_depth())
            .field("running", &running)
            .field("waiting", &waiting)
            .finish()
    }
}

impl Core {
    /// Gives a slot back and wakes the waiter that got it.
    #[inline]
    pub(crate) fn release(&self) {
        let waker = self.lock().release();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the waiter at `place` has been granted a slot. If so the place
    /// is gone and the slot is the caller's to give back.
    pub(crate) fn poll(&self, place: Place, waker: &Waker) -> bool {
        // Bound to a name so that a waker that was replaced is dropped after
        // the lock is released: it can own a task, and that task a slot.
        let standing = self.lock().poll(place, waker);
        standing.is_ok()
    }

    /// Gives up a place in the queue, or the slot it was granted.
    pub(crate) fn leave(&self, place: Place) {
        let departure = self.lock().leave(place);
        drop(departure.discard);
        if let Some(waker) = departure.wake {
            waker.wake();
        }
    }

    /// A panic under the lock can come only from a waker's `clone`, before
    /// anything has changed, so the state is sound even if the lock is poisoned.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn check_concurrency(concurrency: usize) -> Result<(), BreakerError> {
    if concurrency > MAX_CONCURRENCY {
        return Err(BreakerError::Concurrency { got: concurrency });
    }
    Ok(())
}
