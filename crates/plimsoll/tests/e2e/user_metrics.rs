//! Metrics for users: what the port of Knative's queue-proxy shows of real requests.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::eventually;
use crate::harness::http1::{self, Client};
use crate::harness::metrics::Metrics;
use crate::harness::sidecar::Sidecar;

const PROMETHEUS: (&str, &str) = (
    "OBSERVABILITY_CONFIG",
    r#"{"requestMetrics":{"protocol":"prometheus"}}"#,
);
const ANY_PORT: [&str; 2] = ["--user-metrics-listen", "127.0.0.1:0"];

async fn scrape(sidecar: &Sidecar) -> Metrics {
    let answer = http1::once(sidecar.port("user_metrics"), http1::get("/metrics")).await;
    assert_eq!(answer.status, 200);
    Metrics::parse(answer.text())
}

async fn start(app: &App, concurrency: &str) -> Sidecar {
    let variables = [PROMETHEUS, ("CONTAINER_CONCURRENCY", concurrency)];
    Sidecar::start_in_pod(app.addr.port(), &variables, &ANY_PORT).await
}

/// The sum over all series of a family that have all of these labels.
fn sum(metrics: &Metrics, family: &str, labels: &[&str]) -> f64 {
    metrics.sum_where(|series| {
        series.starts_with(&format!("{family}{{"))
            && labels.iter().all(|label| series.contains(label))
    })
}

/// After three GET requests and a tagged POST: sums over the series of a family that have these labels.
const SEEN: &[(&str, &[&str], f64)] = &[
    (
        "kn_serving_invocation_duration_seconds_count",
        &[
            "http_response_status_code=\"200\"",
            "kn_revision_name=\"hello-00001\"",
        ],
        4.0,
    ),
    (
        "http_server_request_duration_seconds_count",
        &[
            "http_response_status_code=\"200\"",
            "method=\"GET\"",
            "kn:disabled",
        ],
        3.0,
    ),
    (
        "http_server_request_duration_seconds_count",
        &[
            "method=\"POST\"",
            "server_address=\"hello.default\"",
            "server_port=\"8080\"",
            "kn_route_tag=\"blue\"",
        ],
        1.0,
    ),
    (
        "http_server_request_body_size_bytes_sum",
        &["method=\"POST\""],
        4.0,
    ),
    (
        "http_server_response_body_size_bytes_sum",
        &["method=\"GET\""],
        9.0,
    ),
    (
        "http_client_request_duration_seconds_count",
        &[
            "http_response_status_code=\"200\"",
            "server_address=\"127.0.0.1\"",
        ],
        4.0,
    ),
    (
        "revision_request_count",
        &["response_code_class=\"2xx\"", "route_tag=\"DISABLED\""],
        3.0,
    ),
    ("revision_request_count", &["route_tag=\"blue\""], 1.0),
    (
        "revision_app_request_count",
        &["response_code=\"200\"", "pod_name=\"hello-00001-"],
        4.0,
    ),
    (
        "revision_request_latencies_count",
        &["service_name=\"hello\""],
        4.0,
    ),
    (
        "target_info",
        &[
            "k8s_namespace_name=\"default\"",
            "container_name=\"queue-proxy\"",
        ],
        1.0,
    ),
];

#[tokio::test]
async fn requests_are_seen_by_the_names_of_today_and_by_the_older_ones() {
    let app = App::answering(app::OK).await;
    let sidecar = start(&app, "5").await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let tagged = "POST /x HTTP/1.1\r\nhost: Hello.Default:8080\r\nknative-serving-tag: blue\r\ncontent-length: 4\r\n\r\nbody";
    client.send(tagged).await;
    assert_eq!(client.answer().await.status, 200);
    let metrics = eventually("all have been counted", async || {
        let metrics = scrape(&sidecar).await;
        (sum(&metrics, "revision_request_count", &[]) >= 4.0).then_some(metrics)
    })
    .await;
    for (family, labels, expected) in SEEN {
        let seen = sum(&metrics, family, labels);
        assert_eq!(seen, *expected, "{family} {labels:?}");
    }
}

