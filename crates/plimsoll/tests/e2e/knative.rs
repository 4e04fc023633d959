//! In a pod of Knative's: the program is started as its controller starts queue-proxy.

use rustix::process::Signal;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Answer, Client};
use crate::harness::sidecar::Sidecar;
use crate::harness::{eventually, h2c, soon};

/// The activator's question.
const IS_READY: &str = "GET /healthz HTTP/1.1\r\nhost: a\r\nuser-agent: Knative-Activator-Probe/1.1\r\n\
    k-network-probe: queue\r\nconnection: close\r\n\r\n";

async fn is_ready(sidecar: &Sidecar) -> Answer {
    http1::once(sidecar.data, IS_READY).await
}

#[tokio::test]
async fn a_pod_serves_requests_and_is_ready() {
    let app = app::lab();
    let port = app.addr().port();
    let probe =
        format!(r#"{{"tcpSocket":{{"port":{port},"host":"127.0.0.1"}},"successThreshold":1}}"#);
    let sidecar = Sidecar::start_in_pod(port, &[("SERVING_READINESS_PROBE", &*probe)], &[]).await;
    assert_eq!(http1::once(sidecar.data, http1::get("/")).await.status, 200);
    let ready = is_ready(&sidecar).await;
    assert_eq!((ready.status, ready.text()), (200, "queue"));
    // Whatever port it was told to be for, HTTP/2 is spoken on it too.
    let mut client = h2c::Client::connect(sidecar.data).await;
    assert_eq!(client.get("/").await.unwrap().status, 200);
    for name in ["tls", "user_metrics", "profiling"] {
        assert!(!sidecar.has_port(name), "{name}");
    }
}

#[tokio::test]
async fn a_pod_is_ready_once_its_application_is() {
    let free = app::free_listener().await;
    let port = free.local_addr().unwrap().port();
    drop(free);
    let probe = format!(r#"{{"httpGet":{{"path":"/","port":{port}}}}}"#);
    let sidecar = Sidecar::start_in_pod(port, &[("SERVING_READINESS_PROBE", &*probe)], &[]).await;
    let mut asked = Client::connect(sidecar.data).await;
    asked.send(IS_READY).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    let _app = App::on(listener, async |mut wire, _| {
        wire.head().await;
        wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    let ready = soon("an answer", asked.answer()).await;
    assert_eq!((ready.status, ready.text()), (200, "queue"));
}

#[tokio::test]
async fn f16_why_a_pod_is_not_ready_is_a_line_of_the_log() {
    let nowhere = app::nowhere().await.port();
    let probe = format!(r#"{{"tcpSocket":{{"port":{nowhere}}},"periodSeconds":1}}"#);
    let sidecar =
        Sidecar::start_in_pod(nowhere, &[("SERVING_READINESS_PROBE", &*probe)], &[]).await;
    let first = is_ready(&sidecar).await;
    assert_eq!((first.status, first.text()), (503, ""));
    let line = sidecar
        .logged("not ready", |line| {
            line["message"] == "the application is not ready"
        })
        .await;
    assert_eq!(line["probe"], format!("tcp 127.0.0.1:{nowhere}"));
    assert_eq!(line["attempts"], 1);
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("refused"), "{error}");
    // The same again is not told again.
    for _ in 0..5 {
        assert_eq!(is_ready(&sidecar).await.status, 503);
    }
    let told = sidecar
        .log
        .count(|line| line["message"] == "the application is not ready");
    assert_eq!(told, 1);
}

#[tokio::test]
async fn f9_a_null_probe_asks_for_nothing() {
    let app = app::lab();
    let variables = [
        ("SERVING_READINESS_PROBE", "[null]"),
        ("ENABLE_MULTI_CONTAINER_PROBES", "true"),
    ];
    let sidecar = Sidecar::start_in_pod(app.addr().port(), &variables, &[]).await;
    assert_eq!(is_ready(&sidecar).await.text(), "queue");
}

#[tokio::test]
async fn f13_a_time_limit_of_0_is_off() {
    let app = app::lab();
    let variables = [("REVISION_TIMEOUT_SECONDS", "0")];
    let sidecar = Sidecar::start_in_pod(app.addr().port(), &variables, &[]).await;
    assert_eq!(http1::once(sidecar.data, http1::get("/")).await.status, 200);
}

#[tokio::test]
async fn the_autoscaler_gets_what_it_asks_for_and_others_get_text() {
    let app = app::lab();
    let sidecar = Sidecar::start_in_pod(app.addr().port(), &[], &[]).await;
    let ask = "GET /metrics HTTP/1.1\r\nhost: a\r\naccept: application/protobuf\r\nconnection: close\r\n\r\n";
    let stat = http1::once(sidecar.metrics, ask).await;
    assert_eq!(stat.field("content-type"), Some("application/protobuf"));
    let pod = b"hello-00001-deployment-8ff587cc9-7g9gc";
    assert_eq!(&stat.body[2..2 + pod.len()], pod);
    let text = sidecar.admin("/metrics").await;
    assert!(text.text().contains("destination_revision=\"hello-00001\""));
}

#[tokio::test]
async fn the_profiling_port_is_open_if_it_is_asked_for() {
    let app = app::lab();
    let config = r#"{"runtime":{"profiling":"enabled"}}"#;
    let variables = [("OBSERVABILITY_CONFIG", config)];
    let moved = ["--profiling-listen", "127.0.0.1:0"];
    let sidecar = Sidecar::start_in_pod(app.addr().port(), &variables, &moved).await;
    let port = sidecar.port("profiling");
    let threads = http1::once(port, http1::get("/debug/pprof/threads")).await;
    assert!(threads.text().contains(" worker-0 "), "{}", threads.text());
    let line = http1::once(port, http1::get("/debug/pprof/cmdline")).await;
    assert!(line.text().contains("\0sidecar\0"), "{}", line.text());
    let memory = http1::once(port, http1::get("/debug/pprof/memory")).await;
    assert!(memory.text().contains("VmRSS:"));
    assert_eq!(
        http1::once(port, http1::get("/debug/pprof/heap"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn waiting_for_a_drain_that_does_not_come_ends_after_a_second() {
    let app = app::lab();
    let sidecar = Sidecar::start_in_pod(app.addr().port(), &[], &[]).await;
    let mut waiting = Client::connect(sidecar.port("drain")).await;
    waiting.send(http1::get("/wait-for-drain")).await;
    // Meanwhile the pod is not ready, and serves.
    eventually("not ready", async || {
        let ready = is_ready(&sidecar).await;
        (ready.status == 503 && ready.text() == "shutting down\n").then_some(())
    })
    .await;
    assert_eq!(http1::once(sidecar.data, http1::get("/")).await.status, 200);
    let waited = soon("an answer", waiting.answer()).await;
    assert_eq!((waited.status, waited.text()), (200, ""));
    assert_eq!(is_ready(&sidecar).await.text(), "queue");
    let other = http1::once(sidecar.port("drain"), http1::get("/")).await;
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn containers_wait_for_the_quiet_period_and_then_the_process_ends() {
    let app = app::lab();
    let quiet = [("PLIMSOLL_DRAIN_QUIET", "1500ms")];
    let mut sidecar = Sidecar::start_in_pod(app.addr().port(), &quiet, &[]).await;
    let mut waiting = Client::connect(sidecar.port("drain")).await;
    // The quiet period begins when somebody waits for it.
    let began = std::time::Instant::now();
    waiting
        .send("POST /wait-for-drain HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    sidecar.signal(Signal::TERM);
    let waited = soon("an answer", waiting.answer()).await;
    assert_eq!((waited.status, waited.text()), (200, ""));
    // Not taken back after a second, for the signal has come.
    assert!(
        began.elapsed().as_millis() >= 1_500,
        "{:?}",
        began.elapsed()
    );
    assert!(sidecar.ended().await.success());
}
