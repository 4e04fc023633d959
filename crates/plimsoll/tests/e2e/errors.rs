//! What a client is told when something goes wrong, and that metrics and log use the same word.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client, End};
use crate::harness::sidecar::Sidecar;
use crate::harness::{h2c, soon};

/// The failure is counted once, in both families, and there is a line for it.
async fn told(sidecar: &Sidecar, class: &str, source: &str, word: &str) {
    let metrics = sidecar
        .scraped(&format!("{source} {word}"), |metrics| {
            metrics.requests(class, source) == 1.0 && metrics.errors(word) == 1.0
        })
        .await;
    assert_eq!(metrics.requests_total(), 1.0, "counted once");
    assert_eq!(metrics.errors_total(), 1.0, "counted once");
    assert_eq!(metrics.in_flight(), 0.0);
    let line = sidecar.logged(word, |line| line["error"] == word).await;
    assert_eq!(line["source"], source);
}

/// One failing request over each protocol, each against a sidecar of its own.
async fn fails(
    app: std::net::SocketAddr,
    path: &str,
    arguments: &[&str],
    expected: (u16, &str, &str),
) {
    let (status, source, word) = expected;
    let sidecar = Sidecar::start(app, arguments).await;
    let answer = http1::once(sidecar.data, http1::get(path)).await;
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.proxy_error(), Some(word), "{}", answer.head);
    assert_eq!(answer.end, End::Whole);
    assert!(
        answer.text().trim_end().lines().count() == 1,
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    told(&sidecar, "5xx", source, word).await;
}

async fn fails_over_h2c(
    app: std::net::SocketAddr,
    path: &str,
    arguments: &[&str],
    expected: (u16, &str, &str),
) {
    let (status, source, word) = expected;
    let sidecar = Sidecar::start(app, arguments).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let answer = client.get(path).await.unwrap();
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    assert_eq!(answer.proxy_error(), Some(word), "{:?}", answer.headers);
    told(&sidecar, "5xx", source, word).await;
}

#[tokio::test]
async fn an_application_that_is_down() {
    let expected = (502, "upstream_error", "connection_refused");
    fails(app::nowhere().await, "/", &[], expected).await;
    fails_over_h2c(app::nowhere().await, "/", &[], expected).await;
}

#[tokio::test]
async fn an_application_that_closes_without_an_answer() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await;
    })
    .await;
    let expected = (502, "upstream_error", "connection_terminated");
    fails(app.addr, "/", &[], expected).await;
    fails_over_h2c(app.addr, "/", &[], expected).await;
}

#[tokio::test]
async fn an_application_that_resets_without_an_answer() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.reset();
    })
    .await;
    let expected = (502, "upstream_error", "connection_terminated");
    fails(app.addr, "/", &[], expected).await;
    fails_over_h2c(app.addr, "/", &[], expected).await;
}

#[tokio::test]
async fn an_application_that_closes_within_the_head() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-le").await;
    })
    .await;
    fails(
        app.addr,
        "/",
        &[],
        (502, "upstream_error", "connection_terminated"),
    )
    .await;
}

#[tokio::test]
async fn an_application_that_speaks_something_else() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n",
        "\0\0\x12\x04\0\0\0\0\0",
    ] {
        let app = App::answering(garbage).await;
        fails(
            app.addr,
            "/",
            &[],
            (502, "upstream_error", "http_protocol_error"),
        )
        .await;
    }
    let app = App::answering("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
    fails_over_h2c(
        app.addr,
        "/",
        &[],
        (502, "upstream_error", "http_protocol_error"),
    )
    .await;
}

#[tokio::test]
async fn an_application_whose_head_is_too_large() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await;
        let field = format!("x-large: {}\r\n", "v".repeat(8_000));
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(20));
        // It is not read to its end.
        wire.try_send(head).await.ok();
        wire.discard().await;
    })
    .await;
    let expected = (502, "upstream_error", "http_response_header_section_size");
    fails(app.addr, "/", &[], expected).await;
}

#[tokio::test]
async fn time_limits_before_the_answer_begins() {
    let app = app::lab();
    let expected = (504, "timeout", "http_response_timeout");
    for limit in ["--timeout", "--response-start-timeout", "--idle-timeout"] {
        fails(app.addr(), "/hang", &[limit, "50ms"], expected).await;
    }
    fails_over_h2c(app.addr(), "/hang", &["--timeout", "50ms"], expected).await;
    let sidecar = Sidecar::start(app.addr(), &["--timeout", "50ms"]).await;
    let mut client = Client::connect(sidecar.data).await;
    let answer = client.get("/hang").await;
    assert_eq!((answer.status, answer.text()), (504, "request timeout"));
    // The client's connection goes on.
    assert_eq!(client.get("/bytes/1").await.text(), "x");
}

