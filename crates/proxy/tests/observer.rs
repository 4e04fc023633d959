//! What an observer hears of requests, of every way in which they end.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, a failure is a failed test, in its helpers too"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use plimsoll_proxy::{
    Arrival, Observed, Observer, RequestEnd, Running, Sidecar, SidecarConfig, SidecarOptions,
    TimeLimits,
};
use plimsoll_wire::{Answer, CodeClass, ProxyError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Tells of the end of every request whose path does not say that it is nobody's business.
#[derive(Debug)]
struct Listener(Mutex<mpsc::UnboundedSender<(String, RequestEnd)>>);

#[derive(Debug)]
struct Seen {
    what: String,
    tell: mpsc::UnboundedSender<(String, RequestEnd)>,
}

impl Observer for Listener {
    fn arrived(&self, arrival: &mut Arrival<'_>) -> Option<Box<dyn Observed>> {
        if arrival.uri.path() == "/private" {
            return None;
        }
        arrival
            .headers
            .insert("x-seen", HeaderValue::from_static("yes"));
        let length = arrival.content_length;
        let what = format!("{} {} {length:?}", arrival.method, arrival.uri.path());
        let tell = self.0.lock().unwrap().clone();
        Some(Box::new(Seen { what, tell }))
    }
}

impl Observed for Seen {
    fn ended(self: Box<Self>, end: &RequestEnd) {
        self.tell.send((self.what, *end)).unwrap();
    }
}

struct Field {
    _running: Running,
    sidecar: SocketAddr,
    app: TcpListener,
    heard: mpsc::UnboundedReceiver<(String, RequestEnd)>,
}

async fn field(limits: TimeLimits) -> Field {
    let app = TcpListener::bind(LOOPBACK).await.unwrap();
    let config = SidecarConfig {
        app: app.local_addr().unwrap(),
        listen: LOOPBACK,
        concurrency: 0,
        queue_depth: None,
        limits,
        workers: NonZeroUsize::MIN,
        connections_max: 10,
        tls: None,
        tls_port: None,
        app_tls: None,
        options: SidecarOptions::default(),
    };
    let (tell, heard) = mpsc::unbounded_channel();
    let sidecar = Sidecar::bind(&config).unwrap();
    let sidecar = sidecar.observed_by(Arc::new(Listener(Mutex::new(tell))));
    let address = sidecar.local_addr().unwrap();
    Field {
        _running: sidecar.start().unwrap(),
        sidecar: address,
        app,
        heard,
    }
}

impl Field {
    /// A client that has sent `request`, and the application's end of it with what has come up to `until`.
    async fn asked(&self, request: &str, until: &str) -> (TcpStream, TcpStream, String) {
        let mut client = TcpStream::connect(self.sidecar).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let (mut app, _) = self.app.accept().await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(until.as_bytes()) {
            came.push(app.read_u8().await.unwrap());
        }
        (client, app, String::from_utf8(came).unwrap())
    }

    async fn end(&mut self) -> (String, RequestEnd) {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv());
        heard.await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn an_answered_request_is_told_with_its_sizes_and_its_final_status() {
    let mut field = field(TimeLimits::default()).await;
    let request = "POST /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    let (_client, mut app, came) = field.asked(request, "hello").await;
    assert!(came.contains("x-seen: yes"), "{came}");
    let answer =
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno!";
    app.write_all(answer.as_bytes()).await.unwrap();
    let (what, end) = field.end().await;
    assert_eq!(what, "POST /a Some(5)");
    assert_eq!(end.answer, Answer::App(CodeClass::ClientError));
    assert_eq!((end.status, end.error), (404, None));
    assert_eq!((end.request_bytes, end.response_bytes), (5, 3));
    assert!(end.running_since.is_some_and(|since| since <= end.ended));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_cause() {
    let mut field = field(TimeLimits {
        total: Some(Duration::from_millis(30)),
        ..TimeLimits::default()
    })
    .await;
    let request = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
    let (_client, _app, _) = field.asked(request, "\r\n\r\n").await;
    let (what, end) = field.end().await;
    assert_eq!(what, "GET /slow Some(0)");
    assert_eq!((end.answer, end.status), (Answer::Timeout, 504));
    assert_eq!(end.error, Some(ProxyError::HttpResponseTimeout));
    assert_eq!(end.response_bytes, "request timeout".len() as u64);
}

#[tokio::test]
async fn a_client_that_leaves_is_told_as_such_and_keeps_the_status_it_has_seen() {
    let mut field = field(TimeLimits::default()).await;
    let request = "GET /gone HTTP/1.1\r\nhost: a\r\n\r\n";
    let (client, app, _) = field.asked(request, "\r\n\r\n").await;
    drop(client);
    let (_, end) = field.end().await;
    assert_eq!((end.answer, end.status), (Answer::ClientGone, 499));
    drop(app);

    let (mut client, mut app, _) = field.asked(request, "\r\n\r\n").await;
    let begun = "HTTP/1.1 203 Fine\r\ncontent-length: 9\r\n\r\nhalf";
    app.write_all(begun.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"half") {
        seen.push(client.read_u8().await.unwrap());
    }
    drop(client);
    let (_, end) = field.end().await;
    assert_eq!((end.answer, end.status), (Answer::ClientGone, 203));
    assert_eq!(end.response_bytes, 4);
}

#[tokio::test]
async fn what_an_observer_leaves_out_is_not_told() {
    let mut field = field(TimeLimits::default()).await;
    for path in ["/private", "/public"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (mut client, mut app, came) = field.asked(&request, "\r\n\r\n").await;
        assert_eq!(came.contains("x-seen"), path == "/public", "{came}");
        app.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    }
    assert_eq!(field.end().await.0, "GET /public Some(0)");
    assert!(field.heard.try_recv().is_err());
}
