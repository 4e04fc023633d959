//! Where ticks come from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portable_atomic::{AtomicU64, Ordering};

use crate::Tick;

/// A source of ticks.
///
/// This crate never reads the operating system's clock; the program supplies an
/// implementation that does. A [`Tick`] is itself a clock, one that stands still.
pub trait Clock {
    /// The present time. It must not be earlier than a time given before.
    fn now(&self) -> Tick;
}

/// A clock moved by hand, for tests and simulators. It may be shared by threads.
#[derive(Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

// === impl Clock ===

impl Clock for Tick {
    fn now(&self) -> Tick {
        *self
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Tick {
        (**self).now()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Tick {
        (**self).now()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Tick {
        Tick::from_nanos(self.nanos.load(Ordering::Acquire))
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock that shows `start` until it is moved.
    #[must_use]
    pub const fn new(start: Tick) -> Self {
        Self {
            nanos: AtomicU64::new(start.as_nanos()),
        }
    }

    /// Moves the clock forward by `step` and returns the new time. It stops at
    /// [`Tick::MAX`]. Steps of several threads add up.
    pub fn advance(&self, step: Duration) -> Tick {
        let mut seen = self.nanos.load(Ordering::Acquire);
        loop {
            let next = Tick::from_nanos(seen).saturating_add(step);
            match self.nanos.compare_exchange_weak(
                seen,
                next.as_nanos(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return next,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Moves the clock to `to`. A time before the present one is ignored, for
    /// the clock is monotonic.
    pub fn advance_to(&self, to: Tick) {
        self.nanos.fetch_max(to.as_nanos(), Ordering::AcqRel);
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_a_stopped_clock() {
        let tick = Tick::from_nanos(7);
        assert_eq!(tick.now(), tick);
        assert_eq!(Clock::now(&&tick), tick);
        assert_eq!(Arc::new(tick).now(), tick);
    }

    #[test]
    fn a_manual_clock_only_moves_forward() {
        let clock = ManualClock::new(Tick::from_nanos(5));
        assert_eq!(clock.advance(Duration::from_nanos(2)).as_nanos(), 7);
        clock.advance_to(Tick::from_nanos(6));
        assert_eq!(clock.now().as_nanos(), 7);
        clock.advance_to(Tick::from_nanos(9));
        assert_eq!(clock.now().as_nanos(), 9);
        assert_eq!(clock.advance(Duration::MAX), Tick::MAX);
        assert_eq!(ManualClock::default().now(), Tick::ZERO);
    }
}