/// Each of these begins an answer and breaks it off; the client must not take it for whole.
#[tokio::test]
async fn an_answer_that_broke_off_is_never_a_whole_one() {
    let app = app::lab();
    let cut = ("timeout", "http_response_timeout");
    let lie = ("upstream_error", "http_response_incomplete");
    for (path, arguments, (source, word)) in [
        ("/lie/1000", &[][..], lie),
        ("/stream/100/50", &["--timeout", "300ms"], cut),
        ("/slow-length/100/50", &["--timeout", "300ms"], cut),
        ("/stream/2/5000", &["--idle-timeout", "300ms"], cut),
    ] {
        let sidecar = Sidecar::start(app.addr(), arguments).await;
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get(path)).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.end), (200, End::Short), "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        assert!(
            answer.body.iter().all(|byte| !b"timeou".contains(byte)),
            "{path} {:?}",
            answer.body
        );
        told(&sidecar, "5xx", source, word).await;

        let sidecar = Sidecar::start(app.addr(), arguments).await;
        let mut client = h2c::Client::connect(sidecar.data).await;
        let broken = client.get(path).await.unwrap_err();
        assert!(broken.is_reset(), "{path} {broken:?}");
        told(&sidecar, "5xx", source, word).await;
    }
}

#[tokio::test]
async fn a_chunked_answer_without_its_last_chunk_is_not_a_whole_one() {
    for rest in ["5\r\nhello\r\n", "5\r\nhel", "5\r\nhello\r\nzz\r\n"] {
        let app = App::scripted(move |mut wire, _| async move {
            wire.head().await;
            wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            wire.send(rest).await;
        })
        .await;
        let sidecar = Sidecar::start(app.addr, &[]).await;
        let answer = http1::once(sidecar.data, http1::get("/")).await;
        assert_eq!((answer.status, answer.end), (200, End::Short), "{rest:?}");
        told(
            &sidecar,
            "5xx",
            "upstream_error",
            "http_response_incomplete",
        )
        .await;
    }
}

#[tokio::test]
async fn one_slot_and_a_queue_of_ten_take_eleven_of_fourteen() {
    let gate = Arc::new(Semaphore::new(0));
    let app = App::gated(&gate).await;
    let sidecar = Sidecar::start(app.addr, &["--concurrency", "1"]).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..14 {
        clients.spawn(http1::once(sidecar.data, http1::get("/")));
    }
    // Those over the queue are told at once: nothing has run to its end yet.
    for _ in 0..3 {
        let refused = soon("a refusal", clients.join_next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (refused.status, refused.text()),
            (503, "pending request queue full\n")
        );
        assert_eq!(refused.field("retry-after"), Some("1"));
        assert_eq!(refused.proxy_error(), Some("connection_limit_reached"));
        assert_eq!(refused.field("connection"), None, "the connection goes on");
    }
    let metrics = sidecar
        .scraped("a full queue", |metrics| {
            metrics.value("plimsoll_queue_depth") == 10.0
        })
        .await;
    assert_eq!(metrics.value("plimsoll_slots_in_use"), 1.0);
    assert_eq!(metrics.value("plimsoll_queue_capacity"), 10.0);
    assert_eq!(metrics.in_flight(), 11.0);
    assert_eq!(metrics.requests("5xx", "queue_full"), 3.0);
    assert_eq!(metrics.errors("connection_limit_reached"), 3.0);
    let line = sidecar
        .logged("a refusal", |line| {
            line["error"] == "connection_limit_reached"
        })
        .await;
    assert_eq!(line["source"], "queue_full");

    gate.add_permits(11);
    while let Some(served) = soon("the rest", clients.join_next()).await {
        assert_eq!(served.unwrap().status, 200);
    }
    let metrics = sidecar
        .scraped("the rest is counted", |metrics| {
            metrics.requests("2xx", "app") == 11.0
        })
        .await;
    assert_eq!(
        (metrics.in_flight(), metrics.value("plimsoll_slots_in_use")),
        (0.0, 0.0)
    );
    assert_eq!(metrics.requests_total(), 14.0);
}

/// Requests that are no requests.
const MALFORMED: &[&str] = &[
    "GARBAGE\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nx: \u{1}\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
    "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
];

