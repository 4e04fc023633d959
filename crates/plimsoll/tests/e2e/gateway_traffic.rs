//! What happens to a gateway while requests pass through it: reloads, its end, crowds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::app::{self, App};
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::{self, Client, End};
use crate::harness::{eventually, h2c, soon};
use crate::memory::{PEAK_KIB_MAX, Peak};

const A: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na";

/// Clients that ask again and again, and keep their connections as long as they may.
#[derive(Debug)]
struct Crowd {
    clients: JoinSet<usize>,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
}

impl Crowd {
    fn begin(to: SocketAddr, count: usize) -> Self {
        let mut crowd = Self {
            clients: JoinSet::new(),
            stop: Arc::default(),
            answers: Arc::default(),
        };
        for number in 0..count {
            let (stop, answers) = (Arc::clone(&crowd.stop), Arc::clone(&crowd.answers));
            if number % 4 == 0 {
                crowd.clients.spawn(over_http2(to, stop, answers));
            } else {
                crowd.clients.spawn(over_http1(to, stop, answers));
            }
        }
        crowd
    }

    /// Waits until it has had `more` answers.
    async fn has_had(&self, more: usize) {
        let target = self.answers.load(Ordering::Relaxed) + more;
        eventually("answers", async || {
            (self.answers.load(Ordering::Relaxed) >= target).then_some(())
        })
        .await;
    }

    /// Lets the last requests end, and counts them all.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = 0;
        while let Some(client) = soon("the crowd leaves", self.clients.join_next()).await {
            asked += client.unwrap();
        }
        asked
    }
}

async fn over_http1(to: SocketAddr, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) -> usize {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(to).await;
        loop {
            let with_body = asked % 3 == 0;
            let request = if with_body {
                http1::post("/echo", "body")
            } else {
                http1::get("/bytes/100")
            };
            client.send(request).await;
            asked += 1;
            let answer = client.answer().await;
            let length = if with_body { 4 } else { 100 };
            assert_eq!(
                (answer.status, answer.end, answer.body.len()),
                (200, End::Whole, length),
                "{}",
                answer.head
            );
            answers.fetch_add(1, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) || answer.field("connection") == Some("close") {
                break;
            }
        }
    }
    asked
}

