//! What a line of the request log can say.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri, Version};
use plimsoll_meter::Tick;
use plimsoll_proxy::{Arrival, RequestEnd};

/// Where requests are logged: what is the same for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) revision: String,
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) configuration: String,
    pub(crate) pod: String,
    pub(crate) pod_ip: String,
}

/// What is kept of a request until it ends.
#[derive(Debug)]
pub(crate) struct Record {
    method: Method,
    uri: Uri,
    version: Version,
    remote: SocketAddr,
    content_length: Option<u64>,
    began: Tick,
    /// The header fields that the template names, in its order.
    headers: Box<[Option<HeaderValue>]>,
}

/// A value that a template can name, and that needs no header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Method,
    RequestUri,
    UrlPath,
    UrlQuery,
    ContentLength,
    RemoteAddr,
    Proto,
    Code,
    Size,
    Latency,
    Queued,
    Upstream,
    Source,
    Name,
    Namespace,
    Service,
    Configuration,
    PodName,
    PodIp,
}

/// What kind of value a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Whole(i64),
    Real(f64),
    Bool(bool),
}

/// Fields by the names that templates use.
pub(super) const FIELDS: &[(&str, Field)] = &[
    (".Request.Method", Field::Method),
    (".Request.RequestURI", Field::RequestUri),
    (".Request.URL", Field::RequestUri),
    (".Request.URL.Path", Field::UrlPath),
    (".Request.URL.RawQuery", Field::UrlQuery),
    (".Request.ContentLength", Field::ContentLength),
    (".Request.RemoteAddr", Field::RemoteAddr),
    (".Request.Proto", Field::Proto),
    (".Response.Code", Field::Code),
    (".Response.Size", Field::Size),
    (".Response.Latency", Field::Latency),
    (".Response.Queued", Field::Queued),
    (".Response.Upstream", Field::Upstream),
    (".Response.Source", Field::Source),
    (".Revision.Name", Field::Name),
    (".Revision.Namespace", Field::Namespace),
    (".Revision.Service", Field::Service),
    (".Revision.Configuration", Field::Configuration),
    (".Revision.PodName", Field::PodName),
    (".Revision.PodIP", Field::PodIp),
];

impl Field {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::ContentLength
            | Self::Code
            | Self::Size
            | Self::Latency
            | Self::Queued
            | Self::Upstream => Kind::Number,
            _ => Kind::Text,
        }
    }
}

impl Record {
    pub(super) fn of(arrival: &Arrival<'_>, headers: &[HeaderName]) -> Self {
        let headers = headers
            .iter()
            .map(|name| arrival.headers.get(name).cloned());
        Self {
            method: arrival.method.clone(),
            uri: arrival.uri.clone(),
            version: arrival.version,
            remote: arrival.remote,
            content_length: arrival.content_length,
            began: arrival.at,
            headers: headers.collect(),
        }
    }

    /// The value of the header field at `place` in the list that it was made with; empty if there is none. Bytes that
    /// are no UTF-8 are replaced.
    pub(super) fn header(&self, place: usize) -> Cow<'_, str> {
        let value = self.headers.get(place).and_then(Option::as_ref);
        value.map_or(Cow::Borrowed(""), |value| {
            String::from_utf8_lossy(value.as_bytes())
        })
    }

    /// Whom the client asked for; `place` is that of the field `Host`.
    pub(super) fn host(&self, place: usize) -> Cow<'_, str> {
        match self.uri.authority() {
            Some(authority) => Cow::Borrowed(authority.as_str()),
            None => self.header(place),
        }
    }

    /// The value of a field.
    pub(super) fn value<'a>(
        &'a self,
        field: Field,
        end: &RequestEnd,
        place: &'a Place,
    ) -> Value<'a> {
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        let whole = |number: u64| Value::Whole(i64::try_from(number).unwrap_or(i64::MAX));
        let ran_since = end.running_since.unwrap_or(end.ended);
        match field {
            Field::Method => text(self.method.as_str()),
            Field::RequestUri => Value::Text(self.request_uri()),
            Field::UrlPath => text(self.uri.path()),
            Field::UrlQuery => text(self.uri.query().unwrap_or_default()),
            Field::ContentLength => self.content_length.map_or(Value::Whole(-1), whole),
            Field::RemoteAddr => Value::Text(Cow::Owned(canonical(self.remote).to_string())),
            Field::Proto => text(proto(self.version)),
            Field::Code => Value::Whole(end.status.into()),
            Field::Size => whole(end.response_bytes),
            Field::Latency => seconds(end.ended.saturating_duration_since(self.began)),
            Field::Queued => seconds(ran_since.saturating_duration_since(self.began)),
            Field::Upstream => seconds(end.ended.saturating_duration_since(ran_since)),
            Field::Source => text(end.answer.source().as_str()),
            Field::Name => text(&place.revision),
            Field::Namespace => text(&place.namespace),
            Field::Service => text(&place.service),
            Field::Configuration => text(&place.configuration),
            Field::PodName => text(&place.pod),
            Field::PodIp => text(&place.pod_ip),
        }
    }

    /// What stands in the first line of HTTP/1, and what would in place of HTTP/2's fields.
    fn request_uri(&self) -> Cow<'_, str> {
        if self.version != Version::HTTP_2 && self.uri.scheme().is_some() {
            return Cow::Owned(self.uri.to_string());
        }
        match self.uri.path_and_query() {
            Some(target) => Cow::Borrowed(target.as_str()),
            None => Cow::Owned(self.uri.to_string()),
        }
    }
}

impl Value<'_> {
    /// Whether a condition holds that is just this value, by Go's rule.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Whole(number) => *number != 0,
            Self::Real(number) => *number != 0.0,
            Self::Bool(value) => *value,
        }
    }
}

/// An IPv4 client of a socket for both versions is written as one of IPv4.
fn canonical(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

fn seconds(time: Duration) -> Value<'static> {
    Value::Real(time.as_secs_f64())
}

fn proto(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_09 => "HTTP/0.9",
        _ => "HTTP/1.1",
    }
}
