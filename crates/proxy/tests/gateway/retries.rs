//! What is sent to another endpoint after a failure, and what is not.

use std::time::Duration;

use plimsoll_balance::{BalancerConfig, RetryBudgetConfig};
use plimsoll_proxy::{NoRetry, RetryReason, ServiceSettings};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Endpoint, GET, LOOPBACK, OK, Setup, head, in_turn, nobody, request};

/// How the first endpoint fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    /// Nothing listens.
    Refuses,
    /// Reads the head and closes.
    HangsUp,
    /// Reads the head and says nothing.
    Stalls,
    /// Answers with this status.
    Answers(u16),
}

/// Half of the requests meet an endpoint that fails; the other one answers 200. Returns the worst status.
async fn worst(failing: Failing, asked: &str) -> u16 {
    let good = Endpoint::answering(OK).await;
    let bad = match failing {
        Failing::Refuses => None,
        Failing::HangsUp => Some(Endpoint::hanging_up().await),
        Failing::Stalls => Some(Endpoint::silent().await),
        Failing::Answers(status) => {
            let answer =
                format!("HTTP/1.1 {status} No\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno");
            Some(Endpoint::answering(answer).await)
        }
    };
    let address = match &bad {
        Some(endpoint) => endpoint.address,
        None => nobody().await,
    };
    let settings = ServiceSettings {
        per_try_timeout: Some(Duration::from_millis(100)),
        ..ServiceSettings::default()
    };
    let setup = Setup::new(in_turn(), settings, &[address, good.address]);
    let mut worst = 0;
    for _ in 0..2 {
        let answer = setup.ask(asked).await;
        assert!(answer.is_whole, "{failing:?} {asked:?}: {answer:?}");
        worst = worst.max(answer.status);
    }
    assert!(
        bad.is_none_or(|bad| bad.served() > 0),
        "it was not even asked"
    );
    setup.at_rest().await;
    worst
}

