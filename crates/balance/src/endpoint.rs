//! An endpoint: who it is, what runs there, what was learned about it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use plimsoll_meter::{Decay, Tick};

use crate::core::Core;
use crate::eject::EVIDENCE_ENOUGH;
use crate::learned::{AtomicF32, Ended, Learned};
use crate::outcome::{FailureKind, Outcome};
use crate::policy::p2c::P2cState;
use crate::policy::peak_ewma;
use crate::policy::wrr::Windows;
use crate::report::LoadReport;
use crate::standing::{Control, Standing};
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::trial::{FAST_RATIO, Regard, SHUNNED_RATIO};
use crate::view::WindowView;

/// The identity of an endpoint: unique in the process, and the same for as long
/// as the balancer knows the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u64);

/// An endpoint as its owner describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The address, any text; two endpoints of one set cannot have the same.
    pub address: Arc<str>,
    /// Its share relative to the others', 1 to [`WEIGHT_MAX`](crate::WEIGHT_MAX).
    pub weight: u32,
    /// How many requests may run there; `None` is as the balancer's configuration says.
    pub concurrency: Option<NonZeroU32>,
}

/// One address, and all that is known about it.
///
/// Outlives its time in the set: what was learned belongs to the address.
pub struct Endpoint {
    hot: CachePadded<Hot>,
    pub(crate) learned: CachePadded<Learned>,
    pub(crate) p2c: P2cState,
    id: EndpointId,
    address: Arc<str>,
    core: Arc<Core>,
    /// Changed under the lock of `core`'s roll only.
    pub(crate) control: Mutex<Control>,
    /// Windows, from the first use of a policy that looks at them.
    windows: OnceLock<Box<Windows>>,
}

/// What a pick reads and writes: one cache line.
struct Hot {
    /// Requests that run, and [`LIMITED`].
    in_flight: AtomicU32,
    /// The number of slots; [`NO_LIMIT`] is without limit.
    slots: AtomicU32,
    /// A [`Standing`].
    standing: AtomicU8,
    /// Whether one request should go there to find out how it is.
    probe_due: AtomicBool,
    /// The share it should have relative to others: static weight times slow
    /// start; more than 0.
    share: AtomicF32,
    /// Seconds for each request in flight, see [`peak_ewma::unit_cost`].
    unit_cost: AtomicF32,
    /// The latency to expect, in seconds.
    expected: AtomicF32,
    /// In nanoseconds, the time at which the oldest request that runs began, as
    /// far as is known; see [`Endpoint::set_oldest`].
    oldest: AtomicU64,
    /// Requests that run and tell nothing: the endpoint has hung since they
    /// began, and is well again.
    stuck: AtomicU32,
}

/// In [`Hot::in_flight`], that there is a limit. It bounds the count to 2³¹ − 1.
const LIMITED: u32 = 1 << 31;

/// Stands for no limit in [`Hot::slots`].
const NO_LIMIT: u32 = u32::MAX;

/// Stands in [`Hot::unit_cost`] for an endpoint of which nothing is known, nor
/// of its peers.
const UNKNOWN: f32 = -1.0;

// === impl EndpointId ===

impl EndpointId {
    /// As a number, for a log or a table.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    fn next() -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Self(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl EndpointSpec ===

impl EndpointSpec {
    /// An endpoint of weight 1, with as many slots as the configuration says.
    #[must_use]
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self {
            address: address.into(),
            weight: 1,
            concurrency: None,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint that nothing is known about, in no set.
    pub(crate) fn new(address: Arc<str>, core: Arc<Core>, decay: Decay, now: Tick) -> Self {
        Self {
            hot: CachePadded::new(Hot::new()),
            learned: CachePadded::new(Learned::new(decay, now)),
            p2c: P2cState::new(),
            id: EndpointId::next(),
            address,
            core,
            control: Mutex::new(Control::default()),
            windows: OnceLock::new(),
        }
    }

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Whether it is in the set. One that is not gets no further requests; what
    /// was learned about it is kept for a while.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.standing() != Standing::Out as u8
    }

