//! The fixed sets of label values of a gateway's endpoints.

/// What an endpoint may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointState {
    /// Its share of requests.
    Healthy,
    /// A share that grows: it is new, or has just come back.
    SlowStart,
    /// Nothing for a while: its own requests failed.
    Ejected,
    /// One request, to see whether it has recovered.
    Probing,
    /// Nothing new: the operator has said so.
    Draining,
    /// Nothing: its health check fails.
    Unhealthy,
}

/// How a request to an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointOutcome {
    /// Answered.
    Success,
    /// Answered, with a failure of the endpoint: 5xx, or a gRPC code that
    /// means the same.
    Error,
    /// Refused, because it has too much to do: 429, 503, gRPC code 8.
    Overloaded,
    /// No answer in time.
    Timeout,
    /// No connection.
    Connect,
    /// The connection or the stream broke.
    Reset,
    /// Given up by the client. It says nothing of the endpoint.
    Cancelled,
}

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EjectionReason {
    /// A larger part of its requests failed than of its peers'.
    Failures,
    /// It asked to be left alone, by `Retry-After`.
    RetryAfter,
    /// The request that was to show whether it has recovered failed.
    ProbeFailed,
}

impl EndpointState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Healthy,
        Self::SlowStart,
        Self::Ejected,
        Self::Probing,
        Self::Draining,
        Self::Unhealthy,
    ];

    /// The label value, e.g. `slow_start`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowStart => "slow_start",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl EndpointOutcome {
    /// How many outcomes there are: the length of an array indexed by
    /// [`EndpointOutcome::index`].
    pub const COUNT: usize = 7;

    /// Every outcome, in the order of [`EndpointOutcome::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Success,
        Self::Error,
        Self::Overloaded,
        Self::Timeout,
        Self::Connect,
        Self::Reset,
        Self::Cancelled,
    ];

    /// A dense index below [`EndpointOutcome::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label value, e.g. `overloaded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Cancelled => "cancelled",
        }
    }
}

impl EjectionReason {
    /// How many reasons there are: the length of an array indexed by
    /// [`EjectionReason::index`].
    pub const COUNT: usize = 3;

    /// Every reason, in the order of [`EjectionReason::index`].
    pub const ALL: [Self; Self::COUNT] = [Self::Failures, Self::RetryAfter, Self::ProbeFailed];

    /// A dense index below [`EjectionReason::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label value, e.g. `retry_after`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::RetryAfter => "retry_after",
            Self::ProbeFailed => "probe_failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn indices_are_the_positions_in_all() {
        for (position, outcome) in EndpointOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), position, "{outcome:?}");
        }
        for (position, reason) in EjectionReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), position, "{reason:?}");
        }
    }

    #[test]
    fn every_member_has_a_word_of_its_own() {
        let states = BTreeSet::from(EndpointState::ALL.map(EndpointState::as_str));
        let outcomes = BTreeSet::from(EndpointOutcome::ALL.map(EndpointOutcome::as_str));
        let reasons = BTreeSet::from(EjectionReason::ALL.map(EjectionReason::as_str));
        assert_eq!((states.len(), outcomes.len(), reasons.len()), (6, 7, 3));
    }
}
