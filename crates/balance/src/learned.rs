//! What answers have taught about an endpoint.

use std::time::Duration;

use plimsoll_meter::{
    Average, Decay, Ewma, RollingSummary, Sample, SummarySnapshot, Tick, WindowShape,
};

use crate::eject::{evidence_after, forgiven, success_after};
use crate::outcome::{FailureKind, Outcome};
use crate::policy::peak_ewma::{self, SAMPLE_RATIO_MAX};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// What answers have taught about an endpoint. Written by whoever ends a
/// request, without locks: each number is right for itself.
pub(crate) struct Learned {
    /// Seconds from the pick to the head of the answer.
    latency: Ewma,
    /// The same of successes of the last minute, for people: of the first
    /// [`SUMMARY_WHOLE`], then of one in [`SUMMARY_STRIDE`].
    summary: RollingSummary,
    /// The mean over the last few answers, or [`UNKNOWN`].
    recent: AtomicF32,
    /// Successes among the last 64 or so answers, 0 to 1.
    success: AtomicF32,
    /// Evidence that it fails more than its peers, see `eject.rs`.
    evidence: AtomicF32,
    /// What the evidence does not fall below.
    evidence_least: AtomicF32,
    /// Requests that began before this many nanoseconds tell nothing about its
    /// latency now: it has changed since.
    trusted_since: AtomicU64,
    /// The latencies of all successes together, in nanoseconds.
    latency_sum: AtomicU64,
    successes: AtomicU64,
    cancelled: AtomicU64,
    failures: [AtomicU64; FailureKind::COUNT],
}

/// A 32-bit float in an atomic word.
pub(crate) struct AtomicF32(AtomicU32);

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) began: Tick,
    /// When the head of the answer came, if it came.
    pub(crate) head: Option<Tick>,
    pub(crate) now: Tick,
    pub(crate) outcome: Outcome,
    /// Whether it was sent to find out how the endpoint is.
    pub(crate) probe: bool,
}

/// The length of each of the two buckets of [`Learned::summary`].
const SUMMARY_BUCKET: Duration = Duration::from_secs(30);

/// So many successes all enter the summary.
const SUMMARY_WHOLE: u64 = 1_024;

/// Of the others, one in so many does: it costs as much as the rest of what an
/// answer teaches, and a sample has the same quantiles.
const SUMMARY_STRIDE: u64 = 8;

/// Stands for no latency yet; a latency is not negative.
const UNKNOWN: f32 = -1.0;

// === impl AtomicF32 ===

impl AtomicF32 {
    pub(crate) fn new(value: f32) -> Self {
        Self(AtomicU32::new(value.to_bits()))
    }

    #[inline]
    pub(crate) fn load(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn store(&self, value: f32) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Replaces the value by `f` of it; returns both. Writes only what changes.
    #[inline]
    fn change(&self, f: impl Fn(f32) -> f32) -> (f32, f32) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let before = f32::from_bits(seen);
            let after = f(before);
            let next = after.to_bits();
            if next == seen {
                return (before, after);
            }
            // Relaxed is enough: the word is all there is.
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return (before, after),
                Err(actual) => seen = actual,
            }
        }
    }
}

// === impl Ended ===

impl Ended {
    /// From the pick to the head of the answer, or to the end if there was none.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    /// The same in seconds.
    #[inline]
    pub(crate) fn seconds(&self) -> f64 {
        // The conversion of a signed number is one instruction.
        self.nanos().min(i64::MAX as u64).cast_signed() as f64 * 1e-9
    }

    /// The same in nanoseconds.
    #[inline]
    fn nanos(&self) -> u64 {
        let until = self.head.unwrap_or(self.now);
        until.as_nanos().saturating_sub(self.began.as_nanos())
    }
}

// === impl Learned ===

