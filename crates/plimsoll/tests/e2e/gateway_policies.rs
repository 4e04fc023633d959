//! Where requests go under each policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::app::{self, App};
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::Client;
use crate::harness::sidecar::Sidecar;
use crate::harness::{eventually, soon};
use crate::load_reports::Group;

const A: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na";

fn picks(endpoint: &Value) -> u64 {
    endpoint["picks"].as_u64().unwrap()
}

/// So many clients, each with so many requests one after the other.
async fn load(gateway: &Gateway, clients: u64, each: u64) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let to = gateway.data;
        running.spawn(async move {
            let mut client = Client::connect(to).await;
            for _ in 0..each {
                assert_eq!(client.get("/").await.status, 200);
            }
        });
    }
    while let Some(client) = soon("all are answered", running.join_next()).await {
        client.unwrap();
    }
}

/// Answers after `pause`.
async fn slow(pause: Duration) -> App {
    App::scripted(move |mut wire, _| async move {
        while app::request(&mut wire).await.is_some() {
            tokio::time::sleep(pause).await;
            if wire.try_send(A).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn every_policy_spreads_over_equals_and_honours_weights() {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 40;
    for policy in [
        "peak-ewma",
        "wrr",
        "p2c",
        "least-loaded",
        "round-robin",
        "random",
        "orca",
    ] {
        let apps = [Duration::from_millis(5); 2].map(slow);
        let apps = futures_util::future::join_all(apps).await;
        let heavy = format!("{},weight=3", apps[0].addr);
        let light = apps[1].addr.to_string();
        let upstreams = ["--upstream", &heavy, "--upstream", &light];
        let gateway = Gateway::start(&[&upstreams[..], &["--policy", policy]].concat()).await;
        load(&gateway, CLIENTS, EACH).await;
        let endpoints = gateway.endpoints().await;
        assert_eq!(endpoints[0]["policy"], policy);
        let all = CLIENTS * EACH;
        assert_eq!(picks(&endpoints[0]) + picks(&endpoints[1]), all);
        let share = picks(&endpoints[0]) as f64 / all as f64;
        // Three quarters; what goes by latency differs more from it.
        let accepted = match policy {
            "round-robin" | "orca" => 0.74..0.76,
            _ => 0.55..0.95,
        };
        assert!(accepted.contains(&share), "{policy}: {share}");
    }
}

#[tokio::test]
async fn a_slow_endpoint_gets_little_and_a_stopped_one_nothing() {
    let fast = [App::answering(A).await, App::answering(A).await];
    let late = slow(Duration::from_millis(60)).await;
    let stopped = app::nowhere().await;
    let addresses = [fast[0].addr, late.addr, stopped, fast[1].addr];
    let gateway = Gateway::before(&addresses, &[]).await;
    load(&gateway, 4, 100).await;
    let shown = gateway.endpoint(late.addr).await;
    assert!(picks(&shown) <= 40, "a tenth at most: {shown}");
    let latency = &shown["latency_seconds"];
    assert!(latency["p50"].as_f64() >= Some(0.058), "{shown}");
    let shown = gateway.endpoint(stopped).await;
    assert!(picks(&shown) <= 4, "{shown}");
    assert_eq!(shown["failures"]["connect"], shown["picks"], "{shown}");
    for app in &fast {
        let shown = gateway.endpoint(app.addr).await;
        assert!(picks(&shown) >= 100, "{shown}");
    }
    let cost = async |app: &App| gateway.endpoint(app.addr).await["cost"].as_f64();
    eventually("its cost is higher", async || {
        (cost(&late).await > cost(&fast[0]).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_left_before_it_has_failed_anything() {
    let hangs = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&hangs);
    let moody = App::scripted(move |mut wire, _| {
        let says = Arc::clone(&says);
        async move {
            while app::request(&mut wire).await.is_some() {
                if says.load(Ordering::SeqCst) {
                    wire.discard().await;
                }
                if wire.try_send(A).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let good = App::answering(A).await;
    let gateway = Gateway::before(&[moody.addr, good.addr], &[]).await;
    let mut client = Client::connect(gateway.data).await;
    for _ in 0..40 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert!(picks(&gateway.endpoint(moody.addr).await) > 0);
    hangs.store(true, Ordering::SeqCst);
    // Each that is caught by it waits for ever; the others must not follow.
    let mut caught = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(gateway.data).await;
        client.send(crate::harness::http1::get("/")).await;
        let answered = eventually("an answer, or it is with the one that hangs", async || {
            let shown = gateway.endpoint(moody.addr).await;
            if shown["in_flight"].as_u64() > Some(caught.len() as u64) {
                return Some(false);
            }
            (shown["in_flight"].as_u64() == Some(caught.len() as u64)
                && tokio::time::timeout(Duration::from_millis(50), client.0.fill())
                    .await
                    .is_ok())
            .then_some(true)
        })
        .await;
        if !answered {
            caught.push(client);
        }
    }
    assert!(caught.len() <= 4, "{} were caught", caught.len());
}

#[tokio::test]
async fn a_newcomer_begins_with_a_small_share() {
    let apps = [
        App::answering(A).await,
        App::answering(A).await,
        App::answering(A).await,
    ];
    let folder = Folder::new();
    let list = |count: usize| {
        let lines: Vec<String> = apps[..count].iter().map(|it| it.addr.to_string()).collect();
        folder.write("list", &lines.join("\n"));
    };
    list(2);
    let text =
        "[services.a]\nupstream-file = \"list\"\npolicy = \"round-robin\"\nslow-start = \"1h\"\n";
    let gateway = Gateway::configured(&folder.write("g.toml", text)).await;
    for endpoint in gateway.endpoints().await {
        assert_eq!(endpoint["state"], "healthy", "the first need no ease");
    }
    list(3);
    let all = apps.each_ref().map(|app| app.addr);
    gateway.until_addresses(&all).await;
    let mut client = Client::connect(gateway.data).await;
    for _ in 0..210 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let endpoint = gateway.endpoint(all[2]).await;
    assert_eq!(endpoint["state"], "slow_start", "{endpoint}");
    assert!((5..=15).contains(&picks(&endpoint)), "1 in 21: {endpoint}");
}

#[tokio::test]
async fn what_sidecars_say_of_their_load_becomes_weights() {
    let apps = [app::lab(), app::lab()];
    // Both use one processor: of 1.25 that one may use, of 10 that the other may use.
    let group = Group::new("gateway-orca");
    let mut sidecars = Vec::new();
    for (app, quota) in apps.iter().zip(["1.25", "10"]) {
        let cpu = ["--cpu-cgroup", group.path(), "--cpu-quota", quota];
        let arguments = [&["--load-reports", "orca"], &cpu[..]].concat();
        sidecars.push(Sidecar::start(app.addr(), &arguments).await);
    }
    let addresses: Vec<String> = (sidecars.iter())
        .map(|sidecar| format!("\"{}\"", sidecar.data))
        .collect();
    let folder = Folder::new();
    let text = format!(
        "[services.a]\nupstreams = [{}]\npolicy = \"orca\"\n\
         orca = {{ blackout = \"0\", update-period = \"100ms\" }}\n",
        addresses.join(", ")
    );
    let gateway = Gateway::configured(&folder.write("g.toml", &text)).await;
    let mut client = Client::connect(gateway.data).await;
    let (busy, idle) = eventually("the loads are known, and the weights follow", async || {
        group.work();
        assert_eq!(client.get("/bytes/1").await.status, 200);
        let busy = gateway.endpoint(sidecars[0].data).await;
        let idle = gateway.endpoint(sidecars[1].data).await;
        let share = |endpoint: &Value| endpoint["pick_share"].as_f64().unwrap();
        (share(&idle) > 3.0 * share(&busy)).then_some((busy, idle))
    })
    .await;
    let cpu = |endpoint: &Value| endpoint["load_report"]["cpu_utilization"].as_f64().unwrap();
    assert!((0.6..1.0).contains(&cpu(&busy)), "{busy}");
    assert!((0.05..0.2).contains(&cpu(&idle)), "{idle}");
    let metrics = gateway.scrape().await;
    assert!(metrics.sum("plimsoll_gateway_load_reports_total{") > 0.0);
}

#[tokio::test]
async fn reports_that_make_no_sense_change_nothing_and_are_counted() {
    let mad = App::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\
         endpoint-load-metrics: TEXT cpu_utilization=-1, rps_fractional=1e400\r\n\r\na",
    )
    .await;
    let wrong = App::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\
         endpoint-load-metrics: JSON {\"cpu_utilization\": NaN}\r\ncpu_usage: many\r\n\r\na",
    )
    .await;
    let gateway = Gateway::before(&[mad.addr, wrong.addr], &["--policy", "orca"]).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    for endpoint in gateway.endpoints().await {
        assert_eq!(endpoint["picks"], 10, "{endpoint}");
        assert!(endpoint["load_report"].is_null(), "{endpoint}");
    }
    let metrics = gateway.scrape().await;
    let rejected = metrics.sum("plimsoll_gateway_load_reports_rejected_total{");
    let ignored: u64 = (gateway.endpoints().await.iter())
        .map(|endpoint| endpoint["load_reports_ignored"].as_u64().unwrap())
        .sum();
    assert!(rejected + ignored as f64 >= 20.0, "{rejected} {ignored}");
}
