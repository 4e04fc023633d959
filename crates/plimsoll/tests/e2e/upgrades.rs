//! Connections that change their protocol become bytes in both directions, for as long as they last.

use std::time::{Duration, Instant};

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client, End};
use crate::harness::metrics::Metrics;
use crate::harness::sidecar::Sidecar;
use crate::harness::wire::Wire;

const ASK: &str = "GET /up HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: raw\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";

/// Agrees to `raw`, greets, and then returns whatever comes until the client ends.
async fn raw_echo() -> App {
    App::scripted(|mut wire, _| async move {
        let Some(head) = wire.head().await else {
            return;
        };
        assert!(head.contains("\r\nupgrade: raw\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        wire.send(format!("{AGREE}hello ")).await;
        loop {
            let bytes = wire.some().await;
            if bytes.is_empty() {
                return;
            }
            if wire.try_send(&bytes).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// A client whose connection has changed its protocol.
async fn upgraded(sidecar: &Sidecar) -> Wire {
    let mut client = Client::connect(sidecar.data).await;
    client.send(format!("{ASK}early ")).await;
    let (status, head) = client.head().await;
    assert_eq!(status, 101, "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\nupgrade: raw\r\n"), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert_eq!(client.0.exactly(12).await, b"hello early ");
    client.0
}

async fn ended(sidecar: &Sidecar) -> Metrics {
    sidecar
        .scraped("the tunnel has ended", |metrics| {
            metrics.in_flight() == 0.0
                && metrics.value("plimsoll_connections_open") == 0.0
                && metrics.requests_total() == 1.0
        })
        .await
}

#[tokio::test]
async fn bytes_right_behind_both_heads_arrive_and_the_request_lasts_as_long_as_the_tunnel() {
    let app = raw_echo().await;
    let sidecar = Sidecar::start(app.addr, &["--concurrency", "2"]).await;
    let mut wire = upgraded(&sidecar).await;
    let metrics = sidecar.scrape().await;
    assert_eq!(metrics.in_flight(), 1.0);
    assert_eq!(metrics.value("plimsoll_slots_in_use"), 1.0);
    assert_eq!(metrics.requests_total(), 0.0);
    for length in [1, 100, 100_000] {
        wire.send(vec![b'e'; length]).await;
        assert!(wire.exactly(length).await == vec![b'e'; length]);
    }
    drop(wire);
    let metrics = ended(&sidecar).await;
    assert_eq!(metrics.requests("1xx", "app"), 1.0);
    assert_eq!(metrics.value("plimsoll_slots_in_use"), 0.0);
}

#[tokio::test]
async fn each_side_may_end_first_and_still_be_answered() {
    // The client ends; the application answers to the end.
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send(AGREE).await;
        let said = wire.read_to_end().await;
        wire.send([b"you said ", &said[..]].concat()).await;
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(ASK).await;
    assert_eq!(client.head().await.0, 101);
    client.send("goodbye").await;
    client.0.finish().await;
    assert_eq!(client.0.read_to_end().await, b"you said goodbye");
    ended(&sidecar).await;

    // The application ends; the client's last words arrive.
    let (heard, hears) = tokio::sync::mpsc::channel(1);
    let app = App::scripted(move |mut wire, _| {
        let heard = heard.clone();
        async move {
            wire.head().await.unwrap();
            wire.send(AGREE).await;
            wire.finish().await;
            heard.send(wire.read_to_end().await).await.unwrap();
        }
    })
    .await;
    let mut hears = hears;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(ASK).await;
    assert_eq!(client.head().await.0, 101);
    assert_eq!(client.0.read_to_end().await, b"");
    client.send("last words").await;
    drop(client);
    assert_eq!(hears.recv().await.unwrap(), b"last words");
    ended(&sidecar).await;
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_answered_over_http11() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send(
            "GET /headers HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\n\
             upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    let seen = answer.json();
    assert_eq!(seen["version"], "HTTP/1.1");
    let fields = seen["headers"].to_string();
    for name in ["upgrade", "http2-settings", "connection"] {
        assert!(!fields.contains(&format!("[\"{name}\"")), "{fields}");
    }
    assert_eq!(client.get("/bytes/1").await.text(), "x");
}

#[tokio::test]
async fn an_application_may_decline() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(ASK.replace("/up", "/status/426")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.end), (426, End::Whole));
    assert_eq!(client.get("/bytes/1").await.text(), "x");
}

#[tokio::test]
async fn an_application_that_switches_to_what_was_not_asked_for_is_wrong() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n";
    let silent = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned();
    for (case, request, answer) in [
        ("another protocol", ASK.to_owned(), other),
        ("no protocol", ASK.to_owned(), silent),
        ("nothing was asked for", plain, AGREE),
        (
            "nothing was asked for, with a body",
            http1::post("/", "body"),
            AGREE,
        ),
    ] {
        let app = App::answering(answer).await;
        let sidecar = Sidecar::start(app.addr, &[]).await;
        let refused = http1::once(sidecar.data, request).await;
        assert_eq!(refused.status, 502, "{case}: {}", refused.head);
        assert_eq!(refused.proxy_error(), Some("http_upgrade_failed"), "{case}");
        let metrics = sidecar
            .scraped(case, |metrics| metrics.requests_total() == 1.0)
            .await;
        assert_eq!(metrics.requests("5xx", "upstream_error"), 1.0, "{case}");
        assert_eq!(metrics.errors("http_upgrade_failed"), 1.0, "{case}");
        assert_eq!(metrics.in_flight(), 0.0, "{case}");
    }
}

/// How often a test says something where silence would be noticed.
const BEAT: Duration = Duration::from_millis(100);

/// Says something every [`BEAT`] until `end`.
async fn talk_until(wire: &mut Wire, end: Instant) {
    let mut beat = tokio::time::interval(BEAT);
    while Instant::now() < end {
        beat.tick().await;
        wire.send("beat").await;
        assert_eq!(wire.exactly(4).await, b"beat");
    }
}

#[tokio::test]
async fn the_limit_until_the_answer_begins_does_not_cut_a_tunnel() {
    let app = raw_echo().await;
    let sidecar = Sidecar::start(app.addr, &["--response-start-timeout", "1s"]).await;
    let mut wire = upgraded(&sidecar).await;
    talk_until(&mut wire, Instant::now() + Duration::from_millis(1_300)).await;
}

#[tokio::test]
async fn the_idle_limit_cuts_a_silent_tunnel_and_no_other() {
    let app = raw_echo().await;
    let sidecar = Sidecar::start(app.addr, &["--idle-timeout", "1s"]).await;
    let mut wire = upgraded(&sidecar).await;
    talk_until(&mut wire, Instant::now() + Duration::from_millis(1_600)).await;
    let silent_since = Instant::now();
    assert_eq!(wire.some().await, b"", "cut");
    let after = silent_since.elapsed();
    assert!(after >= Duration::from_millis(800), "{after:?}");
    let metrics = ended(&sidecar).await;
    assert_eq!(metrics.requests("5xx", "timeout"), 1.0);
    assert_eq!(metrics.errors("http_response_timeout"), 1.0);
}

#[tokio::test]
async fn the_total_limit_cuts_a_tunnel_however_busy() {
    let app = raw_echo().await;
    let sidecar = Sidecar::start(app.addr, &["--timeout", "1s"]).await;
    let began = Instant::now();
    let mut wire = upgraded(&sidecar).await;
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        if wire.try_send("beat").await.is_err() || wire.some().await.is_empty() {
            break;
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(ended(&sidecar).await.requests("5xx", "timeout"), 1.0);
}
