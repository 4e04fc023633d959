//! The dashboard: one page at `/` of the admin port.
//!
//! The page is whole as the server sends it, charts included, so it reads with scripts switched off, over a slow
//! line and in a text browser. A short script asks for the same page again each second and puts in place what has
//! changed. What the page needs comes from the admin port itself, under a content security policy that allows nothing
//! else; and the page can change nothing, because the API takes no changes from web pages.
//!
//! [`Source`] is what is shown, as a gateway or `plimsoll run` gives it. [`History`] keeps the last ten minutes, a
//! second at a time and only of services that do something. [`page`] makes text of both and knows nothing else, so
//! tests need neither a clock nor a port.
//!
//! Charts are drawn here, by `plotters`, as SVG. Rejected: a chart library in the browser. It would have to be carried
//! along in the repository, and it draws nothing where scripts do not run.

mod chart;
mod history;
mod html;
mod page;
mod rows;
mod scene;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use plimsoll_meter::Clock;
use plimsoll_proxy::MonotonicClock;
use tokio::time::MissedTickBehavior;

use self::history::{History, SECOND};
pub(crate) use self::html::Query;
pub(crate) use self::scene::{Detail, Head, Replica, Scaling, Source, Told, Watched};

/// What the page may load, and from where: nothing that is not served here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and what it is made from.
#[derive(Debug)]
pub(crate) struct Dashboard<S> {
    source: S,
    clock: MonotonicClock,
    history: History,
}

// === impl Dashboard ===

impl<S: Source> Dashboard<S> {
    /// Shows `source`. Nothing is kept before [`keep_watching`](Self::keep_watching) is polled.
    pub(crate) fn new(source: S, clock: MonotonicClock) -> Arc<Self> {
        Arc::new(Self {
            source,
            clock,
            history: History::begin(clock.now()),
        })
    }

    /// Writes the history, a line a second, for as long as it is polled.
    pub(crate) async fn keep_watching(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.history
                .record(self.clock.now(), &self.source.services());
        }
    }

    /// The page, and what it loads.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/", get(show::<S>))
            .route("/dashboard.css", get(async || css()))
            .route("/dashboard.js", get(async || script()))
            .route("/icon.svg", get(async || icon()))
            .with_state(self)
    }

    fn render(&self, query: Option<&str>) -> (StatusCode, String) {
        let wanted = query.and_then(wanted_service);
        page::render(&self.source, &self.history, wanted.as_deref())
    }
}

async fn show<S: Source>(
    State(dashboard): State<Arc<Dashboard<S>>>,
    RawQuery(query): RawQuery,
) -> Response {
    let (status, text) = dashboard.render(query.as_deref());
    (status, file("text/html; charset=utf-8", text)).into_response()
}

/// The name in `service=NAME`, wherever it stands in the query.
fn wanted_service(query: &str) -> Option<String> {
    let mut pairs = query.split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix("service="))?;
    Some(html::from_query(value))
}

fn css() -> Response {
    file(
        "text/css; charset=utf-8",
        include_str!("dashboard/page.css"),
    )
}

fn script() -> Response {
    let text = include_str!("dashboard/page.js");
    file("text/javascript; charset=utf-8", text)
}

fn icon() -> Response {
    file("image/svg+xml", include_str!("dashboard/icon.svg"))
}

fn file(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, content_type),
        // After another version has been started, the old script must not meet the new page.
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_found_in_the_query_and_decoded() {
        for (query, expected) in [
            ("service=a", Some("a")),
            ("x=1&service=a%20b%2Fc", Some("a b/c")),
            ("service=", Some("")),
            ("services=a", None),
            ("", None),
        ] {
            assert_eq!(wanted_service(query).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn nothing_that_is_sent_names_another_host() {
        for text in [
            include_str!("dashboard/page.css"),
            include_str!("dashboard/page.js"),
        ] {
            assert!(!text.contains("//") || !text.contains("http"), "{text}");
            assert!(!text.contains("@import") && !text.contains("url("));
        }
    }
}
