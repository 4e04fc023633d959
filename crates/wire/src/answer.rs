//! Who answered a request, and with what class of status.
//!
//! These are the label values of `plimsoll_requests_total` and of
//! `plimsoll_gateway_requests_total`. All are bounded sets, so nothing that a
//! client sends can add a series. Some answers occur in a gateway only:
//! [`Answer::SIDECAR`] and [`Answer::SERVICE`] say which has what.

/// The class of a status code: its first digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodeClass {
    /// 1xx. As a final answer only `101 Switching Protocols` occurs.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
}

/// Who decided the answer of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnswerSource {
    /// The application answered; in a gateway, an endpoint of the service.
    App,
    /// All slots were taken and the queue was full.
    QueueFull,
    /// The request waited in the queue for as long as it may.
    QueueTimeout,
    /// The service has no endpoint.
    NoEndpoint,
    /// No service takes requests for this host and path.
    NoRoute,
    /// A time limit passed before the application began to answer.
    Timeout,
    /// The application could not be reached, or broke off before it answered.
    UpstreamError,
    /// The client went away before there was an answer.
    ClientGone,
    /// The request was malformed or over a size limit, and was refused before
    /// it reached the application.
    InvalidRequest,
    /// Plimsoll itself failed.
    InternalError,
}

/// An answer that can occur: a source together with a class.
///
/// Only the application can answer with every class. The other sources have
/// one each, or two where a gateway's configuration chooses between 503 and
/// 429, so that most pairs cannot be expressed, and no series is kept for
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// By the application. If it broke off after the head, the class is still
    /// the one that the client saw.
    App(CodeClass),
    /// 503: all slots were taken and the queue was full.
    QueueFull,
    /// 504: a time limit passed before the application began to answer.
    Timeout,
    /// 502: the application could not be reached, or broke off.
    UpstreamError,
    /// 499: the client went away first. Nobody sees this status; it is the
    /// number that nginx made customary in logs.
    ClientGone,
    /// 4xx: the request was malformed or too large.
    InvalidRequest,
    /// 500: Plimsoll itself failed.
    InternalError,
    /// 429: as [`Answer::QueueFull`], where a gateway's service refuses so.
    QueueFull429,
    /// 503: the request waited in a gateway's queue for as long as it may.
    QueueTimeout,
    /// 429: as [`Answer::QueueTimeout`], where a service refuses so.
    QueueTimeout429,
    /// 503: the service has no endpoint.
    NoEndpoint,
    /// 404: no service takes requests for this host and path.
    NoRoute,
}

// === impl CodeClass ===

impl CodeClass {
    /// Every class, in order.
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of a status code. A status outside 100 to 599 counts as
    /// [`CodeClass::ServerError`], as RFC 9110 (section 15) tells clients to
    /// treat it.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The label value, e.g. `2xx`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

// === impl AnswerSource ===

impl AnswerSource {
    /// Every source.
    pub const ALL: [Self; 10] = [
        Self::App,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::NoEndpoint,
        Self::NoRoute,
        Self::Timeout,
        Self::UpstreamError,
        Self::ClientGone,
        Self::InvalidRequest,
        Self::InternalError,
    ];

    /// The label value, e.g. `queue_full`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::NoEndpoint => "no_endpoint",
            Self::NoRoute => "no_route",
            Self::Timeout => "timeout",
            Self::UpstreamError => "upstream_error",
            Self::ClientGone => "client_gone",
            Self::InvalidRequest => "invalid_request",
            Self::InternalError => "internal_error",
        }
    }
}

/// Why the parts of [`Answer::ALL`] exist.
const FEWER: &str = "a part is shorter than the whole";

// === impl Answer ===

impl Answer {
    /// How many answers there are: the length of an array indexed by
    /// [`Answer::index`].
    pub const COUNT: usize = 16;

