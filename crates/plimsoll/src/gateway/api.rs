//! `/api/v1`: what the gateway knows, as JSON, and the two things that can be told to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};

use super::admin::Desk;
use super::endpoints::NoSuchEndpoint;
use super::services::Member;
use super::show;
use super::upstream;

/// The most bytes of a request's body.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// The most names that an error lists.
const NAMES_MAX: usize = 20;

/// An answer that says why not.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    /// What would have been accepted.
    accepted: String,
}

/// `{"weight": N}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    weight: serde_json::Number,
}

/// What there is, for a request that asks for something else.
pub(crate) const PATHS: &str = "GET /, /metrics, /healthz, /readyz, /api/v1/endpoints[?service=NAME], /api/v1/events[?service=NAME], \
    /api/v1/openapi.json, /api/v1/services, /api/v1/status; POST /api/v1/services/NAME/endpoints/ADDRESS/drain and .../undrain; \
    PUT or DELETE /api/v1/services/NAME/endpoints/ADDRESS/weight";

/// The routes.
pub(crate) fn router() -> Router<Desk> {
    Router::new()
        .route("/api/v1/endpoints", get(endpoints).fallback(only_get))
        .route("/api/v1/events", get(events).fallback(only_get))
        .route(
            "/api/v1/openapi.json",
            get(async || openapi()).fallback(only_get),
        )
        .route("/api/v1/services", get(services).fallback(only_get))
        .route("/api/v1/status", get(status).fallback(only_get))
        .route(
            "/api/v1/services/{service}/endpoints/{address}/drain",
            post(async |desk, headers: HeaderMap, path| drain(desk, &headers, path, true))
                .fallback(only_post),
        )
        .route(
            "/api/v1/services/{service}/endpoints/{address}/undrain",
            post(async |desk, headers: HeaderMap, path| drain(desk, &headers, path, false))
                .fallback(only_post),
        )
        .route(
            "/api/v1/services/{service}/endpoints/{address}/weight",
            put(set_weight).delete(unset_weight).fallback(only_put),
        )
        .merge(crate::run::api::router())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        error: impl Into<String>,
        accepted: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error: error.into(),
            accepted: accepted.into(),
        }
    }

    /// There is no such path.
    pub(crate) fn no_path(path: &str) -> Self {
        let accepted = format!("{PATHS}; {}", crate::run::api::PATHS);
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no {path}"),
            accepted,
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, json(&self)).into_response()
    }
}

/// A value as an answer.
pub(crate) fn json(value: &impl Serialize) -> Response {
    // Strings as keys and plain values: nothing of it can fail.
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn endpoints(
    State(desk): State<Desk>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let members = match wanted_service(query.as_deref())? {
        Some(name) => vec![member(&desk, name)?],
        None => desk.services.members().to_vec(),
    };
    let now = desk.services.clock();
    let shown = members
        .iter()
        .flat_map(|member| show::endpoints(member, now));
    let shown: Vec<_> = shown.collect();
    Ok(json(&BTreeMap::from([("endpoints", shown)])))
}

async fn events(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let name = wanted_service(query.as_deref())?;
    if let Some(name) = name {
        member(&desk, name)?;
    }
    let shown = show::events(&desk, name);
    Ok(json(&BTreeMap::from([("events", shown)])))
}

/// The description of all this, for programs and for people.
pub(crate) fn openapi() -> Response {
    let text = include_str!("../../../../docs/openapi.json");
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The name in `service=NAME`.
fn wanted_service(query: Option<&str>) -> Result<Option<&str>, Refusal> {
    match query.filter(|query| !query.is_empty()) {
        None => Ok(None),
        Some(query) => match query.strip_prefix("service=") {
            Some(name) if !name.contains('&') => Ok(Some(name)),
            _ => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("the query {query} is not known"),
                "service=NAME, or no query",
            )),
        },
    }
}

