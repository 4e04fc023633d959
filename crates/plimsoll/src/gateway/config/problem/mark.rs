//! Letters of a text, shown in their line with a sign under them.

use std::fmt;
use std::ops::Range;

/// The most letters of a line that are shown.
const LETTERS_MAX: usize = 100;

/// So many letters are shown before the place if the line is too long to be shown as a whole.
const LETTERS_BEFORE: usize = 40;

/// A place in a text, and the line it is in.
///
/// Displays as two lines: that of the text, and one with `^` under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// From 1.
    pub(crate) line: usize,
    /// In letters, from 1.
    pub(crate) column: usize,
    /// The line, or a part of it.
    excerpt: String,
    /// Letters of the excerpt before the place.
    indent: usize,
    /// Letters of the place, at least one: the end of a line has a place too.
    width: usize,
}

impl Mark {
    /// The place of `span`, in bytes, as far as it is in the line where it begins.
    pub(crate) fn of(text: &str, span: &Range<usize>) -> Self {
        let start = boundary(text, span.start);
        let end = boundary(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let rest = &text[line_start..];
        let line = rest.split('\n').next().unwrap_or_default();
        let line = line.trim_end_matches('\r');
        let letters = |from: usize, to: usize| {
            let to = to.min(line_start + line.len());
            text.get(from..to).map_or(0, |part| part.chars().count())
        };
        let before = letters(line_start, start);
        let width = letters(start, end);
        let skipped = if line.chars().count() > LETTERS_MAX {
            before.saturating_sub(LETTERS_BEFORE)
        } else {
            0
        };
        let mut excerpt: String = line
            .chars()
            .skip(skipped)
            .take(LETTERS_MAX)
            // What moves the cursor would move the sign away from its place.
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        let mut indent = before - skipped;
        if skipped > 0 {
            excerpt.insert_str(0, "...");
            indent += 3;
        }
        let room = excerpt.chars().count().saturating_sub(indent);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: before + 1,
            excerpt,
            indent,
            width: width.min(room).max(1),
        }
    }
}

/// The nearest place at or before `at` that is between two letters.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        writeln!(f, " {number} | {}", self.excerpt)?;
        let (margin, before) = (" ".repeat(number.len()), " ".repeat(self.indent));
        write!(f, " {margin} | {before}{}", "^".repeat(self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shown(text: &str, span: Range<usize>) -> String {
        let mark = Mark::of(text, &span);
        format!("{}:{}\n{mark}", mark.line, mark.column)
    }

    #[test]
    fn a_place_is_shown_in_its_line() {
        let text = "one = 1\r\n\ttwo = \"zwölf\" # é\nthree";
        for (part, expected) in [
            ("one", "1:1\n 1 | one = 1\n   | ^^^"),
            (
                "\"zwölf\"",
                "2:8\n 2 |  two = \"zwölf\" # é\n   |        ^^^^^^^",
            ),
            ("three", "3:1\n 3 | three\n   | ^^^^^"),
        ] {
            let start = text.find(part).unwrap();
            assert_eq!(shown(text, start..start + part.len()), expected);
        }
    }

    #[test]
    fn places_at_ends_and_over_ends_have_a_sign_too() {
        assert_eq!(shown("", 0..0), "1:1\n 1 | \n   | ^");
        assert_eq!(shown("a = ", 4..4), "1:5\n 1 | a = \n   |     ^");
        assert_eq!(shown("a = [\n1\n]", 4..9), "1:5\n 1 | a = [\n   |     ^");
        assert_eq!(shown("é", 1..9), "1:1\n 1 | é\n   | ^");
        assert_eq!(shown("a\n", 2..2), "2:1\n 2 | \n   | ^");
        assert_eq!(shown("a", 7..9), "1:2\n 1 | a\n   |  ^");
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let text = format!("{}here{}", "x".repeat(500), "y".repeat(500));
        let shown = shown(&text, 500..504);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "1:501");
        assert!(lines[1].chars().count() < 120, "{shown}");
        let at = lines[2].find('^').unwrap();
        assert_eq!(&lines[1][at..at + 4], "here", "{shown}");
        assert!(lines[2].ends_with("^^^^"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn no_place_of_any_text_breaks_it(text in "(?s).{0,80}", start in 0_usize..200, length in 0_usize..200) {
            let mark = Mark::of(&text, &(start..start + length));
            let shown = mark.to_string();
            proptest::prop_assert_eq!(shown.matches('\n').count(), 1);
            proptest::prop_assert!(mark.line <= text.matches('\n').count() + 1);
        }
    }
}
