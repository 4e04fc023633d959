//! Defects of Knative's queue-proxy that are none of ours.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_proxy::TimeLimits;
use plimsoll_wire::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::{app, ask, config, connect, eventually, get, head, soon, start, telling};

/// Everything until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _end = soon("the end", stream.read_to_end(&mut rest)).await.is_ok();
    String::from_utf8(rest).unwrap()
}

/// There, whatever follows an interim answer (1xx) becomes a 200.
#[tokio::test]
async fn f1_an_interim_answer_does_not_change_the_final_status() {
    for interim in [
        "103 Early Hints\r\nlink: </a.css>",
        "100 Continue",
        "102 Processing",
    ] {
        for status in [200, 404, 500, 503] {
            let app = app(move |mut stream: TcpStream| async move {
                head(&mut stream).await;
                let answer = format!(
                    "HTTP/1.1 {interim}\r\n\r\nHTTP/1.1 {status} Final\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                let _body = stream.read_to_end(&mut rest).await;
            })
            .await;
            let (_running, address) = start(&config(app));
            for request in [
                get(&[]),
                get(&[("expect", "100-continue"), ("content-length", "2")]).replace("GET", "POST")
                    + "hi",
            ] {
                let mut client = connect(address).await;
                client.write_all(request.as_bytes()).await.unwrap();
                let mut last = soon("head", head(&mut client)).await;
                while last.starts_with("HTTP/1.1 1") {
                    last = soon("head", head(&mut client)).await;
                }
                let expected = format!("HTTP/1.1 {status} ");
                assert!(last.starts_with(&expected), "{interim}: {last:?}");
            }
        }
    }
}

/// There, the text of the time-out is appended to an answer that has begun, which then ends as if it were whole.
#[tokio::test]
async fn f2_a_time_limit_never_appends_to_an_answer_that_has_begun() {
    let part = "\r\n\r\n4\r\npart\r\n";
    for (framing, body) in [
        ("transfer-encoding: chunked", part),
        ("content-length: 100", "\r\n\r\npart"),
    ] {
        let app = app(move |mut stream: TcpStream| async move {
            head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{framing}{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ended = stream.read_u8().await;
        })
        .await;
        for limits in [
            TimeLimits {
                total: Some(Duration::from_millis(300)),
                ..TimeLimits::default()
            },
            TimeLimits {
                idle: Some(Duration::from_millis(300)),
                ..TimeLimits::default()
            },
        ] {
            let mut config = config(app);
            config.limits = limits;
            let (_running, address) = start(&config);
            let mut client = connect(address).await;
            client.write_all(get(&[]).as_bytes()).await.unwrap();
            let answer = rest(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
            // No text, and no last chunk.
            assert!(answer.ends_with(body), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn f2_a_time_limit_resets_a_stream_of_http2_that_has_begun() {
    let app = app(async |stream: TcpStream| {
        let mut streams = h2::server::handshake(stream).await.unwrap();
        let mut bodies = Vec::new();
        while let Some(Ok((_, mut respond))) = streams.accept().await {
            let mut body = respond
                .send_response(http::Response::new(()), false)
                .unwrap();
            body.send_data(Bytes::from_static(b"part"), false).unwrap();
            bodies.push(body);
        }
    })
    .await;
    let mut config = config(app);
    config.limits.total = Some(Duration::from_millis(500));
    let (_running, address) = start(&config);
    let (mut client, connection) = h2::client::handshake(connect(address).await).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://a/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let mut body = soon("head", response).await.unwrap().into_body();
    assert_eq!(soon("data", body.data()).await.unwrap().unwrap(), "part");
    let end = soon("end", body.data()).await.unwrap();
    assert!(end.unwrap_err().is_reset());
}

/// There, the limits of the answer's beginning and of silence end an upgraded connection however busy it is.
#[tokio::test]
async fn f3_an_upgraded_connection_outlives_the_limits_of_its_beginning_and_of_silence() {
    let app = app(async |mut stream: TcpStream| {
        head(&mut stream).await;
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            stream.write_all(&byte).await.unwrap();
        }
    })
    .await;
    let mut config = config(app);
    config.limits = TimeLimits {
        response_start: Some(Duration::from_millis(800)),
        idle: Some(Duration::from_millis(800)),
        ..TimeLimits::default()
    };
    let (_running, address) = start(&config);
    let mut client = connect(address).await;
    let upgrade = get(&[("connection", "upgrade"), ("upgrade", "raw")]);
    client.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
    // For more than twice either limit.
    for _ in 0..36 {
        client.write_u8(7).await.unwrap();
        assert_eq!(soon("echo", client.read_u8()).await.unwrap(), 7);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // And silence does end it.
    assert_eq!(rest(&mut client).await, "");
}

/// There, an answer with a length is held back until it is whole.
#[tokio::test]
async fn f4_an_answer_with_a_length_arrives_as_it_is_sent() {
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let app = app(move |mut stream: TcpStream| {
        let told = Arc::clone(&told);
        async move {
            head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 32\r\n\r\n")
                .await
                .unwrap();
            for _ in 0..4 {
                stream.write_all(b"8 bytes.").await.unwrap();
                told.notified().await;
            }
        }
    })
    .await;
    let (_running, address) = start(&config(app));
    let mut client = connect(address).await;
    client.write_all(get(&[]).as_bytes()).await.unwrap();
    head(&mut client).await;
    for _ in 0..4 {
        let mut part = [0; 8];
        soon("part", client.read_exact(&mut part)).await.unwrap();
        go_on.notify_one();
    }
}

/// There, a client that goes away counts as answered with 200, or with 500 if it waited.
#[tokio::test]
async fn f6_a_client_that_goes_away_is_counted_as_one() {
    let app = app(async |mut stream: TcpStream| {
        head(&mut stream).await;
        let _ended = stream.read_u8().await;
    })
    .await;
    let mut config = config(app);
    config.concurrency = 1;
    let (running, address) = start(&config);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = connect(address).await;
        client.write_all(get(&[]).as_bytes()).await.unwrap();
        clients.push(client);
    }
    let breaker = running.breaker().unwrap();
    eventually("waiting", || breaker.waiting() == 1).await;
    // The one that waits first, for it would get the other's slot.
    while let Some(client) = clients.pop() {
        drop(client);
        let gone = 2 - clients.len() as u64;
        let requests = || running.stats().view();
        eventually("counted", || {
            requests().requests(Answer::ClientGone) == gone
        })
        .await;
        assert_eq!(requests().requests_total(), gone);
    }
}

/// There, such an upgrade is accepted and then answered with 502.
#[tokio::test]
async fn f11_an_upgrade_to_h2c_is_answered_over_http1() {
    let (_running, address) = start(&config(telling().await));
    let fields = [
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
    ];
    let told = ask(address, &get(&fields)).await;
    assert_eq!(told.status, 200);
    for field in ["upgrade", "http2-settings"] {
        assert!(!told.body.contains(field), "{told:?}");
    }
}
