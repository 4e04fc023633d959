//! Where the gateway's endpoints come from: files, names, health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::app::{self, App};
use crate::harness::eventually;
use crate::harness::gateway::{Folder, Gateway};

const A: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na";

/// A configuration of one service with a file of upstreams beside it.
const WITH_LIST: &str = "[services.a]\nupstream-file = \"list\"\n";

#[tokio::test]
async fn a_list_is_read_again_when_it_changes_and_a_wrong_one_keeps_the_old() {
    let (a, b) = (App::answering(A).await, App::answering(A).await);
    let folder = Folder::new();
    folder.write("list", &format!("{} # the only one\n", a.addr));
    let gateway = Gateway::configured(&folder.write("g.toml", WITH_LIST)).await;
    gateway.until_addresses(&[a.addr]).await;
    for _ in 0..5 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    folder.write("list", &format!("{}\n{},weight=3\n", b.addr, a.addr));
    gateway.until_addresses(&[b.addr, a.addr]).await;
    let endpoint = gateway.endpoint(a.addr).await;
    assert_eq!(
        (&endpoint["weight"], &endpoint["successes"]),
        (&3.into(), &5.into())
    );

    folder.write("list", &format!("{}\nnonsense\n", b.addr));
    let refused = |line: &serde_json::Value| {
        let said = line["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && said.contains("list:2: `nonsense` has no port")
    };
    gateway.logged("the list is refused", refused).await;
    assert_eq!(gateway.addresses().await.len(), 2);
    let status = gateway.api("status").await;
    let problem = status["problems"][0].as_str().unwrap();
    assert!(
        problem.contains("service a: ") && problem.contains("list:2"),
        "{status}"
    );
    let metrics = gateway.scrape().await;
    let failures =
        metrics.value("plimsoll_gateway_discoveries_total{service=\"a\",result=\"failure\"}");
    assert_eq!(failures, 1.0);

    folder.write("list", &format!("{}\n", b.addr));
    gateway.until_addresses(&[b.addr]).await;
    let status = gateway.api("status").await;
    assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{status}");
}

#[tokio::test]
async fn a_list_that_is_not_there_yet_is_an_empty_one_and_read_when_it_comes() {
    let a = App::answering(A).await;
    let folder = Folder::new();
    let gateway = Gateway::configured(&folder.write("g.toml", WITH_LIST)).await;
    let answer = gateway.get("/").await;
    assert_eq!(
        (answer.status, answer.proxy_error()),
        (503, Some("destination_unavailable"))
    );
    assert!(answer.text().contains("no endpoints"), "{}", answer.text());
    let status = gateway.api("status").await;
    assert_eq!(
        status["problems"][0], "service a has no endpoints",
        "{status}"
    );
    folder.write("list", &a.addr.to_string());
    gateway.until_addresses(&[a.addr]).await;
    assert_eq!(gateway.get("/").await.status, 200);
}

#[tokio::test]
async fn a_name_stands_for_its_addresses() {
    let a = App::answering(A).await;
    let upstream = format!("LocalHost.:{},weight=2", a.addr.port());
    let gateway = Gateway::start(&["--upstream", &upstream]).await;
    let endpoint = gateway.endpoint(a.addr).await;
    assert_eq!(endpoint["weight"], 2);
    assert_eq!(gateway.get("/").await.status, 200);
    let services = gateway.api("services").await;
    assert_eq!(
        services["services"][0]["sources"]["names"][0]["name"],
        "localhost"
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_once_and_the_others_serve() {
    let a = App::answering(A).await;
    let folder = Folder::new();
    let text = format!(
        "[services.a]\nupstreams = [\"{}\", \"no-such-name.invalid:80\"]\ndns.refresh = \"100ms\"\n\
         [services.b]\nupstreams = [\"no-such-name.invalid:80\"]\nroutes = [{{ path = \"/b\" }}]\n",
        a.addr
    );
    let gateway = Gateway::configured(&folder.write("g.toml", &text)).await;
    assert_eq!(gateway.get("/").await.status, 200);
    let answer = gateway.get("/b").await;
    assert_eq!(
        (answer.status, answer.proxy_error()),
        (503, Some("destination_unavailable"))
    );
    let failures = "plimsoll_gateway_discoveries_total{service=\"a\",result=\"failure\"}";
    eventually("it has asked often", async || {
        (gateway.scrape().await.value(failures) >= 5.0).then_some(())
    })
    .await;
    let told = gateway.count_logged(|line| {
        let said = line["message"].as_str().unwrap_or_default();
        line["service"] == "a" && said.contains("does not resolve")
    });
    assert_eq!(told, 1);
    let status = gateway.api("status").await;
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("no-such-name.invalid does not resolve"),
        "{problems}"
    );
}

/// Answers health checks as it is told, and everything else with 200.
async fn checked(well: &Arc<AtomicBool>) -> App {
    let well = Arc::clone(well);
    App::scripted(move |mut wire, _| {
        let well = Arc::clone(&well);
        async move {
            while let Some((head, _)) = app::request(&mut wire).await {
                let bad = head.starts_with("GET /healthz ") && !well.load(Ordering::Relaxed);
                let status = if bad { "500 Bad" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                if wire.try_send(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn health_checks_take_an_endpoint_out_and_bring_it_back() {
    let well = [true, true].map(|well| Arc::new(AtomicBool::new(well)));
    let (a, b) = (checked(&well[0]).await, checked(&well[1]).await);
    let folder = Folder::new();
    let text = format!(
        "[services.a]\nupstreams = [\"{}\", \"{}\"]\nslow-start = \"0\"\n\
         health-check = {{ path = \"/healthz\", interval = \"50ms\", host = \"health.test\" }}\n",
        a.addr, b.addr
    );
    let gateway = Gateway::configured(&folder.write("g.toml", &text)).await;
    let state = async |wanted: &str| {
        eventually(wanted, async || {
            let endpoint = gateway.endpoint(a.addr).await;
            (endpoint["state"] == wanted).then_some(endpoint)
        })
        .await
    };
    well[0].store(false, Ordering::Relaxed);
    let endpoint = state("unhealthy").await;
    assert_eq!(endpoint["health_check"]["failure"], "status 500");
    let before = endpoint["picks"].clone();
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!(
        gateway.endpoint(a.addr).await["picks"],
        before,
        "it got requests"
    );
    // With nobody well, the least bad are used.
    well[1].store(false, Ordering::Relaxed);
    eventually("both are unhealthy", async || {
        (gateway.endpoint(b.addr).await["state"] == "unhealthy").then_some(())
    })
    .await;
    assert_eq!(gateway.get("/").await.status, 200);
    well[0].store(true, Ordering::Relaxed);
    state("healthy").await;
    gateway
        .logged("it is healthy again", |line| {
            line["message"] == "healthy again"
        })
        .await;
}

#[tokio::test]
async fn without_checks_nobody_stays_unhealthy() {
    let well = Arc::new(AtomicBool::new(false));
    let app = checked(&well).await;
    let folder = Folder::new();
    let service = format!("[services.a]\nupstreams = [\"{}\"]\n", app.addr);
    let check = "health-check = { path = \"/healthz\", interval = \"50ms\" }\n";
    let gateway = Gateway::configured(&folder.write("g.toml", &(service.clone() + check))).await;
    let state = async |wanted: &str| {
        eventually(wanted, async || {
            (gateway.endpoint(app.addr).await["state"] == wanted).then_some(())
        })
        .await;
    };
    state("unhealthy").await;
    folder.write("g.toml", &service);
    state("healthy").await;
}
