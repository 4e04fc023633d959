//! A number that an average can take.

use std::time::Duration;

/// A finite number that is not negative, with 24 significant bits.
///
/// Averages take nothing else, so there is no bad sample that they would have
/// to refuse or, worse, remember. Durations become seconds, `true` becomes 1
/// and `false` 0 (the mean is then a share).
///
/// ```
/// use std::time::Duration;
/// use plimsoll_meter::Sample;
///
/// assert_eq!(Sample::from(Duration::from_millis(250)).get(), 0.25);
/// assert_eq!(Sample::from(true).get(), 1.0);
/// assert_eq!(Sample::new(0.25), Some(Sample::from(Duration::from_millis(250))));
/// assert_eq!(Sample::new(f64::NAN), None);
/// assert_eq!(Sample::new(-1.0), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Sample(f32);

impl Sample {
    /// Zero.
    pub const ZERO: Self = Self(0.0);

    /// `value`, or `None` if it is negative, not a number, or larger than
    /// `f32::MAX` (3.4 × 10³⁸).
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        let narrow = value as f32;
        // `abs` takes the sign from a zero.
        (value >= 0.0 && narrow.is_finite()).then_some(Self(narrow.abs()))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl From<Duration> for Sample {
    /// Seconds.
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs_f32())
    }
}

impl From<bool> for Sample {
    /// 1 for `true`, 0 for `false`.
    fn from(value: bool) -> Self {
        Self(f32::from(u8::from(value)))
    }
}

impl From<u32> for Sample {
    fn from(value: u32) -> Self {
        Self(value as f32)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_no_average_can_bear_is_refused() {
        for value in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -1.0,
            -f64::MIN_POSITIVE,
            1e39,
            f64::MAX,
        ] {
            assert_eq!(Sample::new(value), None, "{value}");
        }
        for value in [0.0, f64::MIN_POSITIVE, 1.5, 3e38] {
            assert!(Sample::new(value).is_some(), "{value}");
        }
        let zero = Sample::new(-0.0).unwrap();
        assert!(zero.get().is_sign_positive());
    }

    #[test]
    fn the_longest_duration_is_a_sample() {
        let longest = Sample::from(Duration::MAX).get();
        assert!(longest.is_finite() && longest > 1e19);
        assert_eq!(Sample::from(u32::MAX).get(), u32::MAX as f32);
        assert_eq!(Sample::from(false), Sample::ZERO);
    }
}
