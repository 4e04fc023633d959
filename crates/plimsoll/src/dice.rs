//! Numbers that look random, and are the same in every run.

use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): a counter and a
/// function that mixes its bits. So one atomic addition is all the state there is.
///
/// Good enough for times and gaps; a crate for random numbers would be larger than all that needs them.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

/// The odd number nearest to 2⁶⁴ divided by the golden ratio.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Dice {
    /// Dice whose throws follow from `seed`.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub(crate) fn bits(&self) -> u64 {
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// At least 0 and below 1, each as likely as any other.
    pub(crate) fn unit(&self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From an exponential distribution with mean 1: the gaps of a Poisson process.
    pub(crate) fn exponential(&self) -> f64 {
        -libm::log(1.0 - self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_throws_are_those_of_the_reference() {
        // From the public reference implementation, seed 1234567.
        let dice = Dice::new(1_234_567);
        let throws = [(); 3].map(|()| dice.bits());
        assert_eq!(
            throws,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn means_are_as_told() {
        let dice = Dice::new(1);
        let mean = |throw: &dyn Fn() -> f64| (0..10_000).map(|_| throw()).sum::<f64>() / 10_000.0;
        let unit = mean(&|| dice.unit());
        assert!((unit - 0.5).abs() < 0.02, "{unit}");
        let exponential = mean(&|| dice.exponential());
        assert!((exponential - 1.0).abs() < 0.05, "{exponential}");
    }
}
