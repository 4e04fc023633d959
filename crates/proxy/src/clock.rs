//! The one clock of the data path.

use std::time::Duration;

use plimsoll_meter::{Clock, Tick};
use tokio::time::Instant;

/// A monotonic clock that counts nanoseconds since the process began to serve.
///
/// It reads tokio's clock, so that a test with paused time governs measurements and time limits alike.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock whose tick zero is now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else is handed"
    )]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The runtime's instant at `tick`, for its timers.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.origin + Duration::from_nanos(tick.as_nanos())
    }
}

impl Clock for MonotonicClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else is handed"
    )]
    fn now(&self) -> Tick {
        let since_origin = Instant::now().saturating_duration_since(self.origin);
        // 2^64 ns are 584 years.
        Tick::from_nanos(u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX))
    }
}