    /// Every answer, in the order of [`Answer::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::App(CodeClass::Informational),
        Self::App(CodeClass::Success),
        Self::App(CodeClass::Redirection),
        Self::App(CodeClass::ClientError),
        Self::App(CodeClass::ServerError),
        Self::QueueFull,
        Self::Timeout,
        Self::UpstreamError,
        Self::ClientGone,
        Self::InvalidRequest,
        Self::InternalError,
        Self::QueueFull429,
        Self::QueueTimeout,
        Self::QueueTimeout429,
        Self::NoEndpoint,
        Self::NoRoute,
    ];

    /// What can occur in a sidecar: the first in the order of
    /// [`Answer::index`].
    pub const SIDECAR: &'static [Self] = Self::ALL.first_chunk::<11>().expect(FEWER).as_slice();

    /// What can occur in a service of a gateway: all but
    /// [`Answer::NoRoute`], for that request has no service.
    pub const SERVICE: &'static [Self] = Self::ALL.first_chunk::<15>().expect(FEWER).as_slice();

    /// What can occur in a gateway before a request has a service.
    pub const UNROUTED: &'static [Self] = &[
        Self::ClientGone,
        Self::InvalidRequest,
        Self::InternalError,
        Self::NoRoute,
    ];

    /// The application's answer with this status code.
    #[must_use]
    pub const fn from_app(status: u16) -> Self {
        Self::App(CodeClass::of_status(status))
    }

    /// A dense index below [`Answer::COUNT`], for an array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::App(class) => class as usize,
            Self::QueueFull => 5,
            Self::Timeout => 6,
            Self::UpstreamError => 7,
            Self::ClientGone => 8,
            Self::InvalidRequest => 9,
            Self::InternalError => 10,
            Self::QueueFull429 => 11,
            Self::QueueTimeout => 12,
            Self::QueueTimeout429 => 13,
            Self::NoEndpoint => 14,
            Self::NoRoute => 15,
        }
    }

    /// Who decided the answer.
    #[must_use]
    pub const fn source(self) -> AnswerSource {
        match self {
            Self::App(_) => AnswerSource::App,
            Self::QueueFull | Self::QueueFull429 => AnswerSource::QueueFull,
            Self::QueueTimeout | Self::QueueTimeout429 => AnswerSource::QueueTimeout,
            Self::NoEndpoint => AnswerSource::NoEndpoint,
            Self::NoRoute => AnswerSource::NoRoute,
            Self::Timeout => AnswerSource::Timeout,
            Self::UpstreamError => AnswerSource::UpstreamError,
            Self::ClientGone => AnswerSource::ClientGone,
            Self::InvalidRequest => AnswerSource::InvalidRequest,
            Self::InternalError => AnswerSource::InternalError,
        }
    }

    /// The class of its status code.
    #[must_use]
    pub const fn code_class(self) -> CodeClass {
        match self {
            Self::App(class) => class,
            Self::ClientGone
            | Self::InvalidRequest
            | Self::QueueFull429
            | Self::QueueTimeout429
            | Self::NoRoute => CodeClass::ClientError,
            Self::QueueFull
            | Self::Timeout
            | Self::UpstreamError
            | Self::InternalError
            | Self::QueueTimeout
            | Self::NoEndpoint => CodeClass::ServerError,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn indices_are_the_positions_in_all() {
        for (position, answer) in Answer::ALL.into_iter().enumerate() {
            assert_eq!(answer.index(), position, "{answer:?}");
        }
    }

    #[test]
    fn every_answer_is_a_series_of_its_own_and_every_source_has_one() {
        let pairs: BTreeSet<_> = Answer::ALL
            .map(|answer| (answer.source(), answer.code_class()))
            .into();
        assert_eq!(pairs.len(), Answer::COUNT);
        let sources: BTreeSet<_> = pairs.iter().map(|(source, _)| *source).collect();
        assert_eq!(sources, BTreeSet::from(AnswerSource::ALL));
    }

    #[test]
    fn each_part_of_the_program_has_the_answers_that_can_occur_there() {
        let of_a_sidecar: BTreeSet<_> = Answer::SIDECAR.iter().map(|a| a.source()).collect();
        for absent in [
            AnswerSource::QueueTimeout,
            AnswerSource::NoEndpoint,
            AnswerSource::NoRoute,
        ] {
            assert!(!of_a_sidecar.contains(&absent), "{absent:?}");
        }
        let in_a_gateway: BTreeSet<_> = [Answer::SERVICE, Answer::UNROUTED]
            .concat()
            .into_iter()
            .collect();
        assert_eq!(in_a_gateway, BTreeSet::from(Answer::ALL));
        assert!(!Answer::SERVICE.contains(&Answer::NoRoute));
    }

    #[test]
    fn statuses_fall_into_their_classes() {
        for (status, class) in [
            (100, "1xx"),
            (101, "1xx"),
            (200, "2xx"),
            (299, "2xx"),
            (304, "3xx"),
            (404, "4xx"),
            (499, "4xx"),
            (500, "5xx"),
            (599, "5xx"),
            (600, "5xx"),
            (999, "5xx"),
            (99, "5xx"),
            (0, "5xx"),
        ] {
            assert_eq!(CodeClass::of_status(status).as_str(), class, "{status}");
            let answer = Answer::from_app(status);
            assert_eq!(answer.code_class().as_str(), class);
            assert_eq!(answer.source(), AnswerSource::App);
        }
    }
}
