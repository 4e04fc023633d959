//! How numbers are written for people.

use std::time::Duration;

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Two or three digits and a unit: `0.4 ms`, `48 ms`, `1.20 s`, `30 s`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let millis = seconds * 1e3;
    // The bounds are where rounding would make a digit too many.
    if millis < 9.95 {
        format!("{millis:.1} ms")
    } else if millis < 999.5 {
        format!("{millis:.0} ms")
    } else if seconds < 9.995 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// [`time`], marked as an estimate: quantiles are known only to a bucket of the histogram.
pub(crate) fn estimate(duration: Duration) -> String {
    format!("~{}", time(duration))
}

/// What `write` makes of it, or a dash for what is not known.
pub(crate) fn if_known<T>(value: Option<T>, write: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), write)
}

/// Minutes and seconds, `3:07`; with hours `1:03:07`.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (123_456, "123,456"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn times_have_a_unit_and_few_digits() {
        for (micros, expected) in [
            (0, "0.0 ms"),
            (420, "0.4 ms"),
            (9_949, "9.9 ms"),
            (9_951, "10 ms"),
            (48_200, "48 ms"),
            (999_400, "999 ms"),
            (999_600, "1.00 s"),
            (1_204_000, "1.20 s"),
            (9_996_000, "10 s"),
            (30_000_000, "30 s"),
        ] {
            assert_eq!(time(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_what_is_not_exact_has_a_mark() {
        assert_eq!(if_known(None, estimate), "–");
        assert_eq!(if_known(Some(Duration::ZERO), estimate), "~0.0 ms");
    }

    #[test]
    fn clocks_show_hours_only_when_there_are_any() {
        for (seconds, expected) in [
            (0, "0:00"),
            (187, "3:07"),
            (3_599, "59:59"),
            (3_787, "1:03:07"),
        ] {
            assert_eq!(clock(Duration::from_secs(seconds)), expected);
        }
    }
}
