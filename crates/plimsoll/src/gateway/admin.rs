//! The admin port: metrics, readiness, the API and the dashboard, on the main thread, apart from the workers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use plimsoll_proxy::Stats;
use tokio::net::TcpListener;

use super::api::{self, Refusal};
use super::sample;
use super::services::Services;
use super::status::Status;
use crate::admin::{self, Ready};
use crate::dashboard::Dashboard;

/// Everything the admin port reads.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) services: Arc<Services>,
    pub(crate) status: Arc<Status>,
    pub(crate) stats: Stats,
    /// Whether clients come over TLS.
    pub(crate) has_tls: bool,
    pub(crate) ready: Ready,
    pub(crate) config_file: Option<Arc<PathBuf>>,
}

/// How long a drain may take if a service has no total time limit.
const DRAIN_LIMIT_DEFAULT: Duration = Duration::from_secs(300);

impl Desk {
    /// How long a drain may take: as long as any request may.
    pub(crate) fn drain_limit(&self) -> Duration {
        let members = self.services.members();
        let limits = members
            .iter()
            .map(|member| member.plan.limits.total.unwrap_or(DRAIN_LIMIT_DEFAULT));
        limits.max().unwrap_or(DRAIN_LIMIT_DEFAULT)
    }
}

/// Serves the admin port, for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, desk: Desk) -> io::Result<()> {
    let router = Router::new()
        .route(
            "/metrics",
            get(metrics).post(metrics).fallback(admin::only_get),
        )
        .route("/healthz", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(desk): State<Desk>| desk.ready.answer()),
        )
        .merge(api::router())
        .fallback(async |uri: Uri| Refusal::no_path(uri.path()))
        .with_state(desk.clone());
    let dashboard = Dashboard::new(desk.clone(), desk.services.clock());
    tokio::spawn(Arc::clone(&dashboard).keep_watching());
    let router = router.merge(dashboard.router());
    axum::serve(listener, router).await
}

async fn metrics(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    let format = plimsoll_wire::negotiate(accepted).text();
    let content_type = HeaderValue::from_static(format.content_type());
    match sample::render(&desk, format) {
        Ok(text) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            let message = format!("{error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}