#[tokio::test]
async fn malformed_requests_are_refused_and_the_connection_closed() {
    let many = "x: y\r\n".repeat(200);
    let large = format!("x-large: {}\r\n", "v".repeat(70 * 1024));
    let too_large =
        [many, large].map(|fields| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    let malformed = MALFORMED.iter().map(|request| ((*request).to_owned(), 400));
    let app = app::lab();
    for (request, status) in malformed.chain(too_large.map(|request| (request, 431))) {
        let sidecar = Sidecar::start(app.addr(), &[]).await;
        let mut client = Client::connect(sidecar.data).await;
        client.send(&request).await;
        let answer = client.answer().await;
        let case = request.escape_debug().to_string();
        let case = &case[..case.len().min(90)];
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.proxy_error(), Some("http_request_error"), "{case}");
        assert_eq!(answer.field("connection"), Some("close"), "{case}");
        assert_eq!(answer.text().lines().count(), 1, "{case}");
        assert_eq!(client.0.read_to_end().await, b"", "{case}");
        let metrics = sidecar
            .scraped(case, |metrics| {
                metrics.requests("4xx", "invalid_request") == 1.0
            })
            .await;
        assert_eq!(metrics.errors("http_request_error"), 1.0, "{case}");
        assert_eq!(metrics.requests_total(), 1.0, "{case}");
        assert_eq!(metrics.in_flight(), 0.0, "{case}");
        let line = sidecar
            .logged(case, |line| line["error"] == "http_request_error")
            .await;
        assert_eq!(line["source"], "invalid_request", "{case}");
    }
    assert_eq!(app.requests(), 0, "none of them reached the application");
}

/// What is forwarded is called `chunked` alone, so what else was done to the body would be forgotten.
#[tokio::test]
async fn a_transfer_coding_besides_chunked_is_refused() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    let answer = http1::once(sidecar.data, request).await;
    assert_eq!(
        (answer.status, answer.proxy_error()),
        (501, Some("http_request_error"))
    );
    assert_eq!(app.requests(), 0);
}

/// RFC 9112 section 6.1: one of the two lengths must not reach the application, and nothing that follows on
/// the connection may be taken for a request.
#[tokio::test]
async fn a_request_with_both_lengths_is_read_by_its_chunks_alone_and_is_the_last() {
    for fields in [
        "content-length: 9\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 9\r\n",
    ] {
        let (seen, mut sees) = tokio::sync::mpsc::channel(1);
        let app = App::scripted(move |mut wire, _| {
            let seen = seen.clone();
            async move {
                let head = wire.head().await.unwrap();
                let body = wire.until(b"0\r\n\r\n").await.unwrap();
                wire.send(app::OK).await;
                seen.send((head, body)).await.unwrap();
            }
        })
        .await;
        let sidecar = Sidecar::start(app.addr, &[]).await;
        let mut client = Client::connect(sidecar.data).await;
        let smuggled = http1::get("/smuggled");
        client
            .send(format!(
                "POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n2\r\nab\r\n0\r\n\r\n{smuggled}"
            ))
            .await;
        let (head, body) = soon("the request", sees.recv()).await.unwrap();
        assert!(!head.contains("content-length"), "{head}");
        assert_eq!(body, b"2\r\nab\r\n0\r\n\r\n");
        assert_eq!(client.answer().await.text(), "ok\n");
        client.0.discard().await;
        assert_eq!(sidecar.scrape().await.requests_total(), 1.0, "{fields}");
    }
}

#[tokio::test]
async fn a_malformed_request_behind_a_good_one_is_refused_after_its_answer() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send(format!("{}GARBAGE\r\n\r\n", http1::get("/bytes/2")))
        .await;
    assert_eq!(client.answer().await.text(), "xx");
    assert_eq!(client.answer().await.status, 400);
    assert_eq!(client.0.read_to_end().await, b"");
}

#[tokio::test]
async fn a_broken_chunk_of_a_request_ends_the_request() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send("POST /early/200 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
        .await;
    // Whatever the client hears, the connection ends and nothing is left behind.
    client.0.discard().await;
    sidecar
        .scraped("nothing in flight", |metrics| {
            metrics.in_flight() == 0.0 && metrics.requests_total() == 1.0
        })
        .await;
    assert_eq!(http1::once(sidecar.data, http1::get("/")).await.status, 200);
}

#[tokio::test]
async fn an_h2c_head_that_is_too_large_is_refused() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    // The client has read the server's SETTINGS once it has an answer.
    client.get("/").await.unwrap();
    let mut request = h2c::request("GET", "/");
    for index in 0..10 {
        let name = http::HeaderName::try_from(format!("x-large-{index}")).unwrap();
        request
            .headers_mut()
            .insert(name, "v".repeat(8_000).parse().unwrap());
    }
    let pending = client.begin(request, true).await.unwrap();
    match h2c::answer(pending.response).await {
        Ok(answer) => assert_eq!(answer.status.as_u16(), 431),
        Err(error) => assert!(error.is_reset(), "{error:?}"),
    }
    assert_eq!(client.get("/bytes/1").await.unwrap().text(), "x");
    assert_eq!(app.requests(), 2);
}
