//! What is wrong in a file, and where: all of it, so that a file is mended once.

mod mark;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

pub(crate) use mark::Mark;

/// The most problems that are told at once; more are counted.
const PROBLEMS_MAX: usize = 50;

/// One mistake. It displays as one line; [`told`] shows the place besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file's name as it was given.
    pub(crate) file: String,
    pub(crate) place: Place,
    /// The key from the root, such as `services.web.policy`; empty where there is none.
    pub(crate) key: String,
    /// What is wrong, and what is accepted.
    pub(crate) message: String,
}

/// Where in a file a mistake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it cannot be read, or something is missing.
    File,
    /// Somewhere in a line, counted from 1.
    Line(usize),
    /// In these letters.
    Mark(Mark),
}

/// Collects mistakes while a file is read.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl Place {
    /// The line, from 1, if there is one.
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::File => None,
            Self::Line(line) => Some(*line),
            Self::Mark(mark) => Some(mark.line),
        }
    }

    /// To sort by.
    fn position(&self) -> (Option<usize>, usize) {
        match self {
            Self::Mark(mark) => (Some(mark.line), mark.column),
            other => (other.line(), 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match &self.place {
            Place::File => {}
            Place::Line(line) => write!(f, ":{line}")?,
            Place::Mark(mark) => write!(f, ":{}:{}", mark.line, mark.column)?,
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl<'a> Problems<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: RefCell::default(),
        }
    }

    /// The line of a place in the text, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        Mark::of(self.text, &(at..at)).line
    }

    /// Something is wrong in this part of the text.
    pub(crate) fn add(&self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        self.keep(Place::Mark(Mark::of(self.text, span)), key, message.into());
    }

    /// Something is wrong with the file as a whole.
    pub(crate) fn add_whole(&self, key: &str, message: impl Into<String>) {
        self.keep(Place::File, key, message.into());
    }

    fn keep(&self, place: Place, key: &str, message: String) {
        self.found.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            place,
            key: key.to_owned(),
            message,
        });
    }

    /// Everything found, in the order of the file.
    pub(crate) fn into_found(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.place.position());
        found
    }
}

/// Each problem with the line it is in, for a person at a terminal.
pub(crate) fn told(problems: &[Problem]) -> String {
    let shown = |problem: &Problem| match &problem.place {
        Place::Mark(mark) => format!("{problem}\n{mark}"),
        _ => problem.to_string(),
    };
    some(problems, shown).join("\n")
}

/// One line for each problem, for a log and for programs.
pub(crate) fn lines(problems: &[Problem]) -> Vec<String> {
    some(problems, ToString::to_string)
}

/// The first [`PROBLEMS_MAX`], and how many more there are.
fn some(problems: &[Problem], told: impl Fn(&Problem) -> String) -> Vec<String> {
    let mut shown: Vec<String> = problems.iter().take(PROBLEMS_MAX).map(told).collect();
    if problems.len() > PROBLEMS_MAX {
        shown.push(format!("and {} more", problems.len() - PROBLEMS_MAX));
    }
    shown
}
