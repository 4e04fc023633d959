//! Metrics and traces at collectors, which read them with the decoders that real ones are built from.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use plimsoll_proxy::{Identity, ServerTls};
use prost::Message as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::harness::app::{self, App};
use crate::harness::gateway::Folder;
use crate::harness::http1::{self, Client};
use crate::harness::sidecar::Sidecar;
use crate::harness::soon;
use crate::memory::Peak;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// What a collector has got.
#[derive(Debug)]
enum Got {
    Metrics(ExportMetricsServiceRequest),
    Spans(Vec<Span>),
}

#[derive(Debug, Clone)]
struct Receiver(UnboundedSender<Got>);

impl Receiver {
    fn traces(&self, request: ExportTraceServiceRequest) {
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|spans| spans.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans).collect();
        // The test may have seen enough.
        drop(self.0.send(Got::Spans(spans)));
    }

    fn metrics(&self, request: ExportMetricsServiceRequest) {
        drop(self.0.send(Got::Metrics(request)));
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

/// A collector on `listener`, for either way of carrying.
fn collector(listener: TcpListener, protocol: &str) -> UnboundedReceiver<Got> {
    let (sender, got) = unbounded_channel();
    let receiver = Receiver(sender);
    if protocol == "grpc" {
        let served = Server::builder()
            .add_service(TraceServiceServer::new(receiver.clone()))
            .add_service(MetricsServiceServer::new(receiver))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(served);
        return got;
    }
    let of_metrics = receiver.clone();
    let router = axum::Router::new()
        .route(
            "/v1/traces",
            axum::routing::post(async move |body: Bytes| {
                receiver.traces(ExportTraceServiceRequest::decode(body).unwrap());
            }),
        )
        .route(
            "/v1/metrics",
            axum::routing::post(async move |body: Bytes| {
                of_metrics.metrics(ExportMetricsServiceRequest::decode(body).unwrap());
            }),
        );
    tokio::spawn(axum::serve(listener, router).into_future());
    got
}

/// The same with TLS, which goes on to `collector` without. Gives the certificate to trust too.
async fn secured(collector: SocketAddr) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = Folder::new();
    folder.write("tls.crt", &made.cert.pem());
    folder.write("tls.key", &made.signing_key.serialize_pem());
    let identity = Identity::from_pem_files(&folder.path("tls.crt"), &folder.path("tls.key"));
    let tls = Arc::new(ServerTls::new(&identity.unwrap()).unwrap());
    let listener = app::free_listener().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = Arc::clone(&tls);
            tokio::spawn(async move {
                let mut client = tls.accept(stream).await.unwrap();
                let mut behind = TcpStream::connect(collector).await.unwrap();
                // Either side may have had enough.
                drop(tokio::io::copy_bidirectional(&mut client, &mut behind).await);
            });
        }
    });
    (address, made.cert.pem())
}

async fn start(app: SocketAddr, protocol: &str, endpoint: &str, more: &[(&str, &str)]) -> Sidecar {
    let config = json!({
        "tracing": {"protocol": protocol, "endpoint": endpoint, "samplingRate": 0.5},
        "requestMetrics": {"protocol": protocol, "endpoint": endpoint},
    });
    let config = config.to_string();
    let mut variables = vec![("OBSERVABILITY_CONFIG", config.as_str())];
    variables.extend_from_slice(more);
    Sidecar::start_in_pod(app.port(), &variables, &["--drain-quiet", "0"]).await
}

