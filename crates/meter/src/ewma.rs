//! A mean that forgets.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use crate::decay::{Decay, DecayError};
use crate::sync::{self, AtomicU128, Ordering};
use crate::{Sample, Tick};

/// Exponentially weighted moving average of samples: the mean of all samples so
/// far, in which a sample has the weight e^(−age / time constant).
///
/// One atomic word, lock-free, no allocation. Each sample counts, however many
/// come at the same tick. One that comes late, or while a clock has stepped back,
/// counts like one at the youngest tick so far.
///
/// # What decays on read
///
/// A mean does not change when nothing happens; what fades is how much it tells.
/// So a read gives the mean and its *weight*, the number of samples it stands
/// for, and the weight decays. [`Average::toward`] draws a mean of little weight
/// to a prior value, which is how an endpoint that was bad long ago becomes like
/// any other again.
///
/// The textbook form, `mean += (1 − e^(−gap / τ)) × (sample − mean)`, weighs a
/// sample by the gap before it. Of several samples at one tick it takes the
/// first, and gives the others no weight at all.
///
/// # Precision
///
/// The mean has 24 significant bits. The weight stops at [`Self::WEIGHT_MAX`]:
/// beyond it, the average is one of about the last 16,384 samples, though they
/// span less than the time constant. That keeps the step of a single sample
/// above the rounding of the word, so the mean cannot stick, and is more samples
/// than a mean needs (the standard error of an exponential service time is then
/// 0.8 %).
pub struct Ewma {
    decay: Decay,
    word: AtomicU128,
}

/// A weighted mean, and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Average {
    /// The mean of the samples, by their weights.
    pub mean: f64,
    /// The sum of the weights of the samples: 1 for each new one, less for old
    /// ones. From 0, nothing that still counts, to [`Ewma::WEIGHT_MAX`].
    pub weight: f64,
}

/// The word, taken apart. A weight of 0 says that no sample came yet.
#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    mean: f32,
    weight: f32,
    /// The tick of the youngest sample, at which `weight` is meant.
    at: Tick,
}

// === impl Ewma ===

impl Ewma {
    /// The largest weight: 2¹⁴ samples.
    pub const WEIGHT_MAX: f64 = 16_384.0;

    /// An average without samples, which forgets with `time_constant`.
    ///
    /// # Errors
    ///
    /// As [`Decay::new`].
    pub fn new(time_constant: Duration) -> Result<Self, DecayError> {
        Decay::new(time_constant).map(Self::with_decay)
    }

    /// An average without samples, which forgets by `decay`.
    #[must_use]
    pub fn with_decay(decay: Decay) -> Self {
        Self {
            decay,
            word: AtomicU128::new(0),
        }
    }

    /// How it forgets.
    #[must_use]
    pub const fn decay(&self) -> Decay {
        self.decay
    }

    /// Adds a sample that was taken at `now`.
    #[inline]
    pub fn record(&self, now: Tick, sample: impl Into<Sample>) {
        let sample = sample.into();
        let seen = self.word.load(Ordering::Relaxed);
        let Ok(_) = sync::update(&self.word, seen, |word| {
            Ok::<_, Infallible>(State::unpack(word).with(&self.decay, now, sample).pack())
        });
    }

    /// The average as it is at `now`, or `None` before the first sample.
    #[must_use]
    #[inline]
    pub fn read(&self, now: Tick) -> Option<Average> {
        let state = State::unpack(self.word.load(Ordering::Relaxed));
        (state.weight > 0.0).then(|| Average {
            mean: f64::from(state.mean),
            weight: state.weight_at(&self.decay, now),
        })
    }

    /// The mean alone, or `None` before the first sample. Cheaper than
    /// [`read`](Self::read), for it needs no decay.
    #[must_use]
    #[inline]
    pub fn mean(&self) -> Option<f64> {
        let state = State::unpack(self.word.load(Ordering::Relaxed));
        (state.weight > 0.0).then(|| f64::from(state.mean))
    }

    /// Forgets all samples.
    pub fn clear(&self) {
        self.word.store(0, Ordering::Relaxed);
    }
}

impl fmt::Debug for Ewma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = State::unpack(self.word.load(Ordering::Relaxed));
        f.debug_struct("Ewma")
            .field("time_constant", &self.decay.time_constant())
            .field("mean", &state.mean)
            .field("weight", &state.weight)
            .field("at", &state.at)
            .finish()
    }
}

// === impl Average ===

impl Average {
    /// The mean, drawn toward `prior` as if that had been seen `prior_weight`
    /// times. With both weights 0 it is `prior`.
    #[must_use]
    #[inline]
    pub fn toward(self, prior: f64, prior_weight: f64) -> f64 {
        let weight = self.weight + prior_weight;
        if weight > 0.0 {
            prior + (self.mean - prior) * (self.weight / weight)
        } else {
            prior
        }
    }
}

// === impl State ===

impl State {
    #[inline]
    fn with(self, decay: &Decay, now: Tick, sample: Sample) -> Self {
        let value = f64::from(sample.get());
        let weight = (self.weight_at(decay, now) + 1.0).min(Ewma::WEIGHT_MAX);
        let mean = f64::from(self.mean);
        Self {
            mean: (mean + (value - mean) / weight) as f32,
            weight: weight as f32,
            at: self.at.max(now),
        }
    }

