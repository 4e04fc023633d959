//! What can be told to a running gateway.

use crate::harness::app::{self, App};
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1;
use crate::harness::program;

const A: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na";

#[tokio::test]
async fn a_drained_endpoint_gets_nothing_until_it_is_taken_back() {
    let (a, b) = (App::answering(A).await, App::answering(A).await);
    let gateway = Gateway::before(&[a.addr, b.addr], &["--policy", "round-robin"]).await;
    let path = format!("/api/v1/services/default/endpoints/{}", a.addr);
    let answer = gateway.ask(&format!("POST {path}/drain"), "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["state"], "draining");
    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!(gateway.endpoint(a.addr).await["picks"], 0);
    assert_eq!(gateway.endpoint(b.addr).await["picks"], 10);
    let answer = gateway.ask(&format!("POST {path}/undrain"), "").await;
    assert_ne!(answer.json()["state"], "draining");
    for _ in 0..40 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_ne!(gateway.endpoint(a.addr).await["picks"], 0);
}

#[tokio::test]
async fn a_weight_is_set_outlives_a_reload_and_is_taken_back() {
    let a = App::answering(A).await;
    let folder = Folder::new();
    let text = format!("[services.a]\nupstreams = [\"{},weight=2\"]\n", a.addr);
    let gateway = Gateway::configured(&folder.write("g.toml", &text)).await;
    let path = format!("/api/v1/services/a/endpoints/{}/weight", a.addr);
    let answer = gateway.ask(&format!("PUT {path}"), "{\"weight\": 7}").await;
    assert_eq!((answer.status, &answer.json()["weight"]), (200, &7.into()));
    folder.write("g.toml", &(text + "policy = \"random\"\n"));
    crate::harness::eventually("the reload", async || {
        (gateway.endpoint(a.addr).await["policy"] == "random").then_some(())
    })
    .await;
    let endpoint = gateway.endpoint(a.addr).await;
    assert_eq!(
        (&endpoint["weight"], &endpoint["weight_set_by_api"]),
        (&7.into(), &7.into())
    );
    let answer = gateway.ask(&format!("DELETE {path}"), "").await;
    assert_eq!((answer.status, &answer.json()["weight"]), (200, &2.into()));
}

#[tokio::test]
async fn what_is_not_accepted_is_told_with_what_is() {
    let a = App::answering(A).await;
    let gateway = Gateway::before(&[a.addr], &[]).await;
    let weight = format!("PUT /api/v1/services/default/endpoints/{}/weight", a.addr);
    let drain = format!("POST /api/v1/services/default/endpoints/{}/drain", a.addr);
    for (line, body, status, word) in [
        (weight.as_str(), "", 400, "1 to 65535"),
        (&weight, "{}", 400, "missing field `weight`"),
        (&weight, "{\"weight\": 0}", 400, "weight of 0"),
        (&weight, "{\"weight\": -1}", 400, "1 to 65535"),
        (&weight, "{\"weight\": 1.5}", 400, "1 to 65535"),
        (&weight, "{\"weight\": 1e99}", 400, "1 to 65535"),
        (&weight, "{\"weight\": NaN}", 400, "1 to 65535"),
        (&weight, "{\"weight\": \"7\"}", 400, "1 to 65535"),
        (
            &weight,
            "{\"weight\": 7, \"x\": 1}",
            400,
            "unknown field `x`",
        ),
        (
            &weight.replace("default", "x"),
            "{\"weight\": 7}",
            404,
            "default",
        ),
        (&drain.replace("127.", "128."), "", 404, &a.addr.to_string()),
        (&drain.replace("POST", "GET"), "", 405, "POST"),
        (&weight.replace("PUT", "POST"), "", 405, "PUT, DELETE"),
        ("DELETE /api/v1/endpoints", "", 405, "GET"),
        ("GET /api/v1/endpoints?service=x", "", 404, "default"),
        ("GET /api/v1/endpoints?name=x", "", 400, "service=NAME"),
        ("GET /api/v2", "", 404, "/api/v1/endpoints"),
    ] {
        let answer = gateway.ask(line, body).await;
        assert_eq!(answer.status, status, "{line} {body}: {}", answer.text());
        assert_eq!(
            answer.field("content-type"),
            Some("application/json"),
            "{line}"
        );
        let said = answer.json();
        assert!(said["error"].is_string(), "{line} {body}: {said}");
        assert!(said.to_string().contains(word), "{line} {body}: {said}");
    }
    assert_eq!(gateway.endpoint(a.addr).await["weight"], 1);
}

#[tokio::test]
async fn web_pages_can_change_nothing() {
    let a = App::answering(A).await;
    let gateway = Gateway::before(&[a.addr], &[]).await;
    let request = format!(
        "POST /api/v1/services/default/endpoints/{}/drain HTTP/1.1\r\n\
         host: a\r\norigin: http://evil.test\r\ncontent-length: 0\r\n\r\n",
        a.addr
    );
    let answer = http1::once(gateway.admin, request).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_ne!(gateway.endpoint(a.addr).await["state"], "draining");
}

#[tokio::test]
async fn both_text_formats_are_what_their_readers_take() {
    let a = App::answering(A).await;
    let dead = app::nowhere().await;
    let gateway = Gateway::before(&[a.addr, dead], &["--endpoint-concurrency", "2"]).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let text = gateway.ask("GET /metrics", "").await;
    let open = http1::once(
        gateway.admin,
        "GET /metrics HTTP/1.1\r\nhost: a\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
    )
    .await;
    assert!(open.text().ends_with("\n# EOF\n"));
    let metrics = gateway.scrape().await;
    let picks = format!(
        "plimsoll_gateway_endpoint_picks_total{{service=\"default\",endpoint=\"{}\"}}",
        a.addr
    );
    assert_eq!(metrics.value(&picks), 10.0);
    let latency = |name: &str| {
        let labels = format!("service=\"default\",endpoint=\"{}\"", a.addr);
        metrics.value(&format!(
            "plimsoll_gateway_endpoint_latency_seconds_{name}{{{labels}}}"
        ))
    };
    assert_eq!(latency("count"), 10.0);
    assert!(latency("sum") > 0.0);
    if program::is_here("promtool") {
        let said = program::run_with("promtool", &["check", "metrics"], &text.body).await;
        assert!(said.success, "{} {}", said.text(), said.stderr);
        assert_eq!((said.text(), said.stderr.as_str()), ("", ""));
    }
    for (path, wanted) in [("healthz", "ok\n"), ("readyz", "ready\n")] {
        let answer = gateway.ask(&format!("GET /{path}"), "").await;
        assert_eq!((answer.status, answer.text()), (200, wanted));
    }
}
