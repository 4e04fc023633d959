//! Rules over plain text: marks, foreign words, width, white space.

use std::collections::BTreeSet;

use crate::tokens;
use crate::tree::{File, Finding};

/// Columns of a line of Rust or Markdown. rustfmt keeps code at 100; this bounds what it does not
/// touch: comments, strings and prose.
pub(crate) const MAX_COLUMNS: usize = 140;

/// Marks of unfinished work, whole words in capitals. Put together here so that this file has none.
const MARKS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Places outside the project: folders of one machine, registries of one network.
const FOREIGN: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("sha", "red/"),
    concat!("/ro", "ot/"),
    concat!("artif", "actory"),
];

/// [`MARKS`] in any text file.
pub(crate) fn unfinished_marks(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        for mark in MARKS.iter().filter(|mark| has_word(line, mark)) {
            let wrong = format!("has the mark {mark}");
            findings.push(Finding::new(
                &file.path,
                number,
                wrong,
                "finish it, or say what is so",
            ));
        }
    }
    findings
}

/// [`FOREIGN`] in any text file, and numbers of issues in Rust and Markdown: the repository must be
/// understood by someone who has nothing else.
pub(crate) fn foreign_words(file: &File) -> Vec<Finding> {
    let prose = ["rs", "md"].contains(&file.extension());
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        for word in FOREIGN.iter().filter(|word| starts_word(line, word)) {
            let wrong = format!("names `{word}`, which is outside the project");
            findings.push(Finding::new(&file.path, number, wrong, "say it without"));
        }
        if prose && has_issue_number(line) {
            let right = "write the reason itself";
            findings.push(Finding::new(
                &file.path,
                number,
                "refers to an issue by number",
                right,
            ));
        }
    }
    findings
}

/// Lines of Rust and Markdown over [`MAX_COLUMNS`]. Tables and addresses cannot be folded, and neither
/// can a string that has the line to itself or goes over several: it is data, byte by byte.
pub(crate) fn wide_lines(file: &File) -> Vec<Finding> {
    if !["rs", "md"].contains(&file.extension()) {
        return Vec::new();
    }
    let data = match file.extension() {
        "rs" => tokens::lines_of_long_strings(tokens::parse(&file.path, &file.text)),
        _ => BTreeSet::new(),
    };
    let foldable = |line: &str| {
        let table = line.trim_start_matches(['/', '!', ' ']).starts_with('|');
        let string = line.trim_start().starts_with('"') && line.ends_with(['"', ',']);
        let address = ["https://", "http://", "]("]
            .iter()
            .any(|part| line.contains(part));
        !(table || string || address)
    };
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let columns = line.chars().count();
        if columns > MAX_COLUMNS && foldable(line) && !data.contains(&number) {
            let wrong = format!("has {columns} columns");
            let right = format!("fold it: at most {MAX_COLUMNS}");
            findings.push(Finding::new(&file.path, number, wrong, right));
        }
    }
    findings
}

/// White space before the end of a line.
pub(crate) fn trailing_space(file: &File) -> Vec<Finding> {
    if is_verbatim(file) {
        return Vec::new();
    }
    let ends_in_space = |line: &str| line.ends_with([' ', '\t', '\r']);
    file.lines()
        .filter(|(_, line)| ends_in_space(line))
        .map(|(number, _)| {
            Finding::new(
                &file.path,
                number,
                "ends in white space",
                "end the line with its last word",
            )
        })
        .collect()
}

/// A file that does not end with exactly one newline.
pub(crate) fn final_newline(file: &File) -> Option<Finding> {
    let last = file.text.lines().count();
    if file.text.is_empty() || is_verbatim(file) {
        None
    } else if !file.text.ends_with('\n') {
        Some(Finding::new(
            &file.path,
            last,
            "does not end with a newline",
            "add one",
        ))
    } else if file.text.ends_with("\n\n") {
        Some(Finding::new(
            &file.path,
            last,
            "ends with an empty line",
            "strike it",
        ))
    } else {
        None
    }
}

/// Snapshots hold what a program wrote, byte by byte.
fn is_verbatim(file: &File) -> bool {
    file.extension() == "snap"
}