/// Everything that comes until the spans of `requests` requests and the last metrics are there.
async fn all(
    got: &mut UnboundedReceiver<Got>,
    spans: usize,
) -> (Vec<Span>, ExportMetricsServiceRequest) {
    let (mut all, mut metrics) = (Vec::new(), None);
    while all.len() < spans || metrics.is_none() {
        match soon("something for the collector", got.recv())
            .await
            .unwrap()
        {
            Got::Spans(spans) => all.extend(spans),
            Got::Metrics(request) => metrics = Some(request),
        }
    }
    (all, metrics.unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The span of this name, of the trace of the test.
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut ours = spans.iter().filter(|span| hex(&span.trace_id) == TRACE);
    ours.find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no {name}: {spans:#?}"))
}

/// An application that tells the trace context that it was given.
async fn telling() -> App {
    App::scripted(async |mut wire, _| {
        while let Some((head, _)) = app::request(&mut wire).await {
            let kept: String = (head.lines())
                .filter(|line| line.starts_with("traceparent") || line.contains("b3"))
                .map(|line| format!("{line}\n"))
                .collect();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{kept}",
                kept.len()
            );
            wire.send(&answer).await;
        }
    })
    .await
}

async fn reaches_a_collector(protocol: &str, with_tls: bool) {
    let listener = app::free_listener().await;
    let to = listener.local_addr().unwrap();
    let mut got = collector(listener, protocol);
    let app = telling().await;
    let folder = Folder::new();
    let authority = folder.path("ca.crt");
    let mut variables = vec![
        ("CONTAINER_CONCURRENCY", "3"),
        ("OTEL_SERVICE_NAME", "greeter"),
    ];
    let endpoint = if with_tls {
        let (to, certificate) = secured(to).await;
        folder.write("ca.crt", &certificate);
        variables.push((
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            authority.to_str().unwrap(),
        ));
        format!("https://localhost:{}", to.port())
    } else {
        format!("http://{to}")
    };
    let mut sidecar = start(app.addr, protocol, &endpoint, &variables).await;
    let request =
        format!("GET /a HTTP/1.1\r\nhost: hello\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n\r\n");
    let mut client = Client::connect(sidecar.data).await;
    client.send(request).await;
    let answer = client.answer().await;
    // Not sampled by the client, so not by us either, but handed on.
    let other = format!(
        "GET /b HTTP/1.1\r\nhost: hello\r\nb3: {}-{SPAN}-0\r\n\r\n",
        "a".repeat(32)
    );
    client.send(other).await;
    let unsampled = client.answer().await;
    drop(client);
    sidecar.signal(Signal::TERM);
    let (spans, metrics) = all(&mut got, 4).await;
    assert!(sidecar.ended().await.success());
    assert_eq!(spans.len(), 4, "{spans:#?}");

    let (server, proxy) = (named(&spans, "GET"), named(&spans, "kn.queueproxy.proxy"));
    let (wait, app) = (
        named(&spans, "kn.queueproxy.wait"),
        named(&spans, "HTTP GET"),
    );
    assert_eq!(hex(&server.parent_span_id), SPAN);
    assert_eq!(proxy.parent_span_id, server.span_id);
    assert_eq!(wait.parent_span_id, proxy.span_id);
    assert_eq!(app.parent_span_id, proxy.span_id);
    assert!(server.start_time_unix_nano <= app.start_time_unix_nano);
    assert!(app.end_time_unix_nano <= server.end_time_unix_nano);
    let told = format!("traceparent: 00-{TRACE}-{}-01\n", hex(&app.span_id));
    assert_eq!(answer.text(), told);
    let unsampled = unsampled.text();
    assert!(
        unsampled.contains(&format!("traceparent: 00-{}-", "a".repeat(32))),
        "{unsampled}"
    );
    assert!(unsampled.contains("-00\n"), "{unsampled}");
    assert!(
        unsampled.contains(&format!("b3: {}-", "a".repeat(32))),
        "{unsampled}"
    );
    has_counted_two(&metrics);
}

fn has_counted_two(metrics: &ExportMetricsServiceRequest) {
    let resource = metrics.resource_metrics[0].resource.as_ref().unwrap();
    let mut attributes = resource.attributes.iter();
    let name = attributes.find(|attribute| attribute.key == "service.name");
    assert!(format!("{name:?}").contains("greeter"), "{name:?}");
    let scopes = &metrics.resource_metrics[0].scope_metrics;
    let of_name = |name: &str| {
        let mut all = scopes.iter().flat_map(|scope| &scope.metrics);
        all.find(|metric| metric.name == name).unwrap().clone()
    };
    let Some(metric::Data::Histogram(durations)) = of_name("kn.serving.invocation.duration").data
    else {
        panic!("{scopes:?}");
    };
    let counted: u64 = durations.data_points.iter().map(|point| point.count).sum();
    assert_eq!(counted, 2);
    assert!(matches!(
        of_name("kn.serving.queue.depth").data,
        Some(metric::Data::Gauge(_))
    ));
}

#[tokio::test]
async fn metrics_and_traces_reach_a_collector_over_http() {
    reaches_a_collector("http/protobuf", false).await;
}

#[tokio::test]
async fn metrics_and_traces_reach_a_collector_over_grpc() {
    reaches_a_collector("grpc", false).await;
}

#[tokio::test]
async fn metrics_and_traces_reach_a_collector_with_tls() {
    for protocol in ["http/protobuf", "grpc"] {
        reaches_a_collector(protocol, true).await;
    }
}

/// It accepts connections and never says a word: whatever is traced waits, as long as there is room.
#[tokio::test]
async fn a_collector_that_hangs_costs_no_request_and_bounded_memory() {
    const REQUESTS: usize = 2_000;
    let silent = app::free_listener().await;
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let app = App::answering(app::OK).await;
    let always = [("OTEL_TRACES_SAMPLER", "always_on")];
    let sidecar = start(app.addr, "http/protobuf", &endpoint, &always).await;
    let mut client = Client::connect(sidecar.data).await;
    let peak = Peak::watch(sidecar.pid());
    let mut peaks = Vec::new();
    for _ in 0..3 {
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/").await.status, 200);
        }
        peaks.push(peak.kib());
    }
    // After the first round all places are taken: what comes later is dropped, and takes no room.
    let grown = peaks[2] - peaks[0];
    assert!(grown < 512, "{peaks:?} KiB");
}

