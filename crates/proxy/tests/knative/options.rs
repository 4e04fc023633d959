//! What a sidecar does only if asked to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_proxy::{SidecarConfig, TimeLimits, Uncounted};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::{answer, app, config, connect, eventually, get, head, soon, start};

/// An application that sends the parts of its answer when told, and counts its requests.
#[derive(Clone)]
struct Slow {
    arrived: Arc<AtomicUsize>,
    /// A permit for each part.
    go: Arc<Semaphore>,
}

impl Slow {
    async fn start() -> (Self, SocketAddr) {
        let slow = Self {
            arrived: Arc::default(),
            go: Arc::new(Semaphore::new(0)),
        };
        let serving = slow.clone();
        let address = app(move |mut stream: TcpStream| {
            let slow = serving.clone();
            async move {
                while !head(&mut stream).await.is_empty() {
                    slow.arrived.fetch_add(1, Ordering::SeqCst);
                    for part in ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "o", "k"] {
                        slow.go.acquire().await.unwrap().forget();
                        if stream.write_all(part.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            }
        })
        .await;
        (slow, address)
    }

    fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }
}

fn one_at_a_time(app: SocketAddr) -> SidecarConfig {
    SidecarConfig {
        concurrency: 1,
        ..config(app)
    }
}

#[tokio::test]
async fn the_slot_of_a_client_that_has_gone_is_held_until_the_application_has_answered() {
    // Parts of the answer that the client waits for before it goes.
    for parts in [0, 1, 2] {
        for holds in [false, true] {
            let (slow, address) = Slow::start().await;
            let mut config = one_at_a_time(address);
            config.options.hold_cancelled = holds;
            let (running, address) = start(&config);
            let mut first = connect(address).await;
            first.write_all(get(&[]).as_bytes()).await.unwrap();
            eventually("arrived", || slow.arrived() == 1).await;
            let mut second = connect(address).await;
            second.write_all(get(&[]).as_bytes()).await.unwrap();
            let breaker = running.breaker().unwrap();
            eventually("waiting", || breaker.waiting() == 1).await;

            slow.go.add_permits(parts);
            if parts > 0 {
                soon("head", head(&mut first)).await;
            }
            drop(first);
            let in_flight = || running.meter().in_flight().total;
            eventually("gone", || in_flight() == 1).await;
            if holds {
                assert_eq!(
                    (breaker.waiting(), slow.arrived()),
                    (1, 1),
                    "after {parts} parts"
                );
            }
            slow.go.add_permits(6);
            assert_eq!(answer(&mut second).await.body, "ok");
            assert_eq!(slow.arrived(), 2);
            // The connection has been kept for the second request only if the first came to its end.
            eventually("at rest", || breaker.running() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_slot_that_is_held_is_given_back_when_the_total_time_limit_has_passed() {
    let (slow, address) = Slow::start().await;
    let mut config = one_at_a_time(address);
    config.options.hold_cancelled = true;
    config.limits.total = Some(Duration::from_millis(500));
    let (running, address) = start(&config);
    let mut client = connect(address).await;
    client.write_all(get(&[]).as_bytes()).await.unwrap();
    eventually("arrived", || slow.arrived() == 1).await;
    drop(client);
    eventually("gone", || running.meter().in_flight().total == 0).await;
    let breaker = running.breaker().unwrap();
    assert_eq!(breaker.running(), 1);
    eventually("given back", || breaker.running() == 0).await;
}

#[tokio::test]
async fn what_is_not_to_be_counted_is_held_to_the_limit_all_the_same() {
    let (slow, address) = Slow::start().await;
    let mut config = one_at_a_time(address);
    config.options.uncounted = Uncounted {
        paths: vec!["/p".to_owned()],
        user_agents: Vec::new(),
    };
    let (running, address) = start(&config);
    let mut uncounted = connect(address).await;
    uncounted.write_all(get(&[]).as_bytes()).await.unwrap();
    eventually("arrived", || slow.arrived() == 1).await;
    assert_eq!(running.meter().in_flight().total, 0);
    let mut counted = connect(address).await;
    let request = get(&[]).replace("/p?q", "/other");
    counted.write_all(request.as_bytes()).await.unwrap();
    eventually("waiting", || running.breaker().unwrap().waiting() == 1).await;
    assert_eq!(running.meter().in_flight().total, 1);
    slow.go.add_permits(6);
    for client in [&mut uncounted, &mut counted] {
        assert_eq!(answer(client).await.body, "ok");
    }
    eventually("counted", || running.stats().view().requests_total() == 1).await;
}

#[tokio::test]
async fn time_limits_include_the_queue_unless_they_are_not_to() {
    for (is_untimed, expected) in [(false, 504), (true, 200)] {
        let app = app(async |mut stream: TcpStream| {
            while !head(&mut stream).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _gone = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
        })
        .await;
        let mut config = one_at_a_time(app);
        config.options.queue_is_untimed = is_untimed;
        config.limits = TimeLimits {
            total: Some(Duration::from_millis(900)),
            ..TimeLimits::default()
        };
        let (_running, address) = start(&config);
        let mut clients = [connect(address).await, connect(address).await];
        let mut statuses = Vec::new();
        for client in &mut clients {
            client.write_all(get(&[]).as_bytes()).await.unwrap();
        }
        for client in &mut clients {
            statuses.push(answer(client).await.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, expected], "untimed {is_untimed}");
    }
}
