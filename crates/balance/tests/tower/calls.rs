//! The way of a request: choosing, waiting, ending, and being given up.

use std::io::{Error, ErrorKind};
use std::num::NonZeroU32;

use plimsoll_balance::tower::ServiceError;
use plimsoll_balance::{BalancerConfig, EndpointState, PickError, Policy, QueueConfig, QueueError};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Service, ServiceExt};

use crate::world::{at, call, counts, failure, millis, seen, texts};

/// One slot at each endpoint.
fn one_at_a_time() -> BalancerConfig {
    BalancerConfig {
        endpoint_concurrency: NonZeroU32::new(1),
        ..BalancerConfig::default()
    }
}

#[test]
fn a_request_is_measured_from_the_call_to_the_answer() {
    let (service, book, clock) = texts(BalancerConfig::default(), &["a"]);
    clock.advance_to(at(5));
    let mut called = call(&service);
    assert_eq!(counts(&service, "a"), [1, 0, 0, 0]);
    clock.advance_to(at(25));
    book.answer(Ok("yes"));
    assert!(called.is_woken());
    assert_eq!(assert_ready_ok!(called.poll()), "yes");
    assert_eq!(counts(&service, "a"), [0, 1, 0, 0]);
    assert_eq!(seen(&service, "a").latency.sum, millis(20));
}

#[test]
fn an_error_is_the_endpoints_and_passed_on() {
    let (service, book, _clock) = texts(BalancerConfig::default(), &["a"]);
    let mut called = call(&service);
    book.answer(Err(Error::from(ErrorKind::BrokenPipe)));
    match assert_ready!(called.poll()) {
        Err(ServiceError::Inner(error)) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
        other => panic!("{other:?}"),
    }
    assert_eq!(counts(&service, "a"), [0, 0, 1, 0]);
    assert_eq!(failure(&service, "a"), "reset");
}

#[tokio::test]
async fn a_clone_that_is_ready_and_idle_holds_nothing() {
    let (mut service, book, _clock) = texts(one_at_a_time(), &["a"]);
    service.ready().await.unwrap();
    let mut other = call(&service.clone());
    book.answer(Ok("first"));
    assert_eq!(assert_ready_ok!(other.poll()), "first");
    // A future that is not polled has its place all the same: calls are in order.
    let mut called = task::spawn(service.call(()));
    let mut late = call(&service);
    assert_pending!(called.poll());
    assert_eq!(book.open(), ["a"]);
    book.answer(Ok("second"));
    assert_eq!(assert_ready_ok!(called.poll()), "second");
    assert_pending!(late.poll());
    book.answer(Ok("third"));
    assert_eq!(assert_ready_ok!(late.poll()), "third");
}

#[test]
fn who_finds_no_slot_waits_in_line() {
    let (service, book, clock) = texts(one_at_a_time(), &["a", "b"]);
    let mut running = [call(&service), call(&service)];
    let [mut third, mut fourth] = [call(&service), call(&service)];
    assert_eq!(service.view().queue_depth, 2);
    assert_eq!(book.open().len(), 2);
    clock.advance_to(at(10));
    let first_end = book.open()[0].clone();
    book.answer(Ok("one"));
    let [first, _] = &mut running;
    assert_eq!(assert_ready_ok!(first.poll()), "one");
    assert!(third.is_woken() && !fourth.is_woken());
    clock.advance_to(at(12));
    assert_pending!(third.poll());
    assert_eq!(book.open()[1], first_end);
    // The latency is that of the endpoint: from when it could be sent.
    clock.advance_to(at(15));
    let [_, second] = &mut running;
    book.answer(Ok("two"));
    assert_eq!(assert_ready_ok!(second.poll()), "two");
    book.answer(Ok("three"));
    assert_eq!(assert_ready_ok!(third.poll()), "three");
    assert_eq!(seen(&service, &first_end).latency.sum, millis(10 + 3));
    assert_pending!(fourth.poll());
    assert_eq!(service.view().queue_depth, 0);
}

#[test]
fn who_gives_up_leaves_the_line_and_blames_nobody() {
    let (service, book, clock) = texts(one_at_a_time(), &["a"]);
    let running = call(&service);
    let waiting = call(&service);
    let mut last = call(&service);
    drop(waiting);
    assert_eq!(service.view().queue_depth, 1);
    clock.advance_to(at(40));
    drop(running);
    assert_eq!(book.open(), Vec::<String>::new());
    assert_eq!(counts(&service, "a"), [1, 0, 0, 1]);
    assert!(last.is_woken(), "the slot is free for the next");
    assert_pending!(last.poll());
    assert_eq!(book.open(), ["a"]);
    // A slot that was granted and never used goes on too.
    let (granted, mut next) = (call(&service), call(&service));
    drop(last);
    drop(granted);
    assert_pending!(next.poll());
    assert_eq!(book.open(), ["a"]);
    let state = seen(&service, "a");
    assert_eq!((state.success_rate, state.failures.total()), (1.0, 0));
}

