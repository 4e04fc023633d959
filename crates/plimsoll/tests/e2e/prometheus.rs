//! What autoscalers and a real Prometheus server read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_lab::load::{self, Options, Pace, Summary, Target};
use plimsoll_wire::Stat;
use tokio::process::{Child, Command};

use crate::harness::app;
use crate::harness::http1::{self, Client};
use crate::harness::metrics::Metrics;
use crate::harness::sidecar::Sidecar;
use crate::harness::{eventually, program};

/// A Prometheus server that scrapes one target every second. It is killed when it is dropped.
#[derive(Debug)]
struct Prometheus {
    addr: SocketAddr,
    _child: Child,
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Prometheus {
    async fn start(name: &str, target: SocketAddr) -> Self {
        let folder = folder(name);
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs: [{{ job_name: e2e, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let addr = app::nowhere().await;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let server = Self {
            addr,
            _child: child,
        };
        let up = format!("up{{instance=\"{target}\"}}");
        eventually("Prometheus scrapes", async || {
            let value = server.query(&up, SystemTime::now()).await;
            (value == Some(1.0)).then_some(())
        })
        .await;
        server
    }

    /// The only value of an instant query; `None` if there is none, or nobody answers.
    async fn query(&self, expression: &str, at: SystemTime) -> Option<f64> {
        if tokio::net::TcpStream::connect(self.addr).await.is_err() {
            return None;
        }
        let at = at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let encoded: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let path = format!("/api/v1/query?time={at:.3}&query={encoded}");
        let answer = http1::once(self.addr, http1::get(&path)).await;
        if answer.status != 200 {
            return None;
        }
        let results = answer.json()["data"]["result"].take();
        match results.as_array().map(Vec::as_slice) {
            Some([one]) => one["value"][1]
                .as_str()
                .and_then(|value| value.parse().ok()),
            _ => None,
        }
    }

    async fn asked(&self, expression: &str, at: SystemTime) -> f64 {
        let value = self.query(expression, at).await;
        value.unwrap_or_else(|| panic!("no value for {expression}"))
    }
}

#[track_caller]
fn near(what: &str, value: f64, expected: f64, tolerance: f64) {
    let off = (value - expected).abs() / expected;
    assert!(off <= tolerance, "{what}: {value} instead of {expected}");
}

async fn run_load(options: Options) -> Summary {
    let summary = load::run(options).await.unwrap();
    assert_eq!(summary.failed(), 0, "{summary:?}");
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_prometheus_server_reads_the_concurrency_and_the_rate_that_were_there() {
    if !program::is_here("prometheus") {
        return;
    }
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let server = Prometheus::start("prometheus", sidecar.metrics).await;
    // Six at a time, each 100 ms: 60 a second, and six in flight.
    let summary = run_load(Options {
        pace: Pace::Closed,
        connections: 6,
        duration: Duration::from_secs(8),
        ..Options::new(Target::at(sidecar.data, "/delay/100"))
    })
    .await;
    let at = SystemTime::now();
    // A scrape may lie a second back, and the gauge in it another.
    let middle = at - Duration::from_secs(1);
    let concurrency = server
        .asked(
            "avg_over_time(queue_average_concurrent_requests[4s])",
            middle,
        )
        .await;
    near("concurrency", concurrency, 6.0, 0.1);
    let per_second = server
        .asked("avg_over_time(queue_requests_per_second[4s])", middle)
        .await;
    near("rate of the gauge", per_second, summary.per_second(), 0.1);
    let counted = server
        .asked(
            "sum(rate(plimsoll_requests_total{code_class=\"2xx\"}[5s]))",
            at,
        )
        .await;
    near("rate of the counter", counted, summary.per_second(), 0.1);
    // Little's law: arrivals a second times seconds each.
    let seconds = server
        .asked("rate(plimsoll_request_duration_seconds_sum[5s])", at)
        .await;
    near("seconds a second", seconds, 6.0, 0.1);
}

#[tokio::test]
async fn both_text_formats_are_what_their_readers_take() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--concurrency", "10"]).await;
    let mut client = Client::connect(sidecar.data).await;
    for path in ["/", "/status/404", "/delay/5"] {
        client.get(path).await;
    }
    let text = sidecar.admin("/metrics").await;
    let kind = text.field("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    let open = http1::once(
        sidecar.metrics,
        "GET /metrics HTTP/1.1\r\nhost: a\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
    )
    .await;
    let kind = open.field("content-type");
    assert_eq!(
        kind,
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.text().ends_with("\n# EOF\n"));
    if program::is_here("promtool") {
        let said = program::run_with("promtool", &["check", "metrics"], &text.body).await;
        assert!(said.success, "{} {}", said.text(), said.stderr);
        assert_eq!((said.text(), said.stderr.as_str()), ("", ""));
    }
}

#[tokio::test]
async fn an_autoscaler_gets_a_protobuf_stat() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--pod", "hello-1"]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send("GET /hang HTTP/1.1\r\nhost: a\r\nk-proxy-request: activator\r\n\r\n")
        .await;
    let ask = "GET /metrics HTTP/1.1\r\nhost: a\r\naccept: application/protobuf\r\n\r\n";
    let stat = eventually("a period with one request in flight", async || {
        let answer = http1::once(sidecar.metrics, ask).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("application/protobuf"));
        let stat = Stat::from_bytes(&answer.body).unwrap();
        (stat.average_concurrent_requests > 0.99).then_some(stat)
    })
    .await;
    assert_eq!(stat.pod_name, "hello-1");
    assert_eq!(
        stat.average_concurrent_requests,
        stat.average_proxied_concurrent_requests
    );
    assert!(stat.process_uptime > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn scrapes_never_fail_while_the_sidecar_is_busy() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--workers", "2"]).await;
    let busy = tokio::spawn(run_load(Options {
        connections: 32,
        duration: Duration::from_secs(2),
        ..Options::new(Target::at(sidecar.data, "/bytes/64"))
    }));
    let mut client = Client::connect(sidecar.metrics).await;
    let mut last = 0.0;
    for number in 0..200 {
        let answer = client.get("/metrics").await;
        assert_eq!(answer.status, 200, "scrape {number}");
        let total = Metrics::parse(answer.text()).requests_total();
        assert!(total >= last, "a counter fell from {last} to {total}");
        last = total;
    }
    let summary = busy.await.unwrap();
    let metrics = sidecar
        .scraped("all are counted", |metrics| metrics.in_flight() == 0.0)
        .await;
    assert!(metrics.requests("2xx", "app") >= summary.requests as f64);
}

#[tokio::test]
async fn the_metrics_port_says_what_it_has() {
    let sidecar = Sidecar::start(app::nowhere().await, &[]).await;
    let rows: [(&str, u16, Option<&str>); 5] = [
        ("GET /healthz", 200, Some("ok\n")),
        ("GET /readyz", 200, Some("ready\n")),
        (
            "GET /",
            404,
            Some("there is /metrics, /healthz and /readyz\n"),
        ),
        ("DELETE /metrics", 405, None),
        ("POST /metrics", 200, None),
    ];
    for (line, status, text) in rows {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = http1::once(sidecar.metrics, request).await;
        assert_eq!(answer.status, status, "{line}");
        if let Some(text) = text {
            assert_eq!(answer.text(), text, "{line}");
        }
    }
}
