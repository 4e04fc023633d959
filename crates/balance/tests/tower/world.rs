//! Inner services that do what a test says, under a clock that it moves.

use std::collections::HashMap;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_balance::tower::{BalancerService, ByResult, Classify};
use plimsoll_balance::{BalancerConfig, EndpointSpec, EndpointView, FailureKind, Outcome};
use plimsoll_meter::{ManualClock, Tick};
use tokio::sync::oneshot;
use tokio_test::task::Spawn;
use tower::Service;

/// The outcomes of results: an error is a reset.
pub(crate) type Plain = ByResult<fn(Result<&&'static str, &Error>) -> Outcome>;

/// A service over [`Inner`] services that answer with text.
pub(crate) type Texts = BalancerService<Inner<&'static str>, Plain>;

/// A service, its inner services, and its clock.
pub(crate) type World<R, C> = (BalancerService<Inner<R>, C>, Arc<Book<R>>, Arc<ManualClock>);

/// What a call of [`Inner`] resolves to.
type Answer<R> = Result<R, Error>;

/// A service that answers when the test says so.
pub(crate) struct Inner<R> {
    address: Arc<str>,
    book: Arc<Book<R>>,
}

/// Everything that has been asked of all inner services.
pub(crate) struct Book<R> {
    pages: Mutex<Pages<R>>,
}

struct Pages<R> {
    made: Vec<Arc<str>>,
    calls: Vec<(Arc<str>, oneshot::Sender<Answer<R>>)>,
    unready: HashMap<String, Unready>,
}

enum Unready {
    Waits(Vec<Waker>),
    Fails(ErrorKind),
}

pub(crate) type InnerFuture<R> = Pin<Box<dyn Future<Output = Answer<R>> + Send>>;

pub(crate) fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

pub(crate) fn specs(addresses: &[&str]) -> Vec<EndpointSpec> {
    addresses.iter().map(|it| EndpointSpec::new(*it)).collect()
}

pub(crate) fn plain() -> Plain {
    ByResult(|result| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure(FailureKind::Reset),
    })
}

/// A service with these endpoints, whose answers are text.
pub(crate) fn texts(config: BalancerConfig, addresses: &[&str]) -> World<&'static str, Plain> {
    world(config, plain(), addresses)
}

pub(crate) fn world<R: Send + 'static, C: Classify<R, Error>>(
    config: BalancerConfig,
    classify: C,
    addresses: &[&str],
) -> World<R, C> {
    let clock = Arc::new(ManualClock::default());
    let book = Book::new();
    let pages = Arc::clone(&book);
    let service = BalancerService::new(config, Arc::clone(&clock), classify, move |endpoint| {
        Ok(pages.inner(&endpoint.address))
    });
    let service = service.expect("the settings are in range");
    service.set(&specs(addresses)).expect("the set can be");
    (service, book, clock)
}

/// Calls, and polls once.
pub(crate) fn call<R, C>(service: &BalancerService<Inner<R>, C>) -> Spawn<Called<R, C>>
where
    R: Send + 'static,
    C: Classify<R, Error>,
{
    let mut called = tokio_test::task::spawn(service.clone().call(()));
    assert!(called.poll().is_pending(), "nobody has answered yet");
    called
}

pub(crate) type Called<R, C> = <BalancerService<Inner<R>, C> as Service<()>>::Future;

/// The endpoint of that address, as it is now.
pub(crate) fn seen<S, C>(service: &BalancerService<S, C>, address: &str) -> EndpointView {
    let mut endpoints = service.view().endpoints.into_iter();
    let found = endpoints.find(|endpoint| &*endpoint.address == address);
    found.expect("it is in the set")
}

/// The counts of an endpoint: in flight, successes, failures, cancelled.
pub(crate) fn counts<S, C>(service: &BalancerService<S, C>, address: &str) -> [u64; 4] {
    let seen = seen(service, address);
    let in_flight = u64::from(seen.in_flight);
    [
        in_flight,
        seen.successes,
        seen.failures.total(),
        seen.cancelled,
    ]
}

/// The name of the only kind of failure that there has been.
pub(crate) fn failure<S, C>(service: &BalancerService<S, C>, address: &str) -> &'static str {
    let counts: Vec<_> = seen(service, address).failures.iter().collect();
    let mut failed = counts.iter().filter(|(_, count)| *count > 0);
    match (failed.next(), failed.next()) {
        (Some((name, 1)), None) => name,
        _ => panic!("one failure: {counts:?}"),
    }
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl<R: Send + 'static> Book<R> {
    pub(crate) fn new() -> Arc<Self> {
        let pages = Pages {
            made: Vec::new(),
            calls: Vec::new(),
            unready: HashMap::new(),
        };
        Arc::new(Self {
            pages: Mutex::new(pages),
        })
    }

    /// Makes an inner service.
    pub(crate) fn inner(self: &Arc<Self>, address: &Arc<str>) -> Inner<R> {
        self.pages.lock().made.push(Arc::clone(address));
        Inner {
            address: Arc::clone(address),
            book: Arc::clone(self),
        }
    }

    /// The addresses for which a service was made since this was last asked.
    pub(crate) fn made(&self) -> Vec<String> {
        let made = std::mem::take(&mut self.pages.lock().made);
        made.iter().map(ToString::to_string).collect()
    }

    /// Where the calls are that have not been answered, oldest first.
    pub(crate) fn open(&self) -> Vec<String> {
        let pages = self.pages.lock();
        let open = pages.calls.iter().filter(|(_, call)| !call.is_closed());
        open.map(|(address, _)| address.to_string()).collect()
    }

    /// Answers the oldest call.
    pub(crate) fn answer(&self, answer: Answer<R>) {
        let (_, call) = self.pages.lock().calls.remove(0);
        assert!(call.send(answer).is_ok(), "somebody waits for the answer");
    }

    /// Services of that address are not ready from now on.
    pub(crate) fn hold(&self, address: &str) {
        let held = Unready::Waits(Vec::new());
        self.pages.lock().unready.insert(address.to_owned(), held);
    }

    /// Services of that address fail when they are made ready.
    pub(crate) fn fail(&self, address: &str, kind: ErrorKind) {
        let failing = Unready::Fails(kind);
        let before = self
            .pages
            .lock()
            .unready
            .insert(address.to_owned(), failing);
        wake(before);
    }

    /// Services of that address are ready again.
    pub(crate) fn release(&self, address: &str) {
        let held = self.pages.lock().unready.remove(address);
        wake(held);
    }
}

fn wake(held: Option<Unready>) {
    if let Some(Unready::Waits(wakers)) = held {
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<R> Clone for Inner<R> {
    fn clone(&self) -> Self {
        Self {
            address: Arc::clone(&self.address),
            book: Arc::clone(&self.book),
        }
    }
}

impl<R: Send + 'static> Service<()> for Inner<R> {
    type Response = R;
    type Error = Error;
    type Future = InnerFuture<R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Answer<()>> {
        match self.book.pages.lock().unready.get_mut(&*self.address) {
            None => Poll::Ready(Ok(())),
            Some(Unready::Fails(kind)) => Poll::Ready(Err(Error::from(*kind))),
            Some(Unready::Waits(wakers)) => {
                wakers.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn call(&mut self, _request: ()) -> Self::Future {
        let (send, receive) = oneshot::channel();
        let call = (Arc::clone(&self.address), send);
        self.book.pages.lock().calls.push(call);
        Box::pin(async { receive.await.expect("each call is answered or dropped") })
    }
}
