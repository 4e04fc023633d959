//! One line of the terminal: text with styles, never wider than the view.

use std::fmt::Write;

/// Columns of the view. Every terminal has as many.
pub(crate) const COLUMNS: usize = 80;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
    Cyan,
}

/// A line that is being written from left to right. What would go beyond [`COLUMNS`] is left out.
#[derive(Debug)]
pub(crate) struct Line {
    text: String,
    width: usize,
    style: Style,
    color: bool,
}

// === impl Style ===

impl Style {
    /// The parameter of SGR ("select graphic rendition", ECMA-48 section 8.3.117). Only the eight basic colours:
    /// every terminal has them, and its user has chosen how they look.
    fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "0;1",
            Self::Dim => "0;2",
            Self::Green => "0;32",
            Self::Yellow => "0;33",
            Self::Red => "0;31",
            Self::Cyan => "0;36",
        }
    }
}

// === impl Line ===

impl Line {
    /// An empty line. Without `color` it will be nothing but its text.
    pub(crate) fn new(color: bool) -> Self {
        Self {
            text: String::new(),
            width: 0,
            style: Style::Plain,
            color,
        }
    }

    /// Writes on. Each character is taken to be one column wide: `text` has no others.
    pub(crate) fn put(mut self, style: Style, text: &str) -> Self {
        if style != self.style && !text.is_empty() {
            self.switch(style);
        }
        for character in text.chars().take(COLUMNS - self.width) {
            self.text.push(character);
            self.width += 1;
        }
        self
    }

    /// Spaces up to column `column`.
    pub(crate) fn to(self, column: usize) -> Self {
        let gap = column.min(COLUMNS).saturating_sub(self.width);
        self.put(Style::Plain, &" ".repeat(gap))
    }

    /// Spaces, then `text` so that it ends before column `column`.
    pub(crate) fn right(self, column: usize, style: Style, text: &str) -> Self {
        self.to(column.saturating_sub(text.chars().count()))
            .put(style, text)
    }

    /// The line, with no spaces at its end.
    pub(crate) fn finish(mut self) -> String {
        self.switch(Style::Plain);
        self.text.truncate(self.text.trim_end().len());
        self.text
    }

    fn switch(&mut self, style: Style) {
        if self.color && style != self.style {
            write!(self.text, "\x1b[{}m", style.sgr()).expect("a string takes everything");
        }
        self.style = style;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_beyond_the_last_column() {
        let line = Line::new(false)
            .put(Style::Plain, &"█".repeat(79))
            .put(Style::Red, "ab")
            .to(200)
            .right(90, Style::Dim, "c");
        assert_eq!(line.finish(), format!("{}a", "█".repeat(79)));
    }

    #[test]
    fn columns_are_kept() {
        let line = Line::new(false)
            .to(2)
            .put(Style::Bold, "ab")
            .right(10, Style::Dim, "cd");
        assert_eq!(line.finish(), "  ab    cd");
    }

    #[test]
    fn colours_are_switched_only_where_they_change_and_off_at_the_end() {
        let line = Line::new(true)
            .put(Style::Red, "a")
            .put(Style::Red, "b")
            .put(Style::Green, "")
            .put(Style::Plain, "c");
        assert_eq!(line.finish(), "\x1b[0;31mab\x1b[0mc");
        assert_eq!(
            Line::new(true).put(Style::Dim, "x").finish(),
            "\x1b[0;2mx\x1b[0m"
        );
    }
}
