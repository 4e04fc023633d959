//! Clients with TLS: handshakes, protocols, certificates that change.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll_proxy::{ServerTls, SidecarConfig};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use super::harness::*;

#[tokio::test]
async fn the_protocol_is_what_was_agreed_on_or_else_what_the_first_bytes_are() {
    let (_running, address, authority) = tls_sidecar().await;
    for (offered, agreed) in [
        (&["http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["h2", "http/1.1"], Some(b"h2")),
        (&[], None),
    ] {
        let mut stream = tls_connect(address, authority.client(offered)).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        if agreed == Some(b"h2") {
            get_http2(stream).await;
        } else {
            get_ok(&mut stream).await;
        }
    }
    // With nothing agreed on, HTTP/2 is recognised by its preface.
    get_http2(tls_connect(address, authority.client(&[])).await).await;
}

/// The application speaks HTTP/1, which an HTTP/2 request is not translated into: what matters is that the
/// sidecar answers as HTTP/2.
async fn get_http2(stream: TlsStream<TcpStream>) {
    let mut client = http2_client(stream).await;
    let request = http::Request::get("https://a/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = soon("answer", response).await.unwrap();
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn who_has_agreed_on_http2_and_speaks_http1_is_not_served() {
    let (running, address, authority) = tls_sidecar().await;
    let mut stream = tls_connect(address, authority.client(&["h2"])).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _end = soon("end", stream.read_to_end(&mut said)).await.is_ok();
    assert!(!said.starts_with(b"HTTP/1"), "{said:?}");
    assert_eq!(running.stats().view().requests_total(), 0);
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    let (_running, address, authority) = tls_sidecar().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        let mut stream = tls_connect(address, config).await;
        let spoken = stream.get_ref().1.protocol_version();
        assert_eq!(spoken, Some(version.version));
        get_ok(&mut stream).await;
        get_ok(&mut stream).await;
    }
}

#[tokio::test]
async fn sessions_are_resumed_on_every_worker() {
    let authority = Authority::new();
    let config = with_tls(ok_app().await, &authority.issue(&["a"]));
    let (_running, address) = start(&SidecarConfig {
        workers: 2.try_into().unwrap(),
        ..config
    });
    let client = Arc::new(authority.client(&[]));
    let mut first = tls_connect(address, Arc::clone(&client)).await;
    get_ok(&mut first).await;
    assert_eq!(
        first.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Full)
    );
    // It is still open, so this one goes to the other worker.
    let mut second = tls_connect(address, client).await;
    get_ok(&mut second).await;
    let kind = second.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_replaced_certificate_is_for_new_connections_and_open_ones_go_on() {
    let authority = Authority::new();
    let (old, new) = (authority.issue(&["a"]), authority.issue(&["a"]));
    let tls = Arc::new(ServerTls::new(&old.identity()).unwrap());
    let (_running, address) = start(&SidecarConfig {
        tls: Some(Arc::clone(&tls)),
        ..config(ok_app().await)
    });
    let mut open = tls_connect(address, authority.client(&[])).await;
    get_ok(&mut open).await;
    assert_eq!(
        open.get_ref().1.peer_certificates().unwrap()[0],
        old.certificate
    );
    tls.replace(&new.identity());
    let mut later = tls_connect(address, authority.client(&[])).await;
    assert_eq!(
        later.get_ref().1.peer_certificates().unwrap()[0],
        new.certificate
    );
    get_ok(&mut later).await;
    get_ok(&mut open).await;
}

#[tokio::test]
async fn http_without_tls_is_told_so_in_http() {
    let (running, address, _) = tls_sidecar().await;
    let mut client = connect(address).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut said = String::new();
    soon("answer", client.read_to_string(&mut said))
        .await
        .unwrap();
    assert!(said.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{said}");
    assert!(
        said.ends_with("this port speaks HTTPS: use https://\n"),
        "{said}"
    );
    let stats = running.stats();
    assert_eq!(stats.view().handshake_failures, 1);
    assert_eq!(stats.view().requests_total(), 0);
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_and_leave_nothing_behind() {
    let (running, address, authority) = tls_sidecar().await;
    let stats = running.stats();
    // A client that trusts nobody says so with an alert; one that offers something else is told with one.
    let stranger = Authority::new();
    for (expected, client) in [stranger.client(&[]), authority.client(&["imap"])]
        .into_iter()
        .enumerate()
    {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let name = rustls_pki_types::ServerName::try_from("a").unwrap();
        let handshake = connector.connect(name, connect(address).await);
        soon("handshake", handshake).await.unwrap_err();
        let expected = expected as u64 + 1;
        eventually("counted", || stats.view().handshake_failures == expected).await;
    }
    for (expected, bytes) in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16"]
        .iter()
        .enumerate()
    {
        let mut client = connect(address).await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut said = Vec::new();
        soon("end", client.read_to_end(&mut said)).await.unwrap();
        let expected = expected as u64 + 3;
        eventually("counted", || stats.view().handshake_failures == expected).await;
    }
    // A health check of a load balancer connects and leaves: nothing has failed.
    drop(connect(address).await);
    eventually("closed", || stats.view().connections == 0).await;
    assert_eq!(stats.view().handshake_failures, 4);
    get_ok(&mut tls_connect(address, authority.client(&[])).await).await;
}

#[tokio::test]
async fn bodies_of_many_records_arrive_whole_however_slowly_they_are_read() {
    const BYTES: usize = 3_000_000;
    let authority = Authority::new();
    let app = app(|mut stream| async move {
        head(&mut stream).await;
        let mut body = vec![0; BYTES];
        stream.read_exact(&mut body).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    })
    .await;
    let (_running, address) = start(&with_tls(app, &authority.issue(&["a"])));
    let mut stream = tls_connect(address, authority.client(&["http/1.1"])).await;
    let sent: Vec<u8> = (0..BYTES).map(|index| (index % 251) as u8).collect();
    let ask = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BYTES}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    let status = soon("head", head(&mut stream)).await;
    assert!(status.starts_with("HTTP/1.1 200"), "{status:?}");
    let mut body = vec![0; BYTES];
    for part in body.chunks_mut(100_000) {
        soon("body", stream.read_exact(part)).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(body == sent, "the body came back changed");
}

#[tokio::test]
async fn http2_bodies_of_many_records_arrive_whole() {
    const BYTES: usize = 3_000_000;
    let authority = Authority::new();
    let app = app(echo_http2).await;
    let (_running, address) = start(&with_tls(app, &authority.issue(&["a"])));
    let stream = tls_connect(address, authority.client(&["h2"])).await;
    let mut client = http2_client(stream).await;
    let request = http::Request::post("https://a/").body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from(vec![7; BYTES]), true).unwrap();
    let response = soon("head", response).await.unwrap();
    // The application hears what the client has said, though its own connection has no TLS.
    assert_eq!(response.headers()["x-scheme"], "https");
    let mut body = response.into_body();
    let mut arrived = 0;
    while let Some(part) = soon("body", body.data()).await {
        let part = part.unwrap();
        assert!(part.iter().all(|byte| *byte == 7));
        arrived += part.len();
        body.flow_control().release_capacity(part.len()).unwrap();
    }
    assert_eq!(arrived, BYTES);
}