async fn over_http2(to: SocketAddr, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) -> usize {
    let mut asked = 0;
    let mut client = h2c::Client::connect(to).await;
    while !stop.load(Ordering::Relaxed) {
        let answer = match client.get("/bytes/100").await {
            Ok(answer) => answer,
            Err(error) if error.is_go_away() => {
                client = h2c::Client::connect(to).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        asked += 1;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 100));
        answers.fetch_add(1, Ordering::Relaxed);
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request() {
    let apps = [app::lab(), app::lab(), app::lab()];
    let folder = Folder::new();
    let write = |members: &[usize], settings: &str| {
        let list: Vec<String> = members
            .iter()
            .map(|member| format!("\"{}\"", apps[*member].addr()))
            .collect();
        let upstreams = format!("upstreams = [{}]\n", list.join(", "));
        folder.write("g.toml", &format!("[services.a]\n{upstreams}{settings}\n"))
    };
    let gateway = Gateway::configured(&write(&[0, 1, 2], "")).await;
    let crowd = Crowd::begin(gateway.data, 8);
    let steps: [(&[usize], &str); 7] = [
        (&[0], ""),
        (&[1, 2], "policy = \"round-robin\""),
        (&[0, 1, 2], "policy = \"wrr\"\nendpoint-concurrency = 1"),
        (&[2], "endpoint-concurrency = 2"),
        (&[0, 1], "policy = \"least-loaded\"\nslow-start = \"0\""),
        (
            &[0, 1, 2],
            "protocol = \"http1\"\nroutes = [{ hosts = [\"a\", \"127.0.0.1\"] }]",
        ),
        (&[0, 1, 2], "protocol = \"http2\""),
    ];
    for (number, (members, settings)) in steps.into_iter().enumerate() {
        crowd.has_had(50).await;
        write(members, settings);
        if number % 2 == 1 {
            gateway.signal(Signal::HUP);
        }
        eventually("it is taken over", async || {
            let status = gateway.api("status").await;
            assert!(status["config"]["refused"].is_null(), "{status}");
            (status["config"]["reloads"].as_u64() > Some(number as u64)).then_some(())
        })
        .await;
    }
    crowd.has_had(50).await;
    let asked = crowd.end().await as u64;
    let services = gateway.api("services").await;
    let counted = eventually("the last is counted", async || {
        let services = gateway.api("services").await;
        let service = &services["services"][0];
        (service["requests_in_flight"] == 0).then(|| service["requests_total"].as_u64())
    })
    .await;
    assert_eq!(counted, Some(asked), "{services}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_fails_no_request() {
    let apps = [app::lab(), app::lab()];
    let addresses = apps.each_ref().map(plimsoll_lab::backend::Running::addr);
    let mut gateway = Gateway::before(&addresses, &["--drain-quiet", "500ms"]).await;
    let crowd = Crowd::begin(gateway.data, 8);
    crowd.has_had(100).await;
    gateway.signal(Signal::TERM);
    eventually("not ready", async || {
        (gateway.ask("GET /readyz", "").await.status == 503).then_some(())
    })
    .await;
    // As long as there are requests, they are served.
    crowd.has_had(200).await;
    assert!(crowd.end().await > 300);
    assert_eq!(gateway.ended().await.code(), Some(0));
}

/// What one endpoint may cost, in KiB: 8 for what is known of it, the rest for a connection to it.
const ENDPOINT_KIB_MAX: u64 = 32;

#[tokio::test]
async fn hundreds_of_endpoints_each_get_their_part_and_half_of_them_may_go() {
    const COUNT: usize = 300;
    let mut apps = Vec::new();
    for _ in 0..COUNT {
        apps.push(App::answering(A).await);
    }
    let folder = Folder::new();
    let list = |apps: &[App]| {
        let lines: Vec<String> = apps.iter().map(|app| app.addr.to_string()).collect();
        folder.write("list", &lines.join("\n"));
    };
    list(&apps);
    let text = "[services.a]\nupstream-file = \"list\"\npolicy = \"round-robin\"\n";
    let gateway = Gateway::configured(&folder.write("g.toml", text)).await;
    let peak = Peak::watch(gateway.pid());
    let mut client = Client::connect(gateway.data).await;
    for _ in 0..COUNT {
        assert_eq!(client.get("/").await.status, 200);
    }
    let endpoints = gateway.endpoints().await;
    assert_eq!(endpoints.len(), COUNT);
    for endpoint in endpoints {
        assert_eq!(endpoint["picks"], 1, "{endpoint}");
    }
    // The default policy looks at some of them only.
    folder.write("g.toml", "[services.a]\nupstream-file = \"list\"\n");
    eventually("another policy", async || {
        (gateway.endpoints().await[0]["policy"] == "peak-ewma").then_some(())
    })
    .await;
    let half = apps.split_off(COUNT / 2);
    list(&apps);
    eventually("half are gone", async || {
        (gateway.addresses().await.len() == COUNT / 2).then_some(())
    })
    .await;
    drop(half);
    for _ in 0..COUNT {
        assert_eq!(client.get("/").await.status, 200);
    }
    let picks: Vec<u64> = (gateway.endpoints().await.iter())
        .map(|endpoint| endpoint["picks"].as_u64().unwrap())
        .collect();
    assert_eq!(picks.iter().sum::<u64>(), (COUNT / 2 + COUNT) as u64);
    let used = picks.iter().filter(|picks| **picks > 1).count();
    assert!(used > COUNT / 4, "{used} of {} were used", COUNT / 2);
    let peak = peak.kib();
    let most = PEAK_KIB_MAX + ENDPOINT_KIB_MAX * COUNT as u64;
    assert!(peak < most, "{peak} KiB of {most}");
}

/// What one connection whose request waits may cost, in KiB, both sockets' buffers included.
const WAITING_KIB_MAX: u64 = 32;

#[tokio::test]
async fn a_thousand_connections_wait_in_little_memory_and_are_all_served() {
    const CLIENTS: usize = 1_000;
    let gate = Arc::new(Semaphore::new(0));
    let app = App::gated(&gate).await;
    let slots = ["--endpoint-concurrency", "10", "--queue", "2000"];
    // Each worker has connections of its own.
    let arguments = [&slots[..], &["--workers", "1"]].concat();
    let gateway = Gateway::before(&[app.addr], &arguments).await;
    let peak = Peak::watch(gateway.pid());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(gateway.data).await;
        client.send(http1::get("/")).await;
        clients.push(client);
    }
    eventually("all wait", async || {
        let services = gateway.api("services").await;
        (services["services"][0]["queue"]["depth"] == CLIENTS - 10).then_some(())
    })
    .await;
    let peak = peak.kib();
    let most = PEAK_KIB_MAX + WAITING_KIB_MAX * CLIENTS as u64;
    assert!(peak < most, "{peak} KiB of {most}");
    gate.add_permits(CLIENTS);
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    assert!(app.connections() <= 10, "{} connections", app.connections());
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_blames_no_endpoint() {
    let app = App::answering(A).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    let large = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    for (case, request, status) in [
        ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n", 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        (
            "two hosts",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            400,
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            400,
        ),
        ("a large head", &large, 431),
        ("CONNECT", "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 501),
    ] {
        let mut client = Client::connect(gateway.data).await;
        // It may have answered before all was sent.
        client.0.try_send(request).await.unwrap_or_default();
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{case}: {}", answer.head);
    }
    let endpoint = gateway.endpoint(app.addr).await;
    assert_eq!(endpoint["success_rate"], 1.0, "{endpoint}");
    assert_eq!(gateway.get("/").await.status, 200);
}
