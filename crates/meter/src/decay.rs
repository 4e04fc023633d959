//! Exponential decay, and the power of two that it needs.

use std::f64::consts::LOG2_E;
use std::time::Duration;

use thiserror::Error;

/// Exponential decay with a time constant: what has the weight 1 now has the
/// weight e⁻¹ (0.37) one time constant later, and e⁻² after two.
///
/// ```
/// use std::time::Duration;
/// use plimsoll_meter::Decay;
///
/// let decay = Decay::new(Duration::from_secs(10))?;
/// assert_eq!(decay.factor(Duration::ZERO), 1.0);
/// let after_a_half_life = decay.factor(Duration::from_secs_f64(6.931_472));
/// assert!((after_a_half_life - 0.5).abs() < 1e-6);
/// # Ok::<(), plimsoll_meter::DecayError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    time_constant: Duration,
    /// 1 / time constant.
    per_nano: f64,
}

/// The time constant is shorter than [`Decay::TIME_CONSTANT_MIN`] or longer
/// than [`Decay::TIME_CONSTANT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a time constant of {given:?} is not between {min:?} and {max:?}", min = Decay::TIME_CONSTANT_MIN, max = Decay::TIME_CONSTANT_MAX)]
pub struct DecayError {
    /// The time constant that was asked for.
    pub given: Duration,
}

// === impl Decay ===

impl Decay {
    /// The shortest time constant, 1 ms.
    pub const TIME_CONSTANT_MIN: Duration = Duration::from_millis(1);

    /// The longest time constant, a day.
    pub const TIME_CONSTANT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// Decay by the factor e in each `time_constant`.
    ///
    /// # Errors
    ///
    /// If it is shorter than [`Self::TIME_CONSTANT_MIN`] or longer than
    /// [`Self::TIME_CONSTANT_MAX`].
    pub fn new(time_constant: Duration) -> Result<Self, DecayError> {
        let accepted = Self::TIME_CONSTANT_MIN..=Self::TIME_CONSTANT_MAX;
        if !accepted.contains(&time_constant) {
            return Err(DecayError {
                given: time_constant,
            });
        }
        Ok(Self {
            time_constant,
            per_nano: 1.0 / time_constant.as_nanos() as f64,
        })
    }

    /// The time in which a weight falls to e⁻¹.
    #[must_use]
    pub const fn time_constant(&self) -> Duration {
        self.time_constant
    }

    /// What is left of a weight of 1 after `elapsed`: from 1 down to 0,
    /// within 10⁻⁷ of the true value. About 2 ns.
    #[must_use]
    #[inline]
    pub fn factor(&self, elapsed: Duration) -> f64 {
        self.factor_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// [`factor`](Self::factor) for whole nanoseconds.
    #[must_use]
    #[inline]
    pub fn factor_nanos(&self, elapsed: u64) -> f64 {
        // The conversion of a signed number is one instruction.
        let nanos = elapsed.min(i64::MAX as u64).cast_signed() as f64;
        let x = nanos * self.per_nano;
        if x < SHORT {
            // Under load, most ages are a small part of the time constant. The
            // series is exact to 2 × 10⁻¹⁰ there, and half as long.
            1.0 - x + 0.5 * x * x
        } else {
            exp2(-LOG2_E * x)
        }
    }
}

/// Up to this part of the time constant the series of e⁻ˣ is cut off after x².
const SHORT: f64 = 1e-3;

/// 2ˣ, within 10⁻⁷ of the true value; exact for whole numbers. Below 2⁻¹⁰²² it
/// is 0, above 2¹⁰²³ it stays there.
///
/// A polynomial for the fraction and the exponent's bits for the rest. The
/// standard library's function is a call into the C library, which takes five
/// times as long, and would be one more shared object in a small program.
#[inline]
pub(crate) fn exp2(x: f64) -> f64 {
    /// Adding 1.5 × 2⁵² rounds to a whole number, which is left in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    if x < -1022.0 {
        return 0.0;
    }
    let shifted = x.min(1023.0) + ROUND;
    let f = x.min(1023.0) - (shifted - ROUND);
    // Minimax for (2^f − 1) / f in relative error of 2^f, |f| ≤ ½, by Remez.
    let f2 = f * f;
    let low = 0.693_146_977_597_903_7 + f * 0.240_222_420_845_651_8;
    let high = 0.055_507_337_450_593_49 + f * 0.009_671_512_676_802_572;
    let rest = low + f2 * (high + f2 * 0.001_326_472_665_395_669_3);
    let fraction = 1.0 + f * rest;
    f64::from_bits(fraction.to_bits().wrapping_add(shifted.to_bits() << 52))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unfit_time_constants_are_refused() {
        let just_too_short = Decay::TIME_CONSTANT_MIN - Duration::from_nanos(1);
        let just_too_long = Decay::TIME_CONSTANT_MAX + Duration::from_nanos(1);
        for given in [Duration::ZERO, just_too_short, just_too_long, Duration::MAX] {
            assert_eq!(Decay::new(given), Err(DecayError { given }));
        }
        assert!(Decay::new(Decay::TIME_CONSTANT_MIN).is_ok());
        assert!(Decay::new(Decay::TIME_CONSTANT_MAX).is_ok());
        let message = DecayError {
            given: Duration::ZERO,
        }
        .to_string();
        assert_eq!(
            message,
            "a time constant of 0ns is not between 1ms and 86400s"
        );
    }

    #[test]
    fn decay_begins_at_one_and_ends_at_zero() {
        let decay = Decay::new(Duration::from_secs(1)).unwrap();
        assert_eq!(decay.factor(Duration::ZERO), 1.0);
        assert_eq!(decay.factor(Duration::MAX), 0.0);
        assert_eq!(decay.factor_nanos(u64::MAX), 0.0);
        let once = decay.factor(Duration::from_secs(1));
        assert!((once - (-1.0_f64).exp()).abs() < 1e-7);
    }

    #[test]
    fn powers_of_two_are_exact_at_both_ends_and_between() {
        for exponent in -1022..=1023 {
            assert_eq!(exp2(f64::from(exponent)), 2.0_f64.powi(exponent));
        }
        assert_eq!(exp2(-1022.5), 0.0);
        assert_eq!(exp2(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp2(f64::INFINITY), 2.0_f64.powi(1023));
    }

    proptest! {
        #[test]
        fn exp2_is_close(x in -1021.0..1023.0_f64) {
            let error = exp2(x) / x.exp2() - 1.0;
            prop_assert!(error.abs() < 1e-7, "{error}");
        }

        #[test]
        fn more_time_never_leaves_more(a: u64, b: u64, millis in 1..86_400_000_u64) {
            let decay = Decay::new(Duration::from_millis(millis)).unwrap();
            let (short, long) = (a.min(b), a.max(b));
            let (more, less) = (decay.factor_nanos(short), decay.factor_nanos(long));
            // Two neighbouring polynomials may meet with an error of each.
            prop_assert!(less <= more * (1.0 + 2e-7), "{less} > {more}");
            prop_assert!((0.0..=1.0 + 1e-7).contains(&less));
        }
    }
}
