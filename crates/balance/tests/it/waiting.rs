//! Slots and the queue, one rule at a time. `model.rs` has them all at once.

use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_balance::{
    Balancer, BalancerConfig, EndpointSpec, Entry, FailureKind, Outcome, Pick, PickError,
    QueueConfig, QueueError, Waiting, WhenEmpty,
};

use super::{address_of, at, balancer, run, specs};

fn config(slots: u32, queue: QueueConfig) -> BalancerConfig {
    BalancerConfig {
        endpoint_concurrency: NonZeroU32::new(slots),
        queue,
        ..BalancerConfig::default()
    }
}

fn wait(balancer: &Balancer, now: u64) -> Waiting {
    match balancer.enter(at(now), 10) {
        Ok(Entry::Waiting(waiting)) => waiting,
        other => panic!("should wait: {other:?}"),
    }
}

fn poll(waiting: &mut Waiting) -> Option<Result<Pick, QueueError>> {
    match pin!(waiting).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => Some(ended),
        Poll::Pending => None,
    }
}

#[test]
fn a_freed_slot_goes_to_the_oldest_and_a_newcomer_does_not_overtake() {
    let balancer = balancer(config(1, QueueConfig::default()), 2);
    let first = run(&balancer, at(0));
    let second = run(&balancer, at(0));
    assert_ne!(address_of(&first), address_of(&second));
    let mut oldest = wait(&balancer, 1);
    let mut next = wait(&balancer, 2);
    let freed = address_of(&first);
    first.finish(at(3), Outcome::Success);
    assert_eq!(
        balancer.try_pick(at(3), &[]).unwrap_err(),
        PickError::NoSlot
    );
    let mut newcomer = wait(&balancer, 4);
    assert!(poll(&mut next).is_none() && poll(&mut newcomer).is_none());
    let granted = poll(&mut oldest).unwrap().unwrap();
    assert_eq!((address_of(&granted), granted.began()), (freed, at(3)));
    drop(second);
    assert!(poll(&mut newcomer).is_none());
    assert!(poll(&mut next).unwrap().is_ok());
}

#[test]
fn who_leaves_loses_nothing_for_others() {
    let balancer = balancer(config(1, QueueConfig::default()), 1);
    let running = run(&balancer, at(0));
    let granted = wait(&balancer, 1);
    let gone = wait(&balancer, 1);
    let mut last = wait(&balancer, 1);
    drop(gone);
    running.finish(at(2), Outcome::Success);
    drop(granted); // it had the slot and did not know
    let pick = poll(&mut last).unwrap().unwrap();
    assert_eq!(balancer.view(at(2)).queue_depth, 0);
    drop(pick);
    drop(run(&balancer, at(3)));
}

#[test]
fn the_queue_is_bounded_in_number_and_bytes() {
    let queue = QueueConfig {
        depth: 3,
        bytes_max: 25,
        age_max: Duration::from_secs(1),
    };
    let balancer = balancer(config(1, queue), 1);
    let _running = run(&balancer, at(0));
    let first = wait(&balancer, 0);
    let _second = wait(&balancer, 0);
    assert_eq!(
        balancer.enter(at(0), 10).unwrap_err(),
        PickError::QueueBytes
    );
    let _light = balancer.enter(at(0), 5).unwrap();
    assert_eq!(balancer.enter(at(0), 0).unwrap_err(), PickError::QueueFull);
    drop(first);
    assert_eq!(balancer.view(at(0)).queue_bytes, 15);
    let _third = wait(&balancer, 0);
}

#[test]
fn without_a_queue_nobody_waits() {
    let queue = QueueConfig {
        depth: 0,
        ..QueueConfig::default()
    };
    let balancer = balancer(config(1, queue), 1);
    let _running = run(&balancer, at(0));
    assert_eq!(balancer.enter(at(0), 0).unwrap_err(), PickError::QueueFull);
}

