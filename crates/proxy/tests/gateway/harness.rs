//! Endpoints, clients and a gateway between them, in one process.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_balance::{
    Balancer, BalancerConfig, BalancerView, EjectionConfig, EndpointSpec, EndpointView, Policy,
    RetryBudgetConfig,
};
use plimsoll_meter::Clock;
use plimsoll_proxy::{
    Gateway, GatewayConfig, MonotonicClock, Routes, RoutesHandle, Running, ServerTls, Service,
    ServiceSettings, ServiceView,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use crate::common::{LOOPBACK, eventually, head, soon};

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request with more fields and a body.
pub(crate) fn request(method: &str, fields: &str, body: &str) -> String {
    format!("{method} / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}")
}

/// An endpoint; it ends, with all its connections, when this is dropped.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// Requests that have begun, as far as the endpoint counts them.
    pub(crate) served: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    /// One that does `serve` with each connection.
    pub(crate) async fn new<F>(
        serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&count)));
            }
        });
        Self {
            address,
            served,
            task,
        }
    }

    /// One that answers every head with `answer`.
    pub(crate) async fn answering(answer: impl Into<String>) -> Self {
        Self::slow(answer, Duration::ZERO).await
    }

    /// One that answers every head with `answer` after `pause`.
    pub(crate) async fn slow(answer: impl Into<String>, pause: Duration) -> Self {
        let answer = answer.into();
        Self::new(move |mut stream, served| {
            let answer = answer.clone();
            async move {
                while !head(&mut stream).await.is_empty() {
                    served.fetch_add(1, Ordering::SeqCst);
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// One that reads a head and closes.
    pub(crate) async fn hanging_up() -> Self {
        Self::new(|mut stream, served| async move {
            head(&mut stream).await;
            served.fetch_add(1, Ordering::SeqCst);
        })
        .await
    }

    /// One that reads a head and says nothing.
    pub(crate) async fn silent() -> Self {
        Self::new(|mut stream, served| async move {
            head(&mut stream).await;
            served.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        })
        .await
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// An address at which nothing listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind(LOOPBACK)
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A gateway with one service.
pub(crate) struct Setup {
    pub(crate) running: Option<Running>,
    pub(crate) address: SocketAddr,
    pub(crate) routes: RoutesHandle,
    pub(crate) service: Arc<Service>,
    pub(crate) clock: MonotonicClock,
    upkeep: JoinHandle<()>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

/// Takes its endpoints in turn, so that a test knows who is asked first.
///
/// Leaves no endpoint out, and retries as often as it likes.
pub(crate) fn in_turn() -> BalancerConfig {
    BalancerConfig {
        policy: Policy::RoundRobin,
        slow_start: Duration::ZERO,
        ejection: EjectionConfig {
            enabled: false,
            ..EjectionConfig::default()
        },
        retry_budget: RetryBudgetConfig {
            ratio: 1.0,
            min_per_second: 1_000.0,
        },
        ..BalancerConfig::default()
    }
}

pub(crate) fn one_worker() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// A service of `endpoints`.
pub(crate) fn service(
    clock: MonotonicClock,
    name: &str,
    config: BalancerConfig,
    settings: ServiceSettings,
    endpoints: &[SocketAddr],
) -> Arc<Service> {
    let balancer = Balancer::new(config).unwrap();
    let specs: Vec<_> = endpoints
        .iter()
        .map(|at| EndpointSpec::new(at.to_string()))
        .collect();
    balancer.set_endpoints(clock.now(), &specs).unwrap();
    Arc::new(Service::new(name, balancer, settings, one_worker()))
}

impl Setup {
    pub(crate) fn new(
        config: BalancerConfig,
        settings: ServiceSettings,
        endpoints: &[SocketAddr],
    ) -> Self {
        Self::with_workers(one_worker(), config, settings, endpoints)
    }

    pub(crate) fn with_workers(
        workers: NonZeroUsize,
        config: BalancerConfig,
        settings: ServiceSettings,
        endpoints: &[SocketAddr],
    ) -> Self {
        Self::with_tls(None, workers, config, settings, endpoints)
    }

    pub(crate) fn with_tls(
        tls: Option<Arc<ServerTls>>,
        workers: NonZeroUsize,
        config: BalancerConfig,
        settings: ServiceSettings,
        endpoints: &[SocketAddr],
    ) -> Self {
        let clock = MonotonicClock::start();
        let service = service(clock, "default", config, settings, endpoints);
        let gateway = Gateway::bind(
            &GatewayConfig {
                listen: LOOPBACK,
                workers,
                connections_max: 1_000,
                tls,
                clock,
            },
            Routes::to_one(Arc::clone(&service)),
        )
        .unwrap();
        let address = gateway.local_addr().unwrap();
        let routes = gateway.routes();
        let balancer = service.balancer().clone();
        let upkeep = tokio::spawn(async move {
            loop {
                balancer.advance(clock.now());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self {
            running: Some(gateway.start().unwrap()),
            address,
            routes,
            service,
            clock,
            upkeep,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        soon("connect", TcpStream::connect(self.address))
            .await
            .unwrap()
    }

    /// The answer to `request` on a connection of its own, until the connection ends or the answer is whole.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        soon("answer", answer(&mut stream)).await
    }

    pub(crate) fn view(&self) -> ServiceView {
        self.service.view()
    }

    pub(crate) fn balancer_view(&self) -> BalancerView {
        self.service.balancer().view(self.clock.now())
    }

    /// What the balancer knows of the endpoint at `address`.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> EndpointView {
        let view = self.balancer_view();
        let address = address.to_string();
        let mut endpoints = view.endpoints.into_iter();
        endpoints
            .find(|endpoint| *endpoint.address == *address)
            .unwrap()
    }

    /// Nothing is in flight or waits.
    pub(crate) async fn at_rest(&self) {
        eventually("rest", || {
            let view = self.balancer_view();
            let in_flight: u32 = view
                .endpoints
                .iter()
                .map(|endpoint| endpoint.in_flight)
                .sum();
            in_flight == 0 && view.queue_depth == 0 && self.service.meter().in_flight().total == 0
        })
        .await;
    }
}

/// An answer over HTTP/1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the body came to its end as announced.
    pub(crate) is_whole: bool,
}

/// Reads an answer with a length, chunks or an end.
pub(crate) async fn answer(stream: &mut TcpStream) -> Answer {
    let head = head(stream).await;
    let status = head
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let lower = head.to_lowercase();
    let length = lower.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
    let is_chunked = lower.contains("transfer-encoding: chunked");
    let mut body = Vec::new();
    let is_done = |body: &[u8]| match length {
        Some(length) => body.len() >= length,
        None => is_chunked && (body.ends_with(b"0\r\n\r\n") || has_trailers(body)),
    };
    let mut buffer = [0; 4096];
    while !is_done(&body) {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => body.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    Answer {
        status,
        is_whole: is_done(&body),
        body: String::from_utf8(body).unwrap(),
        head: lower,
    }
}

/// A last chunk with trailers behind it.
fn has_trailers(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.contains("\r\n0\r\n") && text.ends_with("\r\n\r\n")
}
