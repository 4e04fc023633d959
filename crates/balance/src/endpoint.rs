//! An endpoint: who it is, what runs there, what was learned about it.

mod learn;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use plimsoll_meter::{Decay, Tick};

use crate::core::Core;
use crate::learned::{AtomicF32, Learned};
use crate::policy::p2c::P2cState;
use crate::policy::peak_ewma;
use crate::policy::wrr::Windows;
use crate::standing::{Control, Standing};
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};

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
    /// When it last joined the set, in nanoseconds.
    joined: AtomicU64,
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
            joined: AtomicU64::new(now.as_nanos()),
            windows: OnceLock::new(),
        }
    }

    /// Its identity.
    #[must_use]
    #[inline]
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

    /// When it last joined the set. A request that began before has waited for it to come.
    #[must_use]
    pub fn joined_at(&self) -> Tick {
        Tick::from_nanos(self.joined.load(Ordering::Relaxed))
    }

    pub(crate) fn set_joined(&self, now: Tick) {
        self.joined.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Requests that run there now.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.hot.in_flight.load(Ordering::Relaxed) & !LIMITED
    }

    /// The number of slots, or `None` without limit.
    #[must_use]
    pub fn slots(&self) -> Option<NonZeroU32> {
        let slots = self.hot.slots.load(Ordering::Relaxed);
        NonZeroU32::new(slots).filter(|_| slots != NO_LIMIT)
    }

    #[inline]
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
    #[inline]
    pub(crate) fn expected(&self) -> f32 {
        self.hot.expected.load()
    }

    /// What a request more costs by the policy `peak-ewma`.
    #[inline]
    pub(crate) fn cost(&self, now: Tick) -> f32 {
        let stuck = self.hot.stuck.load(Ordering::Relaxed);
        let in_flight = self.in_flight().saturating_sub(stuck);
        let mut unit = self.hot.unit_cost.load();
        if unit == UNKNOWN {
            unit = self.unknown_cost();
        }
        if in_flight == 0 {
            return unit;
        }
        let oldest = self.hot.oldest.load(Ordering::Relaxed);
        let nanos = now.as_nanos().saturating_sub(oldest);
        // The conversion of a signed number is one instruction.
        let age = nanos.min(i64::MAX as u64).cast_signed() as f32 * 1e-9;
        let expected = self.expected();
        if age > expected {
            unit *= peak_ewma::stall(age, expected, in_flight, oldest & 1 == 1);
        }
        unit * (in_flight + 1) as f32
    }

    /// The cost for each request in flight where nothing was known. Another may
    /// have answered meanwhile, and this one is to be its equal.
    #[cold]
    fn unknown_cost(&self) -> f32 {
        let typical = self.core.peers.latency();
        let expected = peak_ewma::expected(None, None, typical);
        let unit = peak_ewma::unit_cost(expected, self.share(), self.learned.success());
        if typical.is_some() {
            self.hot.expected.store(expected as f32);
            self.hot.unit_cost.store(unit);
        }
        unit
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