#[test]
fn a_wait_ends_when_it_is_too_old_or_the_balancer_is_gone() {
    let queue = QueueConfig {
        age_max: Duration::from_millis(500),
        ..QueueConfig::default()
    };
    let balancer = balancer(config(1, queue), 1);
    let running = run(&balancer, at(0));
    let mut old = wait(&balancer, 0);
    let mut young = wait(&balancer, 1);
    balancer.advance(at(499));
    assert!(poll(&mut old).is_none());
    balancer.advance(at(500));
    assert_eq!(poll(&mut old).unwrap().unwrap_err(), QueueError::TooOld);
    assert!(poll(&mut young).is_none());
    drop(balancer);
    assert_eq!(poll(&mut young).unwrap().unwrap_err(), QueueError::Closed);
    running.finish(at(501), Outcome::Success);
}

#[test]
fn new_room_goes_to_those_who_wait() {
    let opened: [fn(&Balancer); 4] = [
        |balancer| {
            balancer.set_endpoints(at(1), &specs(2)).unwrap();
        },
        |balancer| {
            let more = config(2, QueueConfig::default());
            balancer.reconfigure(at(1), more).unwrap();
        },
        |balancer| {
            let unlimited = BalancerConfig::default();
            balancer.reconfigure(at(1), unlimited).unwrap();
        },
        |balancer| {
            let own = EndpointSpec {
                concurrency: NonZeroU32::new(5),
                ..EndpointSpec::new("a")
            };
            balancer.set_endpoints(at(1), &[own]).unwrap();
        },
    ];
    for open in opened {
        let balancer = balancer(config(1, QueueConfig::default()), 1);
        let _running = run(&balancer, at(0));
        let mut waiting = wait(&balancer, 0);
        open(&balancer);
        assert!(poll(&mut waiting).unwrap().is_ok());
    }
}

#[test]
fn an_endpoint_that_comes_back_takes_those_who_wait() {
    let balancer = balancer(config(1, QueueConfig::default()), 2);
    balancer.set_draining(at(0), "b", true);
    let _running = run(&balancer, at(0));
    let mut waiting = wait(&balancer, 0);
    balancer.set_draining(at(1), "b", false);
    let pick = poll(&mut waiting).unwrap().unwrap();
    assert_eq!(&*address_of(&pick), "b");
}

/// A balancer of two endpoints with a slot each, of which `a` is ejected at once.
fn one_of_two_ejected() -> Balancer {
    let balancer = balancer(config(1, QueueConfig::default()), 2);
    let mut failures = 0;
    for _ in 0..3 {
        let (one, other) = (run(&balancer, at(0)), run(&balancer, at(0)));
        for pick in [one, other] {
            let failed = &*address_of(&pick) == "a";
            failures += u32::from(failed);
            let outcome = if failed {
                Outcome::Failure(FailureKind::Error)
            } else {
                Outcome::Success
            };
            pick.finish(at(0), outcome);
        }
    }
    assert_eq!(failures, 3);
    balancer
}

#[test]
fn a_probing_request_may_come_from_the_queue() {
    let balancer = one_of_two_ejected();
    let _running = run(&balancer, at(1));
    let mut waiting = wait(&balancer, 1);
    balancer.advance(at(9_000));
    assert!(
        poll(&mut waiting).is_none(),
        "the free slot is of an ejected endpoint"
    );
    balancer.advance(at(10_001));
    let probe = poll(&mut waiting).unwrap().unwrap();
    assert!(probe.is_probe() && &*address_of(&probe) == "a");
}

#[test]
fn the_next_in_the_queue_probes_if_the_first_probe_told_nothing() {
    let balancer = one_of_two_ejected();
    let _running = run(&balancer, at(1));
    let (mut first, mut second) = (wait(&balancer, 1), wait(&balancer, 1));
    balancer.advance(at(10_001));
    let probe = poll(&mut first).unwrap().unwrap();
    assert!(probe.is_probe() && poll(&mut second).is_none());
    drop(probe);
    let again = poll(&mut second).expect("at once, not with the next housekeeping");
    assert!(again.unwrap().is_probe());
}

