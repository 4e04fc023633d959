//! The cases of Knative's breaker tests, with its names where it has one, and
//! the promises it does not make: strict order, and exact counts.

use std::time::Duration;

use plimsoll_limit::{
    Breaker, BreakerError, MAX_CONCURRENCY, MAX_QUEUE_DEPTH, QueueFull, Slot, Waiting,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_test::{assert_pending, assert_ready};

use crate::{breaker, queue, run};

#[test]
fn invalid_parameters_are_errors() {
    let concurrency = |got| Some(BreakerError::Concurrency { got });
    let queue_depth = |got| Some(BreakerError::QueueDepth { got });
    let table = [
        ((1, 0), queue_depth(0)),
        ((0, 0), queue_depth(0)),
        ((0, 1), None),
        ((1, 1), None),
        ((MAX_CONCURRENCY, MAX_QUEUE_DEPTH), None),
        ((MAX_CONCURRENCY + 1, 1), concurrency(MAX_CONCURRENCY + 1)),
        ((usize::MAX, 1), concurrency(usize::MAX)),
        ((1, MAX_QUEUE_DEPTH + 1), queue_depth(MAX_QUEUE_DEPTH + 1)),
        ((1, usize::MAX), queue_depth(usize::MAX)),
    ];
    for ((slots, depth), expected) in table {
        let result = Breaker::new(slots, depth);
        assert_eq!(result.err(), expected, "Breaker::new({slots}, {depth})");
    }
}

#[test]
fn errors_name_the_value_and_what_is_accepted() {
    let message = |result: Result<Breaker, BreakerError>| result.unwrap_err().to_string();
    assert_eq!(
        message(Breaker::new(1, 0)),
        "queue depth must be between 1 and 2147483647, got 0"
    );
    assert_eq!(
        message(Breaker::new(2_147_483_648, 1)),
        "concurrency must be between 0 and 2147483647, got 2147483648"
    );
    assert_eq!(QueueFull.to_string(), "pending request queue full");
}

#[test]
fn the_default_queue_is_ten_per_slot() {
    let depth = |slots| Breaker::with_default_queue(slots).map(|b| b.queue_depth());
    assert_eq!(depth(1), Ok(10));
    assert_eq!(depth(100), Ok(1000));
    assert_eq!(depth(MAX_CONCURRENCY), Ok(MAX_QUEUE_DEPTH));
    assert_eq!(depth(0), Err(BreakerError::QueueDepth { got: 0 }));
    let got = MAX_CONCURRENCY + 1;
    assert_eq!(depth(got), Err(BreakerError::Concurrency { got }));
}

#[test]
fn reserve_overload() {
    let breaker = breaker(1, 1);
    let slot = breaker.try_reserve();
    assert!(slot.is_some());
    assert!(breaker.try_reserve().is_none());
    drop(slot);
    assert!(breaker.try_reserve().is_some());
}

#[test]
fn mixed_enter_and_reserve() {
    let breaker = breaker(1, 1);
    let slot = run(&breaker);
    assert!(breaker.try_reserve().is_none());
    assert_eq!(
        breaker.waiting(),
        0,
        "a refused reservation leaves no trace"
    );
    drop(slot);
    assert!(breaker.try_reserve().is_some());
}

#[test]
fn overload_refuses_exactly_those_beyond_slots_and_queue() {
    for (slots, depth) in [(1, 1), (1, 10), (2, 1), (3, 7), (0, 2)] {
        let breaker = breaker(slots, depth);
        let running: Vec<Slot> = (0..slots).map(|_| run(&breaker)).collect();
        let mut waiting: Vec<_> = (0..depth).map(|_| queue(&breaker)).collect();
        assert_eq!(breaker.enter().unwrap_err(), QueueFull);
        assert_eq!(breaker.in_system(), slots + depth);
        // One leaves, from the queue or with a slot: exactly one gets in.
        waiting.pop();
        waiting.push(queue(&breaker));
        assert_eq!(breaker.enter().unwrap_err(), QueueFull);
        drop(running);
    }
}

#[test]
fn queueing_before_the_first_slot_opens() {
    let breaker = breaker(1, 1);
    breaker.set_concurrency(0).unwrap();
    let mut first = queue(&breaker);
    let mut second = queue(&breaker);
    breaker.set_concurrency(1).unwrap();
    assert!(first.is_woken());
    let slot = assert_ready!(first.poll());
    assert_pending!(second.poll());
    drop(slot);
    assert!(second.is_woken());
    drop(assert_ready!(second.poll()));
    assert_eq!(breaker.in_system(), 0);
}

#[test]
fn no_overload_when_one_leaves_for_each_that_comes() {
    let breaker = breaker(1, 1);
    let mut running = run(&breaker);
    let mut waiting = queue(&breaker);
    for _ in 0..2 {
        drop(running);
        running = assert_ready!(waiting.poll());
        waiting = queue(&breaker);
    }
    drop(running);
    drop(assert_ready!(waiting.poll()));
    assert_eq!(breaker.in_system(), 0);
}

#[test]
fn cancelled_waiters_free_their_places() {
    let breaker = breaker(1, 1);
    breaker.set_concurrency(0).unwrap();
    drop(queue(&breaker));
    drop(queue(&breaker));
    assert_eq!(breaker.in_system(), 0);
    breaker.set_concurrency(1).unwrap();
    let running = run(&breaker);
    let mut waiting = queue(&breaker);
    assert_eq!(breaker.enter().unwrap_err(), QueueFull);
    assert_eq!(breaker.enter().unwrap_err(), QueueFull, "nor any later one");
    drop(running);
    drop(assert_ready!(waiting.poll()));
    assert_eq!(breaker.in_system(), 0);
}

#[test]
fn update_concurrency() {
    let breaker = breaker(0, 1);
    for n in [1, 0, 3, MAX_CONCURRENCY] {
        breaker.set_concurrency(n).unwrap();
        assert_eq!(breaker.concurrency(), n);
    }
    let got = MAX_CONCURRENCY + 1;
    let refused = breaker.set_concurrency(got);
    assert_eq!(refused, Err(BreakerError::Concurrency { got }));
    assert_eq!(breaker.concurrency(), MAX_CONCURRENCY, "unchanged");
}

#[test]
fn raising_opens_exactly_the_new_slots() {
    let breaker = breaker(0, 5);
    let mut waiting: Vec<_> = (0..4).map(|_| queue(&breaker)).collect();
    assert!(breaker.try_reserve().is_none());
    breaker.set_concurrency(1).unwrap();
    assert_eq!(woken(&waiting), [true, false, false, false]);
    breaker.set_concurrency(3).unwrap();
    assert_eq!(woken(&waiting), [true, true, true, false]);
    assert_eq!(breaker.running(), 3, "granted counts as running");
    assert_eq!(breaker.waiting(), 1);
    assert_pending!(waiting[3].poll());
}

fn woken(waiting: &[tokio_test::task::Spawn<Waiting>]) -> Vec<bool> {
    waiting.iter().map(|w| w.is_woken()).collect()
}

#[test]
fn raising_while_one_runs() {
    let breaker = breaker(1, 3);
    let slot = run(&breaker);
    breaker.set_concurrency(3).unwrap();
    assert_eq!((breaker.concurrency(), breaker.running()), (3, 1));
    let _more = [run(&breaker), run(&breaker)];
    assert!(breaker.try_reserve().is_none());
    drop(slot);
}

#[test]
fn lowering_interrupts_nothing_and_starts_nothing() {
    let breaker = breaker(3, 5);
    let mut running: Vec<Slot> = (0..3).map(|_| run(&breaker)).collect();
    let mut waiting = queue(&breaker);
    breaker.set_concurrency(1).unwrap();
    assert_eq!(breaker.running(), 3);
    for left in [2, 1] {
        running.pop();
        assert_eq!(breaker.running(), left);
        assert!(!waiting.is_woken(), "{left} still run, the limit is 1");
        assert!(breaker.try_reserve().is_none());
    }
    running.pop();
    let slot = assert_ready!(waiting.poll());
    assert!(breaker.try_reserve().is_none());
    drop(slot);
    assert!(breaker.try_reserve().is_some());
}

#[test]
fn lowering_and_raising_again_grants_no_slot_twice() {
    let breaker = breaker(2, 5);
    let _running = [run(&breaker), run(&breaker)];
    let waiting = queue(&breaker);
    breaker.set_concurrency(0).unwrap();
    breaker.set_concurrency(2).unwrap();
    assert!(!waiting.is_woken());
    assert_eq!(breaker.running(), 2);
}

#[test]
fn lowering_makes_callers_wait_not_fail_and_raising_adds_places() {
    let breaker = breaker(2, 1);
    breaker.set_concurrency(0).unwrap();
    let mut callers: Vec<_> = (0..3).map(|_| queue(&breaker)).collect();
    assert!(breaker.enter().is_err(), "two slots' worth and the queue");
    breaker.set_concurrency(4).unwrap();
    let _slots = [run(&breaker), {
        let mut first = callers.remove(0);
        assert_ready!(first.poll())
    }];
    callers.push(queue(&breaker));
    assert!(breaker.enter().is_err(), "four run and one waits");
}

#[test]
fn f14_a_newcomer_never_overtakes() {
    let breaker = breaker(1, 10);
    let slot = run(&breaker);
    let mut waiting: Vec<_> = (0..5).map(|_| queue(&breaker)).collect();
    drop(slot);
    // The slot is granted though nobody has been polled since.
    assert!(breaker.try_reserve().is_none());
    waiting.push(queue(&breaker));
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let turn = waiting.iter().position(|w| w.is_woken()).unwrap();
        order.push(turn);
        drop(assert_ready!(waiting.remove(turn).poll()));
    }
    assert_eq!(order, [0; 6], "always the oldest of those left");
}

