//! Slots of endpoints, and the queue in front of them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_balance::{BalancerConfig, Policy, QueueConfig};
use plimsoll_proxy::{RefusalStatus, ServiceSettings};
use plimsoll_wire::Answer;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Endpoint, GET, OK, Setup, answer, eventually, head, in_turn, request, soon};

/// One slot for each endpoint.
fn one_each(policy: Policy) -> BalancerConfig {
    BalancerConfig {
        policy,
        endpoint_concurrency: NonZeroU32::new(1),
        ..in_turn()
    }
}

fn with_queue(depth: usize, age_max: Duration) -> BalancerConfig {
    BalancerConfig {
        queue: QueueConfig {
            depth,
            age_max,
            ..QueueConfig::default()
        },
        ..one_each(Policy::RoundRobin)
    }
}

const LONG: Duration = Duration::from_secs(60);

/// An endpoint that answers when it is let, and remembers the most requests at once and the order of paths.
struct Held {
    endpoint: Endpoint,
    go: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
    paths: Arc<parking_lot::Mutex<Vec<String>>>,
}

async fn held() -> Held {
    let go = Arc::new(Semaphore::new(0));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let paths = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let shared = (Arc::clone(&go), now, Arc::clone(&most), Arc::clone(&paths));
    let endpoint = Endpoint::new(move |mut stream, served| {
        let (go, now, most, paths) = shared.clone();
        async move {
            loop {
                let head = head(&mut stream).await;
                let Some(path) = head.split(' ').nth(1) else {
                    return;
                };
                served.fetch_add(1, Ordering::SeqCst);
                paths.lock().push(path.to_owned());
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                go.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    Held {
        endpoint,
        go,
        most,
        paths,
    }
}

fn depth(setup: &Setup) -> usize {
    setup.balancer_view().queue_depth
}

#[tokio::test]
async fn an_endpoint_with_one_slot_never_gets_two_requests_at_once() {
    const CLIENTS: usize = 30;
    const EACH: usize = 20;
    for policy in [Policy::default(), Policy::RoundRobin, Policy::LeastLoaded] {
        let (a, b, c) = (held().await, held().await, held().await);
        let all = [&a, &b, &c];
        for held in all {
            held.go.add_permits(CLIENTS * EACH);
        }
        let addresses = all.map(|held| held.endpoint.address);
        let workers = NonZeroUsize::new(2).unwrap();
        let config = one_each(policy);
        let setup = Arc::new(Setup::with_workers(
            workers,
            config,
            ServiceSettings::default(),
            &addresses,
        ));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let setup = Arc::clone(&setup);
            clients.spawn(async move {
                let mut stream = setup.connect().await;
                for _ in 0..EACH {
                    stream.write_all(GET.as_bytes()).await.unwrap();
                    assert_eq!(answer(&mut stream).await.status, 200);
                }
            });
        }
        soon("all answered", clients.join_all()).await;
        let served: Vec<_> = all.iter().map(|held| held.endpoint.served()).collect();
        assert_eq!(served.iter().sum::<usize>(), CLIENTS * EACH);
        for held in all {
            assert_eq!(held.most.load(Ordering::SeqCst), 1);
        }
        setup.at_rest().await;
    }
}

#[tokio::test]
async fn who_waits_longest_is_served_first_and_no_slot_stays_empty() {
    let only = held().await;
    let setup = Arc::new(Setup::new(
        with_queue(100, LONG),
        ServiceSettings::default(),
        &[only.endpoint.address],
    ));
    let mut clients = JoinSet::new();
    for number in 0..8 {
        let asking = Arc::clone(&setup);
        clients.spawn(async move {
            let ask = format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
            asking.ask(&ask).await.status
        });
        eventually("its turn in the queue", || {
            only.endpoint.served() == 1 && depth(&setup) == number
        })
        .await;
    }
    for served in 1..=8 {
        // The next is at the endpoint as soon as the one before is done.
        eventually("the next", || only.endpoint.served() == served).await;
        only.go.add_permits(1);
    }
    let statuses = soon("answers", clients.join_all()).await;
    assert_eq!(statuses, [200; 8]);
    let expected: Vec<_> = (0..8).map(|number| format!("/{number}")).collect();
    assert_eq!(*only.paths.lock(), expected);
    setup.at_rest().await;
}

#[tokio::test]
async fn what_finds_the_queue_full_is_refused_at_once() {
    for (refusal, status, counted) in [
        (RefusalStatus::ServiceUnavailable, 503, Answer::QueueFull),
        (RefusalStatus::TooManyRequests, 429, Answer::QueueFull429),
    ] {
        let only = held().await;
        let settings = ServiceSettings {
            refusal,
            ..ServiceSettings::default()
        };
        let setup = Arc::new(Setup::new(
            with_queue(1, LONG),
            settings,
            &[only.endpoint.address],
        ));
        let mut clients = JoinSet::new();
        for waiting in 0..2 {
            let asking = Arc::clone(&setup);
            clients.spawn(async move { asking.ask(GET).await.status });
            eventually("its place", || {
                only.endpoint.served() == 1 && depth(&setup) == waiting
            })
            .await;
        }
        let refused = setup.ask(GET).await;
        assert_eq!(refused.status, status);
        assert!(
            refused.head.contains("retry-after: 1\r\n"),
            "{}",
            refused.head
        );
        let word = "proxy-status: plimsoll; error=connection_limit_reached";
        assert!(refused.head.contains(word), "{}", refused.head);
        assert!(refused.body.contains("queue is full"), "{}", refused.body);
        only.go.add_permits(2);
        assert_eq!(soon("answers", clients.join_all()).await, [200, 200]);
        eventually("counted", || setup.view().requests.requests(counted) == 1).await;
    }
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let only = held().await;
    let setup = Arc::new(Setup::new(
        with_queue(10, Duration::from_millis(100)),
        ServiceSettings::default(),
        &[only.endpoint.address],
    ));
    let asking = Arc::clone(&setup);
    let first = tokio::spawn(async move { asking.ask(GET).await.status });
    eventually("the first", || only.endpoint.served() == 1).await;
    let late = setup.ask(GET).await;
    assert_eq!(late.status, 503);
    assert!(late.body.contains("waited too long"), "{}", late.body);
    eventually("counted", || {
        setup.view().requests.requests(Answer::QueueTimeout) == 1
    })
    .await;
    only.go.add_permits(1);
    assert_eq!(soon("the first", first).await.unwrap(), 200);
    setup.at_rest().await;
}

#[tokio::test]
async fn a_client_that_leaves_gives_up_its_place_at_once() {
    let only = held().await;
    let setup = Arc::new(Setup::new(
        with_queue(10, LONG),
        ServiceSettings::default(),
        &[only.endpoint.address],
    ));
    let asking = Arc::clone(&setup);
    let first = tokio::spawn(async move { asking.ask(GET).await.status });
    eventually("the first", || only.endpoint.served() == 1).await;
    let with_body = request("POST", "content-length: 1000000\r\n", "a part");
    for ask in [GET.to_owned(), with_body] {
        let mut stream = setup.connect().await;
        stream.write_all(ask.as_bytes()).await.unwrap();
        eventually("its place", || depth(&setup) == 1).await;
        drop(stream);
        eventually("nobody waits", || depth(&setup) == 0).await;
    }
    only.go.add_permits(1);
    assert_eq!(soon("the first", first).await.unwrap(), 200);
    eventually("counted", || {
        setup.view().requests.requests(Answer::ClientGone) == 2
    })
    .await;
    assert_eq!(only.endpoint.served(), 1);
    setup.at_rest().await;
}
