//! Slots of endpoints and the queue before them, as clients and endpoints see both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::harness::app::{self, App};
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::{self, Answer, Client};
use crate::harness::{eventually, soon};

/// An application that notes what it is asked, answers each request when it may, and notes how many it had at once.
#[derive(Debug)]
struct Observed {
    app: App,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    paths: Mutex<Vec<String>>,
}

impl Observed {
    /// Answers with each permit of `gate` one request.
    async fn gated(gate: &Arc<Semaphore>) -> Self {
        let seen = Arc::new(Seen::default());
        let (gate, notes) = (Arc::clone(gate), Arc::clone(&seen));
        let app = App::scripted(move |mut wire, _| {
            let (gate, notes) = (Arc::clone(&gate), Arc::clone(&notes));
            async move {
                while let Some((head, _)) = app::request(&mut wire).await {
                    notes.enter(&head);
                    gate.acquire().await.unwrap().forget();
                    // Before the answer: by the time it has arrived, another may be here.
                    notes.now.fetch_sub(1, Ordering::SeqCst);
                    if wire.try_send(app::OK).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { app, seen }
    }

    fn paths(&self) -> Vec<String> {
        self.seen.paths.lock().unwrap().clone()
    }
}

impl Seen {
    fn enter(&self, head: &str) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        self.paths.lock().unwrap().push(path);
    }
}

/// A request of its own, under way.
fn ask(to: SocketAddr, path: &str) -> JoinHandle<Answer> {
    tokio::spawn(http1::once(to, http1::get(path)))
}

/// Waits until so many requests wait in the queue of the only service.
async fn until_waiting(gateway: &Gateway, depth: u64) {
    eventually(&format!("{depth} waiting"), async || {
        let services = gateway.api("services").await;
        (services["services"][0]["queue"]["depth"] == depth).then_some(())
    })
    .await;
}

async fn status(asked: JoinHandle<Answer>) -> u16 {
    soon("an answer", asked).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_with_one_slot_never_has_two_requests() {
    const CLIENTS: usize = 24;
    const EACH: usize = 15;
    let gate = Arc::new(Semaphore::new(CLIENTS * EACH));
    for policy in ["peak-ewma", "round-robin", "wrr", "least-loaded"] {
        let endpoints = [
            Observed::gated(&gate).await,
            Observed::gated(&gate).await,
            Observed::gated(&gate).await,
        ];
        let addresses = endpoints.each_ref().map(|endpoint| endpoint.app.addr);
        let arguments = ["--policy", policy, "--workers", "2"];
        let slots = ["--endpoint-concurrency", "1"];
        let gateway = Gateway::before(&addresses, &[&arguments[..], &slots[..]].concat()).await;
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            let to = gateway.data;
            clients.spawn(async move {
                let mut client = Client::connect(to).await;
                for _ in 0..EACH {
                    assert_eq!(client.get("/").await.status, 200);
                }
            });
        }
        while let Some(client) = soon(policy, clients.join_next()).await {
            client.unwrap();
        }
        gate.add_permits(CLIENTS * EACH);
        for endpoint in &endpoints {
            assert_eq!(endpoint.seen.most.load(Ordering::SeqCst), 1, "{policy}");
            assert!(endpoint.paths().len() > EACH, "{policy}: it idled");
        }
    }
}

#[tokio::test]
async fn no_slot_idles_while_a_request_waits_and_who_came_first_goes_first() {
    let gates = [0, 0].map(|permits| Arc::new(Semaphore::new(permits)));
    let (a, b) = (
        Observed::gated(&gates[0]).await,
        Observed::gated(&gates[1]).await,
    );
    let addresses = [a.app.addr, b.app.addr];
    let gateway = Gateway::before(&addresses, &["--endpoint-concurrency", "1"]).await;
    let mut asked = vec![ask(gateway.data, "/first"), ask(gateway.data, "/second")];
    eventually("each has one", async || {
        (a.paths().len() == 1 && b.paths().len() == 1).then_some(())
    })
    .await;
    for number in 0..6 {
        asked.push(ask(gateway.data, &format!("/{number}")));
        until_waiting(&gateway, number + 1).await;
    }
    // Whichever slot is freed, it goes to whoever waits longest.
    for (number, which) in [0, 1, 1, 0, 0, 1].into_iter().enumerate() {
        let (gate, endpoint) = (&gates[which], [&a, &b][which]);
        gate.add_permits(1);
        let path = format!("/{number}");
        eventually("the next is there", async || {
            (endpoint.paths().last() == Some(&path)).then_some(())
        })
        .await;
    }
    for gate in &gates {
        gate.add_permits(1);
    }
    for asked in asked {
        assert_eq!(status(asked).await, 200);
    }
}

#[tokio::test]
async fn what_is_over_the_bounds_of_the_queue_is_refused_with_the_reason() {
    let in_file = "[services.a]\nupstreams = [\"ADDRESS\"]\nendpoint-concurrency = 1\n\
                   refusal-status = 429\nqueue = { depth = 1 }\n";
    for (bound, arguments, wanted, word) in [
        ("number", &["--queue", "1"][..], 503, "full"),
        ("none", &["--queue", "0"], 503, "full"),
        ("bytes", &["--queue-bytes", "1KiB"], 503, "bytes"),
        ("file", &[], 429, "full"),
    ] {
        let gate = Arc::new(Semaphore::new(0));
        let app = Observed::gated(&gate).await;
        let folder = Folder::new();
        let gateway = if bound == "file" {
            let text = in_file.replace("ADDRESS", &app.app.addr.to_string());
            Gateway::configured(&folder.write("g.toml", &text)).await
        } else {
            let slots = ["--endpoint-concurrency", "1"];
            Gateway::before(&[app.app.addr], &[&slots, arguments].concat()).await
        };
        let running = ask(gateway.data, "/running");
        eventually("it runs", async || (app.paths().len() == 1).then_some(())).await;
        let waiting = (bound != "none").then(|| ask(gateway.data, "/waiting"));
        if waiting.is_some() {
            until_waiting(&gateway, 1).await;
        }
        let padding = "x".repeat(2_000);
        let large = format!("GET /large HTTP/1.1\r\nhost: a\r\npadding: {padding}\r\n\r\n");
        let refused = http1::once(gateway.data, large).await;
        assert_eq!(refused.status, wanted, "{bound}");
        assert_eq!(refused.field("retry-after"), Some("1"), "{bound}");
        assert_eq!(
            refused.proxy_error(),
            Some("connection_limit_reached"),
            "{bound}"
        );
        assert!(refused.text().contains(word), "{bound}: {}", refused.text());
        gate.add_permits(2);
        for asked in [Some(running), waiting].into_iter().flatten() {
            assert_eq!(status(asked).await, 200, "{bound}");
        }
    }
}

#[tokio::test]
async fn who_waits_too_long_is_sent_away_and_who_leaves_is_forgotten() {
    let gate = Arc::new(Semaphore::new(0));
    let app = Observed::gated(&gate).await;
    let arguments = ["--endpoint-concurrency", "1", "--queue-age", "400ms"];
    let gateway = Gateway::before(&[app.app.addr], &arguments).await;
    let running = ask(gateway.data, "/running");
    eventually("it runs", async || (app.paths().len() == 1).then_some(())).await;
    let mut leaving = Client::connect(gateway.data).await;
    leaving.send(http1::get("/leaving")).await;
    until_waiting(&gateway, 1).await;
    drop(leaving);
    until_waiting(&gateway, 0).await;

    let late = soon("the limit", ask(gateway.data, "/late")).await.unwrap();
    assert_eq!((late.status, late.field("retry-after")), (503, Some("1")));
    gate.add_permits(2);
    assert_eq!(status(running).await, 200);
    assert_eq!(gateway.get("/last").await.status, 200);
    assert_eq!(app.paths(), ["/running", "/last"]);
    let metrics = gateway.scrape().await;
    let depth = metrics.value("plimsoll_gateway_queue_depth{service=\"default\"}");
    assert_eq!(depth, 0.0);
}

#[tokio::test]
async fn a_slot_is_held_until_the_whole_answer_has_passed() {
    let gate = Arc::new(Semaphore::new(0));
    let rest = Arc::clone(&gate);
    let app = App::scripted(move |mut wire, _| {
        let rest = Arc::clone(&rest);
        async move {
            while app::request(&mut wire).await.is_some() {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
                    .await;
                rest.acquire().await.unwrap().forget();
                wire.send("b").await;
            }
        }
    })
    .await;
    let gateway = Gateway::before(&[app.addr], &["--endpoint-concurrency", "1"]).await;
    let mut first = Client::connect(gateway.data).await;
    first.send(http1::get("/")).await;
    let (code, head) = first.head().await;
    let second = ask(gateway.data, "/");
    until_waiting(&gateway, 1).await;
    assert_eq!(gateway.endpoint(app.addr).await["in_flight"], 1);
    gate.add_permits(2);
    assert_eq!(first.body(code, head).await.text(), "ab");
    assert_eq!(status(second).await, 200);
}
