//! Text within 80 columns.

use std::fmt::Write;
use std::time::Duration;

use crate::demo::line::COLUMNS;
use crate::demo::numbers;

/// Names that an error lists.
const NAMES_MAX: usize = 20;

/// `text` within `width` columns; what does not fit is cut, which is shown.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let printable = |character: char| {
        if character.is_control() {
            '\u{fffd}'
        } else {
            character
        }
    };
    if text.chars().count() <= width {
        return text.chars().map(printable).collect();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.map(printable).chain(['…']).collect()
}

/// Adds `text` in lines of at most [`COLUMNS`], each after `indent` spaces. A word that is longer has a line of its own.
pub(crate) fn wrap(into: &mut String, indent: usize, text: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let word = cut(word, usize::MAX);
        let length = word.chars().count();
        if width > 0 && indent + width + 1 + length <= COLUMNS {
            write!(into, " {word}").expect("a string takes everything");
            width += 1 + length;
        } else {
            if width > 0 {
                into.push('\n');
            }
            write!(into, "{:indent$}{word}", "").expect("a string takes everything");
            width = length;
        }
    }
    into.push('\n');
}

/// `12 s ago`, `4 min ago`.
pub(crate) fn ago(seconds: f64) -> String {
    format!("{} ago", roughly(seconds))
}

/// `12 s`, `4 min`, `3 h`, `2 d`.
pub(crate) fn roughly(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7_200.0 {
        format!("{:.0} min", (seconds / 60.0).floor())
    } else if seconds < 172_800.0 {
        format!("{:.0} h", (seconds / 3_600.0).floor())
    } else {
        format!("{:.0} d", (seconds / 86_400.0).floor())
    }
}

/// `48 ms`, or a dash.
pub(crate) fn time(seconds: Option<f64>) -> String {
    let duration = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
    numbers::if_known(duration, numbers::time)
}

/// `1 replica`, `3 replicas`.
pub(crate) fn counted(count: u32, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A few names, and how many more there are.
pub(crate) fn listed(names: &[String]) -> String {
    match names.len().saturating_sub(NAMES_MAX) {
        0 if names.is_empty() => "none".to_owned(),
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMES_MAX].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_filled_and_never_too_wide() {
        let mut text = String::new();
        wrap(&mut text, 4, &"word ".repeat(40));
        assert_eq!(text.lines().count(), 3);
        for line in text.lines() {
            assert!(
                line.len() <= COLUMNS && line.starts_with("    word"),
                "{line}"
            );
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_written() {
        assert_eq!(cut("a\u{1b}[2Jb", 80), "a\u{fffd}[2Jb");
        assert_eq!(cut("abcdef", 4), "abc…");
        let mut text = String::new();
        wrap(&mut text, 0, "a\u{7}b");
        assert_eq!(text, "a\u{fffd}b\n");
    }

    #[test]
    fn ages_are_one_number() {
        for (seconds, expected) in [
            (0.4, "0 s"),
            (119.0, "119 s"),
            (121.0, "2 min"),
            (7_300.0, "2 h"),
            (200_000.0, "2 d"),
        ] {
            assert_eq!(roughly(seconds), expected);
        }
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..22).map(|it| it.to_string()).collect();
        assert!(listed(&names).ends_with("19 and 2 more"));
        assert_eq!(listed(&[]), "none");
    }
}
