//! Every interleaving of a few callers, explored by loom on the breaker itself.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test -p plimsoll-limit --release --test loom`
//!
//! Loom reports a deadlock when a waiter is never woken, so each `block_on`
//! here also asserts that no wake-up is lost.
#![cfg(loom)]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use plimsoll_limit::{Breaker, Entry, Slot, Waiting};

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

fn breaker(concurrency: usize, queue_depth: usize) -> Breaker {
    Breaker::new(concurrency, queue_depth).expect("both are in range")
}

fn queue(breaker: &Breaker) -> Waiting {
    match breaker.enter() {
        Ok(Entry::Waiting(waiting)) => waiting,
        other => panic!("expected a place in the queue, got {other:?}"),
    }
}

fn acquire(breaker: &Breaker) -> Slot {
    block_on(breaker.acquire()).expect("a place for each")
}

#[test]
fn one_slot_is_held_by_one_at_a_time() {
    loom::model(|| {
        let breaker = breaker(1, 2);
        let running = Arc::new(AtomicUsize::new(0));
        let work = |breaker: &Breaker, running: &AtomicUsize| {
            let _slot = acquire(breaker);
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            running.fetch_sub(1, Ordering::SeqCst);
        };
        let other = {
            let (breaker, running) = (breaker.clone(), Arc::clone(&running));
            thread::spawn(move || work(&breaker, &running))
        };
        work(&breaker, &running);
        other.join().unwrap();
        assert_eq!(breaker.in_system(), 0);
    });
}

#[test]
fn of_three_on_two_places_exactly_one_is_refused() {
    loom::model(|| {
        let breaker = breaker(1, 1);
        let others = [(); 2].map(|()| {
            let breaker = breaker.clone();
            thread::spawn(move || breaker.enter())
        });
        let mut entries = vec![breaker.enter()];
        entries.extend(others.map(|other| other.join().unwrap()));
        assert_eq!(entries.iter().filter(|entry| entry.is_err()).count(), 1);
        assert_eq!((breaker.running(), breaker.waiting()), (1, 1));
        drop(entries);
        assert_eq!(breaker.in_system(), 0);
    });
}

#[test]
fn a_waiter_that_leaves_while_it_is_granted_loses_no_wake_up() {
    loom::model(|| {
        let breaker = breaker(1, 2);
        let slot = breaker.try_reserve().unwrap();
        let leaves = queue(&breaker);
        let stays = queue(&breaker);
        let releaser = thread::spawn(move || drop(slot));
        let leaver = thread::spawn(move || drop(leaves));
        drop(block_on(stays));
        releaser.join().unwrap();
        leaver.join().unwrap();
        assert_eq!(breaker.in_system(), 0);
    });
}

#[test]
fn a_newcomer_never_overtakes_a_waiter() {
    loom::model(|| {
        let breaker = breaker(1, 1);
        let slot = breaker.try_reserve().unwrap();
        let waiting = queue(&breaker);
        let releaser = thread::spawn(move || drop(slot));
        assert!(breaker.try_reserve().is_none());
        drop(block_on(waiting));
        releaser.join().unwrap();
        assert!(breaker.try_reserve().is_some());
    });
}

#[test]
fn raising_wakes_a_caller_that_is_just_entering() {
    loom::model(|| {
        let breaker = breaker(0, 1);
        let caller = {
            let breaker = breaker.clone();
            thread::spawn(move || drop(acquire(&breaker)))
        };
        breaker.set_concurrency(1).unwrap();
        caller.join().unwrap();
        assert_eq!(breaker.in_system(), 0);
    });
}

/// The race that a debt beside a semaphore loses: a slot on its way back must
/// not start somebody who came after the limit was lowered to 0.
#[test]
fn nothing_starts_after_lowering_to_zero_though_a_slot_is_coming_back() {
    loom::model(|| {
        let breaker = breaker(1, 1);
        let slot = breaker.try_reserve().unwrap();
        let releaser = thread::spawn(move || drop(slot));
        breaker.set_concurrency(0).unwrap();
        let waiting = queue(&breaker);
        releaser.join().unwrap();
        assert_eq!((breaker.running(), breaker.waiting()), (0, 1));
        breaker.set_concurrency(1).unwrap();
        drop(block_on(waiting));
        assert_eq!(breaker.in_system(), 0);
    });
}

/// Whoever starts under the lowered limit runs alone.
#[test]
fn lowering_is_in_force_when_the_call_returns() {
    loom::model(|| {
        let breaker = breaker(2, 2);
        let running = Arc::new(AtomicUsize::new(2));
        let others = [(); 2].map(|()| {
            let slot = breaker.try_reserve();
            let running = Arc::clone(&running);
            thread::spawn(move || {
                running.fetch_sub(1, Ordering::SeqCst);
                drop(slot);
            })
        });
        breaker.set_concurrency(1).unwrap();
        let slot = acquire(&breaker);
        // An addition of nothing reads the latest value, where a load may not.
        assert_eq!(running.fetch_add(0, Ordering::SeqCst), 0);
        drop(slot);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(breaker.in_system(), 0);
    });
}

#[test]
fn lowering_and_raising_against_a_release_and_a_cancellation() {
    loom::model(|| {
        let breaker = breaker(1, 2);
        let slot = breaker.try_reserve().unwrap();
        let leaves = queue(&breaker);
        let stays = queue(&breaker);
        let releaser = thread::spawn(move || drop(slot));
        let resizer = {
            let breaker = breaker.clone();
            thread::spawn(move || {
                breaker.set_concurrency(0).unwrap();
                breaker.set_concurrency(1).unwrap();
            })
        };
        drop(leaves);
        drop(block_on(stays));
        releaser.join().unwrap();
        resizer.join().unwrap();
        assert_eq!(breaker.in_system(), 0);
        assert!(breaker.try_reserve().is_some());
    });
}
