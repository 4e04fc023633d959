//! How connections with TLS end, and what is noticed of it.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_proxy::{Running, SidecarConfig};
use plimsoll_wire::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use super::harness::*;

/// A request with a body waits in the queue behind one that is never answered. Returns its connection.
async fn waiting() -> (Running, TlsStream<TcpStream>, TlsStream<TcpStream>) {
    let app = app(|mut stream| async move {
        head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let authority = Authority::new();
    let (running, address) = start(&SidecarConfig {
        concurrency: 1,
        ..with_tls(app, &authority.issue(&["a"]))
    });
    let client = Arc::new(authority.client(&["http/1.1"]));
    let mut running_one = tls_connect(address, Arc::clone(&client)).await;
    running_one.write_all(GET.as_bytes()).await.unwrap();
    let in_flight = || running.meter().in_flight().total;
    eventually("in flight", || in_flight() == 1).await;
    let mut waiting = tls_connect(address, client).await;
    let ask = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n";
    waiting.write_all(ask.as_bytes()).await.unwrap();
    eventually("waits", || in_flight() == 2).await;
    (running, running_one, waiting)
}

async fn left(running: &Running) {
    let stats = running.stats();
    eventually("left", || stats.view().requests(Answer::ClientGone) == 1).await;
}

#[tokio::test]
async fn a_client_that_says_it_closes_leaves_the_queue() {
    let (running, _other, mut client) = waiting().await;
    let (socket, session) = client.get_mut();
    session.send_close_notify();
    let mut record = Vec::new();
    session.write_tls(&mut record).unwrap();
    // The connection below stays open.
    socket.write_all(&record).await.unwrap();
    left(&running).await;
}

#[tokio::test]
async fn a_client_whose_connection_closes_below_leaves_the_queue() {
    let (running, _other, mut client) = waiting().await;
    // Half of the body: what closes is behind it.
    client.write_all(b"half.").await.unwrap();
    client.get_mut().0.shutdown().await.unwrap();
    left(&running).await;
}

#[tokio::test]
async fn a_client_that_waits_with_a_part_of_its_body_sent_stays_in_the_queue() {
    let (running, other, mut client) = waiting().await;
    client.write_all(b"half.").await.unwrap();
    drop(other);
    left(&running).await;
    client.write_all(b"and..").await.unwrap();
    let stats = running.stats();
    drop(client);
    eventually("both", || stats.view().requests(Answer::ClientGone) == 2).await;
}

#[tokio::test]
async fn an_unused_connection_is_parked_and_serves_again() {
    let (running, address, authority) = tls_sidecar().await;
    let mut client = tls_connect(address, authority.client(&["http/1.1"])).await;
    let stats = running.stats();
    for parked in 1..=2 {
        get_ok(&mut client).await;
        eventually("parked", || stats.connections_released() == parked).await;
    }
    get_ok(&mut client).await;
    assert_eq!(stats.view().connections, 1);
}

/// Without the goodbye of TLS, a client could not tell the end from an attacker's.
#[tokio::test]
async fn a_drain_says_goodbye_to_unused_connections() {
    for park in [true, false] {
        let (running, address, authority) = tls_sidecar().await;
        let mut client = tls_connect(address, authority.client(&["http/1.1"])).await;
        get_ok(&mut client).await;
        if park {
            let stats = running.stats();
            eventually("parked", || stats.connections_released() == 1).await;
        }
        let drained = soon("drain", running.drain(Duration::ZERO, None)).await;
        assert_eq!(drained.cut, 0);
        let end = soon("end", client.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "parked {park}: {end:?}");
    }
}

#[tokio::test]
async fn a_drain_says_goodbye_to_http2_connections() {
    const PING: u8 = 6;
    const ACK: u8 = 1;
    let (running, address, authority) = tls_sidecar().await;
    let mut client = tls_connect(address, authority.client(&["h2"])).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    client.write_all(preface).await.unwrap();
    // The sidecar's SETTINGS: it has seen the preface.
    let mut head = [0; 9];
    soon("settings", client.read_exact(&mut head))
        .await
        .unwrap();
    let mut payload = vec![0; usize::from(head[2])];
    soon("settings", client.read_exact(&mut payload))
        .await
        .unwrap();
    let drained = tokio::spawn(running.drain(Duration::ZERO, None));
    // GOAWAY comes with a ping, and the end after its acknowledgement; an end without goodbye is an error.
    while soon("frame or end", client.read(&mut head[..1]))
        .await
        .unwrap()
        > 0
    {
        soon("head", client.read_exact(&mut head[1..]))
            .await
            .unwrap();
        payload.resize(usize::from(head[2]), 0);
        soon("payload", client.read_exact(&mut payload))
            .await
            .unwrap();
        if head[3] == PING && head[4] != ACK {
            head[4] = ACK;
            let pong = [&head[..], &payload].concat();
            client.write_all(&pong).await.unwrap();
        }
    }
    drop(client);
    assert_eq!(soon("drained", drained).await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_told_goodbye_when_the_port_closes() {
    let (running, address, authority) = tls_sidecar().await;
    let mut client = tls_connect(address, authority.client(&[])).await;
    // One that has not even begun its handshake.
    let mut silent = connect(address).await;
    let stats = running.stats();
    eventually("accepted", || stats.view().connections == 2).await;
    let drained = soon("drain", running.drain(Duration::ZERO, None)).await;
    assert_eq!(drained.cut, 0);
    let mut rest = Vec::new();
    soon("end", client.read_to_end(&mut rest)).await.unwrap();
    soon("end", silent.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn an_answer_that_broke_off_ends_without_goodbye() {
    let authority = Authority::new();
    let app = app(|mut stream| async move {
        head(&mut stream).await;
        let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        stream.write_all(begun.as_bytes()).await.unwrap();
    })
    .await;
    let (_running, address) = start(&with_tls(app, &authority.issue(&["a"])));
    // To HTTP/1.0 there is no length: the end of the connection is all that says that the answer is whole.
    let mut client = tls_connect(address, authority.client(&[])).await;
    client
        .write_all(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let end = soon("end", client.read_to_end(&mut said)).await;
    assert!(said.ends_with(b"half"), "{said:?}");
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_request_answered_before_its_body_was_read_gets_its_answer() {
    let (_running, address, authority) = tls_sidecar().await;
    let mut client = tls_connect(address, authority.client(&[])).await;
    let ask = "POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 1000000\r\n\r\n";
    client.write_all(ask.as_bytes()).await.unwrap();
    let status = soon("head", head(&mut client)).await;
    assert!(status.starts_with("HTTP/1.1 400"), "{status:?}");
    client.write_all(&[b'x'; 1_000_000]).await.unwrap();
    let mut rest = String::new();
    soon("end", client.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "more than one Host header\n");
}
