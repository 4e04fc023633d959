//! What an endpoint learns from a request that has ended.

use plimsoll_meter::Tick;

use super::{Endpoint, UNKNOWN};
use crate::eject::EVIDENCE_ENOUGH;
use crate::learned::Ended;
use crate::outcome::{FailureKind, Outcome};
use crate::policy::wrr::Windows;
use crate::report::LoadReport;
use crate::standing::Standing;
use crate::sync::Ordering;
use crate::trial::{FAST_RATIO, Regard, SHUNNED_RATIO};
use crate::view::WindowView;

/// An answer that takes up to so many times what is expected is no surprise.
const AS_EXPECTED_RATIO: f64 = 2.0;

impl Endpoint {
    /// Learns from a request that has ended.
    #[inline]
    pub(crate) fn learn(&self, ended: &Ended) {
        let before = self.learned.count(ended.outcome);
        let (expected, seconds) = (f64::from(self.expected()), ended.seconds());
        if ended.outcome == Outcome::Success {
            self.core.peers.first_answer(seconds);
            self.learned.summarize(before, ended);
        }
        let typical = self.core.peers.latency();
        if self.learned.is_current(ended.began) {
            self.learned.time(ended, expected, typical);
        } else {
            self.forget_stuck();
        }
        if self.core.uses_p2c() {
            self.p2c.learn(ended);
        }
        if let Some(windows) = self.windows.get()
            && ended.outcome != Outcome::Cancelled
        {
            let failed = ended.outcome.is_failure();
            windows.record(ended.now, ended.latency(), failed);
        }
        let mut evidence = 0.0;
        if ended.outcome != Outcome::Cancelled {
            let average = (expected * 1e9) as i64;
            let oldest = ended.now.as_nanos().saturating_sub(average.cast_unsigned());
            self.set_oldest(Tick::from_nanos(oldest), false);
            evidence = self.judge(ended.outcome.is_failure());
        }
        if self.is_matter_for_judgement(ended, evidence) {
            self.core.judge(self, ended);
        } else if ended.outcome == Outcome::Success && self.is_as_expected(seconds, typical) {
            return;
        }
        self.estimate(ended.now);
    }

    /// Whether an answer is so much as expected that the next housekeeping is
    /// soon enough to look at it: from an endpoint that is not worse than
    /// typical, and not late.
    #[inline]
    fn is_as_expected(&self, seconds: f64, typical: Option<f64>) -> bool {
        let expected = f64::from(self.expected());
        let known = self.hot.unit_cost.load() != UNKNOWN;
        let good = typical.is_some_and(|typical| expected <= AS_EXPECTED_RATIO * typical);
        known && good && seconds <= AS_EXPECTED_RATIO * expected
    }

    /// Learns whether it failed. Returns the evidence against it.
    #[inline]
    fn judge(&self, failed: bool) -> f32 {
        let own = 1.0 - self.learned.success();
        let (evidence, risen) = self
            .learned
            .judge(failed, || self.core.peers.failing_beside(own));
        if risen != 0.0 && self.standing() == Standing::Usable as u8 {
            self.core.peers.add_failing(risen);
        }
        evidence
    }

    /// Whether the end of this request may change how the endpoint stands.
    #[inline]
    fn is_matter_for_judgement(&self, ended: &Ended, evidence: f32) -> bool {
        ended.probe
            || evidence >= EVIDENCE_ENOUGH
            || self.standing() == Standing::Ejected as u8
            || matches!(
                ended.outcome,
                Outcome::Failure(FailureKind::Overloaded {
                    retry_after: Some(_)
                })
            )
    }

    /// How it looks beside its peers.
    pub(crate) fn regard(&self, now: Tick) -> Regard {
        let typical = self.core.peers.latency().unwrap_or(f64::INFINITY) as f32;
        let limit = SHUNNED_RATIO * typical / self.share();
        if self.hot.unit_cost.load() > limit {
            Regard::Shunned
        } else if self.cost(now) / (self.in_flight() + 1) as f32 > limit {
            Regard::Hangs
        } else {
            Regard::Fine
        }
    }

    /// Requests that have gone there.
    pub(crate) fn picks(&self) -> u64 {
        let (successes, cancelled, failures) = self.learned.counts();
        successes + cancelled + failures.iter().sum::<u64>() + u64::from(self.in_flight())
    }

    /// It has proved to be well: whatever requests that began before now tell is void.
    pub(crate) fn clear_record(&self, ended: &Ended) {
        // Each of the others is counted out by its end: whatever began until now, and not only before the
        // request that has told.
        let now = Tick::from_nanos(ended.now.as_nanos().saturating_add(1));
        self.learned.distrust(now);
        let others = self.in_flight().saturating_sub(1);
        self.hot.stuck.store(others, Ordering::Relaxed);
        self.learned.time(ended, 0.0, self.core.peers.latency());
    }

    /// A request that began before the endpoint was well has ended.
    fn forget_stuck(&self) {
        let less = |stuck: u32| stuck.checked_sub(1);
        // Nothing to do if there is none: it was counted before it began.
        let _none = self
            .hot
            .stuck
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Nothing that does not run can be stuck: makes up for a request that began while it was counted.
    pub(crate) fn settle_stuck(&self) {
        if self.in_flight() == 0 {
            self.hot.stuck.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the answer to `ended` came about as fast as those of others.
    pub(crate) fn was_fast(&self, ended: &Ended) -> bool {
        let typical = self.core.peers.latency();
        typical.is_some_and(|typical| ended.seconds() <= FAST_RATIO * typical)
    }

    /// Learns from what the endpoint says about itself.
    pub(crate) fn hear(&self, now: Tick, report: &LoadReport) {
        let makes_sense = self.control.lock().reported.hear(now, report);
        if !makes_sense {
            return;
        }
        if let Some(windows) = self.windows.get() {
            windows.hear(now, report);
        }
        if let Some(cpu) = report.cpu_utilization {
            self.p2c.hear(cpu);
        }
    }

    /// What its windows hold, if they are kept.
    pub(crate) fn window_view(&self, now: Tick) -> Option<WindowView> {
        self.windows.get().map(|windows| windows.view(now))
    }

    /// Its windows, kept from now on if they were not before.
    pub(crate) fn windows(&self) -> &Windows {
        self.windows.get_or_init(Box::default)
    }
}
