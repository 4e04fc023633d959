//! What the end of a request says about its endpoint.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use plimsoll_balance::{FailureKind, LoadReport, Outcome, Pick};
use plimsoll_meter::Tick;
use plimsoll_wire::{ProxyError, grpc_status};

use crate::forward::NoAnswer;

const GRPC_STATUS: HeaderName = HeaderName::from_static(grpc_status::HEADER);

/// A request at an endpoint, and what is known of how it goes.
///
/// If it is dropped before the answer was whole, the client has gone, and nobody is blamed. Only a failure that the
/// head of the answer told is not undone by that.
#[derive(Debug)]
pub(crate) struct Picked {
    pick: Pick,
    verdict: Outcome,
    /// Whether the verdict stands, whatever follows.
    is_final: bool,
}

impl Picked {
    pub(crate) fn new(pick: Pick) -> Self {
        Self {
            pick,
            verdict: Outcome::Cancelled,
            is_final: false,
        }
    }

    pub(crate) fn pick(&self) -> &Pick {
        &self.pick
    }

    /// The head of the answer is there.
    pub(crate) fn head(&mut self, status: StatusCode, headers: &HeaderMap, grpc: bool) {
        self.verdict = outcome_of_head(status, headers, grpc);
        // A gRPC answer may still say in its trailers how it went.
        let may_change = grpc && status == StatusCode::OK && !headers.contains_key(GRPC_STATUS);
        self.is_final = self.verdict.is_failure() && !may_change;
    }

    /// The answer's latency is taken to here.
    pub(crate) fn head_received(&mut self, now: Tick) {
        self.pick.head_received(now);
    }

    /// The endpoint has said how loaded it is.
    pub(crate) fn report(&mut self, now: Tick, report: &LoadReport) {
        self.pick.report(now, report);
    }

    /// The trailers of the answer are there.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if !self.is_final
            && let Some(outcome) = grpc_outcome(trailers)
        {
            self.verdict = outcome;
            self.is_final = true;
        }
    }

    /// The answer is whole.
    pub(crate) fn whole(&mut self) {
        self.is_final = true;
    }

    /// The answer did not come, or broke off. What has been found out before stands.
    pub(crate) fn failed(&mut self, outcome: Outcome) {
        if !self.is_final {
            self.verdict = outcome;
            self.is_final = true;
        }
    }

    /// The request has ended.
    pub(crate) fn end(self, now: Tick) {
        let outcome = if self.is_final {
            self.verdict
        } else {
            Outcome::Cancelled
        };
        self.pick.finish(now, outcome);
    }
}

/// What the head of an answer says of its endpoint.
///
/// A gRPC answer without a status is a failure, unless its trailers say otherwise.
fn outcome_of_head(status: StatusCode, headers: &HeaderMap, grpc: bool) -> Outcome {
    if grpc && status == StatusCode::OK {
        return grpc_outcome(headers).unwrap_or(Outcome::Failure(FailureKind::Error));
    }
    Outcome::from_http_status(status.as_u16(), retry_after(headers))
}

/// The outcome that `grpc-status` stands for.
fn grpc_outcome(headers: &HeaderMap) -> Option<Outcome> {
    let code = grpc_status::read(headers.get(GRPC_STATUS)?.as_bytes());
    Some(Outcome::from_grpc_code(code))
}

/// `Retry-After` in seconds. A date needs the time of day, which the path does not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER).map(HeaderValue::to_str)?.ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

impl NoAnswer {
    /// What it says of the endpoint.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.is_unprocessed && self.refusal.error == ProxyError::ConnectionTerminated {
            // Its stream was refused: it lives, and has no room.
            let retry_after = None;
            return Outcome::Failure(FailureKind::Overloaded { retry_after });
        }
        outcome_of_error(self.refusal.error)
    }

    /// Whether the endpoint is out of reach, or answers too late: other connections to it are of no use.
    pub(crate) fn is_of_endpoint(&self) -> bool {
        let Outcome::Failure(kind) = outcome_of_error(self.refusal.error) else {
            return false;
        };
        matches!(kind, FailureKind::Connect | FailureKind::Timeout)
    }
}

/// What the cause of a failure says of the endpoint.
pub(crate) fn outcome_of_error(error: ProxyError) -> Outcome {
    use ProxyError as Error;
    Outcome::Failure(match error {
        Error::DestinationUnavailable
        | Error::ConnectionRefused
        | Error::ConnectionTimeout
        | Error::TlsProtocolError
        | Error::TlsCertificateError
        | Error::TlsAlertReceived => FailureKind::Connect,
        Error::ConnectionTerminated | Error::HttpResponseIncomplete => FailureKind::Reset,
        Error::HttpResponseTimeout
        | Error::ConnectionReadTimeout
        | Error::ConnectionWriteTimeout => FailureKind::Timeout,
        _ => FailureKind::Error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        fields.collect()
    }

    #[test]
    fn the_head_of_an_answer_says_how_its_endpoint_does() {
        let error = Outcome::Failure(FailureKind::Error);
        let overloaded = |seconds: Option<u64>| {
            Outcome::Failure(FailureKind::Overloaded {
                retry_after: seconds.map(Duration::from_secs),
            })
        };
        type Case<'a> = (u16, &'a [(&'static str, &'static str)], bool, Outcome);
        let cases: [Case<'_>; 11] = [
            (200, &[], false, Outcome::Success),
            (404, &[], false, Outcome::Success),
            (500, &[], false, error),
            (503, &[("retry-after", "7")], false, overloaded(Some(7))),
            (
                503,
                &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")],
                false,
                overloaded(None),
            ),
            (429, &[], false, overloaded(None)),
            (200, &[("grpc-status", "0")], true, Outcome::Success),
            (200, &[("grpc-status", "14")], true, overloaded(None)),
            (200, &[("grpc-status", "x")], true, error),
            (200, &[], true, error),
            // A status in a field that gRPC does not speak of is the application's own.
            (200, &[("grpc-status", "14")], false, Outcome::Success),
        ];
        for (status, fields, grpc, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let outcome = outcome_of_head(status, &headers(fields), grpc);
            assert_eq!(outcome, expected, "{status} {fields:?} gRPC {grpc}");
        }
    }

    #[test]
    fn errors_fall_into_their_classes() {
        for error in ProxyError::ALL {
            let Outcome::Failure(kind) = outcome_of_error(error) else {
                panic!("{error:?} is a failure");
            };
            let expected = match error.as_str() {
                "destination_unavailable"
                | "connection_refused"
                | "connection_timeout"
                | "tls_protocol_error"
                | "tls_certificate_error"
                | "tls_alert_received" => FailureKind::Connect,
                "connection_terminated" | "http_response_incomplete" => FailureKind::Reset,
                "http_response_timeout"
                | "connection_read_timeout"
                | "connection_write_timeout" => FailureKind::Timeout,
                _ => FailureKind::Error,
            };
            assert_eq!(kind, expected, "{error:?}");
        }
    }
}