#[tokio::test]
async fn only_what_may_be_done_twice_is_sent_twice() {
    use Failing::{Answers, HangsUp, Refuses, Stalls};
    let with_body = request("POST", "content-length: 3\r\n", "abc");
    let chunked = request(
        "POST",
        "transfer-encoding: chunked\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
    );
    let put_with_body = request("PUT", "content-length: 3\r\n", "abc");
    let without_body = request("POST", "content-length: 0\r\n", "");
    let (get, put, delete) = (
        GET.to_owned(),
        request("PUT", "content-length: 0\r\n", ""),
        request("DELETE", "", ""),
    );
    let rows: [(Failing, &String, u16); 23] = [
        // Nobody has got a byte: anything goes.
        (Refuses, &get, 200),
        (Refuses, &with_body, 200),
        (Refuses, &chunked, 200),
        (Refuses, &without_body, 200),
        // It may have been worked on.
        (HangsUp, &get, 200),
        (HangsUp, &put, 200),
        (HangsUp, &delete, 200),
        (HangsUp, &without_body, 502),
        (HangsUp, &with_body, 502),
        (HangsUp, &put_with_body, 502),
        (Stalls, &get, 200),
        (Stalls, &without_body, 504),
        (Stalls, &with_body, 504),
        (Answers(502), &get, 200),
        (Answers(503), &get, 200),
        (Answers(504), &delete, 200),
        (Answers(503), &without_body, 503),
        (Answers(503), &with_body, 503),
        (Answers(502), &put_with_body, 502),
        // These speak of the request, or of the client.
        (Answers(500), &get, 500),
        (Answers(501), &get, 501),
        (Answers(404), &get, 404),
        (Answers(429), &get, 429),
    ];
    for (failing, asked, expected) in rows {
        assert_eq!(
            worst(failing, asked).await,
            expected,
            "{failing:?} {asked:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_sent_again_is_passed_on_as_it_came() {
    let answer = "HTTP/1.1 429 Slow Down\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nslow";
    let only = Endpoint::answering(answer).await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
    let answer = setup.ask(GET).await;
    assert_eq!((answer.status, &*answer.body), (429, "slow"));
    assert!(
        answer.head.contains("retry-after: 7\r\n"),
        "{}",
        answer.head
    );

    let only = Endpoint::answering("HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nfull").await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
    let answer = setup.ask(GET).await;
    assert_eq!((answer.status, &*answer.body), (503, "full"));
    assert_eq!(only.served(), 1, "there is nobody else to ask");
    assert_eq!(setup.view().not_retried[NoRetry::NoEndpoint as usize], 1);
}

#[tokio::test]
async fn without_a_budget_nothing_is_sent_again() {
    let (good, bad) = (Endpoint::answering(OK).await, Endpoint::hanging_up().await);
    let config = BalancerConfig {
        retry_budget: RetryBudgetConfig {
            ratio: 0.0,
            min_per_second: 0.0,
        },
        ..in_turn()
    };
    let setup = Setup::new(
        config,
        ServiceSettings::default(),
        &[bad.address, good.address],
    );
    let mut statuses = [setup.ask(GET).await.status, setup.ask(GET).await.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    let view = setup.view();
    assert_eq!(view.not_retried[NoRetry::Budget as usize], 1);
    assert_eq!(view.retries.iter().sum::<u64>(), 0);
    setup.at_rest().await;
}

#[tokio::test]
async fn a_request_is_sent_five_times_at_most_and_to_five_endpoints() {
    let mut endpoints = Vec::new();
    for _ in 0..7 {
        endpoints.push(Endpoint::hanging_up().await);
    }
    let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &addresses);
    assert_eq!(setup.ask(GET).await.status, 502);
    let served: Vec<_> = endpoints.iter().map(Endpoint::served).collect();
    assert_eq!(served.iter().sum::<usize>(), 5, "{served:?}");
    assert!(served.iter().all(|count| *count <= 1), "{served:?}");
    let view = setup.view();
    assert_eq!(view.retries[RetryReason::Reset as usize], 4);
    assert_eq!(view.not_retried[NoRetry::Attempts as usize], 1);
    setup.at_rest().await;
}

/// A connection that was kept and has been closed meanwhile is no failure of the endpoint.
#[tokio::test]
async fn a_kept_connection_that_has_closed_costs_no_retry() {
    let once = Endpoint::new(|mut stream, served| async move {
        if !head(&mut stream).await.is_empty() {
            served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[once.address]);
    for _ in 0..20 {
        assert_eq!(setup.ask(GET).await.status, 200);
    }
    assert_eq!(setup.view().retries.iter().sum::<u64>(), 0);
    assert_eq!(setup.endpoint(once.address).failures.total(), 0);
}

/// The time for one try may pass before there is a connection. The body has not been touched then.
#[tokio::test]
async fn a_body_that_nobody_has_got_a_byte_of_goes_elsewhere_whole() {
    // Its queue of connections is full, so that another attempt to connect hears nothing.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(LOOPBACK).unwrap();
    let deaf = socket.listen(1).unwrap();
    let address = deaf.local_addr().unwrap();
    let mut crowd = Vec::new();
    let pause = Duration::from_millis(200);
    while let Ok(Ok(stream)) = tokio::time::timeout(pause, TcpStream::connect(address)).await {
        crowd.push(stream);
    }
    let good = Endpoint::new(|mut stream, _| async move {
        while !head(&mut stream).await.is_empty() {
            let mut body = [0; 3];
            stream.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"abc");
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let settings = ServiceSettings {
        per_try_timeout: Some(pause),
        ..ServiceSettings::default()
    };
    let setup = Setup::new(in_turn(), settings, &[address, good.address]);
    let post = request("POST", "content-length: 3\r\n", "abc");
    for _ in 0..2 {
        assert_eq!(setup.ask(&post).await.status, 200);
    }
    assert_eq!(setup.endpoint(good.address).failures.total(), 0);
    assert!(setup.endpoint(address).failures.total() > 0);
    setup.at_rest().await;
}