#[tokio::test]
async fn opentelemetrys_sampler_has_the_better_of_knatives_rate() {
    let listener = app::free_listener().await;
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut got = collector(listener, "http/protobuf");
    let app = telling().await;
    // The rate is a half; nothing that begins here is recorded, and what clients record is.
    let variables = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    let mut sidecar = start(app.addr, "http/protobuf", &endpoint, &variables).await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..20 {
        assert!(client.get("/").await.text().contains("-00\n"));
    }
    let request =
        format!("GET /a HTTP/1.1\r\nhost: hello\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n\r\n");
    client.send(request).await;
    assert!(client.answer().await.text().contains("-01\n"));
    drop(client);
    sidecar.signal(Signal::TERM);
    let (spans, _) = all(&mut got, 3).await;
    assert!(sidecar.ended().await.success());
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) == TRACE),
        "{spans:#?}"
    );
}

#[tokio::test]
async fn a_sampler_that_is_none_is_told_before_anything_is_opened() {
    let variables = [
        (
            "OBSERVABILITY_CONFIG",
            r#"{"tracing":{"protocol":"grpc","samplingRate":1}}"#,
        ),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
    ];
    // With --check as without: it is there to tell before.
    for flags in [&[][..], &["--check"]] {
        let mut command = crate::harness::sidecar::in_pod(1, &variables);
        let output = soon("its end", command.args(flags).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(64));
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(
            words.contains("invalid value 'sometimes' for 'OTEL_TRACES_SAMPLER'")
                && words.contains("parentbased_traceidratio"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_collector_that_is_down_costs_no_request_and_is_told_once() {
    let nowhere = app::nowhere().await;
    let app = App::answering(app::OK).await;
    let always = [("OTEL_METRIC_EXPORT_INTERVAL", "10")];
    let endpoint = format!("http://{nowhere}");
    let mut sidecar = start(app.addr, "http/protobuf", &endpoint, &always).await;
    let is_told = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("does not take metrics"))
    };
    sidecar.logged("the collector is down", is_told).await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..200 {
        assert_eq!(client.get("/").await.status, 200);
    }
    drop(client);
    assert_eq!(sidecar.log.count(is_told), 1);
    sidecar.signal(Signal::TERM);
    assert!(sidecar.ended().await.success());
}

#[tokio::test]
async fn traces_can_go_to_standard_output() {
    let app = App::answering(app::OK).await;
    let config = (
        "OBSERVABILITY_CONFIG",
        r#"{"tracing":{"protocol":"stdout"}}"#,
    );
    let quiet = ["--drain-quiet", "0"];
    let mut sidecar = Sidecar::start_in_pod(app.addr.port(), &[config], &quiet).await;
    assert_eq!(http1::once(sidecar.data, http1::get("/")).await.status, 200);
    sidecar.signal(Signal::TERM);
    assert!(sidecar.ended().await.success());
    let of_server = |span: &Value| span["name"] == "GET" && span["kind"] == "server";
    assert!(
        sidecar.output.find(of_server).is_some(),
        "{:?}",
        sidecar.output.lines()
    );
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_told_before_anything_is_opened() {
    let mut command = crate::harness::sidecar::in_pod(
        1,
        &[
            (
                "OBSERVABILITY_CONFIG",
                r#"{"tracing":{"protocol":"grpc","samplingRate":1}}"#,
            ),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "not an endpoint"),
        ],
    );
    let output = soon("its end", command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(64));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            && words.contains("http://collector:4318"),
        "{words}"
    );
}
