//! What endpoints, picks and waiters of one balancer share: the gate.
//!
//! Without slot limits the gate is never entered: a request is counted in and
//! out by one atomic each. With limits, one lock makes taking a slot, giving it
//! back and standing in the queue single steps, so that no slot is taken twice,
//! none idles while somebody waits, and nobody overtakes.

use std::sync::Arc;
use std::task::Waker;

use plimsoll_limit::{Place, Standing as QueueStanding, WaitQueue};
use plimsoll_meter::Tick;

use crate::choose::Field;
use crate::config::{BalancerConfig, QueueConfig};
use crate::endpoint::Endpoint;
use crate::error::{PickError, QueueError};
use crate::peers::Peers;
use crate::pick::Pick;
use crate::policy::Policy;
use crate::standing::Roll;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, Mutex, MutexGuard, Ordering};

/// What endpoints, picks and waiters of one balancer share.
pub(crate) struct Core {
    /// Whether any endpoint has a slot limit. Changed under the gate's lock. Picks
    /// that do not see the change yet go by what was before.
    limited: AtomicBool,
    /// The worst [`Standing`](crate::standing::Standing) that may be used.
    floor: AtomicU8,
    /// Whether endpoints keep what [`Policy::P2c`] needs.
    uses_p2c: AtomicBool,
    /// How many endpoints ask for a probing request.
    probes_due: AtomicU32,
    pub(crate) peers: Peers,
    gate: Mutex<Gate>,
    /// Taken after the gate, where both are.
    pub(crate) roll: Mutex<Roll>,
}

/// The queue, and what bounds it.
pub(crate) struct Gate {
    queue: WaitQueue<Waiter, Grant>,
    config: QueueConfig,
    /// Bytes of those who wait.
    bytes: u64,
    /// The latest time anybody has told.
    latest: Tick,
    closed: bool,
}

/// What a waiter brings.
#[derive(Debug)]
pub(crate) struct Waiter {
    since: Tick,
    bytes: u64,
}

/// What a waiter gets: an endpoint, or an end.
pub(crate) type Grant = Result<Granted, QueueError>;

/// An endpoint, at which the request has been counted in.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) began: Tick,
    pub(crate) probe: bool,
}

/// How full the queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueLevel {
    pub(crate) waiting: usize,
    pub(crate) bytes: u64,
}

// === impl Core ===

impl Core {
    pub(crate) fn new(config: &BalancerConfig) -> Self {
        Self {
            limited: AtomicBool::new(false),
            floor: AtomicU8::new(0),
            uses_p2c: AtomicBool::new(matches!(config.policy, Policy::P2c)),
            probes_due: AtomicU32::new(0),
            peers: Peers::new(),
            gate: Mutex::new(Gate {
                queue: WaitQueue::new(),
                config: config.queue,
                bytes: 0,
                latest: Tick::ZERO,
                closed: false,
            }),
            roll: Mutex::new(Roll::new(config.ejection, config.slow_start)),
        }
    }

    #[inline]
    pub(crate) fn limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn floor(&self) -> u8 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Takes over what `roll` says. The caller holds its lock.
    pub(crate) fn publish(&self, roll: &Roll) {
        self.floor.store(roll.floor() as u8, Ordering::Relaxed);
    }

    /// Takes over other settings.
    pub(crate) fn configure(&self, config: &BalancerConfig) {
        let uses_p2c = matches!(config.policy, Policy::P2c);
        self.uses_p2c.store(uses_p2c, Ordering::Relaxed);
        let mut roll = self.roll.lock();
        roll.ejection = config.ejection;
        roll.slow_start = config.slow_start;
        drop(roll);
        self.gate().config = config.queue;
    }

    #[inline]
    pub(crate) fn uses_p2c(&self) -> bool {
        self.uses_p2c.load(Ordering::Relaxed)
    }

    /// Whether any endpoint asks for a probing request.
    #[inline]
    pub(crate) fn is_probe_due(&self) -> bool {
        self.probes_due.load(Ordering::Relaxed) > 0
    }

    /// An endpoint asks for a probing request.
    pub(crate) fn probe_asked(&self) {
        self.probes_due.fetch_add(1, Ordering::Relaxed);
    }

    /// An endpoint got the probing request it asked for, or does not ask any more.
    pub(crate) fn probe_taken(&self) {
        self.probes_due.fetch_sub(1, Ordering::Relaxed);
    }

