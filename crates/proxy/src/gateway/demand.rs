//! Between requests that find no instance and whoever starts one.
//!
//! A request that waits wakes whoever decides how many instances there are, and is told in the end what it has
//! waited for. The other way round, who waits for an instance that cannot be started is told why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::{ACCEPT, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use plimsoll_meter::{Histogram, HistogramSnapshot, REQUEST_TIME_BOUNDS, Tick};
use tokio::sync::Notify;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What a request has to do to wake the one who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WakeOn {
    /// Nothing: it looks by itself.
    Nothing = 0,
    /// Wait in the queue.
    Waiting = 1,
    /// Arrive.
    Arrival = 2,
}

/// Why there is no instance, and when it is worth asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// One line for the client.
    pub reason: String,
    /// When another attempt may be made, from the moment at which this was set.
    pub retry_after: Duration,
}

/// What a service whose instances are started on demand shares with whoever starts them.
///
/// A request that finds room pays one load for it.
#[derive(Debug)]
pub struct Demand {
    /// A [`WakeOn`].
    wake_on: AtomicU8,
    rung: Notify,
    unavailable: ArcSwapOption<Unavailable>,
    cold_starts: Histogram,
    /// When a waiting page was last given, in nanoseconds; 0 is never.
    page_given: AtomicU64,
}

// === impl Demand ===

impl Demand {
    /// Nobody is woken yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            wake_on: AtomicU8::new(WakeOn::Nothing as u8),
            rung: Notify::new(),
            unavailable: ArcSwapOption::empty(),
            cold_starts: Histogram::new(&REQUEST_TIME_BOUNDS)
                .expect("the bounds of the crate rise strictly"),
            page_given: AtomicU64::new(0),
        }
    }

    /// The next request that does this ends [`rung`](Self::rung), once.
    ///
    /// Set it before looking at what there is: whoever comes too late to be seen then comes early enough to ring. A
    /// request that waits is never missed, for it and the one who looks take the lock of the queue. One that only
    /// arrives may be, on a machine that reorders memory; it has an instance.
    pub fn wake_on(&self, what: WakeOn) {
        self.wake_on.store(what as u8, Ordering::SeqCst);
    }

    /// Waits for a request that does what [`wake_on`](Self::wake_on) says. One that did it before this was called
    /// counts.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Says why there is no instance, to those who are sent away for it; `None` is that one may be had.
    pub fn set_unavailable(&self, why: Option<Unavailable>) {
        self.unavailable.store(why.map(Arc::new));
    }

    /// How long requests have waited for an instance to start, of those that got one.
    #[must_use]
    pub fn cold_starts(&self) -> HistogramSnapshot {
        self.cold_starts.snapshot()
    }

    /// When somebody was last given the waiting page and will come again.
    #[must_use]
    pub fn page_given(&self) -> Option<Tick> {
        let nanos = self.page_given.load(Ordering::Relaxed);
        (nanos > 0).then(|| Tick::from_nanos(nanos))
    }

    /// Why there is no instance.
    pub(crate) fn unavailable(&self) -> Option<Arc<Unavailable>> {
        self.unavailable.load_full()
    }

    /// A request has arrived and runs.
    #[inline]
    pub(crate) fn arrived(&self) {
        if self.wake_on.load(Ordering::Relaxed) == WakeOn::Arrival as u8 {
            self.ring();
        }
    }

    /// A request waits in the queue.
    pub(crate) fn waits(&self) {
        if self.wake_on.load(Ordering::SeqCst) != WakeOn::Nothing as u8 {
            self.ring();
        }
    }

    /// A request has waited so long for an instance to start.
    pub(crate) fn has_waited(&self, time: Duration) {
        self.cold_starts.record(time);
    }

    /// Somebody was given the waiting page.
    pub(crate) fn gives_page(&self, now: Tick) {
        self.page_given
            .store(now.as_nanos().max(1), Ordering::Relaxed);
        self.waits();
    }

    #[cold]
    fn ring(&self) {
        let nothing = WakeOn::Nothing as u8;
        if self.wake_on.swap(nothing, Ordering::SeqCst) != nothing {
            self.rung.notify_one();
        }
    }
}

/// Whether a request comes from somebody who looks at pages, and may be sent again.
pub(crate) fn wants_page<B>(request: &Request<B>) -> bool {
    let accepts = request.headers().get_all(ACCEPT).iter();
    request.method() == Method::GET
        && !request.headers().contains_key(UPGRADE)
        && accepts
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains("text/html"))
}

/// Says in an answer for how long it has waited for an instance to start.
///
/// <https://www.w3.org/TR/server-timing/>: browsers show it beside the request. What the application says of its
/// own times stays.
#[cold]
pub(crate) fn tell_cold_start(fields: &mut HeaderMap, waited: Duration) {
    let millis = waited.as_millis();
    if let Ok(value) = HeaderValue::try_from(format!("plimsoll-cold-start;dur={millis}")) {
        fields.append(SERVER_TIMING, value);
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn has_rung(demand: &Demand) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(demand.rung()).poll(&mut cx).is_ready()
    }

    #[test]
    fn each_setting_is_rung_by_what_it_says_and_once() {
        type Act = fn(&Demand);
        let (arrives, waits): (Act, Act) = (Demand::arrived, Demand::waits);
        for (set, act, rings) in [
            (WakeOn::Nothing, arrives, false),
            (WakeOn::Nothing, waits, false),
            (WakeOn::Waiting, arrives, false),
            (WakeOn::Waiting, waits, true),
            (WakeOn::Arrival, arrives, true),
            (WakeOn::Arrival, waits, true),
        ] {
            let demand = Demand::new();
            demand.wake_on(set);
            act(&demand);
            act(&demand);
            assert_eq!(has_rung(&demand), rings, "{set:?}");
            assert!(!has_rung(&demand), "{set:?}");
        }
    }
}
