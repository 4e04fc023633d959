//! What happens while things change, break off, or go away.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_balance::EndpointSpec;
use plimsoll_meter::Clock;
use plimsoll_proxy::{HostPattern, Route, Routes, ServiceSettings, TimeLimits};
use plimsoll_wire::{Answer, ProxyError};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};

use crate::harness::{
    Endpoint, GET, OK, Setup, answer, eventually, head, in_turn, request, service, soon,
};
use crate::http2::{self, Script, ask};

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

fn saying(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
}

#[tokio::test]
async fn a_request_goes_where_its_host_and_path_lead() {
    let (a, b) = (
        Endpoint::answering(saying("a")).await,
        Endpoint::answering(saying("b")).await,
    );
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[a.address]);
    let other = service(
        setup.clock,
        "other",
        in_turn(),
        ServiceSettings::default(),
        &[b.address],
    );
    let route = |host: Option<&str>, prefix: &str, service| Route {
        hosts: host
            .map(|host| host.parse::<HostPattern>().unwrap())
            .into_iter()
            .collect(),
        path_prefix: prefix.to_owned(),
        service: Arc::clone(service),
    };
    let routes = vec![
        route(Some("a.example"), "/", &setup.service),
        route(Some("*.b.example"), "/api", &other),
    ];
    setup.routes.set(Routes::new(routes).unwrap());
    for (host, path, expected) in [
        ("a.example", "/", "a"),
        ("A.EXAMPLE:8080", "/x?y", "a"),
        ("x.b.example", "/api/v1", "b"),
    ] {
        assert_eq!(
            setup.ask(&get(host, path)).await.body,
            expected,
            "{host}{path}"
        );
        let client = http2::client(setup.address).await;
        let get = http::Request::get(format!("http://{host}{path}"));
        let answer = ask(&client, get.body(()).unwrap(), "").await;
        // Both endpoints speak HTTP/1 only, and `Auto` translates nothing.
        assert_eq!(answer.status(), 502, "{host}{path}");
    }
    let lost = setup.ask(&get("b.example", "/api")).await;
    assert_eq!(lost.status, 404);
    assert_eq!(lost.body, "no route for this host and path\n");
    assert!(
        lost.head
            .contains("proxy-status: plimsoll; error=destination_not_found")
    );
    assert!(!lost.head.contains("connection: close"), "{}", lost.head);
    let running = setup.running.as_ref().unwrap();
    eventually("counted", || {
        running
            .stats()
            .view()
            .errors(ProxyError::DestinationNotFound)
            == 1
    })
    .await;
}

#[tokio::test]
async fn a_service_without_endpoints_says_so() {
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[]);
    let refused = setup.ask(GET).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.body, "service default: there are no endpoints\n");
    assert!(
        refused.head.contains("retry-after: 1\r\n"),
        "{}",
        refused.head
    );
    assert!(
        refused.head.contains("error=destination_unavailable"),
        "{}",
        refused.head
    );
}

#[tokio::test]
async fn routes_change_under_load_and_no_request_notices() {
    let (a, b) = (
        Endpoint::slow(saying("a"), Duration::from_millis(2)).await,
        Endpoint::slow(saying("b"), Duration::from_millis(2)).await,
    );
    let setup = Arc::new(Setup::new(
        in_turn(),
        ServiceSettings::default(),
        &[a.address],
    ));
    let other = service(
        setup.clock,
        "other",
        in_turn(),
        ServiceSettings::default(),
        &[b.address],
    );
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let setup = Arc::clone(&setup);
        clients.spawn(async move {
            let mut stream = setup.connect().await;
            for _ in 0..50 {
                stream.write_all(GET.as_bytes()).await.unwrap();
                let answer = answer(&mut stream).await;
                assert!(answer.status == 200 && answer.is_whole, "{answer:?}");
            }
        });
    }
    let mut turn = 0;
    while clients.try_join_next().is_none() {
        turn += 1;
        let next = if turn % 2 == 0 {
            &setup.service
        } else {
            &other
        };
        setup.routes.set(Routes::to_one(Arc::clone(next)));
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    soon("all answered", clients.join_all()).await;
    assert!(
        a.served() > 0 && b.served() > 0,
        "{} and {}",
        a.served(),
        b.served()
    );
    assert_eq!(a.served() + b.served(), 400);
    setup.at_rest().await;
}

