//! Who asks what, and what it gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_proxy::{Knative, ProbeSources, Readiness};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::{
    answer, app, ask, config, connect, eventually, get, head, soon, start, telling, with_knative,
};

const PLAIN: &str = "content-type: text/plain; charset=utf-8";
const NOSNIFF: &str = "x-content-type-options: nosniff";

const READY: [(&str, &str); 2] = [
    ("user-agent", "kube-probe/1.29"),
    ("k-network-probe", "queue"),
];

#[tokio::test]
async fn each_answer_to_a_probe_is_exactly_that_of_the_contract() {
    let (running, address) = start(&config(telling().await));
    let no_hash = "a probe request must contain a non-empty \"K-Network-Hash\" header\n";
    type Row<'a> = (&'a [(&'a str, &'a str)], u16, &'a [&'a str], &'a str);
    let rows: [Row<'_>; 6] = [
        (&READY, 200, &["content-length: 5", PLAIN], "queue"),
        (
            &[("user-agent", "kube-probe/1.29")],
            400,
            &["content-length: 32", PLAIN, NOSNIFF],
            "unexpected probe header value: \n",
        ),
        (
            &[
                ("user-agent", "Knative-Activator-Probe"),
                ("k-network-probe", "probe"),
                ("k-network-hash", "h"),
            ],
            400,
            &["content-length: 37", PLAIN, NOSNIFF],
            "unexpected probe header value: probe\n",
        ),
        (
            &[
                ("user-agent", "Knative-Autoscaling-Probe"),
                ("k-network-probe", "queue"),
            ],
            200,
            &["content-length: 5", PLAIN],
            "queue",
        ),
        (
            &[("k-network-probe", "probe")],
            400,
            &["content-length: 65", PLAIN, NOSNIFF],
            no_hash,
        ),
        (
            &[("k-network-probe", "probe"), ("k-network-hash", "h")],
            200,
            &["content-length: 0", "k-network-hash: h"],
            "",
        ),
    ];
    for (fields, status, head, body) in rows {
        // Any path and method, on one connection: none of them ends it.
        let mut client = connect(address).await;
        for method in ["GET /healthz", "GET /", "PUT /x"] {
            let request = get(fields).replacen("GET /p?q", method, 1);
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = answer(&mut client).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (status, body),
                "{fields:?}"
            );
            assert_eq!(answer.fields(), head, "{fields:?}");
        }
    }
    // None of it is a request of the service.
    assert_eq!(running.stats().view().requests_total(), 0);
    assert_eq!(running.meter().in_flight().total, 0);
}

#[tokio::test]
async fn an_application_that_is_not_ready_makes_the_pod_not_ready() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_ready);
    let readiness = Readiness::new(move || {
        let seen = Arc::clone(&seen);
        async move { seen.load(Ordering::SeqCst) }
    });
    let knative = Knative {
        readiness: Some(readiness),
        ..Knative::default()
    };
    let (_running, address) = start(&with_knative(telling().await, knative));
    let not_ready = ask(address, &get(&READY)).await;
    assert_eq!(
        (not_ready.status, not_ready.fields()),
        (503, vec!["content-length: 0"])
    );
    is_ready.store(true, Ordering::SeqCst);
    assert_eq!(ask(address, &get(&READY)).await.body, "queue");
}

#[tokio::test]
async fn a_probe_that_waits_for_the_application_ends_with_its_client() {
    struct Waiting(Arc<AtomicUsize>);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let waiting = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&waiting);
    let readiness = Readiness::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(Arc::clone(&count));
        async move {
            std::future::pending::<()>().await;
            drop(waiting);
            true
        }
    });
    let knative = Knative {
        readiness: Some(readiness),
        ..Knative::default()
    };
    let (running, address) = start(&with_knative(telling().await, knative));
    let mut client = connect(address).await;
    client.write_all(get(&READY).as_bytes()).await.unwrap();
    eventually("asked", || waiting.load(Ordering::SeqCst) == 1).await;
    drop(client);
    eventually("given up", || waiting.load(Ordering::SeqCst) == 0).await;
    assert_eq!(
        soon("drain", running.drain(Duration::ZERO, None)).await.cut,
        0
    );
}

#[tokio::test]
async fn what_only_looks_like_a_probe_is_carried_and_counted() {
    let (running, address) = start(&config(telling().await));
    let rows: [&[(&str, &str)]; 4] = [
        &[("k-network-probe", "queue")],
        &[("k-network-probe", "Probe"), ("k-network-hash", "h")],
        &[("user-agent", "Knative-Queue-Proxy-Probe")],
        &[("k-kubelet-probe", "")],
    ];
    for (index, fields) in rows.into_iter().enumerate() {
        let told = ask(address, &get(fields)).await;
        for (name, value) in fields {
            // With its fields intact.
            let line = format!("{name}: {value}").to_lowercase();
            assert!(told.has(&line), "{told:?}");
        }
        let requests = || running.stats().view().requests_total();
        eventually("counted", || requests() == index as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_kubelet_that_asks_the_application_is_neither_counted_nor_held() {
    let released = Arc::new(Notify::new());
    let blocked = Arc::clone(&released);
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let app = app(move |mut stream: TcpStream| {
        let (blocked, count) = (Arc::clone(&blocked), Arc::clone(&count));
        async move {
            head(&mut stream).await;
            count.fetch_add(1, Ordering::SeqCst);
            blocked.notified().await;
            let _gone = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let mut config = config(app);
    config.concurrency = 1;
    config.queue_depth = Some(1);
    let (running, address) = start(&config);
    let kubelet = get(&[("k-kubelet-probe", "x")]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect(address).await;
        client.write_all(kubelet.as_bytes()).await.unwrap();
        clients.push(client);
    }
    // All three at once, past the limit of one.
    eventually("all at the application", || {
        arrived.load(Ordering::SeqCst) == 3
    })
    .await;
    assert_eq!(running.meter().in_flight().total, 0);
    released.notify_waiters();
    for client in &mut clients {
        assert_eq!(answer(client).await.status, 200);
    }
    assert_eq!(running.stats().view().requests_total(), 0);
}

#[tokio::test]
async fn without_the_contract_a_probe_is_a_request_like_any_other() {
    let mut config = config(telling().await);
    config.options.knative = None;
    let (_running, address) = start(&config);
    let told = ask(address, &get(&READY)).await;
    assert!(told.has("k-network-probe: queue"), "{told:?}");
}

#[tokio::test]
async fn probes_of_strangers_are_requests_like_any_other() {
    let knative = Knative {
        probe_sources: ProbeSources::Only(vec![]),
        ..Knative::default()
    };
    let (_running, address) = start(&with_knative(telling().await, knative));
    // Everybody here comes from loopback, which is no stranger.
    assert_eq!(ask(address, &get(&READY)).await.body, "queue");
}
