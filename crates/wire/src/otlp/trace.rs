//! Spans, as a collector takes them.

use prost::Message as _;

use super::message::{
    Resource, ResourceSpans, Scope, ScopeSpans, SpanMessage, Status, TraceRequest, key_values,
};
use crate::user::Attribute;

/// OpenTelemetry's code for a span that failed.
const STATUS_ERROR: i32 = 2;

/// What part a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work of this process.
    Internal,
    /// A request that this process answers.
    Server,
    /// A request that this process makes.
    Client,
}

/// A part of a trace that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace; not all zero.
    pub trace_id: [u8; 16],
    /// This part of it; not all zero.
    pub span_id: [u8; 8],
    /// The part that it is a part of.
    pub parent: Option<[u8; 8]>,
    /// What vendors have said in `tracestate`.
    pub trace_state: String,
    /// The name.
    pub name: String,
    /// The kind.
    pub kind: SpanKind,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end: u64,
    /// What else there is to say.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl SpanKind {
    const fn number(self) -> i32 {
        match self {
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
        }
    }
}

/// The body of a request to a collector, from the instance with the attributes `resource`, which runs `version`.
#[must_use]
pub fn trace_request(
    resource: &[(&'static str, Attribute)],
    version: &str,
    spans: impl IntoIterator<Item = Span>,
) -> Vec<u8> {
    let message = TraceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: key_values(resource),
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "plimsoll".to_owned(),
                    version: version.to_owned(),
                }),
                spans: spans.into_iter().map(message).collect(),
            }],
        }],
    };
    message.encode_to_vec()
}

fn message(span: Span) -> SpanMessage {
    SpanMessage {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        trace_state: span.trace_state,
        parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.to_vec()),
        name: span.name,
        kind: span.kind.number(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: key_values(&span.attributes),
        status: span.failure.map(|message| Status {
            message,
            code: STATUS_ERROR,
        }),
    }
}
