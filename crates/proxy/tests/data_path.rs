//! The data path against peers that misbehave: real sockets, raw bytes, no help from an HTTP client.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, a failure is a failed test, in its helpers too"
)]

mod common;
#[path = "common/sidecar.rs"]
mod sidecar;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_proxy::{Sidecar, SidecarConfig, TimeLimits};
use plimsoll_wire::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::common::{eventually, head, soon};
use crate::sidecar::{app, config, connect, start};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// An application that answers every request with `answer`, and counts them.
async fn answering(answer: impl Into<String>) -> (SocketAddr, Arc<AtomicUsize>) {
    let answer = answer.into();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let address = app(move |mut stream| {
        let (answer, count) = (answer.clone(), Arc::clone(&count));
        async move {
            while !head(&mut stream).await.is_empty() {
                count.fetch_add(1, Ordering::SeqCst);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (address, served)
}

fn with_total_limit(app: SocketAddr, milliseconds: u64) -> SidecarConfig {
    SidecarConfig {
        limits: TimeLimits {
            total: Some(Duration::from_millis(milliseconds)),
            ..TimeLimits::default()
        },
        ..config(app)
    }
}

/// Everything until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _end = soon("the end", stream.read_to_end(&mut rest)).await.is_ok();
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn a_request_that_waits_in_the_backlog_is_answered_when_the_port_closes() {
    let (app, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    for workers in [1, 2] {
        for round in 0..20 {
            let sidecar = Sidecar::bind(&SidecarConfig {
                workers: NonZeroUsize::new(workers).unwrap(),
                ..config(app)
            })
            .unwrap();
            let mut client = connect(sidecar.local_addr().unwrap()).await;
            client.write_all(GET.as_bytes()).await.unwrap();
            let running = sidecar.start().unwrap();
            let drained = soon("drain", running.drain(Duration::ZERO, None)).await;
            assert_eq!(drained.cut, 0);
            let answer = rest(&mut client).await;
            assert!(
                answer.starts_with("HTTP/1.1 200"),
                "{workers} workers, round {round}: {answer:?}"
            );
        }
    }
}

/// A client whose socket takes very little, so that the sidecar's socket fills up soon.
async fn narrow_client(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
    soon("connect", socket.connect(to)).await.unwrap()
}

/// The end of the last answer may wait for a client that reads late; the drain waits with it.
#[tokio::test]
async fn a_drain_waits_for_answers_that_the_client_has_not_taken_yet() {
    let body = "x".repeat(1_900);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1900\r\n\r\n{body}");
    let (app, served) = answering(answer.clone()).await;
    // One more request each time, until the sidecar asks for no more because nobody takes its answers.
    for requests in 1.. {
        let (running, address) = start(&config(app));
        let mut client = narrow_client(address).await;
        for _ in 0..requests {
            let before = served.load(Ordering::SeqCst);
            client.write_all(GET.as_bytes()).await.unwrap();
            let is_served = async {
                eventually("served", || served.load(Ordering::SeqCst) > before).await;
            };
            let full = tokio::time::timeout(Duration::from_secs(1), is_served).await;
            if full.is_err() {
                assert!(requests > 2, "nothing was tried");
                return;
            }
        }
        let stats = running.stats();
        eventually("all answered", || stats.view().requests_total() == requests).await;
        let drained = tokio::spawn(running.drain(Duration::ZERO, None));
        // The drain has begun when the port is closed.
        soon("closed port", async {
            while TcpStream::connect(address).await.is_ok() {}
        })
        .await;
        let taken = rest(&mut client).await;
        let whole = taken.matches(&body).count();
        assert_eq!(whole as u64, requests, "{} bytes", taken.len());
        soon("drained", drained).await.unwrap();
    }
}

/// An application whose answer never ends.
async fn flooding() -> SocketAddr {
    app(|mut stream| async move {
        head(&mut stream).await;
        let flood = "x".repeat(64 * 1024);
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while sent.is_ok() {
            sent = stream.write_all(flood.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn the_total_limit_ends_an_answer_that_the_client_does_not_read() {
    let (running, address) = start(&with_total_limit(flooding().await, 300));
    let mut client = connect(address).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    let stats = running.stats();
    eventually("the limit", || stats.view().requests(Answer::Timeout) == 1).await;
    eventually("the end", || stats.view().connections == 0).await;
}

#[tokio::test]
async fn the_idle_limit_ends_an_answer_that_the_client_does_not_read() {
    let (running, address) = start(&SidecarConfig {
        limits: TimeLimits {
            idle: Some(Duration::from_millis(300)),
            ..TimeLimits::default()
        },
        ..config(flooding().await)
    });
    let mut client = connect(address).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    let stats = running.stats();
    eventually("the limit", || stats.view().requests(Answer::Timeout) == 1).await;
    eventually("the end", || stats.view().connections == 0).await;
}

/// An HTTP/2 application: never answers, or answers without end. Counts streams whose body broke off.
async fn http2_app(flood: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let broken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&broken);
    let address = app(move |stream| {
        let count = Arc::clone(&count);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    if flood {
                        let mut answer = respond
                            .send_response(http::Response::new(()), false)
                            .unwrap();
                        while answer
                            .send_data(Bytes::from(vec![0; 60_000]), false)
                            .is_ok()
                        {
                            answer.reserve_capacity(60_000);
                            let ready = std::future::poll_fn(|cx| answer.poll_capacity(cx)).await;
                            if !matches!(ready, Some(Ok(_))) {
                                break;
                            }
                        }
                    }
                    while let Some(part) = body.data().await {
                        let Ok(part) = part else {
                            count.fetch_add(1, Ordering::SeqCst);
                            break;
                        };
                        body.flow_control().release_capacity(part.len()).unwrap();
                    }
                });
            }
        }
    })
    .await;
    (address, broken)
}

async fn http2_client(to: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(connect(to).await).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn http2_post() -> http::Request<()> {
    http::Request::post("http://a/").body(()).unwrap()
}

#[tokio::test]
async fn the_total_limit_ends_an_http2_answer_that_the_client_does_not_read() {
    let (app, broken) = http2_app(true).await;
    let (running, address) = start(&with_total_limit(app, 300));
    let mut client = http2_client(address).await.ready().await.unwrap();
    let (response, _body) = client.send_request(http2_post(), false).unwrap();
    let response = soon("head", response).await.unwrap();
    let stats = running.stats();
    eventually("the limit", || stats.view().requests(Answer::Timeout) == 1).await;
    eventually("the application hears of it", || {
        broken.load(Ordering::SeqCst) == 1
    })
    .await;
    drop(response);
}

#[tokio::test]
async fn the_total_limit_ends_an_http2_upload_at_the_application_too() {
    let (app, broken) = http2_app(false).await;
    let (running, address) = start(&with_total_limit(app, 300));
    let mut client = http2_client(address).await.ready().await.unwrap();
    let (response, mut body) = client.send_request(http2_post(), false).unwrap();
    body.send_data(Bytes::from_static(b"begun"), false).unwrap();
    assert_eq!(soon("answer", response).await.unwrap().status(), 504);
    assert_eq!(running.stats().view().requests(Answer::Timeout), 1);
    eventually("the application hears of it", || {
        broken.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn a_switch_of_protocols_within_a_request_body_is_bound_by_the_time_limit() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
    let (app, _) = answering(switch).await;
    let (running, address) = start(&with_total_limit(app, 300));
    let mut client = connect(address).await;
    let ask = "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: raw\r\ncontent-length: 10\r\n\r\nhalf";
    client.write_all(ask.as_bytes()).await.unwrap();
    let stats = running.stats();
    eventually("the end", || stats.view().requests_total() == 1).await;
}

/// The client has not sent all of its body, and still hears at once that the answer has broken off.
#[tokio::test]
async fn an_answer_that_breaks_off_within_an_upload_ends_at_once() {
    let app = app(|mut stream| async move {
        head(&mut stream).await;
        let begun = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(begun.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let (_running, address) = start(&config(app));
    let mut client = connect(address).await;
    let ask = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf";
    client.write_all(ask.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), rest(&mut client)).await;
    let answer = answer.expect("the end of the answer, while the upload goes on");
    assert!(answer.ends_with("\r\n\r\nhalf"), "{answer:?}");
}

#[tokio::test]
async fn a_content_length_that_says_it_twice_is_passed_on_once_or_refused() {
    for fields in [
        "content-length: 2\r\ncontent-length: 2\r\n",
        "content-length: 2, 2\r\n",
        "content-length: +2\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n",
    ] {
        let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let app = app(move |mut stream| {
            let heads = heads.clone();
            async move {
                heads.send(head(&mut stream).await).unwrap();
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await;
        let (_running, address) = start(&config(app));
        let mut client = connect(address).await;
        let ask = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\nab");
        client.write_all(ask.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        if answer.starts_with("HTTP/1.1 400") {
            continue;
        }
        let head = soon("head", seen.recv()).await.unwrap().to_lowercase();
        assert_eq!(
            head.matches("content-length").count(),
            1,
            "{fields:?}: {head}"
        );
        assert!(head.contains("content-length: 2\r\n"), "{fields:?}: {head}");
    }
}

/// It has sent the preface and nothing more: it does not even answer the ping that goes with GOAWAY.
#[tokio::test]
async fn an_http2_client_that_has_frozen_does_not_hold_up_the_drain() {
    let (app, _) = http2_app(false).await;
    let (running, address) = start(&config(app));
    let mut client = connect(address).await;
    client
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    // The sidecar's SETTINGS: it has seen the preface.
    soon("settings", client.read_u8()).await.unwrap();
    let drained = soon("drain", running.drain(Duration::ZERO, None)).await;
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn streams_beyond_what_the_application_takes_go_on_another_connection() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let app = app(move |stream| {
        let count = Arc::clone(&count);
        async move {
            let mut builder = h2::server::Builder::new();
            let handshake = builder
                .max_concurrent_streams(1)
                .handshake::<_, Bytes>(stream);
            let mut connection = handshake.await.unwrap();
            let mut open = Vec::new();
            while let Some(Ok(request)) = connection.accept().await {
                open.push(request);
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let (_running, address) = start(&config(app));
    let mut client = http2_client(address).await;
    let mut pending = Vec::new();
    for expected in 1..=3 {
        client = client.ready().await.unwrap();
        pending.push(client.send_request(http2_post(), true).unwrap());
        eventually("a stream that need not wait for another", || {
            arrived.load(Ordering::SeqCst) == expected
        })
        .await;
    }
}

/// An application that is silent on its first connection, as a peer that has vanished, and answers HTTP/2 on others.
async fn vanished_and_back() -> SocketAddr {
    let connections = Arc::new(AtomicUsize::new(0));
    app(move |stream| {
        let is_first = connections.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_first {
                // Held open, and never read.
                let _held = stream;
                std::future::pending::<()>().await;
            } else {
                let mut streams = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = streams.accept().await {
                    respond
                        .send_response(http::Response::new(()), true)
                        .unwrap();
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_time_limit_that_passes_in_silence_is_the_end_of_its_http2_connection() {
    let (_running, address) = start(&with_total_limit(vanished_and_back().await, 1_000));
    let (mut client, connection) = h2::client::handshake(connect(address).await).await.unwrap();
    tokio::spawn(connection);
    for expected in [504, 200] {
        let request = http::Request::get("http://a/").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(soon("answer", response).await.unwrap().status(), expected);
    }
}

/// The same, when it is the client who does not want to wait any longer.
#[tokio::test]
async fn a_client_that_gives_up_in_silence_saves_the_next_one_from_that_connection() {
    let (_running, address) = start(&config(vanished_and_back().await));
    let (mut client, connection) = h2::client::handshake(connect(address).await).await.unwrap();
    tokio::spawn(connection);
    let request = || http::Request::get("http://a/").body(()).unwrap();
    let (response, _) = client.send_request(request(), true).unwrap();
    let given_up = tokio::time::timeout(Duration::from_secs(1), response).await;
    assert!(given_up.is_err());
    let (response, _) = client.send_request(request(), true).unwrap();
    assert_eq!(soon("answer", response).await.unwrap().status(), 200);
}

/// What some read one way and some another is refused, whichever version of HTTP it comes in.
#[tokio::test]
async fn a_host_that_is_none_and_a_repeated_length_are_refused() {
    let (app, served) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (_running, address) = start(&config(app));
    // Over HTTP/1 the HTTP library makes one of equal lengths.
    for wrong in ["host: a@b", "host: a/b", "host: a b"] {
        let mut client = connect(address).await;
        let request = format!("GET / HTTP/1.1\r\n{wrong}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{wrong:?}: {answer:?}");
    }
    for wrong in [
        &[("host", "a@b")][..],
        &[("content-length", "2"), ("content-length", "2")],
    ] {
        let (mut client, connection) = h2::client::handshake(connect(address).await).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::post("http://a/");
        for (name, value) in wrong {
            request = request.header(*name, *value);
        }
        let (response, mut body) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        body.send_data(Bytes::from_static(b"hi"), true).unwrap();
        // Either we refuse it, or the HTTP library has before.
        match soon("answer", response).await {
            Ok(response) => assert_eq!(response.status(), 400, "{wrong:?}"),
            Err(error) => assert!(error.is_reset(), "{wrong:?}: {error}"),
        }
    }
    assert_eq!(served.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_proves_a_client_to_its_proxy_does_not_pass_over_http2() {
    let app = app(async |stream: TcpStream| {
        let mut streams = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = streams.accept().await {
            let mut response = http::Response::new(());
            *response.headers_mut() = request.headers().clone();
            respond.send_response(response, true).unwrap();
        }
    })
    .await;
    let (_running, address) = start(&config(app));
    let (mut client, connection) = h2::client::handshake(connect(address).await).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://a/")
        .header("proxy-authorization", "secret")
        .header("te", "trailers")
        .header("x-mark", "1");
    let (response, _) = client
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let told = soon("answer", response).await.unwrap();
    assert_eq!(told.headers()["x-mark"], "1");
    assert!(!told.headers().contains_key("proxy-authorization"));
}
