//! Callers that go away, and the foreign code that runs when they do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use plimsoll_limit::{Breaker, Entry, Slot, Waiting};
use tokio_test::{assert_pending, assert_ready};

use crate::{breaker, queue, run};

#[test]
fn a_granted_waiter_that_goes_away_passes_its_slot_on() {
    let breaker = breaker(1, 5);
    let slot = run(&breaker);
    let first = queue(&breaker);
    let second = queue(&breaker);
    let mut third = queue(&breaker);
    drop(slot);
    assert!(first.is_woken());
    drop(first);
    assert!(second.is_woken());
    drop(second);
    assert!(third.is_woken());
    drop(assert_ready!(third.poll()));
    assert_eq!(breaker.in_system(), 0);
}

#[test]
fn a_granted_waiter_that_goes_away_under_a_lowered_limit_passes_nothing_on() {
    let breaker = breaker(1, 5);
    let slot = run(&breaker);
    let first = queue(&breaker);
    let mut second = queue(&breaker);
    drop(slot);
    breaker.set_concurrency(0).unwrap();
    drop(first);
    assert!(!second.is_woken());
    assert_pending!(second.poll());
    breaker.set_concurrency(1).unwrap();
    drop(assert_ready!(second.poll()));
}

#[test]
fn leaving_from_the_middle_keeps_the_order() {
    let breaker = breaker(1, 5);
    let slot = run(&breaker);
    let mut first = queue(&breaker);
    let second = queue(&breaker);
    let mut third = queue(&breaker);
    drop(second);
    assert_eq!(breaker.waiting(), 2);
    drop(slot);
    let slot = assert_ready!(first.poll());
    assert!(!third.is_woken());
    drop(slot);
    drop(assert_ready!(third.poll()));
}

#[test]
fn a_waiter_that_was_never_polled_can_leave() {
    let breaker = breaker(1, 2);
    let slot = run(&breaker);
    let unpolled = breaker.enter();
    let mut last = queue(&breaker);
    drop(slot);
    assert_pending!(last.poll(), "the one before it has the slot");
    drop(unpolled);
    drop(assert_ready!(last.poll()));
}

#[test]
fn a_panic_gives_the_slot_back() {
    let breaker = breaker(1, 1);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _slot = run(&breaker);
        panic!("work failed");
    }));
    assert!(outcome.is_err());
    assert_eq!(breaker.in_system(), 0);
}

#[test]
#[should_panic(expected = "polled after it resolved")]
fn a_resolved_waiter_must_not_be_polled_again() {
    let breaker = breaker(1, 1);
    let slot = run(&breaker);
    let mut waiting = queue(&breaker);
    drop(slot);
    drop(assert_ready!(waiting.poll()));
    assert_pending!(waiting.poll());
}

#[test]
fn slots_outlive_the_breaker() {
    let breaker = breaker(1, 1);
    let slot = run(&breaker);
    let mut waiting = queue(&breaker);
    drop(breaker);
    drop(slot);
    drop(assert_ready!(waiting.poll()));
}

/// A waker that owns a slot, as a task does that holds one in its future. It
/// gives the slot back when it wakes, or when the last copy of it is dropped.
struct Owner(Mutex<Option<Slot>>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().expect("no test panics under it").take());
    }
}

/// Two slots, of which a waker owns one that nobody else knows; a waiter that
/// was polled with that waker, and a second one behind it.
fn waiter_polled_by_an_owner() -> (Breaker, Slot, Waiting) {
    let breaker = breaker(2, 5);
    let slot = run(&breaker);
    let waker = Waker::from(Arc::new(Owner(Mutex::new(Some(run(&breaker))))));
    let Ok(Entry::Waiting(mut waiting)) = breaker.enter() else {
        panic!("expected a place in the queue");
    };
    assert!(poll(&mut waiting, &waker).is_none());
    (breaker, slot, waiting)
}

fn poll(waiting: &mut Waiting, waker: &Waker) -> Option<Slot> {
    match Future::poll(Pin::new(waiting), &mut Context::from_waker(waker)) {
        std::task::Poll::Ready(slot) => Some(slot),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_waker_that_gives_a_slot_back_when_it_is_replaced() {
    let (breaker, _slot, mut waiting) = waiter_polled_by_an_owner();
    assert!(poll(&mut waiting, Waker::noop()).is_none());
    assert_eq!(breaker.running(), 2, "its slot went to the waiter itself");
    assert!(poll(&mut waiting, Waker::noop()).is_some());
}

#[test]
fn a_waker_that_gives_a_slot_back_when_its_waiter_leaves() {
    let (breaker, _slot, waiting) = waiter_polled_by_an_owner();
    let mut next = queue(&breaker);
    drop(waiting);
    drop(assert_ready!(next.poll()));
}

#[test]
fn a_waker_that_gives_a_slot_back_when_it_wakes() {
    let by_release = |_: &Breaker, slot: Slot| drop(slot);
    let by_raising = |breaker: &Breaker, slot: Slot| {
        std::mem::forget(slot);
        breaker.set_concurrency(3).unwrap();
    };
    for wake in [by_release, by_raising] as [fn(&Breaker, Slot); 2] {
        let (breaker, slot, mut waiting) = waiter_polled_by_an_owner();
        let mut next = queue(&breaker);
        wake(&breaker, slot);
        drop(assert_ready!(next.poll()));
        assert!(poll(&mut waiting, Waker::noop()).is_some());
    }
}
