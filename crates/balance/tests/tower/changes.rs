//! Endpoints that come and go.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use plimsoll_balance::tower::{BalancerService, Change, ChangeError, FollowError, ServiceError};
use plimsoll_balance::{BalancerConfig, EndpointSpec, PickError, SetChange, SetError};
use plimsoll_meter::ManualClock;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::Service;

use crate::world::{Book, Texts, at, call, counts, plain, seen, specs, texts};

/// Changes that come when they are put in.
struct Source(VecDeque<Result<Change, &'static str>>);

impl Stream for Source {
    type Item = Result<Change, &'static str>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn addresses(service: &Texts) -> Vec<String> {
    let endpoints = service.view().endpoints.into_iter();
    endpoints.map(|it| it.address.to_string()).collect()
}

#[test]
fn a_service_is_made_once_for_each_time_an_address_is_in_the_set() {
    let (service, book, _clock) = texts(BalancerConfig::default(), &["a", "b"]);
    assert_eq!(book.made(), ["a", "b"]);
    let changed = service.set(&specs(&["b", "c"])).unwrap();
    let expected = SetChange {
        added: 1,
        removed: 1,
        kept: 1,
        returned: 0,
    };
    assert_eq!(changed, expected);
    assert_eq!(book.made(), ["c"]);
    assert!(service.remove("b") && !service.remove("b"));
    assert_eq!(addresses(&service), ["c"]);
    service.insert(EndpointSpec::new("b")).unwrap();
    assert_eq!(book.made(), ["b"]);
    // Described anew, it is the same.
    let heavy = EndpointSpec {
        weight: 7,
        ..EndpointSpec::new("b")
    };
    service.insert(heavy).unwrap();
    assert_eq!(book.made(), Vec::<String>::new());
    assert_eq!(addresses(&service), ["c", "b"]);
    assert_eq!(seen(&service, "b").weight, 7);
}

#[test]
fn requests_at_an_endpoint_that_leaves_go_on_and_others_go_elsewhere() {
    let (service, book, _clock) = texts(BalancerConfig::default(), &["a"]);
    let mut called = call(&service);
    service.set(&specs(&["b"])).unwrap();
    let _other = call(&service);
    assert_eq!(book.open(), ["a", "b"]);
    book.answer(Ok("from a"));
    assert_eq!(assert_ready_ok!(called.poll()), "from a");
    // What was learned about it has not been lost.
    service.insert(EndpointSpec::new("a")).unwrap();
    assert_eq!(counts(&service, "a"), [0, 1, 0, 0]);
}

#[test]
fn who_was_granted_an_endpoint_that_left_gets_another() {
    let config = BalancerConfig {
        endpoint_concurrency: NonZeroU32::new(1),
        ..BalancerConfig::default()
    };
    let (service, book, _clock) = texts(config, &["a"]);
    let mut first = call(&service);
    let mut second = call(&service);
    book.answer(Ok("one"));
    assert_eq!(assert_ready_ok!(first.poll()), "one");
    assert!(second.is_woken());
    service.set(&specs(&["b"])).unwrap();
    assert_pending!(second.poll());
    assert_eq!(book.open(), ["b"]);
    service.insert(EndpointSpec::new("a")).unwrap();
    assert_eq!(counts(&service, "a"), [0, 1, 0, 1]);
}

#[test]
fn an_endpoint_without_a_service_is_no_endpoint() {
    let (service, book, _clock) = texts(BalancerConfig::default(), &["a"]);
    let stranger = specs(&["stranger"]);
    service.balancer().set_endpoints(at(0), &stranger).unwrap();
    let mut called = task::spawn(service.clone().call(()));
    match assert_ready!(called.poll()) {
        Err(ServiceError::NoEndpoint(cause)) => assert_eq!(cause, PickError::NoEndpoints),
        other => panic!("{other:?}"),
    }
    assert_eq!(book.open(), Vec::<String>::new());
    assert_eq!(counts(&service, "stranger")[0], 0);
}

#[test]
fn a_change_that_cannot_be_changes_nothing() {
    let book = Book::new();
    let pages = Arc::clone(&book);
    let clock = ManualClock::default();
    let made = BalancerService::new(BalancerConfig::default(), clock, plain(), move |endpoint| {
        if endpoint.address.starts_with('!') {
            return Err(format!("{} is no address", endpoint.address).into());
        }
        Ok(pages.inner(&endpoint.address))
    });
    let service: Texts = made.unwrap();
    service.set(&specs(&["a"])).unwrap();
    assert_eq!(book.made(), ["a"]);
    let refused = service.set(&specs(&["b", "!"])).unwrap_err();
    assert!(matches!(&refused, ChangeError::Make { address, .. } if &**address == "!"));
    let told = "no service could be made for endpoint `!`: ! is no address";
    assert_eq!(refused.to_string(), told);
    book.made();
    // What is wrong with the set itself is found before anything is made.
    let refused = service.set(&specs(&["c", "c"])).unwrap_err();
    assert!(matches!(
        refused,
        ChangeError::Set(SetError::Duplicate { .. })
    ));
    let weightless = EndpointSpec {
        weight: 0,
        ..EndpointSpec::new("d")
    };
    let refused = service.insert(weightless).unwrap_err();
    assert!(matches!(refused, ChangeError::Set(SetError::Weight { .. })));
    assert_eq!(book.made(), Vec::<String>::new());
    assert_eq!(addresses(&service), ["a"]);
    let _called = call(&service);
    assert_eq!(book.open(), ["a"]);
    // What was refused has not been remembered.
    service.insert(EndpointSpec::new("e")).unwrap();
    assert_eq!(addresses(&service), ["a", "e"]);
}

#[tokio::test]
async fn changes_are_followed_until_one_is_refused_and_then_further() {
    let (service, _book, _clock) = texts(BalancerConfig::default(), &[]);
    let insert = |address: &str| Ok(Change::Insert(EndpointSpec::new(address)));
    let twice = Ok(Change::Set(specs(&["x", "x"])));
    let mut changes = Source(VecDeque::from([
        insert("a"),
        insert("b"),
        twice,
        Ok(Change::Remove("a".into())),
        Ok(Change::Remove("never".into())),
        Err("the registry is down"),
        Ok(Change::Set(specs(&["c"]))),
    ]));
    let ended = service.follow(&mut changes).await.unwrap_err();
    assert!(matches!(ended, FollowError::Change(ChangeError::Set(_))));
    assert_eq!(addresses(&service), ["a", "b"]);
    let ended = service.follow(&mut changes).await.unwrap_err();
    let told = "the source of endpoints has failed: the registry is down";
    assert_eq!(ended.to_string(), told);
    assert_eq!(addresses(&service), ["b"]);
    service.follow(&mut changes).await.unwrap();
    assert_eq!(addresses(&service), ["c"]);
}
