//! `Expect: 100-continue`, informational answers, and answers that come before the request has been read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client, End};
use crate::harness::sidecar::Sidecar;
use crate::harness::wire::Wire;
use crate::harness::{h2c, program};

/// A body that is larger than a polite application reads of a request it refuses.
const BODY: usize = 3_000_000;

/// A body that is larger than all socket buffers on the way.
const HUGE_BODY: usize = 24_000_000;

const ASKING: &str =
    "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";

#[tokio::test]
async fn the_client_is_told_to_go_on_when_the_application_says_so() {
    let gate = Arc::new(Semaphore::new(0));
    let opens = Arc::clone(&gate);
    let app = App::scripted(move |mut wire, _| {
        let gate = Arc::clone(&opens);
        async move {
            let head = wire.head().await.unwrap();
            assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
            gate.acquire().await.unwrap().forget();
            wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(wire.exactly(4).await, b"body");
            wire.send(app::OK).await;
        }
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(ASKING).await;
    gate.add_permits(1);
    assert_eq!(client.head().await.0, 100);
    client.send("body").await;
    assert_eq!(client.answer().await.text(), "ok\n");
}

#[tokio::test]
async fn a_client_that_asks_first_hears_a_refusal_and_never_a_100() {
    for status in [404, 417, 500, 503] {
        for keeps in [true, false] {
            let app = App::scripted(move |mut wire, _| async move {
                wire.head().await.unwrap();
                wire.send(format!(
                    "HTTP/1.1 {status} No\r\ncontent-length: 3\r\n\r\nno\n"
                ))
                .await;
                if keeps {
                    wire.discard().await;
                }
            })
            .await;
            let sidecar = Sidecar::start(app.addr, &[]).await;
            let mut client = Client::connect(sidecar.data).await;
            client
                .send(ASKING.replace("content-length: 4", &format!("content-length: {BODY}")))
                .await;
            let (first, head) = client.head().await;
            assert_eq!(first, status, "{head}");
            let answer = client.body(first, head).await;
            assert_eq!((answer.text(), answer.end), ("no\n", End::Whole));
        }
    }
}

#[tokio::test]
async fn an_application_that_says_nothing_gets_the_body_after_a_second() {
    let app = App::scripted(|mut wire, _| async move {
        app::request(&mut wire).await.unwrap();
        wire.send(app::OK).await;
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    let began = Instant::now();
    client.send(ASKING).await;
    assert_eq!(client.head().await.0, 100);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    client.send("body").await;
    assert_eq!(client.answer().await.text(), "ok\n");
}

#[tokio::test]
async fn http10_has_no_expectations() {
    let app = App::scripted(|mut wire, _| async move {
        let (head, body) = app::request(&mut wire).await.unwrap();
        assert!(!head.contains("expect"), "{head}");
        assert_eq!(body, b"body");
        wire.send(app::OK).await;
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    let request = ASKING.replace("HTTP/1.1", "HTTP/1.0");
    client.send(format!("{request}body")).await;
    assert_eq!(client.head().await.0, 200, "and no 100");
}

#[tokio::test]
async fn early_hints_are_not_the_answer() {
    for (last, status) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", 404),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", 200),
    ] {
        let app = App::scripted(move |mut wire, _| async move {
            while app::request(&mut wire).await.is_some() {
                wire.send("HTTP/1.1 103 Early Hints\r\nlink: </s.css>; rel=preload\r\n\r\n")
                    .await;
                wire.send("HTTP/1.1 102 Processing\r\n\r\n").await;
                wire.send(last).await;
            }
        })
        .await;
        let sidecar = Sidecar::start(app.addr, &[]).await;
        let mut client = Client::connect(sidecar.data).await;
        for request in [http1::get("/"), http1::post("/", "body")] {
            client.send(request).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.text()), (status, "no"));
        }
        assert_eq!(sidecar.scrape().await.errors_total(), 0.0);
    }
}

/// How an application refuses without reading.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Keeps the connection open and never reads on.
    Stops,
    /// Closes the connection: what it has not read makes the kernel reset it.
    Closes,
    /// Ends its side, and throws away what comes.
    Drains,
}

async fn refuse(mut wire: Wire, manner: Manner) {
    if wire.head().await.is_none() {
        return;
    }
    wire.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nbusy\n")
        .await;
    match manner {
        Manner::Stops => std::future::pending().await,
        Manner::Closes => {}
        Manner::Drains => {
            wire.finish().await;
            wire.discard().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_everything_first_hears_the_early_answer() {
    for manner in [Manner::Stops, Manner::Closes, Manner::Drains] {
        for length in [BODY, HUGE_BODY] {
            let app = App::scripted(move |wire, _| refuse(wire, manner)).await;
            let sidecar = Sidecar::start(app.addr, &["--concurrency", "1"]).await;
            let mut client = Client::connect(sidecar.data).await;
            client.send(http1::post("/", &"b".repeat(length))).await;
            let answer = client.answer().await;
            let case = format!("{manner:?} {length}");
            assert_eq!((answer.status, answer.text()), (503, "busy\n"), "{case}");
            assert_eq!(answer.end, End::Whole, "{case}");
            sidecar
                .scraped("the request has ended", |metrics| {
                    metrics.in_flight() == 0.0 && metrics.requests("5xx", "app") == 1.0
                })
                .await;
        }
    }
}

#[tokio::test]
async fn an_early_answer_to_an_h2c_request_arrives_whole() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let request = h2c::request("POST", "/early/503");
    let mut pending = client.begin(request, false).await.unwrap();
    pending.send(vec![b'b'; 10_000]).await;
    let answer = h2c::answer(pending.response).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (503, "503\n"));
    assert_eq!(client.get("/bytes/1").await.unwrap().text(), "x");
}

#[tokio::test]
async fn curl_hears_the_early_answer_with_and_without_expect() {
    if !program::is_here("curl") {
        return;
    }
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let body = vec![b'b'; BODY];
    for expect in ["Expect: 100-continue", "Expect:"] {
        for status in [404, 500, 503] {
            for close in ["", "?close=1"] {
                let url = format!("http://{}/early/{status}{close}", sidecar.data);
                let arguments = ["-sS", "--http1.1", "-H", expect, "--data-binary", "@-"];
                let arguments = [&arguments[..], &["-w", "%{http_code}", &url]].concat();
                let said = program::run_with("curl", &arguments, &body).await;
                let case = format!("{expect} {url}: {}", said.stderr);
                assert!(said.success, "{case}");
                assert_eq!(said.text(), format!("{status}\n{status}"), "{case}");
            }
        }
    }
    assert_eq!(sidecar.scrape().await.errors_total(), 0.0);
}
