//! A balancer and its endpoints at one instant, for people and for metrics.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_meter::Tick;

use crate::eject::EjectionReason;
use crate::endpoint::{Endpoint, EndpointId};
use crate::outcome::FailureKind;
use crate::report::LoadReport;
use crate::standing::Standing;

/// A balancer at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct BalancerView {
    /// The name of the policy.
    pub policy: &'static str,
    /// The endpoints of the set, in the order in which they were given.
    pub endpoints: Vec<EndpointView>,
    /// Requests that wait for a slot.
    pub queue_depth: usize,
    /// Requests that may wait.
    pub queue_capacity: usize,
    /// Bytes that waiting requests occupy.
    pub queue_bytes: u64,
    /// Retries that could be made now.
    pub retries_available: f64,
    /// The latency that is typical of the usable endpoints: the median of their
    /// means. `None` before any has answered.
    pub typical_latency: Option<Duration>,
}

/// An endpoint at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Its identity.
    pub id: EndpointId,
    /// Its address.
    pub address: Arc<str>,
    /// The static weight.
    pub weight: u32,
    /// The share it should have relative to others: the static weight, less
    /// while it starts slowly.
    pub effective_weight: f64,
    /// The part of all picks that it gets if all may be used, 0 to 1; `None`
    /// under a policy that does not select by weight.
    pub pick_share: Option<f64>,
    /// What its weight under the policy `wrr` is made of; `None` if that policy
    /// was never used.
    pub window: Option<WindowView>,
    /// Whether it is used, and if not, why.
    pub state: EndpointState,
    /// Why it was ejected, while it is.
    pub ejected_for: Option<EjectionReason>,
    /// How often it was ejected, by [`EjectionReason::index`].
    pub ejections: [u64; EjectionReason::COUNT],
    /// How long it stays ejected. Zero while it waits for its probing request,
    /// or for the answer to it.
    pub ejected_until: Option<Duration>,
    /// Requests that run there.
    pub in_flight: u32,
    /// Requests that may run there; `None` is without limit.
    pub slots: Option<NonZeroU32>,
    /// Requests that have gone there.
    pub picks: u64,
    /// Requests that it answered.
    pub successes: u64,
    /// Requests that it failed, by kind.
    pub failures: FailureCounts,
    /// Requests that ended without telling anything about it.
    pub cancelled: u64,
    /// Successes among about the last 64 answers, 0 to 1.
    pub success_rate: f64,
    /// Evidence that it fails more than its peers: the logarithm of a likelihood
    /// ratio. It is ejected at 7.
    pub failure_evidence: f64,
    /// How long answers take, from the pick to their heads.
    pub latency: LatencyView,
    /// What a request more costs by the policy `peak-ewma`, in seconds: the
    /// expected latency over effective weight and the square of the success
    /// rate, times the requests in flight and this one, more in a stall.
    pub cost: f64,
    /// How long nothing has come back although something runs.
    pub stall_age: Option<Duration>,
    /// The newest report of its load, and its age.
    pub report: Option<(LoadReport, Duration)>,
    /// Reports that were ignored because a number in them makes no sense.
    pub reports_ignored: u64,
}

/// What a weight under the policy `wrr` is made of: the last second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowView {
    /// The weight relative to that of the median endpoint, which has 1.
    pub ratio: f64,
    /// Requests that it answered within the window.
    pub successes: u64,
    /// Requests that it failed within the window.
    pub failures: u64,
    /// The mean latency of the answers within the window, if there were any.
    pub latency: Option<Duration>,
    /// The load that it reported, smoothed, as a fraction.
    pub load: Option<f64>,
}

