//! Lengths of time as Go writes them: `1m30s`, `2.5h`, `300ms`, `0`.

use std::time::Duration;

/// Units, the longer of two that begin alike first, and their nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
];

/// More than Go's largest, 292 years, cannot be told in its nanoseconds.
const NANOS_MAX: f64 = i64::MAX as f64;

/// A length of time, and whether it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) negative: bool,
    pub(super) length: Duration,
}

/// Reads a length of time; `None` if it is none.
pub(super) fn parse(text: &str) -> Option<Signed> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        let length = Duration::ZERO;
        return Some(Signed {
            negative: false,
            length,
        });
    }
    let mut nanos = 0.0;
    loop {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(end);
        let (unit, factor) = UNITS.iter().find(|(unit, _)| {
            tail.strip_prefix(unit)
                .is_some_and(|after| !after.starts_with(char::is_alphabetic))
        })?;
        nanos += number.parse::<f64>().ok()? * factor;
        rest = &tail[unit.len()..];
        if rest.is_empty() {
            break;
        }
    }
    (nanos <= NANOS_MAX).then(|| Signed {
        negative: negative && nanos > 0.0,
        length: Duration::from_nanos(nanos.round() as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_go_reads_them() {
        for (text, negative, millis) in [
            ("0", false, 0),
            ("0s", false, 0),
            ("-0s", false, 0),
            ("60s", false, 60_000),
            ("+1m30s", false, 90_000),
            ("2m3s", false, 123_000),
            ("1h1s", false, 3_601_000),
            ("61984ms", false, 61_984),
            ("1.5h", false, 5_400_000),
            ("-1m23s", true, 83_000),
            ("2000000ns", false, 2),
            ("2000µs", false, 2),
        ] {
            let length = Duration::from_millis(millis);
            assert_eq!(parse(text), Some(Signed { negative, length }), "{text}");
        }
        for text in [
            "", "-", "5", "s", "5 s", "5x", "1h5", "1.2.3s", "1e3s", "9999999h", "5sec",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
