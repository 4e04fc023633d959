//! Time limits hold whatever the request waits for: a slot, its body, the application, or the client.

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client, End};
use crate::harness::sidecar::Sidecar;
use crate::harness::{h2c, soon};

async fn timed_out(sidecar: &Sidecar, count: f64) {
    let metrics = sidecar
        .scraped("the limit has passed", |metrics| {
            metrics.in_flight() == 0.0 && metrics.requests("5xx", "timeout") == count
        })
        .await;
    assert_eq!(metrics.requests_total(), count);
    assert_eq!(metrics.errors("http_response_timeout"), count);
}

#[tokio::test]
async fn a_request_that_waits_in_the_queue_is_told_in_time() {
    let app = app::lab();
    let arguments = ["--concurrency", "1", "--timeout", "300ms"];
    let sidecar = Sidecar::start(app.addr(), &arguments).await;
    let mut clients = Vec::new();
    for request in [
        http1::get("/hang"),
        http1::get("/hang"),
        http1::post("/hang", "body"),
    ] {
        let mut client = Client::connect(sidecar.data).await;
        client.send(request).await;
        clients.push(client);
    }
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (504, "request timeout"));
    }
    timed_out(&sidecar, 3.0).await;
    let metrics = sidecar.scrape().await;
    assert_eq!(metrics.value("plimsoll_queue_depth"), 0.0);
    assert_eq!(metrics.value("plimsoll_slots_in_use"), 0.0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let app = App::scripted(|mut wire, _| async move { wire.discard().await }).await;
    let sidecar = Sidecar::start(app.addr, &["--timeout", "300ms"]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\npart")
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text()), (504, "request timeout"));
    timed_out(&sidecar, 1.0).await;
}

#[tokio::test]
async fn a_body_that_is_not_read_is_not_waited_for() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &["--timeout", "300ms"]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(http1::post("/", &"b".repeat(24_000_000))).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text()), (504, "request timeout"));
    timed_out(&sidecar, 1.0).await;
}
/// Otherwise a client that reads nothing holds a slot for ever.
#[tokio::test]
async fn an_answer_that_is_not_read_is_not_waited_for() {
    let app = app::lab();
    for limit in ["--timeout", "--idle-timeout"] {
        let arguments = ["--concurrency", "1", limit, "500ms"];
        let sidecar = Sidecar::start(app.addr(), &arguments).await;
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get("/bytes/1000000000")).await;
        timed_out(&sidecar, 1.0).await;
        assert_eq!(client.answer().await.end, End::Short, "{limit}");

        let mut client = h2c::Client::connect(sidecar.data).await;
        let request = h2c::request("GET", "/bytes/1000000000");
        let pending = client.begin(request, true).await.unwrap();
        let mut stream = soon("the head", pending.response)
            .await
            .unwrap()
            .into_body();
        timed_out(&sidecar, 2.0).await;
        let broken = loop {
            match h2c::part(&mut stream).await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(matches!(broken, Some(Err(_))), "{limit}: {broken:?}");
        assert_eq!(client.get("/bytes/1").await.unwrap().text(), "x");
    }
}
