//! The metrics port: `/metrics`, `/healthz`, `/readyz`.
//!
//! It runs on the main thread, apart from the workers: however busy they are, a scrape is answered, and
//! however often it is scraped, they are not disturbed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use plimsoll_limit::Breaker;
use plimsoll_meter::{ConcurrencyMeter, HistogramSnapshot};
use plimsoll_proxy::{Running, Stats};
use plimsoll_wire::{Families, HistogramView, Identity, LimitSample};
use tokio::net::TcpListener;

use crate::gateway;
use crate::report::Published;

/// Everything the metrics port reads.
#[derive(Debug, Clone)]
pub(crate) struct Readings {
    identity: Arc<Identity>,
    published: Published,
    stats: Stats,
    meter: Arc<ConcurrencyMeter>,
    breaker: Option<Breaker>,
    ready: Ready,
}

/// Whether `/readyz` says yes.
#[derive(Debug, Clone)]
pub(crate) struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Yes, for now.
    pub(crate) fn yes() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// From now on `/readyz` says no.
    pub(crate) fn no_longer(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same in a word.
    pub(crate) fn word(&self) -> &'static str {
        if self.is_ready() {
            "serving"
        } else {
            "draining"
        }
    }

    /// The answer to `/readyz`.
    pub(crate) fn answer(&self) -> Response {
        if self.is_ready() {
            "ready\n".into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
        }
    }
}

impl Readings {
    pub(crate) fn new(identity: Identity, published: Published, running: &Running) -> Self {
        Self {
            identity: Arc::new(identity),
            published,
            stats: running.stats(),
            meter: Arc::clone(running.meter()),
            breaker: running.breaker().cloned(),
            ready: Ready::yes(),
        }
    }

    /// From now on `/readyz` says no.
    pub(crate) fn not_ready(&self) {
        self.ready.no_longer();
    }

    fn render(&self, format: plimsoll_wire::Format) -> Vec<u8> {
        // Before the counts: a request leaves after it was counted, so none is in neither.
        let requests_in_flight = self.meter.in_flight().total;
        let stats = self.stats.view();
        let families = Families {
            requests: stats.requests,
            errors: stats.errors,
            requests_in_flight,
            connections_open: stats.connections as u64,
            limit: self.breaker.as_ref().map(limit_sample),
            version: env!("CARGO_PKG_VERSION"),
            request_duration: histogram(&stats.request_time),
            queue_wait: histogram(&stats.queue_wait),
            upstream_duration: histogram(&stats.upstream_time),
        };
        plimsoll_wire::render(format, &self.identity, &self.published.latest(), &families)
    }
}

fn limit_sample(breaker: &Breaker) -> LimitSample {
    LimitSample {
        slots: breaker.concurrency() as u64,
        slots_in_use: breaker.running() as u64,
        queue_depth: breaker.waiting() as u64,
        queue_capacity: breaker.queue_depth() as u64,
    }
}

pub(crate) fn histogram(snapshot: &HistogramSnapshot) -> HistogramView<'_> {
    HistogramView::new(snapshot.bounds(), snapshot.cumulative(), snapshot.sum())
        .expect("a snapshot's bounds rise and its counts never fall")
}

/// Opens the metrics port.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves the metrics port, for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, readings: Readings) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics).post(metrics).fallback(only_get))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/api/v1/openapi.json", get(async || gateway::openapi()))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "there is /metrics, /healthz and /readyz\n",
            )
        })
        .with_state(readings);
    axum::serve(listener, router).await
}

async fn metrics(State(readings): State<Readings>, headers: HeaderMap) -> Response {
    let format =
        plimsoll_wire::negotiate(headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes));
    (
        [(
            CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        )],
        readings.render(format),
    )
        .into_response()
}

/// What a method that does nothing at `/metrics` gets.
pub(crate) async fn only_get() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(ALLOW, "GET, HEAD, POST")],
        "only GET and POST\n",
    )
        .into_response()
}

async fn readyz(State(readings): State<Readings>) -> Response {
    readings.ready.answer()
}
