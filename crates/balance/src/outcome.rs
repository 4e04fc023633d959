//! How a request ended, as far as its endpoint is concerned.

use std::time::Duration;

/// How a request ended, as far as its endpoint is concerned.
///
/// An answer that says "no" to the client is a success of the endpoint: it did
/// what it was asked, and another endpoint would have said the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered, and the answer is its own business.
    Success,
    /// The endpoint failed. It costs the endpoint, never helps it.
    Failure(FailureKind),
    /// The client went away, or the caller gave up for reasons of its own.
    /// It blames nobody: only the in-flight count changes.
    Cancelled,
}

/// In what way an endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// It answered that it failed: 5xx, gRPC Unknown, Internal, DataLoss.
    Error,
    /// It answered that it has no room: 429, 503, gRPC ResourceExhausted,
    /// Unavailable.
    Overloaded {
        /// How long it asked everybody to leave it alone (`Retry-After` of a
        /// 503). Honoured up to [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
    },
    /// It did not answer in time: a time limit of ours, 504, gRPC
    /// DeadlineExceeded.
    Timeout,
    /// The connection broke, or the stream was reset, before the answer was whole.
    Reset,
    /// No connection could be made.
    Connect,
}

/// The longest time for which an endpoint's `Retry-After` is honoured.
///
/// linkerd allows 300 s; an endpoint should not be able to take itself away
/// for longer than a wrong header is noticed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

impl FailureKind {
    /// The number of kinds, whatever they carry.
    pub(crate) const COUNT: usize = 5;

    /// The kinds in the order of [`index`](Self::index), as lower-case words.
    pub(crate) const NAMES: [&'static str; Self::COUNT] =
        ["error", "overloaded", "timeout", "reset", "connect"];

    /// A dense number for counters.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Error => 0,
            Self::Overloaded { .. } => 1,
            Self::Timeout => 2,
            Self::Reset => 3,
            Self::Connect => 4,
        }
    }

    /// One lower-case word, fit for a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

impl Outcome {
    /// The outcome that an HTTP status stands for.
    ///
    /// | status | outcome |
    /// | --- | --- |
    /// | 429, 503 | overloaded |
    /// | 504 | timeout |
    /// | 499 (nginx: the client closed) | cancelled |
    /// | other 5xx, and what is no status at all | error |
    /// | everything else, 4xx included | success |
    ///
    /// `retry_after` counts with 503 alone, which speaks of the endpoint. A 429
    /// is the answer to one client who asks too often (RFC 6585 section 4), and
    /// when to come back is said to that client: one of many must not be able to
    /// take an endpoint from all. It is a failure like any other; an endpoint
    /// that says it more often than its peers is left out for that.
    #[must_use]
    pub const fn from_http_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            429 => Self::Failure(FailureKind::Overloaded { retry_after: None }),
            503 => Self::Failure(FailureKind::Overloaded { retry_after }),
            504 => Self::Failure(FailureKind::Timeout),
            499 => Self::Cancelled,
            100..=498 => Self::Success,
            _ => Self::Failure(FailureKind::Error),
        }
    }

    /// The outcome that a gRPC status code stands for.
    ///
    /// | code | outcome |
    /// | --- | --- |
    /// | 8 ResourceExhausted, 14 Unavailable | overloaded |
    /// | 4 DeadlineExceeded | timeout |
    /// | 2 Unknown, 13 Internal, 15 DataLoss, and numbers without a name | error |
    /// | 1 Cancelled | cancelled |
    /// | OK and the codes by which an application says no | success |
    ///
    /// The failures are those of linkerd's load biaser.
    #[must_use]
    pub const fn from_grpc_code(code: u32) -> Self {
        match code {
            0 | 3 | 5 | 6 | 7 | 9 | 10 | 11 | 12 | 16 => Self::Success,
            1 => Self::Cancelled,
            4 => Self::Failure(FailureKind::Timeout),
            8 | 14 => Self::Failure(FailureKind::Overloaded { retry_after: None }),
            _ => Self::Failure(FailureKind::Error),
        }
    }

    /// Whether the endpoint failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failure(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLOADED: Outcome = Outcome::Failure(FailureKind::Overloaded { retry_after: None });
    const TIMEOUT: Outcome = Outcome::Failure(FailureKind::Timeout);
    const ERROR: Outcome = Outcome::Failure(FailureKind::Error);

    #[test]
    fn http_statuses_fall_into_their_classes() {
        let rows: &[(u16, Outcome)] = &[
            (100, Outcome::Success),
            (101, Outcome::Success),
            (200, Outcome::Success),
            (204, Outcome::Success),
            (302, Outcome::Success),
            (400, Outcome::Success),
            (401, Outcome::Success),
            (404, Outcome::Success),
            (408, Outcome::Success),
            (409, Outcome::Success),
            (422, Outcome::Success),
            (429, OVERLOADED),
            (499, Outcome::Cancelled),
            (500, ERROR),
            (501, ERROR),
            (502, ERROR),
            (503, OVERLOADED),
            (504, TIMEOUT),
            (599, ERROR),
            (0, ERROR),
            (999, ERROR),
        ];
        for &(status, expected) in rows {
            assert_eq!(
                Outcome::from_http_status(status, None),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_of_the_endpoint_with_503_alone() {
        let wait = Some(Duration::from_secs(7));
        let expected = Outcome::Failure(FailureKind::Overloaded { retry_after: wait });
        assert_eq!(Outcome::from_http_status(503, wait), expected);
        assert_eq!(Outcome::from_http_status(429, wait), OVERLOADED);
        assert_eq!(Outcome::from_http_status(200, wait), Outcome::Success);
    }

    #[test]
    fn grpc_codes_fall_into_their_classes() {
        let failures = [
            (2, ERROR),
            (4, TIMEOUT),
            (8, OVERLOADED),
            (13, ERROR),
            (14, OVERLOADED),
            (15, ERROR),
            (17, ERROR),
            (u32::MAX, ERROR),
        ];
        for (code, expected) in failures {
            assert_eq!(Outcome::from_grpc_code(code), expected, "{code}");
        }
        assert_eq!(Outcome::from_grpc_code(1), Outcome::Cancelled);
        for code in [0, 3, 5, 6, 7, 9, 10, 11, 12, 16] {
            assert_eq!(Outcome::from_grpc_code(code), Outcome::Success, "{code}");
        }
    }
}
