//! `/api/v1/services/NAME/…` of `plimsoll run`: decisions to be read, and how many replicas there are to be.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::crew::{Crew, Mode};
use super::show::{self, DecisionShown};
use crate::gateway::admin::Desk;
use crate::gateway::api::{self, Refusal, json, not_from_a_browser, only_get, only_post};
use crate::gateway::services::Member;

/// Decisions shown unless another number is asked for.
const DECISIONS_DEFAULT: usize = 20;

/// What there is here.
pub(crate) const PATHS: &str = "of services with a command: GET /api/v1/services/NAME/decisions[?limit=N]; \
    POST /api/v1/services/NAME/scale with {\"replicas\": N}, .../stop and .../start";

/// The last decisions about a service.
#[derive(Debug, Serialize)]
pub(crate) struct Decisions {
    pub(crate) service: String,
    /// The newest first.
    pub(crate) decisions: Vec<DecisionShown>,
}

/// `{"replicas": N}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    replicas: u32,
}

/// The routes.
pub(crate) fn router() -> Router<Desk> {
    Router::new()
        .route(
            "/api/v1/services/{service}/decisions",
            get(decisions).fallback(only_get),
        )
        .route(
            "/api/v1/services/{service}/scale",
            post(scale).fallback(only_post),
        )
        .route(
            "/api/v1/services/{service}/stop",
            post(stop).fallback(only_post),
        )
        .route(
            "/api/v1/services/{service}/start",
            post(start).fallback(only_post),
        )
}

/// The service of that name, if its replicas are kept here.
fn crew(desk: &Desk, name: &str) -> Result<(Arc<Member>, Arc<Crew>), Refusal> {
    let member = api::member(desk, name)?;
    match member.crew.clone() {
        Some(crew) => Ok((member, crew)),
        None => Err(Refusal::new(
            StatusCode::CONFLICT,
            format!(
                "service {name} has endpoints and no command: nothing is started or stopped for it"
            ),
            "a service with a command",
        )),
    }
}

async fn decisions(
    State(desk): State<Desk>,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let (_, crew) = crew(&desk, &service)?;
    let limit = match query.as_deref().filter(|query| !query.is_empty()) {
        None => DECISIONS_DEFAULT,
        Some(query) => limit(query)?,
    };
    Ok(json(&Decisions {
        decisions: show::decisions(&crew, limit),
        service,
    }))
}

fn limit(query: &str) -> Result<usize, Refusal> {
    let number = query
        .strip_prefix("limit=")
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the query {query} is not known"),
            "limit=N, or no query",
        )
    })
}

async fn scale(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path(service): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    not_from_a_browser(&headers)?;
    let (member, crew) = crew(&desk, &service)?;
    let max = crew.max();
    let refuse = |error: String| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            error,
            format!("{{\"replicas\": N}}, N from 0 to {max}"),
        )
    };
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| refuse(format!("the body is not understood: {error}")))?;
    if wanted.replicas > max {
        return Err(refuse(format!(
            "{} replicas are more than the maximum of service {service}",
            wanted.replicas
        )));
    }
    Ok(set(&desk, &member, &crew, Mode::Fixed(wanted.replicas)))
}

async fn stop(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path(service): Path<String>,
) -> Result<Response, Refusal> {
    not_from_a_browser(&headers)?;
    let (member, crew) = crew(&desk, &service)?;
    Ok(set(&desk, &member, &crew, Mode::Stopped))
}

async fn start(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path(service): Path<String>,
) -> Result<Response, Refusal> {
    not_from_a_browser(&headers)?;
    let (member, crew) = crew(&desk, &service)?;
    Ok(set(&desk, &member, &crew, Mode::Auto))
}

/// The service as it is then.
fn set(desk: &Desk, member: &Member, crew: &Crew, mode: Mode) -> Response {
    crew.set_mode(mode);
    json(&crate::gateway::show::service(
        member,
        desk.services.clock(),
    ))
}