#[tokio::test]
async fn a_request_under_way_ends_with_the_service_it_began_with() {
    let (go, mut gone) = mpsc::channel::<()>(1);
    let go = Arc::new(parking_lot::Mutex::new(Some(go)));
    let (release, released) = tokio::sync::watch::channel(false);
    let slow = Endpoint::new(move |mut stream, served| {
        let (go, mut released) = (Arc::clone(&go), released.clone());
        async move {
            while !head(&mut stream).await.is_empty() {
                served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                go.lock().take();
                released.wait_for(|go| *go).await.unwrap();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let setup = Arc::new(Setup::new(
        in_turn(),
        ServiceSettings::default(),
        &[slow.address],
    ));
    let asking = Arc::clone(&setup);
    let first = tokio::spawn(async move { asking.ask(GET).await });
    soon("at the endpoint", gone.recv()).await;
    setup.routes.set(Routes::default());
    assert_eq!(setup.ask(GET).await.status, 404);
    release.send(true).unwrap();
    assert_eq!(soon("the answer", first).await.unwrap().body, "ok");
    setup.at_rest().await;
    assert_eq!(setup.endpoint(slow.address).successes, 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole_and_its_endpoint_is_blamed() {
    let broken = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
    ];
    for answer in broken {
        let only = Endpoint::new(move |mut stream, _| async move {
            head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
        let got = setup.ask(GET).await;
        assert_eq!(got.status, 200);
        assert!(!got.is_whole, "{got:?}");
        setup.at_rest().await;
        assert_eq!(setup.endpoint(only.address).failures.total(), 1);
        assert_eq!(
            setup
                .view()
                .requests
                .errors(ProxyError::HttpResponseIncomplete),
            1
        );
    }
    let told = Arc::new(Notify::new());
    let only = http2::endpoint(Script {
        reset: Some((h2::Reason::INTERNAL_ERROR, Some(Arc::clone(&told)))),
        ..Script::default()
    })
    .await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
    let mut client = http2::client(setup.address).await.ready().await.unwrap();
    let get = http::Request::get("http://a/").body(()).unwrap();
    let (response, _) = client.send_request(get, true).unwrap();
    let mut body = soon("head", response).await.unwrap().into_body();
    soon("a part", body.data()).await.unwrap().unwrap();
    told.notify_one();
    assert!(soon("the rest", body.data()).await.unwrap().is_err());
    setup.at_rest().await;
    assert_eq!(setup.endpoint(only.address).failures.total(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_blames_nobody() {
    let only = Endpoint::silent().await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
    let asked = [
        GET.to_owned(),
        request("POST", "content-length: 3\r\n", "abc"),
        request("POST", "content-length: 100\r\n", "abc"),
    ];
    for (count, asked) in asked.iter().enumerate() {
        let mut stream = setup.connect().await;
        stream.write_all(asked.as_bytes()).await.unwrap();
        eventually("at the endpoint", || only.served() == count + 1).await;
        drop(stream);
        setup.at_rest().await;
    }
    let client = http2::client(setup.address).await;
    drop(client);
    let endpoint = setup.endpoint(only.address);
    assert_eq!((endpoint.cancelled, endpoint.failures.total()), (3, 0));
    assert_eq!(setup.view().requests.requests(Answer::ClientGone), 3);
}

#[tokio::test]
async fn a_time_limit_blames_the_endpoint_unless_the_client_was_waited_for() {
    let only = Endpoint::silent().await;
    let settings = ServiceSettings {
        limits: TimeLimits {
            total: Some(Duration::from_millis(100)),
            ..TimeLimits::default()
        },
        ..ServiceSettings::default()
    };
    let setup = Setup::new(in_turn(), settings, &[only.address]);
    assert_eq!(setup.ask(GET).await.status, 504);
    setup.at_rest().await;
    assert_eq!(setup.endpoint(only.address).failures.total(), 1);
    let unfinished = request("POST", "content-length: 100\r\n", "abc");
    assert_eq!(setup.ask(&unfinished).await.status, 504);
    setup.at_rest().await;
    let endpoint = setup.endpoint(only.address);
    assert_eq!((endpoint.cancelled, endpoint.failures.total()), (1, 1));
}

#[tokio::test]
async fn connections_to_an_endpoint_that_has_left_are_closed() {
    let (closed, mut all_closed) = mpsc::channel::<()>(1);
    let going = Endpoint::new(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            while !head(&mut stream).await.is_empty() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let staying = Endpoint::answering(OK).await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[going.address]);
    let mut client = setup.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(soon("answer", answer(&mut client)).await.status, 200);
    let left = [EndpointSpec::new(staying.address.to_string())];
    setup
        .service
        .balancer()
        .set_endpoints(setup.clock.now(), &left)
        .unwrap();
    soon("closed", all_closed.recv()).await.unwrap();
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(soon("answer", answer(&mut client)).await.status, 200);
    assert_eq!(staying.served(), 1);
}

#[tokio::test]
async fn a_service_with_other_settings_goes_on_counting_and_keeps_its_connections() {
    let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let only = Endpoint::new(move |mut stream, _| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            while !head(&mut stream).await.is_empty() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
    let mut client = setup.connect().await;
    for round in 1..=3 {
        client.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(soon("answer", answer(&mut client)).await.status, 200);
        eventually("counted", || {
            setup.view().requests.requests_total() == round
        })
        .await;
        let settings = ServiceSettings {
            per_try_timeout: Some(Duration::from_secs(round)),
            ..ServiceSettings::default()
        };
        let changed = setup.routes.get().services()[0].with_settings(settings);
        setup.routes.set(Routes::to_one(Arc::new(changed)));
    }
    assert_eq!(accepted.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_drain_lets_requests_finish() {
    let slow = Endpoint::slow(OK, Duration::from_millis(200)).await;
    let mut setup = Setup::new(in_turn(), ServiceSettings::default(), &[slow.address]);
    let running = setup.running.take().unwrap();
    let mut client = setup.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    eventually("at the endpoint", || slow.served() == 1).await;
    let drained = tokio::spawn(running.drain(Duration::ZERO, None));
    let last = soon("answer", answer(&mut client)).await;
    assert_eq!((last.status, &*last.body), (200, "ok"));
    assert!(last.head.contains("connection: close\r\n"), "{}", last.head);
    assert_eq!(soon("drained", drained).await.unwrap().cut, 0);
}