#[test]
fn the_place_is_taken_by_enter_not_by_the_first_poll() {
    let breaker = breaker(1, 2);
    let slot = run(&breaker);
    let Ok(plimsoll_limit::Entry::Waiting(first)) = breaker.enter() else {
        panic!("expected a place in the queue");
    };
    let mut second = queue(&breaker);
    drop(slot);
    assert_pending!(second.poll());
    drop(assert_ready!(tokio_test::task::spawn(first).poll()));
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the clock is tokio's paused one")]
async fn a_caller_can_bound_its_time_in_the_queue() {
    let breaker = breaker(1, 1);
    let slot = run(&breaker);
    let outcome = timeout(Duration::from_millis(10), breaker.acquire()).await;
    assert!(outcome.is_err());
    assert_eq!(breaker.waiting(), 0);
    drop(slot);
    assert!(breaker.acquire().await.is_ok());
}

/// Fourteen requests 10 ms apart, 300 ms each, on one slot with the default
/// queue: eleven are served one after the other, three are refused at once.
#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the clock is tokio's paused one")]
async fn fourteen_requests_on_one_slot() {
    let breaker = Breaker::with_default_queue(1).unwrap();
    let start = Instant::now();
    let requests: Vec<_> = (0..14)
        .map(|i| {
            let breaker = breaker.clone();
            tokio::spawn(async move {
                sleep_until(start + Duration::from_millis(10 * i)).await;
                let served = breaker.acquire().await;
                if served.is_ok() {
                    sleep(Duration::from_millis(300)).await;
                }
                served.map(drop).map(|()| start.elapsed().as_millis())
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for request in requests {
        outcomes.push(request.await.unwrap());
    }
    let expected: Vec<_> = (1..=11).map(|k| Ok(300 * k)).collect();
    assert_eq!(outcomes[..11], expected);
    assert_eq!(outcomes[11..], [Err(QueueFull); 3]);
}

#[test]
fn handles_are_small_and_cross_threads() {
    fn sendable<T: Send + Sync + Unpin + 'static>() {}
    sendable::<Breaker>();
    sendable::<Slot>();
    sendable::<Waiting>();
    assert_eq!(size_of::<Slot>(), size_of::<usize>());
    assert_eq!(size_of::<Waiting>(), 2 * size_of::<usize>());
}

#[test]
fn debug_shows_the_counts() {
    let breaker = breaker(1, 2);
    let _slot = run(&breaker);
    let _waiting = queue(&breaker);
    assert_eq!(
        format!("{breaker:?}"),
        "Breaker { concurrency: 1, queue_depth: 2, running: 1, waiting: 1 }"
    );
}