/// How long the answers of an endpoint take. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyView {
    /// What to expect of the next answer, by the policy `peak-ewma`.
    pub expected: Option<Duration>,
    /// The mean, by weights that decay.
    pub mean: Option<Duration>,
    /// The weight of the mean, in answers.
    pub weight: f64,
    /// The mean of about the last eight answers.
    pub recent: Option<Duration>,
    /// All successes together.
    pub sum: Duration,
    /// Answers of the last half to whole minute of which the quantiles are: a
    /// sample. Of the first 1,024 since the address is known it has all, then one
    /// in eight.
    pub sampled: u64,
    /// The median.
    pub p50: Option<Duration>,
    /// Nine of ten answers took at most so long.
    pub p90: Option<Duration>,
    /// 99 of 100 answers took at most so long.
    pub p99: Option<Duration>,
}

/// Failures by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureCounts {
    counts: [u64; FailureKind::COUNT],
}

/// Whether an endpoint is used, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointState {
    /// Used like any other.
    Healthy,
    /// Used, with a share that grows to its full weight.
    SlowStart,
    /// Left out for failing.
    Ejected,
    /// Left out for failing, and tried with one request.
    Probing,
    /// Gets nothing new because its owner says so.
    Draining,
    /// Said to be down by active checks.
    Unhealthy,
}

// === impl FailureCounts ===

impl FailureCounts {
    /// The kinds by name, each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        FailureKind::NAMES.into_iter().zip(self.counts)
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

// === impl EndpointState ===

impl EndpointState {
    /// A lower-case name, fit for a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

// === impl LatencyView ===

impl LatencyView {
    fn of(endpoint: &Endpoint, now: Tick) -> Self {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let average = endpoint.learned.latency(now);
        let summary = endpoint.learned.summary(now);
        let expected = average.map(|_| f64::from(endpoint.expected()));
        Self {
            expected: expected.and_then(seconds),
            mean: average.and_then(|average| seconds(average.mean)),
            weight: average.map_or(0.0, |average| average.weight),
            recent: endpoint.learned.recent().and_then(seconds),
            sum: endpoint.learned.latency_sum(),
            sampled: summary.count(),
            p50: summary.quantile(0.5),
            p90: summary.quantile(0.9),
            p99: summary.quantile(0.99),
        }
    }
}

// === impl EndpointView ===

impl EndpointView {
    pub(crate) fn of(endpoint: &Endpoint, now: Tick, pick_share: Option<f64>) -> Self {
        let (successes, cancelled, counts) = endpoint.learned.counts();
        let in_flight = endpoint.in_flight();
        let failures = FailureCounts { counts };
        let control = endpoint.control.lock();
        let state = match Standing::from_u8(endpoint.standing()) {
            Standing::Usable if control.ramp_since.is_some() => EndpointState::SlowStart,
            Standing::Usable => EndpointState::Healthy,
            Standing::Ejected if control.ejection.is_some_and(|it| it.probing) => {
                EndpointState::Probing
            }
            Standing::Ejected => EndpointState::Ejected,
            Standing::Unhealthy => EndpointState::Unhealthy,
            Standing::Out => EndpointState::Draining,
        };
        let report = control.reported.last();
        Self {
            id: endpoint.id(),
            address: Arc::clone(endpoint.address()),
            weight: control.weight,
            effective_weight: f64::from(endpoint.share()),
            pick_share,
            window: endpoint.window_view(now),
            state,
            in_flight,
            ejections: control.ejections,
            ejected_for: control.ejection.map(|it| it.reason),
            ejected_until: control
                .ejection
                .map(|it| it.until.saturating_duration_since(now)),
            success_rate: f64::from(endpoint.learned.success()),
            failure_evidence: f64::from(endpoint.learned.evidence()),
            latency: LatencyView::of(endpoint, now),
            cost: f64::from(endpoint.cost(now)),
            slots: endpoint.slots(),
            picks: successes + cancelled + failures.total() + u64::from(in_flight),
            successes,
            failures,
            cancelled,
            stall_age: endpoint.stall_age(now),
            report: report.map(|(at, report)| (report, now.saturating_duration_since(at))),
            reports_ignored: control.reported.ignored(),
        }
    }
}