#[test]
fn what_cannot_be_taken_is_refused_with_the_reason() {
    let no_queue = BalancerConfig {
        queue: QueueConfig {
            depth: 0,
            ..QueueConfig::default()
        },
        ..one_at_a_time()
    };
    let (service, _book, clock) = texts(no_queue, &["a"]);
    let refusal = |cause: PickError| {
        let mut called = task::spawn(service.clone().call(()));
        match assert_ready!(called.poll()) {
            Err(ServiceError::NoEndpoint(got)) => assert_eq!(got, cause),
            other => panic!("{other:?}"),
        }
    };
    let _running = call(&service);
    refusal(PickError::QueueFull);
    assert!(service.balancer().set_draining(at(0), "a", true));
    refusal(PickError::AllDraining);
    service.set(&[]).unwrap();
    refusal(PickError::NoEndpoints);
    // In a box it says the same.
    let boxed = ServiceError::<Error>::NoEndpoint(PickError::NoEndpoints).boxed();
    assert_eq!(boxed.to_string(), "there are no endpoints");

    let (service, _book, _) = texts(one_at_a_time(), &["a"]);
    let _running = call(&service);
    let mut waiting = call(&service);
    drop(clock);
    let age = BalancerConfig::default().queue.age_max;
    service.balancer().advance(at(0).saturating_add(age));
    match assert_ready!(waiting.poll()) {
        Err(ServiceError::Wait(cause)) => assert_eq!(cause, QueueError::TooOld),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_that_is_not_ready_counts_as_its_endpoints_time() {
    let (service, book, clock) = texts(BalancerConfig::default(), &["a"]);
    book.hold("a");
    let mut called = call(&service);
    assert_eq!(counts(&service, "a"), [1, 0, 0, 0]);
    assert_eq!(book.open(), Vec::<String>::new());
    clock.advance_to(at(70));
    book.release("a");
    assert!(called.is_woken());
    assert_pending!(called.poll());
    clock.advance_to(at(100));
    book.answer(Ok("at last"));
    assert_eq!(assert_ready_ok!(called.poll()), "at last");
    assert_eq!(seen(&service, "a").latency.sum, millis(100));
}

#[test]
fn who_can_go_elsewhere_leaves_alone_who_is_not_ready() {
    let (service, book, clock) = texts(BalancerConfig::default(), &["a", "b"]);
    let mut first = [call(&service), call(&service)];
    clock.advance_to(at(10));
    for called in &mut first {
        book.answer(Ok("known"));
        assert_ready_ok!(called.poll());
    }
    book.hold("a");
    let mut held: Vec<_> = (0..4).map(|_| call(&service)).collect();
    assert_eq!(book.open(), ["b", "b"], "each has two");
    clock.advance_to(at(20));
    book.answer(Ok("as ever"));
    book.answer(Ok("as ever"));
    held.retain_mut(|called| called.poll().is_pending());
    assert_eq!(held.len(), 2);
    clock.advance_to(at(200));
    for _ in 0..10 {
        let _called = call(&service);
        assert_eq!(book.open(), ["b"]);
    }
    assert_eq!(counts(&service, "a")[0], 2);
}

#[test]
fn a_service_that_fails_to_be_ready_is_out_of_reach() {
    let (service, book, _clock) = texts(BalancerConfig::default(), &["a"]);
    book.hold("a");
    let mut called = call(&service);
    book.fail("a", ErrorKind::ConnectionRefused);
    match assert_ready!(called.poll()) {
        Err(ServiceError::Inner(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        other => panic!("{other:?}"),
    }
    assert_eq!(counts(&service, "a"), [0, 0, 1, 0]);
    assert_eq!(failure(&service, "a"), "connect");
}

#[test]
fn who_fails_at_once_is_left_out_and_let_in_again() {
    let config = BalancerConfig {
        policy: Policy::RoundRobin,
        ..BalancerConfig::default()
    };
    let (service, book, clock) = texts(config, &["a", "b", "c"]);
    let round = |failing: &str| {
        let mut called = call(&service);
        let endpoint = book.open()[0].clone();
        book.answer(if endpoint == failing {
            Err(Error::from(ErrorKind::ConnectionReset))
        } else {
            Ok("yes")
        });
        assert_ready!(called.poll()).is_err()
    };
    let failed = (0..300).filter(|_| round("b")).count();
    assert!((3..=5).contains(&failed), "{failed}");
    assert_eq!(seen(&service, "b").state, EndpointState::Ejected);
    // Well again, it is tried when its time has come.
    let base = BalancerConfig::default().ejection.base;
    clock.advance_to(at(0).saturating_add(base));
    service.advance();
    let failed = (0..30).filter(|_| round("nobody")).count();
    assert_eq!(failed, 0);
    assert_eq!(seen(&service, "b").state, EndpointState::SlowStart);
}