impl Learned {
    pub(crate) fn new(decay: Decay, now: Tick) -> Self {
        let shape = WindowShape::new(2, SUMMARY_BUCKET).expect("neither is zero or too much");
        Self {
            summary: RollingSummary::new(shape, now),
            latency: Ewma::with_decay(decay),
            recent: AtomicF32::new(UNKNOWN),
            success: AtomicF32::new(1.0),
            evidence: AtomicF32::new(0.0),
            evidence_least: AtomicF32::new(0.0),
            trusted_since: AtomicU64::new(0),
            latency_sum: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            failures: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Counts an outcome. How many there were of it before.
    #[inline]
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        let counter = match outcome {
            Outcome::Success => &self.successes,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Failure(kind) => &self.failures[kind.index()],
        };
        counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a success to the sum, and to the summary if it is one of those that
    /// are: there were `before` others.
    #[inline]
    pub(crate) fn summarize(&self, before: u64, ended: &Ended) {
        // 2^64 ns are 584 years.
        let nanos = ended.nanos();
        self.latency_sum.fetch_add(nanos, Ordering::Relaxed);
        if before < SUMMARY_WHOLE || before.is_multiple_of(SUMMARY_STRIDE) {
            self.summary.record(ended.now, ended.latency());
        }
    }

    /// Learns a latency. `expected` and `typical` are in seconds.
    ///
    /// A request that failed or was given up tells only that it took at least so
    /// long: it counts if that is longer than expected. So failing fast does
    /// not make an endpoint look fast.
    #[inline]
    pub(crate) fn time(&self, ended: &Ended, expected: f64, typical: Option<f64>) {
        let seconds = ended.seconds();
        let at_least = match ended.outcome {
            Outcome::Success => false,
            Outcome::Failure(_) => true,
            Outcome::Cancelled => ended.head.is_none(),
        };
        if at_least && seconds <= expected {
            return;
        }
        let most = typical.map_or(f64::INFINITY, |typical| typical * SAMPLE_RATIO_MAX);
        let seconds = seconds.min(most);
        if let Some(sample) = Sample::new(seconds) {
            self.latency.record(ended.now, sample);
        }
        self.recent.change(|recent| {
            let recent = (recent >= 0.0).then_some(f64::from(recent));
            peak_ewma::recent_after(recent, typical, seconds) as f32
        });
    }

    /// Learns whether it failed. Returns the evidence against it, and by how
    /// much its failure rate has risen.
    #[inline]
    pub(crate) fn judge(&self, failed: bool, peers: impl Fn() -> f32) -> (f32, f32) {
        let (before, after) = self
            .success
            .change(|success| success_after(success, failed));
        let (evidence, least) = (self.evidence.load(), self.evidence_least.load());
        if !failed && evidence == least {
            return (evidence, before - after);
        }
        let peers = peers();
        let (_, evidence) = self
            .evidence
            .change(|evidence| evidence_after(evidence, failed, peers, least));
        (evidence, before - after)
    }

    /// Forgets all latencies of requests that began before `since`.
    pub(crate) fn distrust(&self, since: Tick) {
        self.trusted_since
            .store(since.as_nanos(), Ordering::Relaxed);
        self.latency.clear();
        self.recent.store(UNKNOWN);
    }

    /// Lets failures of the past count for less, as time passes.
    pub(crate) fn forget_failures(&self) {
        self.success.change(forgiven);
    }

    /// Sets the evidence, and what it does not fall below from now on.
    pub(crate) fn set_evidence(&self, least: f32) {
        self.evidence_least.store(least);
        self.evidence.store(least);
    }

    /// Whether the request tells how the endpoint is now, and not how it was
    /// before it changed.
    #[inline]
    pub(crate) fn is_current(&self, began: Tick) -> bool {
        began.as_nanos() >= self.trusted_since.load(Ordering::Relaxed)
    }

    pub(crate) fn evidence(&self) -> f32 {
        self.evidence.load()
    }

    /// Successes among the last answers, 0 to 1.
    #[inline]
    pub(crate) fn success(&self) -> f32 {
        self.success.load()
    }

    /// The mean latency in seconds, and its weight.
    #[inline]
    pub(crate) fn latency(&self, now: Tick) -> Option<Average> {
        self.latency.read(now)
    }

    /// The latencies of all successes together.
    pub(crate) fn latency_sum(&self) -> Duration {
        Duration::from_nanos(self.latency_sum.load(Ordering::Relaxed))
    }

    /// The latencies of the successes of the last minute.
    pub(crate) fn summary(&self, now: Tick) -> SummarySnapshot {
        self.summary.snapshot(now)
    }

    /// The mean latency of the last few answers, in seconds.
    #[inline]
    pub(crate) fn recent(&self) -> Option<f64> {
        let recent = self.recent.load();
        (recent >= 0.0).then_some(f64::from(recent))
    }

    /// Successes, cancellations, and failures by kind.
    pub(crate) fn counts(&self) -> (u64, u64, [u64; FailureKind::COUNT]) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failures = std::array::from_fn(|kind| read(&self.failures[kind]));
        (read(&self.successes), read(&self.cancelled), failures)
    }
}
