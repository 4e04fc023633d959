//! The spans of a request: those of Knative's queue-proxy.
//!
//! The whole, as the server; in it what this process does; in that the wait for a slot, if there are slots, and the
//! request to the application.

use http::Version;
use plimsoll_meter::Tick;
use plimsoll_wire::otlp::{Span, SpanKind};
use plimsoll_wire::user::Attribute;
use serde_json::json;

use crate::otel::Calendar;
use crate::otel::context::hex;
use crate::otel::tracer::{Begun, Finished};

/// The spans of a request that has ended, in the order of their ends.
pub(super) fn of(finished: &Finished, calendar: Calendar) -> impl Iterator<Item = Span> + use<> {
    let Finished { begun, end } = finished;
    let span = |id, parent, name: &str, kind, from: Tick, to: Tick| Span {
        trace_id: begun.trace_id,
        span_id: id,
        parent,
        trace_state: begun.state.clone(),
        name: name.to_owned(),
        kind,
        start: calendar.at(from),
        end: calendar.at(to),
        attributes: Vec::new(),
        failure: None,
    };
    let error = end.error.map(|error| error.as_str().to_owned());
    let ran_since = end.running_since.unwrap_or(end.ended);
    let in_proxy = Some(begun.proxy);
    let wait = begun.wait.map(|id| Span {
        failure: error.clone().filter(|_| end.running_since.is_none()),
        ..span(
            id,
            in_proxy,
            "kn.queueproxy.wait",
            SpanKind::Internal,
            begun.began,
            ran_since,
        )
    });
    let client = end.running_since.map(|since| {
        let name = format!("HTTP {}", begun.method);
        let mut client = span(
            begun.client,
            in_proxy,
            &name,
            SpanKind::Client,
            since,
            end.ended,
        );
        client.attributes = about_client(begun, end.status, error.as_deref());
        client.failure = error
            .clone()
            .or_else(|| (end.status >= 400).then(String::new));
        client
    });
    let in_server = Some(begun.server);
    let proxy = span(
        begun.proxy,
        in_server,
        "kn.queueproxy.proxy",
        SpanKind::Internal,
        begun.began,
        end.ended,
    );
    let method = begun.method.as_str();
    let mut server = span(
        begun.server,
        begun.parent,
        method,
        SpanKind::Server,
        begun.began,
        end.ended,
    );
    server.attributes = about_server(begun, end.status, end.response_bytes, error.as_deref());
    server.failure = (end.status >= 500).then(|| error.unwrap_or_default());
    [wait, client, Some(proxy), Some(server)]
        .into_iter()
        .flatten()
}

fn about_client(begun: &Begun, status: u16, error: Option<&str>) -> Vec<(&'static str, Attribute)> {
    let result = match error {
        None => ("http.response.status_code", status.into()),
        Some(error) => ("error.type", error.into()),
    };
    vec![
        ("http.request.method", begun.method.as_str().into()),
        result,
        ("url.path", begun.path.as_str().into()),
    ]
}

fn about_server(
    begun: &Begun,
    status: u16,
    response_bytes: u64,
    error: Option<&str>,
) -> Vec<(&'static str, Attribute)> {
    let version = match begun.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let scheme = if begun.is_tls { "https" } else { "http" };
    let client = begun.remote.ip().to_canonical().to_string();
    let bytes = i64::try_from(response_bytes).unwrap_or(i64::MAX);
    let mut all = vec![
        ("http.request.method", begun.method.as_str().into()),
        ("http.response.status_code", status.into()),
        ("http.response.body.size", Attribute::Whole(bytes)),
        ("network.protocol.version", version.into()),
        ("url.scheme", scheme.into()),
        ("url.path", begun.path.as_str().into()),
        ("server.address", begun.host.as_str().into()),
        ("client.address", client.as_str().into()),
    ];
    if !begun.agent.is_empty() {
        all.push(("user_agent.original", begun.agent.as_str().into()));
    }
    if let Some(error) = error {
        all.push(("error.type", error.into()));
    }
    all
}

/// A span as a line of JSON.
pub(super) fn line(span: &Span) -> String {
    let attributes: serde_json::Map<String, serde_json::Value> = (span.attributes.iter())
        .map(|(name, value)| {
            let value = match value {
                Attribute::Text(text) => json!(text),
                Attribute::Whole(number) => json!(number),
            };
            ((*name).to_owned(), value)
        })
        .collect();
    let line = json!({
        "name": span.name,
        "kind": format!("{:?}", span.kind).to_lowercase(),
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "parentSpanId": span.parent.map(|parent| hex(&parent)),
        "startTimeUnixNano": span.start,
        "endTimeUnixNano": span.end,
        "attributes": attributes,
        "failure": span.failure,
    });
    format!("{line}\n")
}
