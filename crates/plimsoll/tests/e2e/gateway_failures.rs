//! Endpoints that fail in every way there is, and what clients notice of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::harness::app::{self, App};
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::{self, Client, End};
use crate::harness::wire::Wire;
use crate::harness::{eventually, soon};

const A: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na";

/// A configuration of one service with these upstreams and settings.
fn config(folder: &Folder, upstreams: &[SocketAddr], settings: &str) -> std::path::PathBuf {
    let upstreams: Vec<String> = upstreams.iter().map(|it| format!("\"{it}\"")).collect();
    let text = format!(
        "[services.a]\nupstreams = [{}]\n{settings}\n",
        upstreams.join(", ")
    );
    folder.write("g.toml", &text)
}

/// Answers as long as `well` says so; else as `ill` does.
async fn moody(well: &Arc<AtomicBool>, ill: &'static str) -> App {
    let well = Arc::clone(well);
    App::scripted(move |mut wire, _| {
        let well = Arc::clone(&well);
        async move {
            while app::request(&mut wire).await.is_some() {
                let answer = if well.load(Ordering::SeqCst) { A } else { ill };
                if wire.try_send(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

const BROKEN: &str = "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn an_endpoint_that_fails_is_ejected_told_of_once_and_tried_with_one_request() {
    let well = Arc::new(AtomicBool::new(false));
    let (ill, good) = (moody(&well, BROKEN).await, App::answering(A).await);
    let folder = Folder::new();
    let settings = "policy = \"round-robin\"\nslow-start = \"300ms\"\n\
                    ejection = { base = \"300ms\", max = \"300ms\" }";
    let config = config(&folder, &[ill.addr, good.addr], settings);
    let gateway = Gateway::configured(&config).await;
    let mut client = Client::connect(gateway.data).await;
    let mut failures = 0;
    for _ in 0..20 {
        failures += u32::from(client.get("/").await.status == 500);
        if gateway.endpoint(ill.addr).await["state"] == "ejected" {
            break;
        }
    }
    assert_eq!(failures, 3, "three of them are enough");
    let told = |message: &'static str| {
        move |line: &Value| {
            let said = line["message"].as_str().unwrap_or_default();
            said.starts_with(message) && line["endpoint"] == ill.addr.to_string()
        }
    };
    let line = gateway.logged("it is ejected", told("ejected")).await;
    assert_eq!(
        (
            &line["level"],
            &line["service"],
            &line["reason"],
            &line["seconds"]
        ),
        (&"WARN".into(), &"a".into(), &"failures".into(), &0.3.into()),
    );

    // The request that tries it fails, and it stays out.
    let probe_failed = |line: &Value| line["reason"] == "probe_failed";
    eventually("it is tried", async || {
        client.get("/").await;
        (gateway.count_logged(probe_failed) > 0).then_some(())
    })
    .await;
    well.store(true, Ordering::SeqCst);
    eventually("it is let in again", async || {
        client.get("/").await;
        (gateway.count_logged(told("let in again")) == 1).then_some(())
    })
    .await;
    eventually("it has its full share", async || {
        assert_eq!(client.get("/").await.status, 200);
        (gateway.endpoint(ill.addr).await["state"] == "healthy").then_some(())
    })
    .await;
    let endpoint = gateway.endpoint(ill.addr).await;
    let tries = gateway.count_logged(told("ejected"));
    let ejections = format!(
        "plimsoll_gateway_endpoint_ejections_total{{service=\"a\",endpoint=\"{}\"",
        ill.addr
    );
    let metrics = gateway.scrape().await;
    assert_eq!(metrics.sum(&ejections), tries as f64);
    assert_eq!(
        endpoint["failures"]["error"].as_u64(),
        Some(2 + tries as u64),
        "three at first, and one for each time it was tried: {endpoint}"
    );
}

#[tokio::test]
async fn what_is_shown_of_an_endpoint_adds_up() {
    let (a, b) = (App::answering(A).await, App::answering(A).await);
    let dead = app::nowhere().await;
    let gateway = Gateway::before(&[a.addr, dead, b.addr], &["--policy", "round-robin"]).await;
    for _ in 0..30 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let mut answers = 0;
    for endpoint in gateway.endpoints().await {
        let number = |value: &Value| value.as_u64().unwrap();
        let failures: u64 = endpoint["failures"]
            .as_object()
            .unwrap()
            .values()
            .map(number)
            .sum();
        let ended = number(&endpoint["successes"]) + failures + number(&endpoint["cancelled"]);
        assert_eq!(number(&endpoint["picks"]), ended, "{endpoint}");
        let shown = number(&endpoint["latency_seconds"]["sampled_answers"]);
        assert_eq!(shown, number(&endpoint["successes"]), "{endpoint}");
        answers += shown;
    }
    assert_eq!(answers, 30);
    assert_eq!(gateway.endpoint(dead).await["failures"]["connect"], 3);
}

#[tokio::test]
async fn when_all_fail_all_are_used_and_the_first_to_recover_is_seen_at_once() {
    let well = Arc::new(AtomicBool::new(false));
    let apps = [
        moody(&well, BROKEN).await,
        moody(&well, BROKEN).await,
        moody(&well, BROKEN).await,
    ];
    let gateway = Gateway::before(&apps.each_ref().map(|app| app.addr), &[]).await;
    let mut client = Client::connect(gateway.data).await;
    for _ in 0..60 {
        assert_eq!(client.get("/").await.status, 500);
    }
    for endpoint in gateway.endpoints().await {
        assert!(endpoint["picks"].as_u64() >= Some(3), "{endpoint}");
    }
    well.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn what_nobody_began_to_work_on_is_sent_elsewhere_body_or_not() {
    let good = App::answering(A).await;
    let dead = app::nowhere().await;
    let gateway = Gateway::before(&[dead, good.addr], &["--policy", "round-robin"]).await;
    for _ in 0..20 {
        let answer = http1::once(gateway.data, http1::post("/", "body")).await;
        assert_eq!((answer.status, answer.text()), (200, "a"));
    }
    let services = gateway.api("services").await;
    let retries = &services["services"][0]["retries"];
    assert_eq!(retries["not_accepted"], 3, "then it is ejected: {retries}");
}

#[tokio::test]
async fn a_request_with_a_body_that_was_read_is_never_sent_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let cruel = move |mut wire: Wire, _| {
        let count = Arc::clone(&count);
        async move {
            if app::request(&mut wire).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                wire.reset();
            }
        }
    };
    let (a, b) = (
        App::scripted(cruel.clone()).await,
        App::scripted(cruel).await,
    );
    let gateway = Gateway::before(&[a.addr, b.addr], &[]).await;
    let answer = http1::once(gateway.data, http1::post("/", "body")).await;
    assert_eq!(answer.status, 502, "{}", answer.head);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    // Without one it may be, and is, once for each endpoint.
    let answer = http1::once(gateway.data, http1::get("/")).await;
    assert_eq!(answer.status, 502, "{}", answer.head);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn retries_end_where_the_budget_does() {
    let dead = [app::nowhere().await, app::nowhere().await];
    let folder = Folder::new();
    let settings = "retry = { budget = \"0%\" }";
    let by_file = Gateway::configured(&config(&folder, &dead, settings)).await;
    let by_flag = Gateway::before(&dead, &["--retry-budget", "0%"]).await;
    for gateway in [by_file, by_flag] {
        for _ in 0..10 {
            assert_eq!(gateway.get("/").await.status, 502);
        }
        let services = gateway.api("services").await;
        let service = &services["services"][0];
        assert_eq!(service["retries"]["not_accepted"], 0, "{service}");
        assert_eq!(service["retries_refused"]["budget"], 10, "{service}");
    }
}

/// What an endpoint does once it has said what it says.
#[derive(Debug, Clone, Copy)]
enum Then {
    HangsUp,
    Resets,
    /// Says the last of it again and again.
    GoesOn(&'static str),
}

/// A case, what the endpoint says, what it does then, the status that the client gets (with none, an answer that is
/// cut short), and the kind of failure if it is sure.
type Lie = (
    &'static str,
    &'static str,
    Then,
    Option<u16>,
    Option<&'static str>,
);

const LIES: [Lie; 8] = [
    (
        "a shorter body than promised",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        Then::HangsUp,
        None,
        Some("reset"),
    ),
    (
        "chunks without an end",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        Then::HangsUp,
        None,
        Some("reset"),
    ),
    (
        "a chunk that is none",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
        Then::HangsUp,
        None,
        None,
    ),
    (
        "a reset within the body",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        Then::Resets,
        None,
        Some("reset"),
    ),
    (
        "garbage",
        "\u{1}\u{2} no such protocol\r\n\r\n",
        Then::HangsUp,
        Some(502),
        None,
    ),
    (
        "two lengths",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        Then::HangsUp,
        Some(502),
        None,
    ),
    ("nothing", "", Then::HangsUp, Some(502), Some("reset")),
    (
        "a head without end",
        "HTTP/1.1 200 OK\r\n",
        Then::GoesOn("endless: header\r\n"),
        Some(502),
        None,
    ),
];

async fn liar(says: &'static str, then: Then) -> App {
    App::scripted(move |mut wire, _| async move {
        if wire.head().await.is_none() || wire.try_send(says).await.is_err() {
            return;
        }
        match then {
            Then::HangsUp => {}
            Then::Resets => wire.reset(),
            Then::GoesOn(again) => while wire.try_send(again).await.is_ok() {},
        }
    })
    .await
}

#[tokio::test]
async fn endpoints_that_lie_never_give_a_whole_answer_and_are_blamed() {
    for (case, says, then, status, kind) in LIES {
        let liar = liar(says, then).await;
        let gateway = Gateway::before(&[liar.addr], &["--timeout", "10s"]).await;
        // It has a body, so that nothing is tried again.
        let mut client = Client::connect(gateway.data).await;
        client.send(http1::post("/", "body")).await;
        let answer = soon(case, client.answer()).await;
        match status {
            Some(status) => assert_eq!(answer.status, status, "{case}"),
            None => assert_eq!((answer.status, answer.end), (200, End::Short), "{case}"),
        }
        let endpoint = eventually(case, async || {
            let endpoint = gateway.endpoint(liar.addr).await;
            (endpoint["in_flight"] == 0).then_some(endpoint)
        })
        .await;
        let failures = endpoint["failures"].as_object().unwrap();
        let total: u64 = failures.values().filter_map(Value::as_u64).sum();
        assert_eq!(total, 1, "{case}: {endpoint}");
        if let Some(kind) = kind {
            assert_eq!(failures[kind], 1, "{case}: {endpoint}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_says_nothing_costs_one_try() {
    let silent = App::scripted(|mut wire, _| async move { wire.discard().await }).await;
    let good = App::answering(A).await;
    let arguments = ["--policy", "round-robin", "--per-try-timeout", "100ms"];
    let gateway = Gateway::before(&[silent.addr, good.addr], &arguments).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let endpoint = gateway.endpoint(silent.addr).await;
    assert_eq!(endpoint["failures"]["timeout"], 3, "{endpoint}");
    assert_eq!(endpoint["state"], "ejected", "{endpoint}");
}

#[tokio::test]
async fn clients_that_go_away_blame_nobody() {
    let silent = App::scripted(|mut wire, _| async move { wire.discard().await }).await;
    let gateway = Gateway::before(&[silent.addr], &[]).await;
    for gone in 1..=10 {
        let mut client = Client::connect(gateway.data).await;
        client.send(http1::get("/")).await;
        eventually("it is with the endpoint", async || {
            (gateway.endpoint(silent.addr).await["in_flight"] == 1).then_some(())
        })
        .await;
        drop(client);
        eventually("it is seen", async || {
            (gateway.endpoint(silent.addr).await["cancelled"] == gone).then_some(())
        })
        .await;
    }
    let endpoint = gateway.endpoint(silent.addr).await;
    assert_eq!(endpoint["state"], "healthy", "{endpoint}");
    assert_eq!(endpoint["success_rate"], 1.0, "{endpoint}");
    assert_eq!(endpoint["failure_evidence"], 0.0, "{endpoint}");
}

#[tokio::test]
async fn an_endpoint_that_says_retry_after_is_left_alone_so_long() {
    let full = "HTTP/1.1 503 Full\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let well = Arc::new(AtomicBool::new(false));
    let (busy, good) = (moody(&well, full).await, App::answering(A).await);
    let arguments = ["--policy", "round-robin"];
    let gateway = Gateway::before(&[busy.addr, good.addr], &arguments).await;
    let mut client = Client::connect(gateway.data).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200, "it was sent elsewhere");
    }
    let endpoint = gateway.endpoint(busy.addr).await;
    assert_eq!(endpoint["picks"], 1, "{endpoint}");
    assert_eq!(endpoint["ejected_for"], "retry_after", "{endpoint}");
    well.store(true, Ordering::SeqCst);
    eventually("it is back", async || {
        assert_eq!(client.get("/").await.status, 200);
        (gateway.endpoint(busy.addr).await["ejected_for"].is_null()).then_some(())
    })
    .await;
}