async fn services(State(desk): State<Desk>) -> Response {
    let now = desk.services.clock();
    let members = desk.services.members();
    let shown: Vec<_> = members
        .iter()
        .map(|member| show::service(member, now))
        .collect();
    json(&BTreeMap::from([("services", shown)]))
}

async fn status(State(desk): State<Desk>) -> Response {
    json(&show::status(&desk))
}

type EndpointPath = Path<(String, String)>;

fn drain(
    State(desk): State<Desk>,
    headers: &HeaderMap,
    Path((service, address)): EndpointPath,
    draining: bool,
) -> Result<Response, Refusal> {
    not_from_a_browser(headers)?;
    let member = member(&desk, &service)?;
    let done = member.endpoints.set_draining(&address, draining);
    done.map_err(|NoSuchEndpoint| no_endpoint(&member, &address))?;
    let word = if draining { "draining" } else { "not draining" };
    tracing::info!(service, endpoint = address, "{word}, says the API");
    changed(&desk, &member, &address)
}

async fn set_weight(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path((service, address)): EndpointPath,
    body: Bytes,
) -> Result<Response, Refusal> {
    not_from_a_browser(&headers)?;
    let accepted = format!(
        "{{\"weight\": N}}, N from 1 to {}",
        plimsoll_balance::WEIGHT_MAX
    );
    let refuse = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error, accepted.clone());
    let wanted: Weight = serde_json::from_slice(&body)
        .map_err(|error| refuse(format!("the body is not understood: {error}")))?;
    let weight = upstream::weight(&wanted.weight.to_string()).map_err(refuse)?;
    weigh(&desk, &service, &address, Some(weight))
}

async fn unset_weight(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path((service, address)): EndpointPath,
) -> Result<Response, Refusal> {
    not_from_a_browser(&headers)?;
    weigh(&desk, &service, &address, None)
}

fn weigh(
    desk: &Desk,
    service: &str,
    address: &str,
    weight: Option<u32>,
) -> Result<Response, Refusal> {
    let member = member(desk, service)?;
    let done = member.endpoints.set_weight(address, weight);
    done.map_err(|NoSuchEndpoint| no_endpoint(&member, address))?;
    let set = weight.map_or_else(|| "as configured".to_owned(), |weight| weight.to_string());
    tracing::info!(
        service,
        endpoint = address,
        weight = set,
        "weight, says the API"
    );
    changed(desk, &member, address)
}

/// The endpoint as it is now.
fn changed(desk: &Desk, member: &Member, address: &str) -> Result<Response, Refusal> {
    let mut shown = show::endpoints(member, desk.services.clock()).into_iter();
    let found = shown.find(|shown| shown.address.as_ref() == address);
    found
        .map(|shown| json(&shown))
        .ok_or_else(|| no_endpoint(member, address))
}

pub(crate) fn member(desk: &Desk, name: &str) -> Result<Arc<Member>, Refusal> {
    desk.services.member(name).ok_or_else(|| {
        let members = desk.services.members();
        let names = members.iter().map(|member| member.plan.name.as_str());
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("there is no service {name}"),
            listed(names),
        )
    })
}

fn no_endpoint(member: &Member, address: &str) -> Refusal {
    let addresses = member.endpoints.addresses();
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("service {} has no endpoint {address}", member.plan.name),
        listed(addresses.iter().map(AsRef::as_ref)),
    )
}

/// A few names, and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A page in somebody's browser must not be able to take endpoints out of service: browsers name the page's origin
/// whenever a page has them send such a request, and nothing else does.
pub(crate) fn not_from_a_browser(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(ORIGIN) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "changes are not accepted from web pages",
            "the same request without an Origin field",
        ));
    }
    Ok(())
}

fn only(methods: &'static str) -> Response {
    let refusal = Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "the method does nothing here",
        methods,
    );
    ([(ALLOW, methods)], refusal).into_response()
}

pub(crate) async fn only_get() -> Response {
    only("GET, HEAD")
}

pub(crate) async fn only_post() -> Response {
    only("POST")
}

async fn only_put() -> Response {
    only("PUT, DELETE")
}