    /// Locks the gate.
    pub(crate) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock()
    }

    /// Says whether there are limits. `gate` shows that the caller has the lock.
    pub(crate) fn set_limited(&self, _gate: &mut Gate, limited: bool) {
        self.limited.store(limited, Ordering::Relaxed);
    }

    /// A request at `endpoint` has ended: its slot goes to whoever waits longest.
    ///
    /// A request that began when there was no limit may end when there is. The
    /// count and the word that says that there is a limit are one: either the
    /// request sees the limit as it is counted out, or whoever introduces the
    /// limit sees that it is out.
    #[inline]
    pub(crate) fn release(&self, endpoint: &Arc<Endpoint>, now: Option<Tick>) {
        if !endpoint.has_limit() {
            if endpoint.end() {
                let wakers = self.gate().hand_over(self, endpoint, now);
                wake(wakers);
            }
            return;
        }
        let mut gate = self.gate();
        endpoint.end();
        let wakers = gate.hand_over(self, endpoint, now);
        drop(gate);
        wake(wakers);
    }

    /// Whether the waiter at `place` has been granted something; its place is then gone.
    pub(crate) fn poll(&self, place: Place, waker: &Waker) -> Option<Grant> {
        // Bound to a name so that a waker that was replaced is dropped after
        // the lock is released: it can own a task, and that task a pick.
        let polled = self.gate().queue.poll(place, waker);
        polled.ok()
    }

    /// Gives up a place in the queue, or what it was granted.
    pub(crate) fn leave(&self, place: Place) {
        let mut gate = self.gate();
        let standing = gate.queue.remove(place);
        if let QueueStanding::Waiting(_, waiter) = &standing {
            gate.bytes -= waiter.bytes;
        }
        drop(gate);
        if let QueueStanding::Granted(Ok(granted)) = standing {
            drop(Pick::from(granted));
        }
    }
}

// === impl Gate ===

impl Gate {
    pub(crate) const fn level(&self) -> QueueLevel {
        QueueLevel {
            waiting: self.queue.waiting(),
            bytes: self.bytes,
        }
    }

    /// Takes a place at the end of the queue.
    pub(crate) fn join(&mut self, now: Tick, bytes: u64) -> Result<Place, PickError> {
        self.latest = self.latest.max(now);
        if self.queue.waiting() >= self.config.depth {
            return Err(PickError::QueueFull);
        }
        if bytes > self.config.bytes_max.saturating_sub(self.bytes) {
            return Err(PickError::QueueBytes);
        }
        self.bytes += bytes;
        Ok(self.queue.push_back(Waiter { since: now, bytes }))
    }

    /// Gives free slots of `endpoint` to those who wait longest, the first of them as a probe if one is due there.
    /// Returns whom to wake.
    fn hand_over(
        &mut self,
        core: &Core,
        endpoint: &Arc<Endpoint>,
        now: Option<Tick>,
    ) -> Vec<Waker> {
        self.latest = self.latest.max(now.unwrap_or(self.latest));
        let mut wakers = Vec::new();
        // A probe may have waited for this slot, or the one that is out may have told nothing.
        if self.queue.waiting() > 0 && Field::of(endpoint, core.floor()).claim_probe().is_some() {
            wakers.extend(self.grant(endpoint, true));
        }
        while self.queue.waiting() > 0 && Field::of(endpoint, core.floor()).admits(endpoint) {
            wakers.extend(self.grant(endpoint, false));
        }
        wakers
    }

    /// Gives an endpoint to as many who wait as `choose` finds one for, oldest first;
    /// it also says whether the request is a probe. Returns whom to wake.
    pub(crate) fn grant_while(
        &mut self,
        now: Tick,
        mut choose: impl FnMut() -> Option<(Arc<Endpoint>, bool)>,
    ) -> Vec<Waker> {
        self.latest = self.latest.max(now);
        let mut wakers = Vec::new();
        while self.queue.waiting() > 0 {
            let Some((endpoint, probe)) = choose() else {
                break;
            };
            wakers.extend(self.grant(&endpoint, probe));
        }
        wakers
    }

    /// Gives a slot of `endpoint` to the oldest waiter. The caller knows that there are both.
    fn grant(&mut self, endpoint: &Arc<Endpoint>, probe: bool) -> Option<Waker> {
        endpoint.begin(self.latest);
        self.end_wait(Ok(Granted {
            endpoint: Arc::clone(endpoint),
            began: self.latest,
            probe,
        }))
    }

    /// Sends away those who have waited as long as they may. Returns whom to wake.
    pub(crate) fn expire(&mut self, now: Tick) -> Vec<Waker> {
        self.latest = self.latest.max(now);
        let mut wakers = Vec::new();
        while let Some(oldest) = self.queue.front() {
            if now.saturating_duration_since(oldest.since) < self.config.age_max {
                break;
            }
            wakers.extend(self.end_wait(Err(QueueError::TooOld)));
        }
        wakers
    }

    /// Sends everybody away for good. Returns whom to wake.
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        self.send_away(QueueError::Closed)
    }

    /// Sends everybody away. Returns whom to wake.
    pub(crate) fn send_away(&mut self, cause: QueueError) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.queue.waiting() > 0 {
            wakers.extend(self.end_wait(Err(cause)));
        }
        wakers
    }

    fn end_wait(&mut self, grant: Grant) -> Option<Waker> {
        match self.queue.grant_front(grant) {
            Ok((waiter, waker)) => {
                self.bytes -= waiter.bytes;
                waker
            }
            Err(_) => unreachable!("the caller has seen that somebody waits"),
        }
    }
}

/// Wakes all, after the lock was released: a waker may run anything.
pub(crate) fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
