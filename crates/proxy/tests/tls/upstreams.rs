//! Applications with TLS: whom is trusted, what is said when not, and which connections are used again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use plimsoll_proxy::{ClientTls, ClientTlsConfig, Identity, Running, Trust};
use plimsoll_wire::ProxyError;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

use super::authority::{Authority, Validity, file};
use super::harness::*;

fn trusting(authority: &Authority, name: Option<&str>, identity: Option<Identity>) -> ClientTls {
    ClientTls::new(&ClientTlsConfig {
        trust: Trust::File(file(&authority.pem)),
        server_name: name.map(str::to_owned),
        identity,
    })
    .unwrap()
}

/// A request over HTTP/1.1: status, `Proxy-Status` and body.
async fn get(address: SocketAddr) -> (u16, String, String) {
    let mut client = connect(address).await;
    let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut said = String::new();
    soon("answer", client.read_to_string(&mut said))
        .await
        .unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    let proxy_status = head
        .lines()
        .find_map(|line| line.strip_prefix("proxy-status: "));
    (
        status,
        proxy_status.unwrap_or_default().to_owned(),
        body.to_owned(),
    )
}

/// A request over HTTP/2, answered.
async fn get_http2(address: SocketAddr) -> http::Response<h2::RecvStream> {
    let mut client = http2_client(connect(address).await).await;
    let request = http::Request::get("http://a/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    soon("answer", response).await.unwrap()
}

#[tokio::test]
async fn an_application_is_trusted_by_its_name_or_by_its_address() {
    let authority = Authority::new();
    for (names, name) in [
        (&["app.example"][..], Some("app.example")),
        (&["*.app.example"], Some("one.app.example")),
        (&["127.0.0.1"], None),
        (&["127.0.0.1"], Some("127.0.0.1")),
    ] {
        let server = authority.issue(names).server(&["http/1.1"], None);
        let app = tls_app(server, |stream| answer_each(stream, OK, Arc::default())).await;
        let (_running, address) = start(&with_app_tls(app, trusting(&authority, name, None)));
        assert_eq!(
            get(address).await,
            (200, String::new(), "ok".to_owned()),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn http2_goes_over_tls_with_its_own_scheme() {
    let authority = Authority::new();
    let server = authority.issue(&["127.0.0.1"]).server(&["h2"], None);
    let app = tls_app(server, echo_http2).await;
    let (_running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
    let response = get_http2(address).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-scheme"], "https");
}

/// What stands in `Proxy-Status`, the metrics and the log.
async fn expect_failure(running: &Running, address: SocketAddr, word: ProxyError, text: &str) {
    let (status, proxy_status, body) = get(address).await;
    assert_eq!(status, 502, "{body}");
    let error = format!("plimsoll; error={}; ", word.as_str());
    assert!(
        proxy_status.starts_with(&error),
        "{proxy_status} is not {word:?}"
    );
    assert!(body.contains(text), "{body:?} does not say {text:?}");
    assert_eq!(running.stats().view().errors(word), 1);
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_named_as_the_cause() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.issue(&["app.example"]);
    let cases = [
        (good, "another.example", "not valid for name"),
        (
            authority.issue_with(&["app.example"], Validity::Expired),
            "app.example",
            "expired",
        ),
        (
            other.issue(&["app.example"]),
            "app.example",
            "UnknownIssuer",
        ),
    ];
    for (issued, name, text) in cases {
        let app = tls_app(issued.server(&[], None), |stream| {
            answer_each(stream, OK, Arc::default())
        })
        .await;
        let tls = trusting(&authority, Some(name), None);
        let (running, address) = start(&with_app_tls(app, tls));
        let word = ProxyError::TlsCertificateError;
        expect_failure(&running, address, word, text).await;
    }
}

#[tokio::test]
async fn any_certificate_is_accepted_if_that_is_asked_for() {
    let server = Authority::new()
        .issue_with(&["app.example"], Validity::Expired)
        .server(&[], None);
    let app = tls_app(server, |stream| answer_each(stream, OK, Arc::default())).await;
    let tls = ClientTls::new(&ClientTlsConfig {
        trust: Trust::InsecureAnyCertificate,
        ..ClientTlsConfig::default()
    });
    let (_running, address) = start(&with_app_tls(app, tls.unwrap()));
    assert_eq!(get(address).await.0, 200);
}

#[tokio::test]
async fn an_application_may_ask_for_a_certificate() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let answer = |stream| answer_each(stream, OK, Arc::default());
    let app = tls_app(issued.server(&["http/1.1"], Some(&authority)), answer).await;
    let ours = authority.issue(&["plimsoll"]).identity();
    let tls = trusting(&authority, None, Some(ours));
    let (_running, address) = start(&with_app_tls(app, tls));
    assert_eq!(get(address).await.0, 200);
    // Without one, the application says so with an alert: in TLS 1.3 after the handshake.
    let (running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
    let (word, text) = (ProxyError::TlsAlertReceived, "TLS");
    expect_failure(&running, address, word, text).await;
}

#[tokio::test]
async fn an_alert_is_named_as_the_cause_over_http2_too() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let app = tls_app(issued.server(&["h2"], Some(&authority)), echo_http2).await;
    let (running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
    assert_eq!(get_http2(address).await.status(), 502);
    let alerts = running.stats().view().errors(ProxyError::TlsAlertReceived);
    assert_eq!(alerts, 1);
}

#[tokio::test]
async fn an_application_without_tls_or_without_the_protocol_is_told_apart() {
    let authority = Authority::new();
    // It answers at once, for it would wait for a whole head.
    let plain = app(|mut stream| async move {
        stream.write_all(OK.as_bytes()).await.unwrap();
        let _end = stream.read_to_end(&mut Vec::new()).await.is_ok();
    })
    .await;
    let (running, address) = start(&with_app_tls(plain, trusting(&authority, None, None)));
    let word = ProxyError::TlsProtocolError;
    expect_failure(&running, address, word, "TLS with 127.0.0.1").await;

    // It knows ALPN, but not HTTP/2.
    let issued = authority.issue(&["127.0.0.1"]);
    let answer = |stream| answer_each(stream, OK, Arc::default());
    let app = tls_app(issued.server(&["http/1.1"], None), answer).await;
    let (running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
    assert_eq!(get_http2(address).await.status(), 502);
    let view = running.stats().view();
    assert_eq!(view.errors(ProxyError::TlsAlertReceived), 1);

    // It does not know ALPN, so it would speak HTTP/1.
    let app = tls_app(issued.server(&[], None), answer).await;
    let (running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
    assert_eq!(get_http2(address).await.status(), 502);
    let view = running.stats().view();
    assert_eq!(view.errors(ProxyError::TlsProtocolError), 1);
}

/// How an application leaves its connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It sends what concerns TLS only, as session tickets do.
    KeyUpdate,
    /// It says that it closes, and leaves the connection below open.
    Goodbye,
    /// It sends bytes that nobody asked for.
    Noise,
}

/// An application that answers, and does what comes after when it is told that the answer has arrived.
#[derive(Debug)]
struct Leaving {
    after: After,
    connections: AtomicUsize,
    arrived: Notify,
    done: Notify,
}

impl Leaving {
    async fn serve(self: Arc<Self>, mut stream: TlsStream<TcpStream>) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        while !head(&mut stream).await.is_empty() {
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            self.arrived.notified().await;
            match self.after {
                After::KeyUpdate => stream.get_mut().1.refresh_traffic_keys().unwrap(),
                After::Goodbye => stream.get_mut().1.send_close_notify(),
                After::Noise => stream.write_all(b"x").await.unwrap(),
            }
            stream.flush().await.unwrap();
            self.done.notify_one();
        }
    }
}

#[tokio::test]
async fn a_connection_is_used_again_unless_more_than_tls_has_arrived_on_it() {
    const REQUESTS: usize = 5;
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    for (after, expected) in [
        (After::KeyUpdate, 1),
        (After::Goodbye, REQUESTS),
        (After::Noise, REQUESTS),
    ] {
        let leaving = Arc::new(Leaving {
            after,
            connections: AtomicUsize::new(0),
            arrived: Notify::new(),
            done: Notify::new(),
        });
        let app = Arc::clone(&leaving);
        let serve = move |stream| Arc::clone(&app).serve(stream);
        let app = tls_app(issued.server(&[], None), serve).await;
        let (_running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
        let mut client = connect(address).await;
        for _ in 0..REQUESTS {
            get_ok(&mut client).await;
            leaving.arrived.notify_one();
            soon("what comes after", leaving.done.notified()).await;
        }
        let connections = leaving.connections.load(Ordering::SeqCst);
        assert_eq!(connections, expected, "{after:?}");
    }
}

#[tokio::test]
async fn sessions_with_the_application_are_resumed() {
    let authority = Authority::new();
    let server = authority.issue(&["127.0.0.1"]).server(&[], None);
    let (kinds, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let app = tls_app(server, move |mut stream| {
        kinds.send(stream.get_ref().1.handshake_kind()).unwrap();
        async move {
            head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let (_running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        assert_eq!(get(address).await.0, 200);
        assert_eq!(seen.recv().await.unwrap(), Some(expected));
    }
}

/// Whoever cuts the connection could make an answer without a length look whole.
#[tokio::test]
async fn an_answer_that_ends_without_goodbye_is_never_a_whole_one() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    for goodbye in [true, false] {
        let app = tls_app(issued.server(&[], None), move |mut stream| async move {
            head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\n\r\nhalf";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            if goodbye {
                stream.shutdown().await.unwrap();
            }
        })
        .await;
        let (running, address) = start(&with_app_tls(app, trusting(&authority, None, None)));
        let mut client = connect(address).await;
        client.write_all(GET.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let whole = b"4\r\nhalf\r\n0\r\n\r\n";
        let is_whole = soon("answer", async {
            loop {
                if said.ends_with(whole) {
                    break true;
                }
                if client.read_buf(&mut said).await.unwrap_or(0) == 0 {
                    break false;
                }
            }
        })
        .await;
        assert_eq!(is_whole, goodbye, "{:?}", Bytes::from(said));
        let incomplete = running
            .stats()
            .view()
            .errors(ProxyError::HttpResponseIncomplete);
        assert_eq!(incomplete, u64::from(!goodbye));
    }
}
