//! SIGTERM: the sidecar comes to rest without failing anybody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client, End};
use crate::harness::sidecar::Sidecar;
use crate::harness::{eventually, h2c, soon};

/// Asks it to drain; from here on it is not ready.
async fn drain(sidecar: &Sidecar, signal: Signal) {
    sidecar.signal(signal);
    sidecar
        .logged("draining", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("draining")
        })
        .await;
    let ready = sidecar.admin("/readyz").await;
    assert_eq!((ready.status, ready.text()), (503, "draining\n"));
}

async fn is_open(port: SocketAddr) -> bool {
    TcpStream::connect(port).await.is_ok()
}

async fn data_port_closed(sidecar: &Sidecar) {
    eventually("the data port closes", async || {
        (!is_open(sidecar.data).await).then_some(())
    })
    .await;
}

async fn ended_well(mut sidecar: Sidecar) {
    assert_eq!(sidecar.ended().await.code(), Some(0));
    assert!(!is_open(sidecar.data).await);
    assert!(!is_open(sidecar.metrics).await);
}

#[tokio::test]
async fn with_nothing_to_do_it_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let sidecar = Sidecar::start(app::nowhere().await, &["--drain-quiet", "0"]).await;
        let ready = sidecar.admin("/readyz").await;
        assert_eq!((ready.status, ready.text()), (200, "ready\n"));
        sidecar.signal(signal);
        ended_well(sidecar).await;
    }
}

#[tokio::test]
async fn in_the_quiet_period_it_serves_and_tells_clients_to_go() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--drain-quiet", "2s"]).await;
    let mut kept = Client::connect(sidecar.data).await;
    assert_eq!(kept.get("/bytes/1").await.field("connection"), None);
    let mut http2 = h2c::Client::connect(sidecar.data).await;
    http2.get("/bytes/1").await.unwrap();
    let pending = http2.begin(h2c::request("GET", "/delay/100"), true).await;
    let pending = pending.unwrap();
    drain(&sidecar, Signal::TERM).await;

    let last = kept.get("/bytes/2").await;
    assert_eq!((last.status, last.text()), (200, "xx"));
    assert_eq!(last.field("connection"), Some("close"));
    assert_eq!(kept.0.read_to_end().await, b"");
    assert_eq!(
        h2c::answer(pending.response).await.unwrap().text(),
        "late\n"
    );
    drop(pending.body);
    http2.closed().await;

    // Whoever has not heard of it yet is served as well.
    let late = http1::once(sidecar.data, http1::get("/bytes/3")).await;
    assert_eq!(
        (late.status, late.field("connection")),
        (200, Some("close"))
    );
    let mut late = h2c::Client::connect(sidecar.data).await;
    assert_eq!(late.get("/bytes/4").await.unwrap().text(), "xxxx");
    ended_well(sidecar).await;
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_the_metrics_port_closes_last() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--drain-quiet", "0"]).await;
    let mut http1 = Client::connect(sidecar.data).await;
    http1
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nbefo")
        .await;
    let (status, head) = http1.head().await;
    let mut http2 = h2c::Client::connect(sidecar.data).await;
    let request = h2c::request("POST", "/echo");
    let mut pending = http2.begin(request, false).await.unwrap();
    pending.send("before").await;
    sidecar
        .scraped("two in flight", |metrics| metrics.in_flight() == 2.0)
        .await;
    drain(&sidecar, Signal::TERM).await;
    data_port_closed(&sidecar).await;
    let metrics = sidecar.scrape().await;
    assert_eq!(metrics.in_flight(), 2.0);

    http1.send("re-a").await;
    let answer = http1.body(status, head).await;
    assert_eq!((answer.text(), answer.end), ("before-a", End::Whole));
    pending.send("-after").await;
    pending.finish();
    let answer = h2c::answer(pending.response).await.unwrap();
    assert_eq!(answer.text(), "before-after");
    ended_well(sidecar).await;
}

#[tokio::test]
async fn an_answer_that_begins_after_the_port_has_closed_still_says_close() {
    let gate = Arc::new(Semaphore::new(0));
    let app = App::gated(&gate).await;
    let arguments = ["--drain-quiet", "0", "--concurrency", "1"];
    let sidecar = Sidecar::start(app.addr, &arguments).await;
    // One runs and one waits in the queue.
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get("/")).await;
        clients.push(client);
    }
    sidecar
        .scraped("two in flight", |metrics| metrics.in_flight() == 2.0)
        .await;
    drain(&sidecar, Signal::TERM).await;
    data_port_closed(&sidecar).await;
    gate.add_permits(2);
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "ok\n"));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.0.read_to_end().await, b"");
    }
    ended_well(sidecar).await;
}

#[tokio::test]
async fn a_tunnel_lasts_until_its_end() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n",
        )
        .await;
        loop {
            let bytes = wire.some().await;
            if bytes.is_empty() {
                return;
            }
            wire.send(bytes).await;
        }
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &["--drain-quiet", "0"]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n")
        .await;
    assert_eq!(client.head().await.0, 101);
    drain(&sidecar, Signal::TERM).await;
    data_port_closed(&sidecar).await;
    client.send("still here").await;
    assert_eq!(client.0.exactly(10).await, b"still here");
    client.0.finish().await;
    assert_eq!(client.0.read_to_end().await, b"");
    ended_well(sidecar).await;
}

