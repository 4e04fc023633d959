//! The layer: when the slot is taken, and when it is given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use plimsoll_limit::{Breaker, BreakerLayer, BreakerService, QueueFull, ServiceError};
use tokio::sync::oneshot;
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok};
use tower::{Layer, Service, service_fn};

use crate::{breaker, queue, run};

/// A request that is answered when the test says so.
type Request = oneshot::Receiver<Result<&'static str, &'static str>>;

async fn answer(request: Request) -> Result<&'static str, &'static str> {
    request.await.unwrap_or(Err("no answer"))
}

macro_rules! service {
    ($breaker:expr) => {
        BreakerLayer::new($breaker.clone()).layer(service_fn(answer))
    };
}

#[test]
fn readiness_takes_no_slot() {
    let breaker = breaker(1, 1);
    let mut service = service!(breaker);
    let mut idle = service.clone();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for service in [&mut service, &mut idle] {
        assert!(Service::<Request>::poll_ready(service, &mut cx).is_ready());
    }
    assert_eq!(breaker.in_system(), 0);
    let (_answer, request) = oneshot::channel();
    let _response = service.call(request);
    assert_eq!(breaker.running(), 1);
}

#[test]
fn the_slot_is_given_back_when_the_inner_future_resolves() {
    for outcome in [Ok("done"), Err("failed")] {
        let breaker = breaker(1, 1);
        let (answer, request) = oneshot::channel();
        let mut response = spawn(service!(breaker).call(request));
        assert_pending!(response.poll());
        assert_eq!(breaker.running(), 1);
        answer.send(outcome).unwrap();
        let result = assert_ready!(response.poll());
        assert_eq!(result, outcome.map_err(ServiceError::Inner));
        assert_eq!(breaker.running(), 0, "though the future still exists");
        drop(response);
        assert_eq!(breaker.running(), 0);
    }
}

#[test]
fn requests_queue_in_order_of_the_calls_and_the_rest_is_refused() {
    let breaker = breaker(1, 2);
    let mut service = service!(breaker);
    let mut calls: Vec<_> = (0..4)
        .map(|_| {
            let (answer, request) = oneshot::channel();
            (answer, spawn(service.call(request)))
        })
        .collect();
    let (_, refused) = &mut calls[3];
    let refusal = assert_ready!(refused.poll()).unwrap_err();
    assert_eq!(refusal, ServiceError::QueueFull(QueueFull));
    assert_eq!(refusal.to_string(), "pending request queue full");
    calls.truncate(3);
    // Polled in the opposite order, served in the order of the calls.
    for (_, response) in calls.iter_mut().rev() {
        assert_pending!(response.poll());
    }
    for (answer, mut response) in calls {
        assert!(response.is_woken() || breaker.waiting() == 2);
        assert_pending!(response.poll());
        answer.send(Ok("done")).unwrap();
        assert_ready_ok!(response.poll());
    }
    assert_eq!(breaker.in_system(), 0);
}

#[test]
fn a_response_that_is_dropped_gives_back_what_it_holds() {
    let breaker = breaker(1, 1);
    let mut service = service!(breaker);
    let (_answer, request) = oneshot::channel();
    let mut running = spawn(service.call(request));
    assert_pending!(running.poll());
    let (_answer, request) = oneshot::channel();
    let mut waiting = spawn(service.call(request));
    assert_pending!(waiting.poll());
    drop(waiting);
    assert_eq!(breaker.waiting(), 0);
    drop(running);
    assert_eq!(breaker.running(), 0);
}

/// Ready when it is told to be; says how often it was asked.
#[derive(Clone, Default)]
struct Reluctant {
    ready: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Service<()> for Reluctant {
    type Response = ();
    type Error = &'static str;
    type Future = std::future::Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Poll::Ready(Err("broken"));
        }
        if self.ready.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(self.ready.load(Ordering::SeqCst), "called before ready");
        std::future::ready(Ok(()))
    }
}

#[test]
fn the_inner_service_is_made_ready_only_with_a_slot() {
    let breaker = breaker(1, 1);
    let slot = run(&breaker);
    let inner = Reluctant::default();
    let mut response = spawn(BreakerService::new(inner.clone(), breaker.clone()).call(()));
    assert_pending!(response.poll());
    assert_eq!(inner.asked.load(Ordering::SeqCst), 0);
    drop(slot);
    assert_pending!(response.poll());
    assert_eq!(inner.asked.load(Ordering::SeqCst), 1);
    assert_eq!(breaker.running(), 1);
    inner.ready.store(true, Ordering::SeqCst);
    assert_ready_ok!(response.poll());
    assert_eq!(breaker.running(), 0);
}

#[test]
fn an_inner_service_that_cannot_be_ready_gives_the_slot_back() {
    let breaker = breaker(1, 1);
    let inner = Reluctant::default();
    inner.broken.store(true, Ordering::SeqCst);
    let mut response = spawn(BreakerService::new(inner, breaker.clone()).call(()));
    let mut waiting = queue(&breaker);
    assert_eq!(
        assert_ready!(response.poll()),
        Err(ServiceError::Inner("broken"))
    );
    drop(assert_ready!(waiting.poll()));
}

#[test]
#[should_panic(expected = "polled after it resolved")]
fn a_resolved_response_must_not_be_polled_again() {
    let inner = Reluctant::default();
    inner.ready.store(true, Ordering::SeqCst);
    let mut response = spawn(BreakerService::new(inner, breaker(1, 1)).call(()));
    assert_ready_ok!(response.poll());
    assert_pending!(response.poll());
}

#[test]
fn every_service_of_a_layer_shares_the_breaker() {
    let breaker = Breaker::new(1, 1).unwrap();
    let layer = BreakerLayer::new(breaker.clone());
    let (_answers, requests): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    let responses: Vec<_> = requests
        .into_iter()
        .map(|request| layer.clone().layer(service_fn(answer)).call(request))
        .collect();
    assert_eq!((breaker.running(), breaker.waiting()), (1, 1));
    let shown: Vec<_> = responses.iter().map(|r| format!("{r:?}")).collect();
    assert!(shown[2].contains("refused"), "{shown:?}");
}

#[test]
fn a_failure_of_an_infallible_service_is_a_full_queue() {
    let error: ServiceError<std::convert::Infallible> = ServiceError::QueueFull(QueueFull);
    assert_eq!(QueueFull::from(error), QueueFull);
}
