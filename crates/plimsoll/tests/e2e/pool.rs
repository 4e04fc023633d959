//! Connections to the application are kept, and one that it has closed is never used again.

use std::net::SocketAddr;
use std::sync::Arc;

use plimsoll_lab::backend::{Backend, Running};
use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client};
use crate::harness::sidecar::Sidecar;
use crate::harness::{eventually, h2c, soon};

/// Answers `per_connection` requests and closes without having said so. Each close is told by a permit.
async fn closing(per_connection: usize, closed: &Arc<Semaphore>) -> App {
    let closed = Arc::clone(closed);
    App::scripted(move |mut wire, _| {
        let closed = Arc::clone(&closed);
        async move {
            for _ in 0..per_connection {
                if app::request(&mut wire).await.is_none() {
                    return;
                }
                wire.send(app::OK).await;
            }
            wire.close().await;
            closed.add_permits(1);
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_the_application_has_closed_is_not_used_for_the_next_request() {
    for per_connection in [1, 3] {
        let closed = Arc::new(Semaphore::new(0));
        let app = closing(per_connection, &closed).await;
        let sidecar = Sidecar::start(app.addr, &["--workers", "1"]).await;
        let mut client = Client::connect(sidecar.data).await;
        for number in 0..150 {
            client.send(http1::post("/", "body")).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
            if (number + 1) % per_connection == 0 {
                // The close has reached the sidecar's socket, if not yet its eyes.
                soon("the close", closed.acquire()).await.unwrap().forget();
            }
        }
        assert_eq!(app.connections(), 150 / per_connection);
        assert_eq!(sidecar.scrape().await.errors_total(), 0.0);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_idle_is_not_used() {
    let close = Arc::new(Semaphore::new(0));
    let closes = Arc::clone(&close);
    let closed = Arc::new(Semaphore::new(0));
    let has_closed = Arc::clone(&closed);
    let app = App::scripted(move |mut wire, _| {
        let (close, closed) = (Arc::clone(&closes), Arc::clone(&has_closed));
        async move {
            app::request(&mut wire).await.unwrap();
            wire.send(app::OK).await;
            close.acquire().await.unwrap().forget();
            wire.close().await;
            closed.add_permits(1);
        }
    })
    .await;
    // Eight connections at once, so that several wait in the pool.
    let sidecar = Sidecar::start(app.addr, &["--workers", "1"]).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(sidecar.data).await);
    }
    for round in 0..20 {
        for client in &mut clients {
            client.send(http1::post("/", "body")).await;
        }
        for client in &mut clients {
            let answer = client.answer().await;
            assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        }
        close.add_permits(8);
        soon("all are closed", closed.acquire_many(8))
            .await
            .unwrap()
            .forget();
    }
    assert_eq!(app.connections(), 160);
}

/// The lab's backend where another was. A process that another test starts at this moment has a copy of the
/// old listener until it becomes its own program, so the port may not be free at once.
async fn lab_at(addr: SocketAddr) -> Running {
    eventually("the port is free", async || {
        let backend = Backend::bind(addr).ok()?;
        Some(backend.spawn(None).expect("a thread is to be had"))
    })
    .await
}

#[tokio::test]
async fn an_application_that_was_restarted_is_reached_by_the_next_request() {
    let addr = app::nowhere().await;
    let mut app = lab_at(addr).await;
    let sidecar = Sidecar::start(addr, &[]).await;
    let mut http1 = Client::connect(sidecar.data).await;
    let mut http2 = h2c::Client::connect(sidecar.data).await;
    for round in 0..10 {
        http1.send(http1::post("/echo", "body")).await;
        let answer = http1.answer().await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "body"),
            "round {round}"
        );
        let answer = http2.get("/bytes/4").await.unwrap();
        assert_eq!(answer.text(), "xxxx", "round {round}");
        drop(app);
        app = lab_at(addr).await;
    }
    assert_eq!(sidecar.scrape().await.errors_total(), 0.0);
}

#[tokio::test]
async fn an_application_that_comes_late_is_reached_once_it_is_there() {
    let addr = app::nowhere().await;
    let sidecar = Sidecar::start(addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    assert_eq!(client.get("/bytes/1").await.status, 502);
    let _app = lab_at(addr).await;
    let answer = eventually("the application answers", async || {
        let answer = http1::once(sidecar.data, http1::get("/bytes/1")).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.text(), "x");
    assert_eq!(client.get("/bytes/1").await.status, 200);
}

#[tokio::test]
async fn an_answer_that_says_close_ends_the_connection_to_the_application_only() {
    let app =
        App::answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nok\n")
            .await;
    let sidecar = Sidecar::start(app.addr, &["--workers", "1"]).await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..3 {
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.field("connection")), (200, None));
    }
    assert_eq!(app.connections(), 3);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_do_not_become_an_answer() {
    let sent = Arc::new(Semaphore::new(0));
    let sends = Arc::clone(&sent);
    let app = App::scripted(move |mut wire, number| {
        let sends = Arc::clone(&sends);
        async move {
            while app::request(&mut wire).await.is_some() {
                wire.send(app::OK).await;
                if number == 0 {
                    // An answer to no request, on an idle connection.
                    wire.send("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
                        .await;
                    sends.add_permits(1);
                }
            }
        }
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &["--workers", "1"]).await;
    let mut client = Client::connect(sidecar.data).await;
    assert_eq!(client.get("/").await.status, 200);
    soon("the stray answer", sent.acquire())
        .await
        .unwrap()
        .forget();
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(app.connections(), 2);
}