    /// Requests that run there now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.hot.in_flight.load(Ordering::Relaxed) & !LIMITED
    }

    /// The number of slots, or `None` without limit.
    #[must_use]
    pub fn slots(&self) -> Option<NonZeroU32> {
        let slots = self.hot.slots.load(Ordering::Relaxed);
        NonZeroU32::new(slots).filter(|_| slots != NO_LIMIT)
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn set_slots(&self, slots: Option<NonZeroU32>) {
        let slots = slots.map_or(NO_LIMIT, NonZeroU32::get);
        self.hot.slots.store(slots, Ordering::Relaxed);
        if slots == NO_LIMIT {
            self.hot.in_flight.fetch_and(!LIMITED, Ordering::Relaxed);
        } else {
            self.hot.in_flight.fetch_or(LIMITED, Ordering::Relaxed);
        }
    }

    /// Whether there is a limit. Changed under the lock of the gate.
    #[inline]
    pub(crate) fn has_limit(&self) -> bool {
        self.hot.in_flight.load(Ordering::Relaxed) & LIMITED != 0
    }

    /// Whether another request may run there. Exact under the lock of the gate.
    #[inline]
    pub(crate) fn has_slot(&self) -> bool {
        self.in_flight() < self.hot.slots.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn standing(&self) -> u8 {
        self.hot.standing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        self.hot.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Asks for one request that finds out how it is. `false` if that was asked already.
    pub(crate) fn ask_for_probe(&self) -> bool {
        !self.hot.probe_due.swap(true, Ordering::AcqRel)
    }

    /// Whether one request should go there to find out how it is.
    #[inline]
    pub(crate) fn is_probe_due(&self) -> bool {
        self.hot.probe_due.load(Ordering::Relaxed)
    }

    /// Makes this request the one that finds out. `false` if another was quicker.
    pub(crate) fn claim_probe(&self) -> bool {
        let claimed = self.hot.probe_due.swap(false, Ordering::AcqRel);
        if claimed {
            self.core.probe_taken();
        }
        claimed
    }

    /// The share it should have relative to others.
    #[inline]
    pub(crate) fn share(&self) -> f32 {
        self.hot.share.load()
    }

    pub(crate) fn set_share(&self, share: f32) {
        debug_assert!(share > 0.0);
        self.hot.share.store(share);
    }

    /// The latency to expect, in seconds.
    pub(crate) fn expected(&self) -> f32 {
        self.hot.expected.load()
    }

    /// What a request more costs by the policy `peak-ewma`.
    #[inline]
    pub(crate) fn cost(&self, now: Tick) -> f32 {
        let stuck = self.hot.stuck.load(Ordering::Relaxed);
        let in_flight = self.in_flight().saturating_sub(stuck);
        let (unit, expected) = self.known_cost();
        if in_flight == 0 {
            return unit;
        }
        let oldest = self.hot.oldest.load(Ordering::Relaxed);
        let age = now.as_nanos().saturating_sub(oldest) as f32 * 1e-9;
        let stall = peak_ewma::stall(age, expected, in_flight, oldest & 1 == 1);
        unit * stall * (in_flight + 1) as f32
    }

    /// The cost of each request in flight, and the latency to expect, in seconds.
    #[inline]
    fn known_cost(&self) -> (f32, f32) {
        let unit = self.hot.unit_cost.load();
        if unit != UNKNOWN {
            return (unit, self.expected());
        }
        // Another may have answered meanwhile, and this one is to be its equal.
        let typical = self.core.peers.latency();
        let expected = peak_ewma::expected(None, None, typical);
        let unit = peak_ewma::unit_cost(expected, self.share(), self.learned.success());
        (unit, expected as f32)
    }

    /// What a request more costs by the number of those that run.
    #[inline]
    pub(crate) fn load(&self) -> f32 {
        let in_flight = self.in_flight();
        peak_ewma::unit_cost(
            f64::from(in_flight + 1),
            self.share(),
            self.learned.success(),
        )
    }

    /// Works out what to expect of it.
    #[inline]
    pub(crate) fn estimate(&self, now: Tick) {
        let typical = self.core.peers.latency();
        let (steady, recent) = (self.learned.latency(now), self.learned.recent());
        let expected = peak_ewma::expected(steady, recent, typical);
        let compared = typical.map_or(peak_ewma::LATENCY_UNKNOWN, |_| expected);
        let cost = peak_ewma::unit_cost(compared, self.share(), self.learned.success());
        let nothing_known = steady.is_none() && typical.is_none();
        self.hot.expected.store(expected as f32);
        self.hot
            .unit_cost
            .store(if nothing_known { UNKNOWN } else { cost });
    }

    /// Counts a request in.
    #[inline]
    pub(crate) fn begin(&self, now: Tick) {
        if self.hot.in_flight.fetch_add(1, Ordering::Relaxed) & !LIMITED == 0 {
            self.set_oldest(now, true);
        }
    }

    /// Remembers when the oldest request that runs began: `exact`, or supposed.
    ///
    /// It is known when there is one request. From then on, nothing keeps a
    /// list of beginnings: when a request ends, those that run are supposed to
    /// be as old as a request gets on average. If nothing ends for longer than
    /// chance would have it, the endpoint hangs; and while short requests
    /// end beside a long one, it does not.
    #[inline]
    fn set_oldest(&self, began: Tick, exact: bool) {
        // The last bit is worth a nanosecond.
        let word = (began.as_nanos() & !1) | u64::from(exact);
        self.hot.oldest.store(word, Ordering::Relaxed);
    }

    /// Counts a request out. Whether there is a limit.
    #[inline]
    pub(crate) fn end(&self) -> bool {
        let before = self.hot.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before & !LIMITED > 0, "a request ended twice");
        before & LIMITED != 0
    }

    /// How long nothing has come back although something runs.
    pub(crate) fn stall_age(&self, now: Tick) -> Option<Duration> {
        if self.in_flight() == 0 {
            return None;
        }
        let oldest = self.hot.oldest.load(Ordering::Relaxed);
        let age = now.saturating_duration_since(Tick::from_nanos(oldest));
        // See `set_oldest`: the age on the end of another was supposed.
        let supposed = if oldest & 1 == 1 {
            0.0
        } else {
            self.expected()
        };
        Some(age.saturating_sub(Duration::from_secs_f32(supposed)))
    }

    /// Learns from a request that has ended.
    #[inline]
    pub(crate) fn learn(&self, ended: &Ended) {
        self.learned.count(ended.outcome);
        let expected = f64::from(self.expected());
        if ended.outcome == Outcome::Success {
            self.core.peers.first_answer(ended.latency().as_secs_f64());
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
            let average = Duration::from_secs_f64(expected).as_nanos() as u64;
            let oldest = ended.now.as_nanos().saturating_sub(average);
            self.set_oldest(Tick::from_nanos(oldest), false);
            evidence = self.judge(ended.outcome.is_failure());
        }
        if self.is_matter_for_judgement(ended, evidence) {
            self.core.judge(self, ended);
        }
        self.estimate(ended.now);
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

    /// It has proved to be well: whatever was learned before `since` is void.
    pub(crate) fn clear_record(&self, ended: &Ended) {
        self.learned.distrust(ended.began);
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

    /// Whether the answer to `ended` came about as fast as those of others.
    pub(crate) fn was_fast(&self, ended: &Ended) -> bool {
        let typical = self.core.peers.latency();
        typical.is_some_and(|typical| ended.latency().as_secs_f64() <= FAST_RATIO * typical)
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

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("address", &self.address)
            .field("in_flight", &self.in_flight())
            .field("standing", &Standing::from_u8(self.standing()))
            .finish_non_exhaustive()
    }
}

// === impl Hot ===

impl Hot {
    fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            slots: AtomicU32::new(NO_LIMIT),
            standing: AtomicU8::new(Standing::Out as u8),
            probe_due: AtomicBool::new(false),
            share: AtomicF32::new(1.0),
            unit_cost: AtomicF32::new(UNKNOWN),
            expected: AtomicF32::new(1.0),
            oldest: AtomicU64::new(0),
            stuck: AtomicU32::new(0),
        }
    }
}
