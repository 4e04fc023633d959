//! Numbers as the text formats write them.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::TextFormat;

/// Nanoseconds in a second.
const NANOS: f64 = 1e9;

/// Appends the shortest decimal text that reads back as the same value.
///
/// The form is that of Go's `strconv.FormatFloat(value, 'g', -1, 64)`, which
/// the reference implementations use: an exponent of at least two digits below
/// 1e-4 and from 1e6 on. OpenMetrics asks for the same in `le` labels (section
/// "Considerations: Canonical Numbers"), with `.0` after whole numbers.
pub(super) fn push_float(out: &mut String, value: f64, format: TextFormat) {
    if value.is_nan() {
        out.push_str("NaN");
        return;
    }
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        push_scientific(out, value);
        return;
    }
    push(out, format_args!("{value}"));
    if format == TextFormat::OpenMetrics && value.fract() == 0.0 {
        out.push_str(".0");
    }
}

/// Appends `1e-05` where Rust's own format would give `1e-5`.
fn push_scientific(out: &mut String, value: f64) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    push(out, format_args!("{mantissa}e{sign}{digits:0>2}"));
}

/// Appends a count.
pub(super) fn push_integer(out: &mut String, value: u64) {
    push(out, format_args!("{value}"));
}

/// Appends a whole number with its sign.
pub(super) fn push_whole(out: &mut String, value: i128) {
    push(out, format_args!("{value}"));
}

/// Appends a bucket bound in seconds, in canonical form.
///
/// Up to [`super::MAX_BOUND`] the nanoseconds are exact in an `f64`, so the
/// division yields the float nearest to the true value, and its shortest text
/// is the bound as a person would write it.
pub(super) fn push_bound(out: &mut String, bound: Duration, format: TextFormat) {
    push_float(out, bound.as_nanos() as f64 / NANOS, format);
}

/// Appends a duration in seconds, exactly, to the last nanosecond.
///
/// A float would lose nanoseconds of a sum after 104 days of observations.
/// Whoever reads the text may round; the writer does not.
pub(super) fn push_seconds(out: &mut String, duration: Duration) {
    push(out, format_args!("{}", duration.as_secs()));
    let fraction = duration.subsec_nanos();
    if fraction != 0 {
        let digits = format!("{fraction:09}");
        push(out, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

fn push(out: &mut String, arguments: fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn float(value: f64, format: TextFormat) -> String {
        let mut out = String::new();
        push_float(&mut out, value, format);
        out
    }

    fn seconds(duration: Duration) -> String {
        let mut out = String::new();
        push_seconds(&mut out, duration);
        out
    }

    #[test]
    fn floats_have_the_canonical_form() {
        // value, 0.0.4, OpenMetrics
        for (value, plain, open_metrics) in [
            (0.0, "0", "0.0"),
            (-0.0, "-0", "-0.0"),
            (1.0, "1", "1.0"),
            (3.9, "3.9", "3.9"),
            (0.005, "0.005", "0.005"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "1e-05"),
            (1e-10, "1e-10", "1e-10"),
            (100_000.0, "100000", "100000.0"),
            (1e6, "1e+06", "1e+06"),
            (-1_234_567.0, "-1.234567e+06", "-1.234567e+06"),
            (1e100, "1e+100", "1e+100"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!(float(value, TextFormat::Prometheus), plain);
            assert_eq!(float(value, TextFormat::OpenMetrics), open_metrics);
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (secs, nanos, expected) in [
            (0, 0, "0"),
            (0, 1, "0.000000001"),
            (1, 500_000_000, "1.5"),
            (2, 0, "2"),
            (10, 10, "10.00000001"),
            (u64::MAX, 999_999_999, "18446744073709551615.999999999"),
        ] {
            assert_eq!(seconds(Duration::new(secs, nanos)), expected);
        }
    }

    proptest! {
        #[test]
        fn floats_read_back_as_written(value in prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL) {
            for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
                let read: f64 = float(value, format).parse().unwrap();
                prop_assert_eq!(read.to_bits(), value.to_bits());
            }
        }

        #[test]
        fn seconds_lose_nothing(duration in any::<Duration>()) {
            let text = seconds(duration);
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let read: u128 = format!("{whole}{fraction:0<9}").parse().unwrap();
            prop_assert_eq!(read, duration.as_nanos());
        }

        #[test]
        fn different_bounds_have_different_texts(left in 0_u64..=1 << 53, right in 0_u64..=1 << 53) {
            prop_assume!(left != right);
            let text = |nanos| {
                let mut out = String::new();
                push_bound(&mut out, Duration::from_nanos(nanos), TextFormat::OpenMetrics);
                out
            };
            prop_assert_ne!(text(left), text(right));
        }
    }
}
