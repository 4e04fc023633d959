//! What a breaker promises, seen from outside.
//!
//! - `contract`: the cases of Knative's breaker, and what Plimsoll adds.
//! - `cancel`: callers that go away, and wakers that own slots.
//! - `model`: random operations against a simple model.
//! - `stress`: real threads.
//! - `tower`: the layer.
//!
//! The interleavings are explored by `tests/loom.rs`.
#![cfg(not(loom))]

mod cancel;
mod contract;
mod model;
mod stress;
mod tower;

use plimsoll_limit::{Breaker, Entry, Slot, Waiting};
use tokio_test::task::Spawn;

/// A breaker whose parameters are known to be in range.
fn breaker(concurrency: usize, queue_depth: usize) -> Breaker {
    Breaker::new(concurrency, queue_depth).expect("both are in range")
}

/// Enters and must get a slot.
#[track_caller]
fn run(breaker: &Breaker) -> Slot {
    match breaker.enter() {
        Ok(Entry::Running(slot)) => slot,
        other => panic!("expected a slot, got {other:?}"),
    }
}

/// Enters and must get a place in the queue; polled once, so that it can be woken.
#[track_caller]
fn queue(breaker: &Breaker) -> Spawn<Waiting> {
    match breaker.enter() {
        Ok(Entry::Waiting(waiting)) => {
            let mut waiting = tokio_test::task::spawn(waiting);
            tokio_test::assert_pending!(waiting.poll());
            waiting
        }
        other => panic!("expected a place in the queue, got {other:?}"),
    }
}