/// Connections on which nothing is asked: new, between two requests, within a head.
#[tokio::test]
async fn connections_without_a_request_do_not_hold_it_up() {
    let app = app::lab();
    let whole = http1::get("/bytes/1");
    for (case, before, begun) in [
        ("new", None, ""),
        ("idle", Some(&whole), ""),
        ("within its first head", None, "GET / HTTP/1.1\r\nho"),
        (
            "within its second head",
            Some(&whole),
            "GET / HTTP/1.1\r\nho",
        ),
        ("within the preface", None, "PRI * HT"),
    ] {
        let mut sidecar = Sidecar::start(app.addr(), &["--drain-quiet", "0"]).await;
        let mut client = Client::connect(sidecar.data).await;
        if let Some(request) = before {
            client.send(request).await;
            assert_eq!(client.answer().await.status, 200);
        }
        client.send(begun).await;
        sidecar
            .scraped("it is there", |metrics| {
                metrics.value("plimsoll_connections_open") == 1.0
            })
            .await;
        sidecar.signal(Signal::TERM);
        assert_eq!(sidecar.ended().await.code(), Some(0), "{case}");
    }
    let sidecar = Sidecar::start(app.addr(), &["--drain-quiet", "0"]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    client.get("/bytes/1").await.unwrap();
    sidecar.signal(Signal::TERM);
    client.closed().await;
    ended_well(sidecar).await;
}

/// A client as a load balancer is one: it keeps its connection until it is told, and opens a new one as long
/// as the sidecar is ready.
async fn careful_client(data: SocketAddr, metrics: SocketAddr, answered: Arc<AtomicUsize>) {
    loop {
        let mut client = Client::connect(data).await;
        loop {
            client.send(http1::post("/delay/2", "body")).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.end), (200, End::Whole));
            answered.fetch_add(1, Ordering::Relaxed);
            if answer.field("connection") == Some("close") {
                break;
            }
        }
        if http1::once(metrics, http1::get("/readyz")).await.status == 503 {
            return;
        }
    }
}

/// The same over HTTP/2, until GOAWAY.
async fn careful_h2c_client(data: SocketAddr, answered: Arc<AtomicUsize>) {
    let mut client = h2c::Client::connect(data).await;
    loop {
        let request = h2c::request("GET", "/delay/2");
        // A request that cannot begin has not failed.
        let Ok(pending) = client.begin(request, true).await else {
            return;
        };
        match h2c::answer(pending.response).await {
            Ok(answer) => assert_eq!(answer.text(), "late\n"),
            Err(refused) => {
                // Not accepted, so it may be sent to another instance.
                let unprocessed =
                    refused.is_go_away() || refused.reason() == Some(h2::Reason::REFUSED_STREAM);
                assert!(unprocessed, "{refused:?}");
                return;
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn no_request_of_a_careful_client_fails_under_load() {
    let app = app::lab();
    let arguments = ["--drain-quiet", "1s", "--workers", "2"];
    let sidecar = Sidecar::start(app.addr(), &arguments).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let count = Arc::clone(&answered);
        clients.spawn(careful_client(sidecar.data, sidecar.metrics, count));
        clients.spawn(careful_h2c_client(sidecar.data, Arc::clone(&answered)));
    }
    eventually("the load runs", async || {
        (answered.load(Ordering::Relaxed) > 200).then_some(())
    })
    .await;
    drain(&sidecar, Signal::TERM).await;
    while let Some(client) = soon("the clients stop", clients.join_next()).await {
        client.unwrap();
    }
    ended_well(sidecar).await;
}

#[tokio::test]
async fn the_second_signal_ends_it_at_once() {
    let app = app::lab();
    let mut sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(http1::get("/hang")).await;
    sidecar
        .scraped("one in flight", |metrics| metrics.in_flight() == 1.0)
        .await;
    drain(&sidecar, Signal::TERM).await;
    sidecar.signal(Signal::INT);
    assert_eq!(sidecar.ended().await.code(), Some(1));
}

#[tokio::test]
async fn a_request_beyond_its_time_limit_does_not_hold_it_up() {
    let app = app::lab();
    let arguments = ["--drain-quiet", "0", "--timeout", "1s"];
    let sidecar = Sidecar::start(app.addr(), &arguments).await;
    let mut hanging = Client::connect(sidecar.data).await;
    hanging.send(http1::get("/hang")).await;
    let mut endless = Client::connect(sidecar.data).await;
    endless.send(http1::get("/stream/100000/10")).await;
    sidecar
        .scraped("two in flight", |metrics| metrics.in_flight() == 2.0)
        .await;
    drain(&sidecar, Signal::TERM).await;
    let answer = hanging.answer().await;
    assert_eq!((answer.status, answer.text()), (504, "request timeout"));
    assert_eq!(endless.answer().await.end, End::Short);
    ended_well(sidecar).await;
}