/// A balancer whose requests wait when there is no endpoint.
fn patient(slots: u32) -> Balancer {
    let config = BalancerConfig {
        endpoint_concurrency: NonZeroU32::new(slots),
        when_empty: WhenEmpty::Wait,
        ..BalancerConfig::default()
    };
    balancer(config, 0)
}

#[test]
fn who_finds_nobody_waits_for_the_first_endpoint_if_it_is_set_so() {
    // Without slots, all go to the first; with two, the third stays.
    for (slots, granted) in [(0, 3), (2, 2)] {
        let balancer = patient(slots);
        let mut all = [0, 1, 2].map(|now| wait(&balancer, now));
        assert_eq!(balancer.waiting(), 3);
        balancer.set_endpoints(at(9), &specs(1)).unwrap();
        let running: Vec<_> = all.iter_mut().filter_map(poll).collect();
        assert_eq!((running.len(), balancer.waiting()), (granted, 3 - granted));
        let pick = running[0].as_ref().unwrap();
        assert_eq!(pick.began(), at(9));
        assert_eq!(pick.endpoint().joined_at(), at(9));
        assert_eq!(balancer.in_flight("a"), Some(granted as u32));
        assert_eq!(balancer.in_flight("b"), None);
    }
}

#[test]
fn who_finds_all_draining_waits_until_one_is_taken_back() {
    for slots in [0, 1] {
        let balancer = patient(slots);
        balancer.set_endpoints(at(0), &specs(2)).unwrap();
        for address in ["a", "b"] {
            balancer.set_draining(at(0), address, true);
        }
        let mut waiting = wait(&balancer, 1);
        assert!(poll(&mut waiting).is_none());
        balancer.set_draining(at(2), "b", false);
        let pick = poll(&mut waiting).unwrap().unwrap();
        assert_eq!(&*address_of(&pick), "b");
        assert_eq!(pick.endpoint().joined_at(), at(0), "it was there before");
    }
}

#[test]
fn waiting_for_an_endpoint_has_the_bounds_of_the_queue() {
    let queue = QueueConfig {
        depth: 1,
        age_max: Duration::from_millis(500),
        ..QueueConfig::default()
    };
    let config = BalancerConfig {
        queue,
        when_empty: WhenEmpty::Wait,
        ..BalancerConfig::default()
    };
    let balancer = balancer(config, 0);
    let mut first = wait(&balancer, 0);
    assert_eq!(balancer.enter(at(0), 0).unwrap_err(), PickError::QueueFull);
    balancer.advance(at(500));
    assert_eq!(poll(&mut first).unwrap().unwrap_err(), QueueError::TooOld);
    drop(wait(&balancer, 501));
    assert_eq!(balancer.waiting(), 0);
}

#[test]
fn when_nobody_will_come_who_waits_is_sent_away_and_others_are_refused() {
    let balancer = patient(1);
    let mut waiting = wait(&balancer, 0);
    balancer.set_when_empty(at(1), WhenEmpty::Refuse);
    let sent = poll(&mut waiting).unwrap().unwrap_err();
    assert_eq!(sent, QueueError::NoEndpoints);
    assert_eq!(
        balancer.enter(at(1), 0).unwrap_err(),
        PickError::NoEndpoints
    );
    balancer.set_when_empty(at(2), WhenEmpty::Wait);
    drop(wait(&balancer, 2));
    // Where there is somebody, those who wait for a slot go on waiting.
    balancer.set_endpoints(at(3), &specs(1)).unwrap();
    let running = run(&balancer, at(3));
    let mut waiting = wait(&balancer, 3);
    balancer.set_when_empty(at(4), WhenEmpty::Refuse);
    assert!(poll(&mut waiting).is_none());
    drop(running);
    assert!(poll(&mut waiting).unwrap().is_ok());
}