/// Whether `word` stands in `line` with no letter, digit or underscore on either side.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether `word` stands in `line` and is not the tail of a longer word or path.
fn starts_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| is_word(letter) || letter == '.' || letter == '}')
    })
}

/// Whether the line has `#` and digits where a sentence would have a word: not a colour, not a format.
fn has_issue_number(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let digits: usize = line[at + 1..]
            .chars()
            .take_while(char::is_ascii_digit)
            .count();
        let after = line[at + 1 + digits..].chars().next();
        digits > 0
            && before.is_some_and(|letter| letter == ' ' || letter == '(')
            && !after.is_some_and(is_word)
    })
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_whole_words_in_capitals() {
        let mark = MARKS[0];
        assert_eq!(
            unfinished_marks(&File::new("a.toml", &format!("a\n# {mark}: later\n")))[0].line,
            2
        );
        for mark in MARKS {
            assert_eq!(
                unfinished_marks(&File::new("a.md", &format!("({mark})"))).len(),
                1,
                "{mark}"
            );
            let longer = format!("{mark}S {} MY_{mark}", mark.to_lowercase());
            assert_eq!(unfinished_marks(&File::new("a.md", &longer)), [], "{mark}");
        }
    }

    #[test]
    fn places_outside_the_project_are_foreign() {
        for word in FOREIGN {
            let text = format!("see {word}notes for more");
            assert_eq!(
                foreign_words(&File::new("a.yaml", &text)).len(),
                1,
                "{word}"
            );
        }
        assert_eq!(
            foreign_words(&File::new("a.md", "frame.work and un{}\n")),
            []
        );
        let tail = format!("crate/net{}x", FOREIGN[0].trim_end_matches('/'));
        assert_eq!(foreign_words(&File::new("a.md", &tail)), []);
    }

    #[test]
    fn numbers_of_issues_are_foreign_and_colours_and_formats_are_not() {
        for text in ["closes %12", "as said (%7)", "see %123."] {
            let text = text.replace('%', "#"); // so that this file refers to none
            assert_eq!(foreign_words(&File::new("a.md", &text)).len(), 1, "{text}");
        }
        for text in ["{:#010x}", "# 1. Title", "a#1", "r#\"1\"#", "color: #12ab"] {
            assert_eq!(foreign_words(&File::new("a.rs", text)), [], "{text}");
        }
    }

    #[test]
    fn wide_prose_is_folded_and_tables_and_addresses_are_not() {
        let wide = "é".repeat(MAX_COLUMNS + 1);
        assert_eq!(wide_lines(&File::new("a.md", &wide)).len(), 1);
        assert_eq!(
            wide_lines(&File::new("a.rs", &format!("//! {wide}"))).len(),
            1
        );
        assert_eq!(wide_lines(&File::new("a.md", &wide[..2 * MAX_COLUMNS])), []);
        assert_eq!(wide_lines(&File::new("a.toml", &wide)), []);
        for text in [
            format!("| {wide} |"),
            format!("//! | {wide}"),
            format!("https://{wide}"),
            format!("  \"{wide}\","),
        ] {
            assert_eq!(wide_lines(&File::new("a.md", &text)), []);
        }
        let snapshot = format!("fn f() {{ g(r\"\n{wide}\n\"); }}\n");
        assert_eq!(wide_lines(&File::new("a.rs", &snapshot)), []);
    }

    #[test]
    fn white_space_at_the_end_of_a_line_is_found() {
        for text in ["a \nb\n", "a\t\n", "a\r\n"] {
            let found = trailing_space(&File::new("a.toml", text));
            assert_eq!(found.len(), 1, "{text:?}");
            assert_eq!(found[0].line, 1);
        }
        assert_eq!(trailing_space(&File::new("a.snap", "a \n")), []);
        assert_eq!(trailing_space(&File::new("a.rs", " a\n\n b\n")), []);
    }

    #[test]
    fn a_file_ends_with_exactly_one_newline() {
        assert!(final_newline(&File::new("a.rs", "a")).is_some());
        assert!(final_newline(&File::new("a.rs", "a\n\n")).is_some());
        assert!(final_newline(&File::new("a.rs", "a\n")).is_none());
        assert!(final_newline(&File::new("a.rs", "")).is_none());
        assert!(final_newline(&File::new("a.snap", "a")).is_none());
    }
}
