//! The gateway's configuration changes while it serves.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::harness::app::{self, App};
use crate::harness::eventually;
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::Client;

const A: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na";
const B: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb";

/// A service of one endpoint, with routes as written.
fn service(name: &str, upstream: SocketAddr, rest: &str) -> String {
    format!("[services.{name}]\nupstreams = [\"{upstream}\"]\n{rest}\n")
}

const UNDER_B: &str = "routes = [{ path = \"/b\" }]";

#[tokio::test]
async fn a_changed_file_is_taken_over_and_what_was_counted_stays() {
    let (a, b) = (App::answering(A).await, App::answering(B).await);
    let folder = Folder::new();
    let config = folder.write("g.toml", &service("a", a.addr, ""));
    let gateway = Gateway::configured(&config).await;
    assert_eq!(gateway.get("/b").await.text(), "a");
    let mut kept = Client::connect(gateway.data).await;
    assert_eq!(kept.get("/").await.text(), "a");

    let both = service("a", a.addr, "policy = \"random\"") + &service("b", b.addr, UNDER_B);
    folder.write("g.toml", &both);
    eventually("the new route", async || {
        (gateway.get("/b").await.text() == "b").then_some(())
    })
    .await;
    assert_eq!(
        kept.get("/").await.text(),
        "a",
        "its connection is still open"
    );
    let endpoint = gateway.endpoint(a.addr).await;
    assert_eq!(endpoint["policy"], "random");
    assert!(endpoint["successes"].as_u64() >= Some(3), "{endpoint}");
    let status = gateway.api("status").await;
    assert_eq!(status["config"]["reloads"], 1, "{status}");

    // The service goes, and its route with it.
    folder.write("g.toml", &service("a", a.addr, ""));
    eventually("the old route", async || {
        (gateway.get("/b").await.text() == "a").then_some(())
    })
    .await;
    let metrics = gateway.scrape().await;
    let reloads = metrics.value("plimsoll_gateway_config_reloads_total{result=\"success\"}");
    assert_eq!(reloads, 2.0);
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_one_and_says_why() {
    let a = App::answering(A).await;
    let folder = Folder::new();
    let good = service("a", a.addr, "");
    let config = folder.write("g.toml", &good);
    let gateway = Gateway::configured(&config).await;
    folder.write(
        "g.toml",
        &service("a", a.addr, "policy = \"best\"\ntimeout = 5"),
    );
    let line = gateway
        .logged("it is refused", |line| line["level"] == "ERROR")
        .await;
    let said = line["message"].as_str().unwrap();
    assert!(said.contains("g.toml:3:10: services.a.policy"), "{said}");
    assert!(said.contains("g.toml:4:11: services.a.timeout"), "{said}");
    assert_eq!(gateway.get("/").await.text(), "a");
    let status = gateway.api("status").await;
    let problems = status["config"]["refused"]["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{status}");
    assert!(
        !status["problems"].as_array().unwrap().is_empty(),
        "{status}"
    );
    let metrics = gateway.scrape().await;
    let value = |name: &str| metrics.value(name);
    assert_eq!(value("plimsoll_gateway_config_last_reload_successful"), 0.0);
    let failures = value("plimsoll_gateway_config_reloads_total{result=\"failure\"}");
    assert_eq!(failures, 1.0);

    folder.write("g.toml", &(good + "idle-timeout = \"9s\"\n"));
    eventually("it is mended", async || {
        let status = gateway.api("status").await;
        status["config"]["refused"].is_null().then_some(())
    })
    .await;
    let metrics = gateway.scrape().await;
    assert_eq!(
        metrics.value("plimsoll_gateway_config_last_reload_successful"),
        1.0
    );
}

#[tokio::test]
async fn sighup_reads_again_and_what_cannot_change_is_told() {
    let a = App::answering(A).await;
    let folder = Folder::new();
    let text = service("a", a.addr, "");
    let config = folder.write("g.toml", &text);
    let gateway = Gateway::configured(&config).await;
    gateway.signal(Signal::HUP);
    eventually("a reload", async || {
        let status = gateway.api("status").await;
        (status["config"]["reloads"] == 1).then_some(())
    })
    .await;
    folder.write("g.toml", &format!("workers = 7\n{text}"));
    gateway
        .logged("a warning", |line| {
            line["message"] == "only a restart can change workers"
        })
        .await;
    let status = gateway.api("status").await;
    assert_eq!(status["config"]["waiting_for_restart"][0], "workers");
    assert_eq!(gateway.get("/").await.text(), "a");
}

#[tokio::test]
async fn a_file_behind_a_link_that_is_swapped_is_read_again() {
    // As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> a folder of this version.
    let (a, b) = (App::answering(A).await, App::answering(B).await);
    let folder = Folder::new();
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, folder.path("link")).unwrap();
        std::fs::rename(folder.path("link"), folder.path(name)).unwrap();
    };
    for (version, app) in [("v1", &a), ("v2", &b)] {
        std::fs::create_dir(folder.path(version)).unwrap();
        folder.write(&format!("{version}/g.toml"), &service("a", app.addr, ""));
    }
    link("v1", "..data");
    link("..data/g.toml", "g.toml");
    let gateway = Gateway::configured(&folder.path("g.toml")).await;
    assert_eq!(gateway.get("/").await.text(), "a");
    link("v2", "..data");
    gateway.until_addresses(&[b.addr]).await;
    assert_eq!(gateway.get("/").await.text(), "b");
}

#[tokio::test]
async fn services_are_chosen_by_host_and_path() {
    let (a, b) = (App::answering(A).await, App::answering(B).await);
    let folder = Folder::new();
    let text = service("a", a.addr, "routes = [{ hosts = [\"*.a.test\"] }]")
        + &service(
            "b",
            b.addr,
            "routes = [{ hosts = [\"*.a.test\"], path = \"/b\" }]",
        );
    let gateway = Gateway::configured(&folder.write("g.toml", &text)).await;
    for (host, path, status, text) in [
        ("x.a.test", "/", 200, "a"),
        ("X.A.TEST:80", "/b", 200, "b"),
        ("x.a.test", "/b/c", 200, "b"),
        ("x.a.test", "/bc", 200, "a"),
        ("b.test", "/", 404, ""),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = crate::harness::http1::once(gateway.data, request).await;
        assert_eq!(answer.status, status, "{host}{path}");
        if status == 200 {
            assert_eq!(answer.text(), text, "{host}{path}");
        }
    }
}

#[tokio::test]
async fn sigterm_lets_what_runs_finish() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let app = App::gated(&gate).await;
    let mut gateway = Gateway::before(&[app.addr], &[]).await;
    let mut client = Client::connect(gateway.data).await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is with the endpoint", async || {
        (gateway.endpoint(app.addr).await["in_flight"] == 1).then_some(())
    })
    .await;
    gateway.signal(Signal::TERM);
    eventually("not ready", async || {
        (gateway.ask("GET /readyz", "").await.status == 503).then_some(())
    })
    .await;
    gate.add_permits(1);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_admin_port_off_loopback_is_permitted_and_told() {
    let gateway = Gateway::before(&[app::nowhere().await], &["--admin", "0.0.0.0:0"]).await;
    gateway
        .logged("a warning", |line| {
            let said = line["message"].as_str().unwrap_or_default();
            line["level"] == "WARN" && said.contains("not on a loopback address")
        })
        .await;
}
