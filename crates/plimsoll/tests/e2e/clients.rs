//! Clients that go away: whatever they held is free at once, and they are counted for what they are.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client};
use crate::harness::metrics::Metrics;
use crate::harness::sidecar::Sidecar;
use crate::harness::{h2c, soon};

/// `count` clients have gone, nothing else has happened, and nothing is held.
async fn gone(sidecar: &Sidecar, count: f64) -> Metrics {
    let metrics = sidecar
        .scraped("the client is counted as gone", |metrics| {
            metrics.requests_total() == count && metrics.in_flight() == 0.0
        })
        .await;
    assert_eq!(metrics.nonzero("plimsoll_request_errors_total{"), [""; 0]);
    assert_eq!(metrics.requests("4xx", "client_gone"), count);
    metrics
}

/// Requests as they stand when their client goes: without a body, with all of it, with a part of it.
///
/// A body that fills every buffer on the way would hide that its client has gone: the end comes behind it.
fn requests() -> [(&'static str, String); 4] {
    [
        ("no body", http1::get("/")),
        ("a small body", http1::post("/", "body")),
        ("a larger body", http1::post("/", &"b".repeat(50_000))),
        (
            "a part of a body",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\npart".to_owned(),
        ),
    ]
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_frees_its_place() {
    for (case, request) in requests() {
        let gate = Arc::new(Semaphore::new(0));
        let app = App::gated(&gate).await;
        let sidecar = Sidecar::start(app.addr, &["--concurrency", "1", "--queue", "1"]).await;
        let running = tokio::spawn(http1::once(sidecar.data, http1::get("/")));
        let queued = async |depth: f64| {
            sidecar
                .scraped(&format!("{case}: {depth} waiting"), |metrics| {
                    metrics.value("plimsoll_slots_in_use") == 1.0
                        && metrics.value("plimsoll_queue_depth") == depth
                        && metrics.in_flight() == 1.0 + depth
                })
                .await
        };
        queued(0.0).await;
        let mut leaving = Client::connect(sidecar.data).await;
        leaving.send(&request).await;
        queued(1.0).await;
        drop(leaving);
        queued(0.0).await;

        // Its place is free for the next one.
        let next = tokio::spawn(http1::once(sidecar.data, http1::get("/")));
        queued(1.0).await;
        gate.add_permits(2);
        assert_eq!(running.await.unwrap().status, 200, "{case}");
        assert_eq!(next.await.unwrap().status, 200, "{case}");
        let metrics = sidecar
            .scraped(case, |metrics| metrics.requests_total() == 3.0)
            .await;
        assert_eq!(metrics.requests("4xx", "client_gone"), 1.0, "{case}");
        assert_eq!(metrics.requests("2xx", "app"), 2.0, "{case}");
    }
}

#[tokio::test]
async fn an_h2c_stream_that_is_reset_in_the_queue_frees_its_place() {
    let gate = Arc::new(Semaphore::new(0));
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--concurrency", "1"]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let running = client
        .begin(h2c::request("GET", "/hang"), true)
        .await
        .unwrap();
    let waiting = client
        .begin(h2c::request("POST", "/"), false)
        .await
        .unwrap();
    sidecar
        .scraped("one waits", |metrics| {
            metrics.value("plimsoll_queue_depth") == 1.0
        })
        .await;
    drop(waiting);
    sidecar
        .scraped("none waits", |metrics| {
            metrics.value("plimsoll_queue_depth") == 0.0
                && metrics.requests("4xx", "client_gone") == 1.0
        })
        .await;
    // The slot as well.
    drop(running);
    assert_eq!(client.get("/bytes/1").await.unwrap().text(), "x");
    sidecar
        .scraped("two are gone", |metrics| {
            metrics.requests("4xx", "client_gone") == 2.0
                && metrics.requests("2xx", "app") == 1.0
                && metrics.in_flight() == 0.0
        })
        .await;
    drop(gate);
}

#[tokio::test]
async fn a_client_that_leaves_while_the_application_works_frees_its_slot_and_tells_the_application()
{
    for (case, request) in requests() {
        let told = Arc::new(Semaphore::new(0));
        let tells = Arc::clone(&told);
        let app = App::scripted(move |mut wire, _| {
            let tells = Arc::clone(&tells);
            async move {
                wire.head().await.unwrap();
                tells.add_permits(1);
                // The body, and then the end.
                wire.discard().await;
                tells.add_permits(1);
            }
        })
        .await;
        let sidecar = Sidecar::start(app.addr, &["--concurrency", "1"]).await;
        let mut client = Client::connect(sidecar.data).await;
        client.send(&request).await;
        soon(case, told.acquire()).await.unwrap().forget();
        drop(client);
        soon("the application is told", told.acquire())
            .await
            .unwrap()
            .forget();
        let metrics = gone(&sidecar, 1.0).await;
        assert_eq!(metrics.value("plimsoll_slots_in_use"), 0.0, "{case}");
    }
}

#[tokio::test]
async fn an_h2c_stream_that_is_reset_while_the_application_works_is_gone() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--concurrency", "1"]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    for (path, end) in [("/hang", true), ("/hang", false), ("/echo", false)] {
        let before = app.requests();
        let mut pending = client.begin(h2c::request("POST", path), end).await.unwrap();
        if !end {
            pending.send("part").await;
        }
        crate::harness::eventually("the application has it", async || {
            (app.requests() > before).then_some(())
        })
        .await;
        drop(pending);
        sidecar
            .scraped("nothing in flight", |metrics| metrics.in_flight() == 0.0)
            .await;
    }
    gone(&sidecar, 3.0).await;
    assert_eq!(client.get("/bytes/1").await.unwrap().text(), "x");
}

#[tokio::test]
async fn a_client_that_leaves_within_the_answer_frees_its_slot() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--concurrency", "1"]).await;
    let mut count = 0.0;
    // Pieces keep coming; nothing comes for a long time; more comes than the client takes.
    for path in ["/stream/10000/10", "/stream/2/100000", "/bytes/1000000000"] {
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get(path)).await;
        assert_eq!(client.head().await.0, 200);
        assert!(!client.0.some().await.is_empty());
        drop(client);
        count += 1.0;
        gone(&sidecar, count).await;

        let mut client = h2c::Client::connect(sidecar.data).await;
        let pending = client.begin(h2c::request("GET", path), true).await.unwrap();
        let mut stream = soon("the head", pending.response)
            .await
            .unwrap()
            .into_body();
        h2c::part(&mut stream).await.unwrap().unwrap();
        drop((stream, pending.body));
        count += 1.0;
        gone(&sidecar, count).await;
    }
}

#[tokio::test]
async fn a_client_that_resets_its_connection_is_gone() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--concurrency", "1"]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(http1::get("/hang")).await;
    sidecar
        .scraped("it runs", |metrics| metrics.in_flight() == 1.0)
        .await;
    client.0.reset();
    gone(&sidecar, 1.0).await;
    sidecar
        .scraped("no connection is left", |metrics| {
            metrics.value("plimsoll_connections_open") == 0.0
        })
        .await;
}
