//! What answers over HTTP say of their endpoint, gRPC included.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;

use crate::outcome::{FailureKind, Outcome};
use crate::tower::body::MeasuredBody;
use crate::tower::classify::Classify;
use crate::tower::ongoing::Ongoing;

/// Takes the outcome from statuses of HTTP and gRPC. A request lasts until the
/// body of its answer has ended; its latency is that of the head.
///
/// Statuses are read as [`Outcome::from_http_status`] says, with `Retry-After`
/// in seconds. An answer whose `content-type` is `application/grpc` says how it
/// went in `grpc-status`, mostly in its trailers; without one it has failed. A
/// body that breaks off is a reset. One that the caller drops before its end
/// blames nobody, unless the head has already told a failure.
#[derive(Clone, Copy, Debug)]
pub struct Http<F> {
    errors: F,
}

/// What is known of an answer before its body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// What it says if nothing follows that says otherwise.
    pub(super) outcome: Outcome,
    /// Whether trailers may say otherwise.
    pub(super) awaits_trailers: bool,
}

/// The name of the field in which gRPC says how it went.
const GRPC_STATUS: &str = "grpc-status";

/// So many causes of an error are looked at.
const CAUSES_MAX: usize = 16;

impl<F> Http<F> {
    /// `errors` says what an error of the inner future stands for; for those
    /// of most clients [`outcome_of_error`] will do.
    #[must_use]
    pub const fn new(errors: F) -> Self {
        Self { errors }
    }
}

impl<F, B, E> Classify<Response<B>, E> for Http<F>
where
    F: Fn(&E) -> Outcome,
    B: Body,
{
    type Response = Response<MeasuredBody<B>>;

    fn answered(&self, response: Response<B>, ongoing: Ongoing) -> Self::Response {
        let head = Head::of(response.status(), response.headers());
        response.map(|body| MeasuredBody::new(body, head, ongoing))
    }

    fn failed(&self, error: &E) -> Outcome {
        (self.errors)(error)
    }
}

impl Head {
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if status == StatusCode::OK && is_grpc(headers) {
            let told = grpc_outcome(headers);
            return Self {
                outcome: told.unwrap_or(Outcome::Failure(FailureKind::Error)),
                awaits_trailers: told.is_none(),
            };
        }
        Self {
            outcome: Outcome::from_http_status(status.as_u16(), retry_after(headers)),
            awaits_trailers: false,
        }
    }
}

/// Whether this is gRPC, and not gRPC-Web, whose trailers are in the body.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let suffix = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    suffix.is_some_and(|suffix| matches!(suffix.first(), None | Some(b'+' | b';')))
}

/// The outcome that `grpc-status` stands for. One that is no number is Unknown.
pub(super) fn grpc_outcome(fields: &HeaderMap) -> Option<Outcome> {
    const UNKNOWN: u32 = 2;
    let code = fields.get(GRPC_STATUS)?.to_str().ok();
    let code = code.and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN);
    Some(Outcome::from_grpc_code(code))
}

/// `Retry-After` in seconds. A date needs the time of day, which is not known here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// The failure that an error of a client stands for, by the first [`io::Error`]
/// among its causes: no connection, no answer in time, or else a reset.
#[must_use]
pub fn outcome_of_error(error: &(dyn Error + 'static)) -> Outcome {
    let mut cause = Some(error);
    let mut kind = None;
    for _ in 0..CAUSES_MAX {
        let Some(this) = cause.filter(|_| kind.is_none()) else {
            break;
        };
        kind = this.downcast_ref().map(io::Error::kind);
        cause = this.source();
    }
    Outcome::Failure(match kind {
        Some(
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::NotFound
            | ErrorKind::PermissionDenied,
        ) => FailureKind::Connect,
        Some(ErrorKind::TimedOut) => FailureKind::Timeout,
        _ => FailureKind::Reset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLOADED: Outcome = Outcome::Failure(FailureKind::Overloaded { retry_after: None });
    const ERROR: Outcome = Outcome::Failure(FailureKind::Error);

    #[test]
    fn a_head_says_what_it_can() {
        let grpc = ("content-type", "application/grpc");
        let wait = Some(Duration::from_secs(7));
        let waits = Outcome::Failure(FailureKind::Overloaded { retry_after: wait });
        type Row<'a> = (u16, &'a [(&'static str, &'static str)], Outcome, bool);
        let rows: [Row<'_>; 12] = [
            (200, &[], Outcome::Success, false),
            (404, &[], Outcome::Success, false),
            (500, &[], ERROR, false),
            (503, &[("retry-after", "7")], waits, false),
            (503, &[("retry-after", "soon")], OVERLOADED, false),
            (429, &[("retry-after", "7")], OVERLOADED, false),
            (200, &[grpc], ERROR, true),
            (200, &[grpc, ("grpc-status", "0")], Outcome::Success, false),
            (200, &[grpc, ("grpc-status", "14")], OVERLOADED, false),
            (200, &[grpc, ("grpc-status", "x")], ERROR, false),
            // A proxy on the way does not speak gRPC.
            (502, &[grpc], ERROR, false),
            // A status in a field that gRPC does not speak of is the application's own.
            (200, &[("grpc-status", "14")], Outcome::Success, false),
        ];
        for (status, fields, outcome, awaits_trailers) in rows {
            let fields = fields.iter().map(|&(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, http::HeaderValue::from_static(value))
            });
            let headers: HeaderMap = fields.collect();
            let status = StatusCode::from_u16(status).unwrap();
            let expected = Head {
                outcome,
                awaits_trailers,
            };
            assert_eq!(Head::of(status, &headers), expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        let rows = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;v=1", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ];
        for (kind, expected) in rows {
            let value = http::HeaderValue::from_static(kind);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
    }

    #[test]
    fn the_cause_of_an_error_says_what_it_is() {
        let rows = [
            (ErrorKind::ConnectionRefused, FailureKind::Connect),
            (ErrorKind::HostUnreachable, FailureKind::Connect),
            (ErrorKind::TimedOut, FailureKind::Timeout),
            (ErrorKind::ConnectionReset, FailureKind::Reset),
            (ErrorKind::UnexpectedEof, FailureKind::Reset),
        ];
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        for (kind, expected) in rows {
            let error = Outer(io::Error::from(kind));
            assert_eq!(outcome_of_error(&error), Outcome::Failure(expected));
        }
        let other = outcome_of_error(&std::fmt::Error);
        assert_eq!(other, Outcome::Failure(FailureKind::Reset));
    }
}
