//! Which bin of a logarithmic histogram a duration is in.

/// Bins to an octave. A bin then spans at most a ratio of 1.0406, so the value
/// in its middle is within 2 % of everything in it.
const BINS_PER_OCTAVE: f64 = 17.6;

/// The largest relative error of a bin's [`middle`], 2 %.
#[cfg(all(test, not(loom)))]
pub(super) const ERROR_MAX: f64 = 0.02;

/// The shortest duration that has a bin of its own size, 1 µs. All shorter ones
/// are in the first bin.
pub(super) const SHORTEST_NANOS: u64 = 1_000;

/// The longest such duration, 1,000 s. All longer ones are in the last bin too.
pub(super) const LONGEST_NANOS: u64 = 1_000_000_000_000;

/// Bins: the first, and 527 up to the longest.
pub(super) const BINS: usize = 528;

/// The bin of a duration.
///
/// The logarithm is the exponent of the floating point number plus a cubic in
/// its mantissa that meets the logarithm at both ends and follows it to 1 % of
/// slope (DDSketch calls it cubic interpolation). Whatever it lacks in accuracy
/// only moves the limits of bins, which are computed from it and never from the
/// true logarithm.
#[inline]
pub(super) fn bin_of(nanos: u64) -> usize {
    const MANTISSA: u64 = (1 << 52) - 1;
    /// What the cubic gives for the logarithm of [`SHORTEST_NANOS`].
    const ORIGIN: f64 = 9.964_972_577;
    if nanos < SHORTEST_NANOS {
        return 0;
    }
    let bits = (nanos.min(LONGEST_NANOS).cast_signed() as f64).to_bits();
    let exponent = (bits >> 52).cast_signed() - 1023;
    let s = f64::from_bits((bits & MANTISSA) | 1.0_f64.to_bits()) - 1.0;
    let fraction = s * (10.0 / 7.0 + s * (-3.0 / 5.0 + s * (6.0 / 35.0)));
    let octaves = exponent as f64 + fraction - ORIGIN;
    // Not negative; the conversion stops at 0 if rounding says otherwise.
    1 + ((octaves * BINS_PER_OCTAVE) as usize).min(BINS - 2)
}

/// The shortest duration of a bin.
fn lower_limit(bin: usize) -> u64 {
    let (mut low, mut high) = (0, LONGEST_NANOS);
    while low < high {
        let middle = u64::midpoint(low, high);
        if bin_of(middle) < bin {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The duration to show for a bin, in nanoseconds: the one whose relative error
/// is the same to both ends.
pub(super) fn middle(bin: usize) -> u64 {
    let low = lower_limit(bin) as f64;
    let high = lower_limit(bin + 1) as f64;
    (2.0 * low * high / (low + high)) as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limits_have_the_first_and_the_last_bin() {
        assert_eq!(bin_of(0), 0);
        assert_eq!(bin_of(SHORTEST_NANOS - 1), 0);
        assert_eq!(bin_of(SHORTEST_NANOS), 1);
        assert_eq!(bin_of(LONGEST_NANOS), BINS - 1);
        assert_eq!(bin_of(u64::MAX), BINS - 1);
    }

    #[test]
    fn no_bin_is_wider_than_the_error_allows() {
        for bin in 1..BINS {
            let (low, high) = (lower_limit(bin), lower_limit(bin + 1) - 1);
            assert!(low <= high, "bin {bin} is empty");
            assert_eq!((bin_of(low), bin_of(low - 1)), (bin, bin - 1));
            for edge in [low, high] {
                let error = middle(bin) as f64 / edge as f64 - 1.0;
                assert!(error.abs() <= ERROR_MAX, "bin {bin}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_longer_duration_is_never_in_a_lower_bin(a in 0..2 * LONGEST_NANOS, by in 0..1_000_u64) {
            prop_assert!(bin_of(a) <= bin_of(a + by));
            prop_assert!(bin_of(a + by) <= bin_of((a + by).saturating_mul(2)));
        }
    }
}
