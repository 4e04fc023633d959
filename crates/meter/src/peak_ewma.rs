//! A peak that decays.

use std::fmt;
use std::time::Duration;

use crate::decay::{Decay, DecayError};
use crate::sync::{self, AtomicU128, Ordering};
use crate::{Sample, Tick};

/// A peak-sensitive moving average: it jumps to a higher sample at once, and
/// decays by e in each time constant. At any time it is
///
/// > max over all samples of sample × e^(−age / time constant)
///
/// One atomic word, lock-free, no allocation. A sample below the peak reads the
/// word and does not write it, so an endpoint that all threads use stays in all
/// their caches. A maximum loses none of the samples that come at the same
/// tick. A sample that comes late, or while a clock has stepped back, counts
/// like one at the tick of the peak.
///
/// # Beside Finagle's
///
/// Finagle's peak EWMA, from which the idea is, also jumps up at once, but then
/// comes down toward the lower samples (`cost × w + sample × (1 − w)`), and only
/// without samples toward zero. Here it comes down toward zero, and samples hold
/// it up. Both forget a peak with the same time constant, and neither falls
/// below what the samples say now. Finagle's form costs a write for each sample,
/// and gives no weight to the second of two samples at one tick.
pub struct PeakEwma {
    decay: Decay,
    word: AtomicU128,
}

/// The word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Peak {
    /// −0.0 before the first sample, whose bits are not those of a sample of 0.
    value: f64,
    /// The tick at which the sample came.
    at: Tick,
}

/// The sample is below the peak.
struct NotHigher;

// === impl PeakEwma ===

impl PeakEwma {
    /// A peak without samples, which decays with `time_constant`.
    ///
    /// # Errors
    ///
    /// As [`Decay::new`].
    pub fn new(time_constant: Duration) -> Result<Self, DecayError> {
        Decay::new(time_constant).map(Self::with_decay)
    }

    /// A peak without samples, which decays by `decay`.
    #[must_use]
    pub fn with_decay(decay: Decay) -> Self {
        Self {
            decay,
            word: AtomicU128::new(Peak::NONE.pack()),
        }
    }

    /// How it decays.
    #[must_use]
    pub const fn decay(&self) -> Decay {
        self.decay
    }

    /// Adds a sample that was taken at `now`.
    #[inline]
    pub fn record(&self, now: Tick, sample: impl Into<Sample>) {
        let sample = f64::from(sample.into().get());
        let seen = self.word.load(Ordering::Relaxed);
        let changed = sync::update(&self.word, seen, |word| {
            let peak = Peak::unpack(word);
            if peak.is_some() && sample <= peak.value_at(&self.decay, now) {
                return Err(NotHigher);
            }
            Ok(Peak {
                value: sample,
                at: peak.at.max(now),
            }
            .pack())
        });
        // A sample that is not higher changes nothing.
        changed.ok();
    }

    /// The peak as it has decayed until `now`, or `None` before the first
    /// sample. Before the tick of the peak it has not decayed.
    #[must_use]
    #[inline]
    pub fn read(&self, now: Tick) -> Option<f64> {
        let peak = Peak::unpack(self.word.load(Ordering::Relaxed));
        peak.is_some().then(|| peak.value_at(&self.decay, now))
    }

    /// Forgets all samples.
    pub fn clear(&self) {
        self.word.store(Peak::NONE.pack(), Ordering::Relaxed);
    }
}

impl fmt::Debug for PeakEwma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peak = Peak::unpack(self.word.load(Ordering::Relaxed));
        f.debug_struct("PeakEwma")
            .field("time_constant", &self.decay.time_constant())
            .field("value", &peak.is_some().then_some(peak.value))
            .field("at", &peak.at)
            .finish()
    }
}

// === impl Peak ===

impl Peak {
    const NONE: Self = Self {
        value: -0.0,
        at: Tick::ZERO,
    };

    #[inline]
    fn is_some(self) -> bool {
        self.value.is_sign_positive()
    }

    #[inline]
    fn value_at(self, decay: &Decay, now: Tick) -> f64 {
        let age = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.value * decay.factor_nanos(age)
    }

    #[inline]
    fn unpack(word: u128) -> Self {
        Self {
            value: f64::from_bits((word >> 64) as u64),
            at: Tick::from_nanos(word as u64),
        }
    }

    #[inline]
    fn pack(self) -> u128 {
        (u128::from(self.value.to_bits()) << 64) | u128::from(self.at.as_nanos())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAU: Duration = Duration::from_secs(1);

    fn peak() -> PeakEwma {
        PeakEwma::new(TAU).expect("a second is accepted")
    }

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(nanos)
    }

    #[test]
    fn no_sample_is_not_zero() {
        let peak = peak();
        assert_eq!(peak.read(at(9)), None);
        peak.record(at(9), Sample::ZERO);
        assert_eq!(peak.read(at(9)), Some(0.0));
        peak.clear();
        assert_eq!(peak.read(at(9)), None);
    }

    #[test]
    fn it_jumps_up_at_once_and_comes_down_slowly() {
        let peak = peak();
        peak.record(at(0), Duration::from_millis(125));
        peak.record(at(1), Duration::from_millis(500));
        assert_eq!(peak.read(at(1)), Some(0.5));
        peak.record(at(1), Duration::from_millis(250)); // changes nothing
        assert_eq!(peak.read(at(1)), Some(0.5));
        let later = at(1).saturating_add(TAU);
        let decayed = peak.read(later).unwrap();
        assert!((decayed / 0.5 - (-1.0_f64).exp()).abs() < 1e-6, "{decayed}");
        peak.record(later, Duration::from_millis(250)); // above what is left
        assert_eq!(peak.read(later), Some(0.25));
        assert_eq!(peak.read(Tick::MAX), Some(0.0));
    }

    #[test]
    fn a_clock_that_steps_back_loses_no_sample() {
        let peak = peak();
        peak.record(at(u64::MAX / 2), Duration::from_secs(1));
        assert_eq!(peak.read(at(0)), Some(1.0));
        peak.record(at(0), Duration::from_secs(2));
        assert_eq!(peak.read(at(0)), Some(2.0));
        assert_eq!(peak.read(at(u64::MAX / 2)), Some(2.0));
    }

    proptest! {
        /// The definition, by way of the list of all samples.
        #[test]
        fn it_is_the_highest_of_the_decayed_samples(
            samples in prop::collection::vec((0..2_000_u64, 0.0..100.0_f64), 1..100),
        ) {
            let peak = peak();
            let (mut now, mut seen) = (0, Vec::new());
            for (gap_millis, value) in samples {
                now += gap_millis * 1_000_000;
                peak.record(at(now), Sample::new(value).unwrap());
                seen.push((now, value));
                let weight = |tick: u64| (-((now - tick) as f64) / TAU.as_nanos() as f64).exp();
                let highest = seen.iter().map(|&(tick, x)| x * weight(tick)).fold(0.0, f64::max);
                let read = peak.read(at(now)).unwrap();
                prop_assert!((read - highest).abs() <= 1e-5 * highest, "{read} {highest}");
            }
        }
    }
}
