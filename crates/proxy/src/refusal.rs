//! Answers that Plimsoll makes itself.
//!
//! Each says so, and why, in `Proxy-Status` (RFC 9209); the same word is the label of the metric and the field
//! of the log line.

use std::borrow::Cow;
use std::error::Error;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use plimsoll_balance::QueueError;
use plimsoll_wire::{Answer, ProxyError, ProxyStatus};

use crate::body::ResponseBody;
use crate::gateway::{RefusalStatus, Unavailable};

pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC's `DEADLINE_EXCEEDED`.
pub(crate) const GRPC_DEADLINE_EXCEEDED: HeaderValue = HeaderValue::from_static("4");
/// gRPC's `UNAVAILABLE`.
const GRPC_UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");
/// gRPC's `UNIMPLEMENTED`.
const GRPC_UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");
/// gRPC's `INTERNAL`.
const GRPC_INTERNAL: HeaderValue = HeaderValue::from_static("13");

/// How soon a client that found the queue full may try again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// One answer that Plimsoll makes itself, before it becomes a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) answer: Answer,
    pub(crate) error: ProxyError,
    /// The body, one line or less.
    pub(crate) text: Cow<'static, str>,
    /// More for `Proxy-Status` and the log than the client's body says.
    pub(crate) details: Cow<'static, str>,
    /// What is said only where instances are started on demand.
    pub(crate) coming: Option<Coming>,
}

/// Of an instance that is not there and may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coming {
    /// How soon the client may try again, in seconds.
    pub(crate) retry_after: u64,
    /// The body, HTML, for a browser.
    pub(crate) page: Option<Bytes>,
}

/// What there was too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Places in the queue.
    QueueFull,
    /// Time to wait in it.
    QueueTimeout,
}

