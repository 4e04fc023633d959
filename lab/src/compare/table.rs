//! Tables for a terminal and for Markdown.

use std::fmt::{self, Write};

/// Columns of the terminal that text is folded to. Tables are made to fit.
pub(super) const WIDTH: usize = 100;

/// A title, columns and rows. The first column is set left, the others right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Rows; a short one is filled with empty cells.
    pub rows: Vec<Vec<String>>,
}

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was measured, on what.
    pub heading: Vec<String>,
    /// The figures.
    pub tables: Vec<Table>,
    /// What a reader must know to judge them.
    pub notes: Vec<String>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|&name| name.into()).collect(),
            rows: Vec::new(),
        }
    }

    /// Widths of the columns, in characters.
    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let head = &self.columns[column];
            cells
                .chain([head])
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        (0..self.columns.len()).map(width).collect()
    }

    fn markdown(&self, to: &mut String) -> fmt::Result {
        writeln!(to, "**{}**\n", self.title)?;
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        writeln!(to, "{}", line(&self.columns))?;
        let rule: Vec<String> = (0..self.columns.len())
            .map(|column| if column == 0 { "---" } else { "---:" }.into())
            .collect();
        writeln!(to, "{}", line(&rule))?;
        for row in &self.rows {
            writeln!(to, "{}", line(row))?;
        }
        writeln!(to)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let widths = self.widths();
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            let mut line = String::new();
            for (column, &width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                if column == 0 {
                    write!(line, "  {cell:<width$}")?;
                } else {
                    write!(line, "  {cell:>width$}")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Report {
    /// The same as Markdown: tables, and lists for the rest.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for line in &self.heading {
            // Writing to a String cannot fail; nor can the table, which does nothing else.
            writeln!(text, "- {line}").ok();
        }
        text.push('\n');
        for table in &self.tables {
            table.markdown(&mut text).ok();
        }
        for note in &self.notes {
            writeln!(text, "- {note}").ok();
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.heading {
            writeln!(f, "{}", fold(line, ""))?;
        }
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        for note in &self.notes {
            write!(f, "\n- {}", fold(note, "  "))?;
        }
        Ok(())
    }
}

/// Breaks a line at spaces to at most [`WIDTH`] columns; further lines begin with `indent`.
fn fold(line: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut column = indent.len();
    for word in line.split(' ') {
        let len = word.chars().count();
        if column + 1 + len > WIDTH && !text.is_empty() {
            text.push('\n');
            text.push_str(indent);
            column = indent.len();
        } else if !text.is_empty() {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += len;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut table = Table::new("Things", &["peer", "µs", "req/s"]);
        table
            .rows
            .push(vec!["haproxy".into(), "15.4 (15–16)".into(), "9".into()]);
        table.rows.push(vec!["direct".into(), "–".into()]);
        Report {
            heading: vec!["A machine.".into()],
            tables: vec![table],
            notes: vec!["A note.".into()],
        }
    }

    #[test]
    fn columns_line_up_in_the_terminal() {
        let expected = "A machine.\n\nThings\n  \
            peer               µs  req/s\n  \
            haproxy  15.4 (15–16)      9\n  \
            direct              –\n\n- A note.";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn markdown_is_a_table() {
        let expected = "- A machine.\n\n**Things**\n\n| peer | µs | req/s |\n| --- | ---: | ---: |\n\
            | haproxy | 15.4 (15–16) | 9 |\n| direct | – |\n\n- A note.\n";
        assert_eq!(report().markdown(), expected);
    }

    #[test]
    fn long_lines_are_folded_between_words() {
        assert_eq!(fold("short line", "  "), "short line");
        let text = "word ".repeat(60);
        let folded = fold(text.trim_end(), "  ");
        assert!(
            folded.lines().all(|line| line.chars().count() <= WIDTH),
            "{folded}"
        );
        assert!(
            folded
                .lines()
                .skip(1)
                .all(|line| line.starts_with("  word")),
            "{folded}"
        );
        assert_eq!(folded.split_whitespace().count(), 60);
    }
}
