//! Coming to rest, as the parts of a pod see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::{
    LOOPBACK, answer, app, ask, config, connect, eventually, get, head, soon, start, telling,
};

const READY: [(&str, &str); 2] = [
    ("user-agent", "kube-probe/1.29"),
    ("k-network-probe", "queue"),
];
const ROUTE: [(&str, &str); 2] = [("k-network-probe", "probe"), ("k-network-hash", "h")];

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn while_it_drains_probes_are_told_and_requests_are_served() {
    let (running, address) = start(&config(telling().await));
    let hook = running.drain_hook(LONG, None);
    let drained = tokio::spawn(running.drain(LONG, None));
    eventually("draining", || hook.is_draining()).await;
    for probe in [READY, ROUTE] {
        let told = ask(address, &get(&probe)).await;
        assert_eq!((told.status, told.body.as_str()), (503, "shutting down\n"));
        let fields = [
            "content-length: 14",
            "content-type: text/plain; charset=utf-8",
            "x-content-type-options: nosniff",
        ];
        assert_eq!(told.fields(), fields);
    }
    assert_eq!(ask(address, &get(&[])).await.status, 200);
    assert_eq!(
        ask(address, &get(&[("k-kubelet-probe", "x")])).await.status,
        200
    );
    drained.abort();
}

#[tokio::test]
async fn who_waits_for_a_drain_that_does_not_come_is_let_go_after_a_second_and_the_pod_is_ready_again()
 {
    let (running, address) = start(&config(telling().await));
    let hook = running.drain_hook(LONG, None);
    let waiting = tokio::spawn({
        let hook = hook.clone();
        async move { hook.wait().await }
    });
    eventually("draining", || hook.is_draining()).await;
    assert_eq!(ask(address, &get(&READY)).await.status, 503);
    // Clients are not sent away for it.
    let mut client = connect(address).await;
    client.write_all(get(&[]).as_bytes()).await.unwrap();
    assert!(!answer(&mut client).await.head.contains("connection: close"));
    soon("let go", waiting).await.unwrap();
    assert_eq!(ask(address, &get(&READY)).await.status, 200);
    drop(running);
}

#[tokio::test]
async fn who_waits_for_a_drain_that_comes_is_let_go_when_it_is_quiet_and_before_what_is_in_flight_has_finished()
 {
    let go_on = Arc::new(Notify::new());
    let held = Arc::clone(&go_on);
    let app = app(move |mut stream: TcpStream| {
        let held = Arc::clone(&held);
        async move {
            head(&mut stream).await;
            held.notified().await;
            let _gone = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let (running, address) = start(&config(app));
    let mut client = connect(address).await;
    client.write_all(get(&[]).as_bytes()).await.unwrap();
    let meter = Arc::clone(running.meter());
    eventually("in flight", || meter.in_flight().total == 1).await;

    let quiet = Duration::from_millis(50);
    let hook = running.drain_hook(quiet, None);
    let drained = tokio::spawn(running.drain(quiet, None));
    soon("quiet", hook.wait()).await;
    soon("closed", async {
        while TcpStream::connect(address).await.is_ok() {}
    })
    .await;
    assert!(!drained.is_finished());
    go_on.notify_one();
    assert_eq!(answer(&mut client).await.status, 200);
    assert_eq!(soon("drained", drained).await.unwrap().cut, 0);
}

/// Knative's own cuts HTTP/2 and what has been upgraded a minute after the ports are closed, and waits for HTTP/1.
#[tokio::test]
async fn f5_a_drain_waits_for_http2_and_upgraded_connections_as_for_http1() {
    let (finish, finished) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let app = listener.local_addr().unwrap();
    let (told, done) = (Arc::clone(&finish), Arc::clone(&finished));
    tokio::spawn(async move {
        // First the stream, then the upgrade.
        let (stream, _) = listener.accept().await.unwrap();
        let mut streams = h2::server::handshake(stream).await.unwrap();
        let (_request, mut respond) = streams.accept().await.unwrap().unwrap();
        let driven = tokio::spawn(async move { while streams.accept().await.is_some() {} });
        let mut body = respond
            .send_response(http::Response::new(()), false)
            .unwrap();
        let (mut upgraded, _) = listener.accept().await.unwrap();
        head(&mut upgraded).await;
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
        upgraded.write_all(switch.as_bytes()).await.unwrap();
        told.notified().await;
        body.send_data(Bytes::from_static(b"late"), true).unwrap();
        upgraded.write_all(b"late").await.unwrap();
        done.notified().await;
        driven.abort();
    });
    let (running, address) = start(&config(app));
    let (mut http2, connection) = h2::client::handshake(connect(address).await).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://a/").body(()).unwrap();
    let (response, _) = http2.send_request(request, true).unwrap();
    let mut body = soon("head", response).await.unwrap().into_body();
    let mut tunnel = connect(address).await;
    let upgrade = get(&[("connection", "upgrade"), ("upgrade", "raw")]);
    tunnel.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(head(&mut tunnel).await.starts_with("HTTP/1.1 101"));

    let drained = tokio::spawn(running.drain(Duration::ZERO, None));
    soon("closed", async {
        while TcpStream::connect(address).await.is_ok() {}
    })
    .await;
    // Longer than the drain looks whether all has finished.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!drained.is_finished());
    finish.notify_one();
    assert_eq!(soon("data", body.data()).await.unwrap().unwrap(), "late");
    let mut late = [0; 4];
    soon(
        "bytes",
        tokio::io::AsyncReadExt::read_exact(&mut tunnel, &mut late),
    )
    .await
    .unwrap();
    assert_eq!(&late, b"late");
    drop((tunnel, http2, body));
    finished.notify_one();
    assert_eq!(soon("drained", drained).await.unwrap().cut, 0);
}
