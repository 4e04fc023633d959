//! Metrics for those whose requests they are: what Knative's queue-proxy has on its port 9091.
//!
//! Each worker counts for itself, in a table that only it writes and that a scrape reads without disturbing it.

mod key;
mod names;
mod process;
mod secured;
mod table;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use plimsoll_limit::Breaker;
use plimsoll_meter::Tick;
use plimsoll_proxy::{Arrival, RequestEnd, ServerTls};
use plimsoll_wire::Format;
use plimsoll_wire::prometheus::TextFormat;
use plimsoll_wire::user::{ProcessSample, RequestSeries, Revision, UserSample, render_user};
use tokio::net::TcpListener;

use self::key::{Key, Vocabulary};
use self::secured::SecuredListener;
use self::table::Table;

/// The counts of all workers.
#[derive(Debug)]
pub(crate) struct UserMetrics {
    vocabulary: Vocabulary,
    tables: Box<[Table]>,
}

/// What is known of a request when it arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    key: Key,
    began: Tick,
}

/// Everything the port for users reads.
#[derive(Debug, Clone)]
pub(crate) struct UserReadings {
    pub(crate) metrics: Arc<UserMetrics>,
    pub(crate) revision: Arc<Revision>,
    /// `None` without a concurrency limit.
    pub(crate) breaker: Option<Breaker>,
    /// Where the application listens.
    pub(crate) app: std::net::SocketAddr,
}

impl UserMetrics {
    /// No request has ended on any of `workers`.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            vocabulary: Vocabulary::default(),
            tables: (0..workers).map(|_| Table::default()).collect(),
        }
    }

    /// A request has arrived. Takes no lock.
    pub(crate) fn arrived(&self, arrival: &Arrival<'_>) -> Counted {
        Counted {
            key: self.vocabulary.key(arrival),
            began: arrival.at,
        }
    }

    /// It has ended, on `worker`, which alone may call this with its index.
    pub(crate) fn ended(&self, worker: usize, counted: Counted, end: &RequestEnd) {
        if let Some(table) = self.tables.get(worker) {
            table.count(counted.key.ended(end), counted.began, end);
        }
    }

    /// The requests so far, and the series that are there from the start. The same labels can be there more than once.
    fn requests(&self, revision: &Revision) -> Vec<RequestSeries> {
        let mut all = key::from_the_start(revision);
        for (key, counts) in self.tables.iter().flat_map(Table::series) {
            all.push(counts.series(self.vocabulary.labels(key)));
        }
        all
    }
}

impl UserReadings {
    /// Has `use_it` look at everything as it is now, and at what is known of the `process`.
    pub(crate) fn with_sample<T>(
        &self,
        process: Option<ProcessSample>,
        use_it: impl FnOnce(&UserSample<'_>) -> T,
    ) -> T {
        let queue_depth = self.breaker.as_ref().map(|breaker| {
            // The two are read one after the other: a request that leaves the queue meanwhile is in one of them.
            (breaker.running() + breaker.waiting()) as u64
        });
        let requests = self.metrics.requests(&self.revision);
        let address = self.app.ip().to_string();
        use_it(&UserSample {
            revision: &self.revision,
            version: env!("CARGO_PKG_VERSION"),
            queue_depth,
            app: (&address, self.app.port()),
            requests: &requests,
            process,
        })
    }
}

/// Serves the port for users, with `tls` if it is there, for as long as it is polled.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    readings: UserReadings,
) -> io::Result<()> {
    let router = router(readings);
    match tls {
        None => axum::serve(listener, router).await,
        Some(tls) => axum::serve(SecuredListener::new(listener, tls), router).await,
    }
}

fn router(readings: UserReadings) -> Router {
    Router::new()
        .route("/metrics", get(metrics).fallback(only_get))
        .fallback(async || (StatusCode::NOT_FOUND, "there is /metrics\n"))
        .with_state(readings)
}

async fn metrics(State(readings): State<UserReadings>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT);
    let format = match plimsoll_wire::negotiate(accept.iter().map(HeaderValue::as_bytes)) {
        Format::OpenMetrics => TextFormat::OpenMetrics,
        // Knative's message is that of the other port.
        Format::PrometheusText | Format::KnativeStat => TextFormat::Prometheus,
    };
    let content_type = HeaderValue::from_static(format.content_type());
    let process = process::sample();
    let body = readings.with_sample(process, |sample| render_user(format, sample));
    ([(CONTENT_TYPE, content_type)], body).into_response()
}

async fn only_get() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(ALLOW, "GET, HEAD")],
        "only GET\n",
    )
        .into_response()
}
