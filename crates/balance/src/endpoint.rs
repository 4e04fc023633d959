//! An endpoint: who it is, what runs there, what was learned about it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use plimsoll_meter::Tick;

use crate::core::Core;
use crate::outcome::{FailureKind, Outcome};
use crate::policy::wrr::Windows;
use crate::report::LoadReport;
use crate::standing::{Control, Standing};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};

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
    tally: CachePadded<Tally>,
    id: EndpointId,
    address: Arc<str>,
    core: Arc<Core>,
    /// Changed under the lock of `core`'s roll only.
    pub(crate) control: Mutex<Control>,
    /// Windows, from the first use of a policy that looks at them.
    windows: OnceLock<Box<Windows>>,
}

/// What a pick reads and writes: one cache line.
pub(crate) struct Hot {
    in_flight: AtomicU32,
    /// The number of slots; [`NO_LIMIT`] is without limit.
    slots: AtomicU32,
    standing: AtomicU8,
    /// The share it should have relative to others: static weight times slow
    /// start. The bits of an `f32`, more than 0.
    share: AtomicU32,
    /// Nanoseconds: the last completion, or the moment since when something runs.
    quiet_since: AtomicU64,
}

/// What has happened, in numbers that only grow.
#[derive(Default)]
struct Tally {
    successes: AtomicU64,
    cancelled: AtomicU64,
    failures: [AtomicU64; FailureKind::COUNT],
}

/// Stands for no limit in [`Hot::slots`].
const NO_LIMIT: u32 = u32::MAX;

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
    pub(crate) fn new(address: Arc<str>, core: Arc<Core>) -> Self {
        Self {
            hot: CachePadded::new(Hot::new()),
            tally: CachePadded::new(Tally::default()),
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
        self.hot.in_flight.load(Ordering::Relaxed)
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
    }

    /// Whether another request may run there. Exact under the lock of the gate.
    #[inline]
    pub(crate) fn has_slot(&self) -> bool {
        // Ordered before and after the flag that says whether there are limits:
        // see `Core::release`.
        self.hot.in_flight.load(Ordering::SeqCst) < self.hot.slots.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn standing(&self) -> u8 {
        self.hot.standing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        self.hot.standing.store(standing as u8, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn share(&self) -> f32 {
        f32::from_bits(self.hot.share.load(Ordering::Relaxed))
    }

    pub(crate) fn set_share(&self, share: f32) {
        debug_assert!(share > 0.0);
        self.hot.share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// Counts a request in.
    #[inline]
    pub(crate) fn begin(&self, now: Tick) {
        if self.hot.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            let nanos = now.as_nanos();
            self.hot.quiet_since.store(nanos, Ordering::Relaxed);
        }
    }

    /// Counts a request out.
    #[inline]
    pub(crate) fn end(&self) {
        let before = self.hot.in_flight.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "a request ended twice");
    }

    /// How long nothing has come back although something runs.
    pub(crate) fn stall_age(&self, now: Tick) -> Option<Duration> {
        let since = Tick::from_nanos(self.hot.quiet_since.load(Ordering::Relaxed));
        (self.in_flight() > 0).then(|| now.saturating_duration_since(since))
    }

    /// Learns from a request that has ended.
    #[inline]
    pub(crate) fn learn(&self, now: Tick, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Success => &self.tally.successes,
            Outcome::Cancelled => &self.tally.cancelled,
            Outcome::Failure(kind) => &self.tally.failures[kind.index()],
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if outcome != Outcome::Cancelled {
            self.hot
                .quiet_since
                .store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Learns from what the endpoint says about itself.
    pub(crate) fn hear(&self, now: Tick, report: &LoadReport) {
        let makes_sense = self.control.lock().reported.hear(now, report);
        if makes_sense && let Some(windows) = self.windows.get() {
            windows.hear(now, report);
        }
    }

    /// Its windows, kept from now on if they were not before.
    pub(crate) fn windows(&self) -> &Windows {
        self.windows.get_or_init(Box::default)
    }

    /// Enters a request that has ended in the windows, if they are kept.
    #[inline]
    pub(crate) fn record(&self, now: Tick, latency: Duration, outcome: Outcome) {
        if let Some(windows) = self.windows.get()
            && outcome != Outcome::Cancelled
        {
            windows.record(now, latency, outcome.is_failure());
        }
    }

    /// Successes, cancellations, and failures by kind.
    pub(crate) fn counts(&self) -> (u64, u64, [u64; FailureKind::COUNT]) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failures = std::array::from_fn(|kind| read(&self.tally.failures[kind]));
        (
            read(&self.tally.successes),
            read(&self.tally.cancelled),
            failures,
        )
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
            share: AtomicU32::new(1_f32.to_bits()),
            quiet_since: AtomicU64::new(0),
        }
    }
}