#[tokio::test]
async fn series_are_there_from_the_start_and_probes_are_not_among_them() {
    let app = App::answering(app::OK).await;
    let sidecar = start(&app, "0").await;
    let metrics = scrape(&sidecar).await;
    for status in ["200", "500"] {
        let code = format!("code=\"{status}\"");
        for family in [
            "kn_serving_invocation_duration_seconds_count",
            "revision_request_count",
        ] {
            assert!(
                metrics.has(|series| series.starts_with(family) && series.contains(&code)),
                "{family} {status}"
            );
        }
    }
    assert!(
        !metrics.has(|series| series.contains("queue_depth")),
        "there is no limit"
    );
    let mut client = Client::connect(sidecar.data).await;
    for probe in [
        "user-agent: kube-probe/1.29",
        "k-kubelet-probe: 1",
        "k-network-probe: activator",
    ] {
        client
            .send(format!("GET / HTTP/1.1\r\nhost: a\r\n{probe}\r\n\r\n"))
            .await;
        client.answer().await;
    }
    assert_eq!(client.get("/").await.status, 200);
    let metrics = eventually("the request has been counted", async || {
        let metrics = scrape(&sidecar).await;
        (sum(&metrics, "revision_request_count", &[]) > 0.0).then_some(metrics)
    })
    .await;
    assert_eq!(sum(&metrics, "revision_request_count", &[]), 1.0);
    assert_eq!(
        sum(&metrics, "http_server_request_duration_seconds_count", &[]),
        1.0
    );
}

/// There the depth is what the last request saw when it left the queue.
#[tokio::test]
async fn f7_the_depth_of_the_queue_is_that_of_now_and_returns_to_zero() {
    let gate = Arc::new(Semaphore::new(0));
    let app = App::gated(&gate).await;
    let sidecar = start(&app, "1").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get("/")).await;
        clients.push(client);
    }
    let depth = async |expected: f64| {
        eventually(&format!("a depth of {expected}"), async || {
            let metrics = scrape(&sidecar).await;
            let both = ["kn_serving_queue_depth", "revision_queue_depth"];
            let all = both
                .iter()
                .all(|family| sum(&metrics, family, &[]) == expected);
            all.then_some(())
        })
        .await;
    };
    depth(3.0).await;
    gate.add_permits(3);
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    depth(0.0).await;
}

/// A client that never sends the same `Host` twice makes no more series than there may be.
#[tokio::test]
async fn f8_clients_cannot_add_series_without_end() {
    let app = App::answering(app::OK).await;
    let sidecar = start(&app, "0").await;
    let mut client = Client::connect(sidecar.data).await;
    for index in 0..300 {
        let request = format!(
            "GET / HTTP/1.1\r\nhost: host-{index}.example\r\nknative-serving-tag: t{index}\r\n\r\n"
        );
        client.send(request).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let answer = http1::once(sidecar.port("user_metrics"), http1::get("/metrics")).await;
    let addresses: std::collections::BTreeSet<&str> = (answer.text().lines())
        .filter_map(|line| line.split("server_address=\"").nth(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(
        addresses.contains("other") && addresses.len() <= 36,
        "{addresses:?}"
    );
    assert!(answer.body.len() < 3_000_000, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn the_port_answers_as_queue_proxys_does() {
    let app = App::answering(app::OK).await;
    let sidecar = start(&app, "0").await;
    let port = sidecar.port("user_metrics");
    let post = http1::once(port, http1::post("/metrics", "")).await;
    assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD")));
    assert_eq!(http1::once(port, http1::get("/other")).await.status, 404);
    let request = "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\naccept: application/openmetrics-text\r\n\r\n";
    let answer = http1::once(port, request).await;
    assert!(
        answer
            .field("content-type")
            .is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    assert!(answer.text().ends_with("# EOF\n"));
}