impl Refusal {
    /// Slots and queue are full.
    pub(crate) fn queue_full() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            answer: Answer::QueueFull,
            error: ProxyError::ConnectionLimitReached,
            text: Cow::Borrowed("pending request queue full\n"),
            details: Cow::Borrowed("pending request queue full"),
            coming: None,
        }
    }

    /// No endpoint of a service has a slot, and the queue has no place, or had one for too long.
    pub(crate) fn no_room(status: RefusalStatus, what: Shortage, cause: &dyn Error) -> Self {
        use RefusalStatus::{ServiceUnavailable, TooManyRequests};
        Self {
            status: status.code(),
            answer: match (status, what) {
                (ServiceUnavailable, Shortage::QueueFull) => Answer::QueueFull,
                (ServiceUnavailable, Shortage::QueueTimeout) => Answer::QueueTimeout,
                (TooManyRequests, Shortage::QueueFull) => Answer::QueueFull429,
                (TooManyRequests, Shortage::QueueTimeout) => Answer::QueueTimeout429,
            },
            error: ProxyError::ConnectionLimitReached,
            text: Cow::Owned(format!("{cause}\n")),
            details: Cow::Owned(cause.to_string()),
            coming: None,
        }
    }

    /// A service has no endpoint that could be asked.
    pub(crate) fn no_endpoint(service: &str, cause: &dyn Error) -> Self {
        let cause = format!("service {service}: {cause}");
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            answer: Answer::NoEndpoint,
            error: ProxyError::DestinationUnavailable,
            text: Cow::Owned(format!("{cause}\n")),
            details: Cow::Owned(cause),
            coming: None,
        }
    }

    /// An instance could not be started, and until another attempt nobody waits for one.
    pub(crate) fn unavailable(service: &str, why: &Unavailable) -> Self {
        let cause = format!("service {service}: {}", why.reason);
        Self {
            text: Cow::Owned(format!("{cause}\n")),
            details: Cow::Owned(cause),
            coming: Some(Coming {
                // Rounded up: whoever comes too early is refused again.
                retry_after: why.retry_after.as_millis().div_ceil(1_000).max(1) as u64,
                page: None,
            }),
            ..Self::no_endpoint(service, &QueueError::NoEndpoints)
        }
    }

    /// A browser is shown a page while an instance starts.
    pub(crate) fn starting(service: &str, page: Bytes) -> Self {
        let cause = format!("service {service} is starting");
        Self {
            text: Cow::Owned(format!("{cause}\n")),
            details: Cow::Owned(cause),
            coming: Some(Coming {
                retry_after: u64::from(RETRY_AFTER_SECONDS),
                page: Some(page),
            }),
            ..Self::no_endpoint(service, &QueueError::NoEndpoints)
        }
    }

    /// No route leads anywhere.
    pub(crate) fn no_route() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            answer: Answer::NoRoute,
            error: ProxyError::DestinationNotFound,
            text: Cow::Borrowed("no route for this host and path\n"),
            details: Cow::Borrowed("no route for this host and path"),
            coming: None,
        }
    }

    /// A time limit passed before the answer began.
    pub(crate) fn timeout(limit: &'static str) -> Self {
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            answer: Answer::Timeout,
            error: ProxyError::HttpResponseTimeout,
            text: Cow::Borrowed("request timeout"),
            details: Cow::Borrowed(limit),
            coming: None,
        }
    }

    /// The application could not be reached, or did not answer.
    pub(crate) fn upstream(error: ProxyError, cause: String) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            answer: Answer::UpstreamError,
            error,
            text: Cow::Owned(format!("{cause}\n")),
            details: Cow::Owned(cause),
            coming: None,
        }
    }

    /// The request itself cannot be carried.
    pub(crate) fn bad_request(status: StatusCode, cause: &'static str) -> Self {
        Self {
            status,
            answer: Answer::InvalidRequest,
            error: ProxyError::HttpRequestError,
            text: Cow::Owned(format!("{cause}\n")),
            details: Cow::Borrowed(cause),
            coming: None,
        }
    }

    /// Whether it is worth trying again soon.
    fn is_for_now(status: StatusCode) -> bool {
        matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        )
    }

    pub(crate) fn proxy_status(&self) -> HeaderValue {
        let value = ProxyStatus {
            error: self.error,
            details: &self.details,
        }
        .to_string();
        HeaderValue::try_from(value)
            .unwrap_or_else(|_| HeaderValue::from_static(self.error.as_str()))
    }

    /// The answer as HTTP; for a gRPC caller as gRPC says it: status 200 and the failure in `grpc-status`.
    pub(crate) fn into_response(self, grpc: bool) -> Response<ResponseBody> {
        let proxy_status = self.proxy_status();
        if grpc {
            return self.into_grpc_response(proxy_status);
        }
        let retry_after = match &self.coming {
            Some(coming) => coming.retry_after,
            None => u64::from(RETRY_AFTER_SECONDS),
        };
        let page = self.coming.and_then(|coming| coming.page);
        let is_page = page.is_some();
        let content_type = if is_page {
            "text/html; charset=utf-8"
        } else {
            "text/plain; charset=utf-8"
        };
        let text = match (page, self.text) {
            (Some(page), _) => page,
            (None, Cow::Borrowed(text)) => Bytes::from_static(text.as_bytes()),
            (None, Cow::Owned(text)) => Bytes::from(text),
        };
        let mut response = Response::new(ResponseBody::local(text.clone()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if is_page {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(PROXY_STATUS, proxy_status);
        if Self::is_for_now(self.status) {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after));
        }
        if self.answer == Answer::InvalidRequest {
            // What follows on this connection cannot be trusted to be a request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn into_grpc_response(self, proxy_status: HeaderValue) -> Response<ResponseBody> {
        let code = match self.answer {
            Answer::Timeout => GRPC_DEADLINE_EXCEEDED,
            Answer::InvalidRequest | Answer::InternalError => GRPC_INTERNAL,
            Answer::NoRoute => GRPC_UNIMPLEMENTED,
            _ => GRPC_UNAVAILABLE,
        };
        let mut response = Response::new(ResponseBody::local(Bytes::new()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, code);
        headers.insert(GRPC_MESSAGE, grpc_message(self.text.trim_end()));
        headers.insert(PROXY_STATUS, proxy_status);
        response
    }
}

/// The trailers of a gRPC answer that a time limit cut off.
pub(crate) fn grpc_timeout_trailers() -> http::HeaderMap {
    let mut trailers = http::HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, GRPC_DEADLINE_EXCEEDED);
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static("request timeout"));
    trailers
}

/// Percent-encoded as gRPC's HTTP/2 mapping asks: everything outside printable ASCII, and `%`.
fn grpc_message(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_itself_in_proxy_status() {
        let cases = [
            (
                Refusal::queue_full(),
                503,
                "plimsoll; error=connection_limit_reached; details=\"pending request queue full\"",
            ),
            (
                Refusal::timeout("total time limit"),
                504,
                "plimsoll; error=http_response_timeout; details=\"total time limit\"",
            ),
            (
                Refusal::upstream(
                    ProxyError::ConnectionRefused,
                    "connect 127.0.0.1:1: refused".into(),
                ),
                502,
                "plimsoll; error=connection_refused; details=\"connect 127.0.0.1:1: refused\"",
            ),
        ];
        for (refusal, status, proxy_status) in cases {
            let response = refusal.into_response(false);
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[PROXY_STATUS], proxy_status);
        }
    }

    #[test]
    fn a_grpc_caller_gets_status_200_and_the_failure_in_grpc_status() {
        for (refusal, code) in [(Refusal::timeout("t"), "4"), (Refusal::queue_full(), "14")] {
            let response = refusal.into_response(true);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[GRPC_STATUS], code);
        }
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(grpc_message("50% é\n"), "50%25 %C3%A9%0A");
    }
}
