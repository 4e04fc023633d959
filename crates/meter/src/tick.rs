//! A point in time, as a plain number.

use std::time::Duration;

/// Nanoseconds on a monotonic clock since an origin the caller chose.
///
/// Ticks of one meter must share one origin. 64 bits last 584 years from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// The last tick that can be expressed, 584 years after the origin.
    pub const MAX: Self = Self(u64::MAX);

    /// The tick `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is in fact later.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The tick `duration` later, or `None` beyond [`Tick::MAX`].
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    /// The tick `duration` later, or [`Tick::MAX`] if that is beyond it.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self::MAX)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn durations_never_go_negative() {
        let early = Tick::from_nanos(3);
        let late = Tick::from_nanos(10);
        assert_eq!(late.saturating_duration_since(early).as_nanos(), 7);
        assert_eq!(early.saturating_duration_since(late), Duration::ZERO);
    }

    #[test]
    fn addition_stops_at_the_end_of_time() {
        let tick = Tick::from_nanos(u64::MAX - 1);
        let one = Duration::from_nanos(1);
        assert_eq!(tick.checked_add(one), Some(Tick::MAX));
        assert_eq!(tick.checked_add(one * 2), None);
        assert_eq!(tick.checked_add(Duration::MAX), None);
        assert_eq!(tick.saturating_add(Duration::MAX), Tick::MAX);
        assert_eq!(Tick::ZERO.saturating_add(one).as_nanos(), 1);
    }
}
