//! HTTP/1 and HTTP/2 on either side, gRPC's trailers, and switches of protocol.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use plimsoll_proxy::{RetryReason, ServiceSettings, UpstreamProtocol};
use plimsoll_wire::orca::ReportError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Endpoint, GET, OK, Setup, answer, eventually, head, in_turn, request, soon};
use crate::http2::{self, Script, ask};

fn speaking(protocol: UpstreamProtocol) -> ServiceSettings {
    ServiceSettings {
        protocol,
        ..ServiceSettings::default()
    }
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = fields.iter();
    fields
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn grpc() -> Request<()> {
    Request::post("http://a.example/pkg.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// An endpoint that speaks HTTP/1 and tells in its body what it was sent, to the end of the body.
async fn telling(answer_head: &'static str, trailers: &'static str) -> Endpoint {
    Endpoint::new(move |mut stream, _| async move {
        loop {
            let head = head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let mut body = String::new();
            while head.contains("chunked") && !body.ends_with("0\r\n\r\n") {
                body.push(char::from(stream.read_u8().await.unwrap()));
            }
            let told = format!("{head}{body}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\n{answer_head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{told}\r\n0\r\n{trailers}\r\n",
                told.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn http2_goes_as_it_comes_and_trailers_say_how_it_went() {
    for (status, successes, failures) in [("0", 1, 0), ("5", 1, 0), ("14", 0, 1), ("13", 0, 1)] {
        let mut trailers = map(&[("x-more", "1")]);
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        let script = Script {
            head: map(&[("content-type", "application/grpc")]),
            trailers,
            ..Script::default()
        };
        let only = http2::endpoint(script).await;
        let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
        let client = http2::client(setup.address).await;
        let answer = ask(&client, grpc(), "message").await;
        assert_eq!(answer.trailers["grpc-status"], status);
        assert_eq!(answer.trailers["x-more"], "1");
        let body = answer.body.unwrap();
        assert!(
            body.starts_with("POST http://a.example/pkg.Service/Method"),
            "{body}"
        );
        assert!(body.ends_with(" message"), "{body}");
        setup.at_rest().await;
        let endpoint = setup.endpoint(only.address);
        assert_eq!(
            (endpoint.successes, endpoint.failures.total()),
            (successes, failures),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_grpc_answer_without_a_status_is_a_failure_of_its_endpoint() {
    let only = http2::endpoint(Script::default()).await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[only.address]);
    let client = http2::client(setup.address).await;
    assert_eq!(ask(&client, grpc(), "message").await.status(), 200);
    setup.at_rest().await;
    assert_eq!(setup.endpoint(only.address).failures.total(), 1);
}

#[tokio::test]
async fn an_http1_client_is_understood_by_an_endpoint_that_speaks_only_http2() {
    let script = Script {
        head: map(&[("trailer", "x-sum"), ("x-head", "1")]),
        trailers: map(&[("x-sum", "42")]),
        ..Script::default()
    };
    let only = http2::endpoint(script).await;
    let setup = Setup::new(
        in_turn(),
        speaking(UpstreamProtocol::Http2),
        &[only.address],
    );
    let chunked = "te: trailers\r\nconnection: te, upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n";
    let asked =
        request("POST", chunked, "5\r\nhello\r\n0\r\n\r\n").replace("POST /", "POST /path?q=1");
    let answer = setup.ask(&asked).await;
    assert_eq!(answer.status, 200);
    assert!(answer.is_whole);
    assert!(answer.head.contains("x-head: 1\r\n"), "{}", answer.head);
    assert!(
        answer.body.contains("POST http://a/path?q=1"),
        "{}",
        answer.body
    );
    assert!(answer.body.contains(" hello\r\n"), "{}", answer.body);
    assert!(
        answer.body.ends_with("0\r\nx-sum: 42\r\n\r\n"),
        "{}",
        answer.body
    );
    for gone in ["host:", "upgrade", "connection", "transfer-encoding"] {
        assert!(!answer.body.contains(gone), "{gone}: {}", answer.body);
    }
    assert_eq!(setup.ask("GET / HTTP/1.0\r\n\r\n").await.status, 400);
    assert_eq!(setup.ask(GET).await.status, 200);
    setup.at_rest().await;
}

#[tokio::test]
async fn an_http2_client_is_understood_by_an_endpoint_that_speaks_only_http1() {
    let only = telling(
        "trailer: x-sum\r\nconnection: x-private\r\nx-private: 1\r\n",
        "x-sum: 42\r\n",
    )
    .await;
    let setup = Setup::new(
        in_turn(),
        speaking(UpstreamProtocol::Http1),
        &[only.address],
    );
    let client = http2::client(setup.address).await;
    let asked = Request::post("http://a.example:81/path?q=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let answer = ask(&client, asked.body(()).unwrap(), "hello").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.trailers["x-sum"], "42");
    assert!(!answer.head.headers().contains_key("x-private"));
    let body = answer.body.unwrap();
    assert!(body.starts_with("POST /path?q=1 HTTP/1.1\r\n"), "{body}");
    assert!(body.contains("host: a.example:81\r\n"), "{body}");
    assert!(body.contains("cookie: a=1; b=2\r\n"), "{body}");
    assert!(body.contains("transfer-encoding: chunked\r\n"), "{body}");
    assert!(body.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{body}");
    let get = Request::get("http://a.example/").body(()).unwrap();
    let body = ask(&client, get, "").await.body.unwrap();
    assert!(!body.contains("transfer-encoding"), "{body}");
    // A method that mostly has no body keeps the one it has.
    let get = Request::get("http://a.example/").body(()).unwrap();
    let body = ask(&client, get, "hello").await.body.unwrap();
    assert!(body.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{body}");
    setup.at_rest().await;
}

#[tokio::test]
async fn a_stream_that_was_refused_is_sent_elsewhere_whatever_its_method() {
    for (reason, expected) in [
        (h2::Reason::REFUSED_STREAM, 200),
        (h2::Reason::INTERNAL_ERROR, 502),
    ] {
        let refusing = http2::endpoint(Script {
            reset: Some((reason, None)),
            ..Script::default()
        })
        .await;
        let good = http2::endpoint(Script::default()).await;
        let setup = Setup::new(
            in_turn(),
            ServiceSettings::default(),
            &[refusing.address, good.address],
        );
        let client = http2::client(setup.address).await;
        let mut worst = 0;
        for _ in 0..2 {
            let post = Request::post("http://a/").body(()).unwrap();
            worst = worst.max(ask(&client, post, "").await.status());
        }
        assert_eq!(worst, expected, "{reason:?}");
        let retried = setup.view().retries[RetryReason::NotAccepted as usize];
        let refused = refusing.served() as u64;
        assert!(refused > 0);
        assert_eq!(retried, if expected == 200 { refused } else { 0 });
        setup.at_rest().await;
    }
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_at_the_endpoint_until_it_ends() {
    let echo = Endpoint::new(|mut stream, _| async move {
        let asked = head(&mut stream).await.to_lowercase();
        assert!(asked.contains("upgrade: websocket\r\n"), "{asked}");
        let agreed =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(agreed.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    })
    .await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[echo.address]);
    let mut client = setup.connect().await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    client
        .write_all(request("GET", upgrade, "").as_bytes())
        .await
        .unwrap();
    let agreed = soon("101", head(&mut client)).await;
    assert!(agreed.starts_with("HTTP/1.1 101"), "{agreed}");
    for _ in 0..3 {
        client.write_all(b"ping").await.unwrap();
        let mut echoed = [0; 4];
        soon("echo", client.read_exact(&mut echoed)).await.unwrap();
        assert_eq!(&echoed, b"ping");
        assert_eq!(setup.endpoint(echo.address).in_flight, 1);
    }
    drop(client);
    setup.at_rest().await;
    assert_eq!(setup.endpoint(echo.address).successes, 1);
}

#[tokio::test]
async fn both_versions_share_a_port_and_a_service() {
    let only = Endpoint::answering(OK).await;
    let setup = Setup::new(
        in_turn(),
        speaking(UpstreamProtocol::Http1),
        &[only.address],
    );
    let client = http2::client(setup.address).await;
    let mut plain = setup.connect().await;
    for _ in 0..5 {
        let get = Request::get("http://a/").body(()).unwrap();
        assert_eq!(ask(&client, get, "").await.body.unwrap(), "ok");
        plain.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(soon("answer", answer(&mut plain)).await.status, 200);
    }
    eventually("all counted", || {
        setup.view().requests.requests_total() == 10
    })
    .await;
}

#[tokio::test]
async fn what_endpoints_say_of_their_load_is_heard_and_passed_on() {
    let head = "HTTP/1.1 200 OK\r\nendpoint-load-metrics: TEXT cpu_utilization=0.5\r\ncontent-length: 2\r\n\r\nok";
    let plain = Endpoint::answering(head).await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[plain.address]);
    let answer = setup.ask(GET).await;
    assert!(
        answer
            .head
            .contains("endpoint-load-metrics: text cpu_utilization=0.5\r\n")
    );
    let cpu = |endpoint: SocketAddr, setup: &Setup| {
        let report = setup.endpoint(endpoint).report;
        report.and_then(|(report, _)| report.cpu_utilization)
    };
    assert_eq!(cpu(plain.address, &setup), Some(0.5));
    assert_eq!(setup.view().reports_taken, 1);

    let trailing = http2::endpoint(Script {
        trailers: map(&[("grpc-status", "0"), ("cpu_usage", "250")]),
        ..Script::default()
    })
    .await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[trailing.address]);
    let client = http2::client(setup.address).await;
    assert_eq!(
        ask(&client, grpc(), "message").await.trailers["cpu_usage"],
        "250"
    );
    setup.at_rest().await;
    assert_eq!(cpu(trailing.address, &setup), Some(0.25));

    let lying = "HTTP/1.1 200 OK\r\nendpoint-load-metrics: TEXT cpu_utilization=-1\r\ncontent-length: 2\r\n\r\nok";
    let lying = Endpoint::answering(lying).await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[lying.address]);
    assert_eq!(setup.ask(GET).await.status, 200);
    assert_eq!(cpu(lying.address, &setup), None);
    let view = setup.view();
    assert_eq!(view.reports_taken, 0);
    assert_eq!(view.reports_rejected[ReportError::Negative.index()], 1);
}

#[tokio::test]
async fn a_request_over_http2_has_one_host() {
    let only = telling("", "").await;
    let setup = Setup::new(
        in_turn(),
        speaking(UpstreamProtocol::Http1),
        &[only.address],
    );
    let client = http2::client(setup.address).await;
    let rows: [(&str, &[&str], u16); 6] = [
        ("http://a.example/", &[], 200),
        ("http://a.example/", &["A.example"], 200),
        ("http://a.example/", &["b.example"], 400),
        ("http://b@a.example/", &[], 400),
        ("/", &["a.example"], 200),
        ("/", &["a.example", "b.example"], 400),
    ];
    for (uri, hosts, expected) in rows {
        let mut asked = Request::get(uri);
        for host in hosts {
            asked = asked.header("host", *host);
        }
        let answer = ask(&client, asked.body(()).unwrap(), "").await;
        assert_eq!(answer.status(), expected, "{uri} {hosts:?}");
    }
    setup.at_rest().await;
}
