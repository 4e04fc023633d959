//! The trailer `cpu_usage` of Kratos: processor load in thousandths.
//!
//! Servers of Kratos's warden send it with every unary answer, its clients'
//! `wrr` balancer divides by it. The value is a decimal number without sign;
//! 1000 is the whole allowance, and more is possible where a limit is soft.
//! Kratos ignores what cannot be read and what is not above 0, and sends
//! nothing at 0, so 0 means "not said" in both directions.

/// The name of the trailer. An underscore is legal in it, but some proxies drop
/// such fields.
pub const HEADER: &str = "cpu_usage";

/// The largest value: a thousand times the allowance. More is read as this.
pub const PERMILLE_MAX: u64 = 1_000_000;

/// The longest value that is read, in bytes: the digits of an `i64`, its sign,
/// and some zeros before.
pub const VALUE_BYTES_MAX: usize = 32;

/// Reads a value as a fraction of the allowance: `500` is 0.5.
///
/// `None` for what is to be ignored: no decimal number of at most 64 bits, or
/// not above 0. Go's `ParseInt`, which Kratos uses, takes a sign.
///
/// ```
/// use plimsoll_wire::cpu_usage;
///
/// assert_eq!(cpu_usage::read(b"1250"), Some(1.25));
/// assert_eq!(cpu_usage::read(b"-1"), None);
/// assert_eq!(cpu_usage::write(0.1234).as_deref(), Some("123"));
/// ```
#[must_use]
pub fn read(value: &[u8]) -> Option<f64> {
    if value.len() > VALUE_BYTES_MAX {
        return None;
    }
    let permille: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    let permille = u64::try_from(permille)
        .ok()
        .filter(|permille| *permille > 0)?;
    Some(permille.min(PERMILLE_MAX) as f64 / 1_000.0)
}

/// Writes a fraction of the allowance as a value: 0.5 is `500`.
///
/// Rounds to the nearest thousandth, but what is above 0 to 1 at least: an idle
/// processor is still better news than none. `None` for 0 and for what is no
/// number or negative; more than [`PERMILLE_MAX`] is written as that.
#[must_use]
pub fn write(utilization: f64) -> Option<String> {
    let is_said = utilization > 0.0;
    // The cast of a float saturates.
    let permille = || ((utilization * 1_000.0).round() as u64).clamp(1, PERMILLE_MAX);
    is_said.then(|| permille().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_thousandths_and_the_rest_is_ignored() {
        for (value, expected) in [
            ("1", Some(0.001)),
            ("500", Some(0.5)),
            ("+500", Some(0.5)),
            ("0500", Some(0.5)),
            ("1000", Some(1.0)),
            ("1250", Some(1.25)),
            ("1000000", Some(1_000.0)),
            ("1000001", Some(1_000.0)),
            ("9223372036854775807", Some(1_000.0)),
            ("9223372036854775808", None),
            ("0", None),
            ("-0", None),
            ("-500", None),
            ("", None),
            (" 500", None),
            ("500 ", None),
            ("500.5", None),
            ("5e2", None),
            ("0x1f4", None),
            ("NaN", None),
            ("\u{661}", None),
            ("00000000000000000000000000000001", Some(0.001)),
            ("000000000000000000000000000000001", None),
        ] {
            assert_eq!(read(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!(read(&[0xff]), None);
    }

    #[test]
    fn fractions_are_rounded_and_clamped() {
        for (utilization, expected) in [
            (0.5, Some("500")),
            (1.2345, Some("1235")),
            (0.0004, Some("1")),
            (f64::MIN_POSITIVE, Some("1")),
            (1e300, Some("1000000")),
            (f64::INFINITY, Some("1000000")),
            (0.0, None),
            (-0.1, None),
            (f64::NAN, None),
        ] {
            assert_eq!(write(utilization).as_deref(), expected, "{utilization}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_to_the_thousandth(permille in 1..=PERMILLE_MAX) {
            let utilization = permille as f64 / 1_000.0;
            let text = write(utilization).unwrap();
            prop_assert_eq!(read(text.as_bytes()), Some(utilization));
        }

        #[test]
        fn any_bytes_are_nothing_or_within_bounds(value in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(utilization) = read(&value) {
                prop_assert!(utilization > 0.0 && utilization <= 1_000.0);
            }
        }
    }
}
