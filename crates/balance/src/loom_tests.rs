//! Every interleaving of a few requests at the gate.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test -p plimsoll-balance --release --lib -- loom`
//!
//! Loom reports a deadlock when a waiter is never woken, so each `block_on`
//! here also asserts that no wake-up is lost.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::thread;
use plimsoll_meter::Tick;

use crate::config::BalancerConfig;
use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::pick::Waiting;
use crate::policy::Policy;
use crate::standing::Standing;

/// Wakes the loom thread that waits for a future.
struct Unpark(Notify);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Runs a future on the current loom thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark(Notify::new()));
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        unpark.0.wait();
    }
}

/// One endpoint, and what stands before it.
#[derive(Clone)]
struct Door {
    core: Arc<Core>,
    endpoint: Arc<Endpoint>,
}

impl Door {
    /// An endpoint with one slot, or without limit.
    fn new(limited: bool) -> Self {
        let core = Arc::new(Core::new(&BalancerConfig::default()));
        let decay = Policy::default().decay();
        let endpoint = Endpoint::new("a".into(), Arc::clone(&core), decay, Tick::ZERO);
        endpoint.set_standing(Standing::Usable);
        let door = Self {
            core,
            endpoint: Arc::new(endpoint),
        };
        if limited {
            door.limit();
        }
        door
    }

    /// Introduces a limit of one slot, as a change of settings does.
    fn limit(&self) {
        let mut gate = self.core.gate();
        self.endpoint.set_slots(NonZeroU32::new(1));
        self.core.set_limited(&mut gate, true);
    }

    /// Runs, or waits: what `Balancer::enter` does where there are limits.
    fn enter(&self) -> Option<Waiting> {
        let mut gate = self.core.gate();
        let usable = self.endpoint.standing() <= self.core.floor();
        if gate.level().waiting == 0 && usable && self.endpoint.has_slot() {
            self.endpoint.begin(Tick::ZERO);
            return None;
        }
        let place = gate.join(Tick::ZERO, 0).expect("the queue is long");
        Some(Waiting::new(Arc::clone(&self.core), place))
    }

    /// The endpoint may be used from now on: those who wait for one get it.
    fn open(&self) {
        self.endpoint.set_standing(Standing::Usable);
        let mut gate = self.core.gate();
        let mut once = Some(Arc::clone(&self.endpoint));
        let wakers = gate.grant_while(Tick::ZERO, || Some((once.take()?, false)));
        drop(gate);
        crate::core::wake(wakers);
    }

    /// Runs, when it is its turn, and ends.
    fn pass(&self) {
        if let Some(waiting) = self.enter() {
            let pick = block_on(waiting).expect("nobody closes the queue");
            // What a pick teaches when it is dropped is not what is tried here.
            std::mem::forget(pick);
        }
        assert_eq!(self.endpoint.in_flight(), 1, "two at one slot");
        self.core.release(&self.endpoint, None);
    }
}

fn explore(f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(f);
}

#[test]
fn loom_a_freed_slot_finds_those_who_wait_and_is_never_taken_twice() {
    explore(|| {
        let door = Door::new(true);
        let other = door.clone();
        let passing = thread::spawn(move || other.pass());
        door.pass();
        passing.join().unwrap();
        assert_eq!(door.endpoint.in_flight(), 0);
    });
}

#[test]
fn loom_who_leaves_while_it_is_granted_loses_no_wake_up() {
    explore(|| {
        let door = Door::new(true);
        assert!(door.enter().is_none(), "the slot was free");
        let leaver = door.enter().expect("the slot is taken");
        let waiter = door.enter().expect("the slot is taken");
        let other = door.clone();
        let releasing = thread::spawn(move || other.core.release(&other.endpoint, None));
        let leaving = thread::spawn(move || drop(leaver));
        std::mem::forget(block_on(waiter).expect("nobody closes the queue"));
        releasing.join().unwrap();
        leaving.join().unwrap();
        assert_eq!(door.endpoint.in_flight(), 1);
    });
}

/// The delicate part: a request that began without limits ends while limits come.
#[test]
fn loom_a_request_from_before_the_limits_lets_those_in_who_wait_since() {
    explore(|| {
        let door = Door::new(false);
        door.endpoint.begin(Tick::ZERO);
        let other = door.clone();
        let ending = thread::spawn(move || other.core.release(&other.endpoint, None));
        door.limit();
        door.pass();
        ending.join().unwrap();
        assert_eq!(door.endpoint.in_flight(), 0);
    });
}

/// Nobody waits for an endpoint that is there.
#[test]
fn loom_who_finds_no_endpoint_is_seen_by_whoever_brings_one() {
    explore(|| {
        let door = Door::new(true);
        door.endpoint.set_standing(Standing::Out);
        let other = door.clone();
        let opening = thread::spawn(move || other.open());
        door.pass();
        opening.join().unwrap();
        assert_eq!(door.endpoint.in_flight(), 0);
    });
}