    #[inline]
    fn weight_at(self, decay: &Decay, now: Tick) -> f64 {
        let age = now.as_nanos().saturating_sub(self.at.as_nanos());
        f64::from(self.weight) * decay.factor_nanos(age)
    }

    #[inline]
    fn unpack(word: u128) -> Self {
        Self {
            mean: f32::from_bits((word >> 96) as u32),
            weight: f32::from_bits((word >> 64) as u32),
            at: Tick::from_nanos(word as u64),
        }
    }

    #[inline]
    fn pack(self) -> u128 {
        (u128::from(self.mean.to_bits()) << 96)
            | (u128::from(self.weight.to_bits()) << 64)
            | u128::from(self.at.as_nanos())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAU: Duration = Duration::from_secs(10);

    fn ewma() -> Ewma {
        Ewma::new(TAU).expect("ten seconds are accepted")
    }

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(nanos)
    }

    #[test]
    fn no_sample_is_not_zero() {
        let ewma = ewma();
        assert_eq!((ewma.read(at(5)), ewma.mean()), (None, None));
        ewma.record(at(5), Sample::ZERO);
        let average = Average {
            mean: 0.0,
            weight: 1.0,
        };
        assert_eq!(ewma.read(at(5)), Some(average));
        ewma.clear();
        assert_eq!(ewma.read(at(5)), None);
    }

    #[test]
    fn samples_at_one_tick_have_equal_weights() {
        let ewma = ewma();
        for millis in [10, 20, 60] {
            ewma.record(at(7), Duration::from_millis(millis));
        }
        let average = ewma.read(at(7)).unwrap();
        assert!((average.mean - 0.03).abs() < 1e-8, "{average:?}");
        assert_eq!(average.weight, 3.0);
    }

    #[test]
    fn a_clock_that_steps_back_loses_no_sample() {
        let ewma = ewma();
        ewma.record(at(u64::MAX / 2), Sample::new(1.0).unwrap());
        ewma.record(at(3), Sample::new(3.0).unwrap());
        let average = Average {
            mean: 2.0,
            weight: 2.0,
        };
        assert_eq!(ewma.read(at(4)), Some(average));
        assert_eq!(ewma.read(at(u64::MAX / 2)), Some(average));
    }

    #[test]
    fn the_weight_fades_and_the_mean_stays() {
        let ewma = ewma();
        ewma.record(at(0), true);
        let average = ewma.read(at(0).saturating_add(TAU)).unwrap();
        assert_eq!(average.mean, 1.0);
        assert!((average.weight - 0.367_879_4).abs() < 1e-6);
        let faded = ewma.read(Tick::MAX).unwrap();
        assert_eq!((faded.mean, faded.weight), (1.0, 0.0));
        assert_eq!(faded.toward(0.25, 4.0), 0.25);
        assert_eq!(faded.toward(0.5, 0.0), 0.5);
        // What comes after counts alone.
        ewma.record(Tick::MAX, false);
        assert_eq!(ewma.mean(), Some(0.0));
    }

    #[test]
    fn a_prior_weighs_as_much_as_it_says() {
        let average = Average {
            mean: 1.0,
            weight: 1.0,
        };
        assert_eq!(average.toward(0.0, 3.0), 0.25);
    }

    #[test]
    fn a_mean_of_very_many_samples_still_moves() {
        let ewma = ewma();
        for step in 0..200_000 {
            ewma.record(at(step), Sample::new(1.0).unwrap());
        }
        // A change of one in a thousand, far below the resolution of integers.
        for step in 200_000..400_000 {
            ewma.record(at(step), Sample::new(1.001).unwrap());
        }
        let average = ewma.read(at(399_999)).unwrap();
        assert_eq!(average.weight, Ewma::WEIGHT_MAX);
        assert!((average.mean - 1.001).abs() < 2e-3 * 1.001, "{average:?}");
        assert!(average.mean > 1.0, "{average:?}");
    }

    proptest! {
        /// The definition: Σ x e^(−age/τ) / Σ e^(−age/τ).
        #[test]
        fn it_is_the_weighted_mean_of_all_samples(
            samples in prop::collection::vec((0..5_000_u64, 0.0..100.0_f64), 1..200),
        ) {
            let ewma = ewma();
            let (mut now, mut seen) = (0, Vec::new());
            for (gap_millis, value) in samples {
                now += gap_millis * 1_000_000;
                ewma.record(at(now), Sample::new(value).unwrap());
                seen.push((now, value));
            }
            let weight = |tick: u64| (-((now - tick) as f64) / TAU.as_nanos() as f64).exp();
            let total: f64 = seen.iter().map(|&(tick, _)| weight(tick)).sum();
            let sum: f64 = seen.iter().map(|&(tick, value)| weight(tick) * value).sum();
            let average = ewma.read(at(now)).unwrap();
            prop_assert!((average.weight / total - 1.0).abs() < 1e-5);
            prop_assert!((average.mean - sum / total).abs() < 1e-4, "{average:?} {}", sum / total);
        }
    }
}
