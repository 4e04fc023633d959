//! What is wrong in a file, and where: all of it, so that a file is mended once.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// The most problems that are told at once; more are counted.
const PROBLEMS_MAX: usize = 50;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file's name as it was given.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// The key from the root, such as `services.web.policy`; empty where there is none.
    pub(crate) key: String,
    /// What is wrong, and what is accepted.
    pub(crate) message: String,
}

/// Collects mistakes while a file is read.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
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
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    pub(crate) fn add(&self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        self.found.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line: self.line(span.start),
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Everything found, in the order of the file.
    pub(crate) fn into_found(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.line);
        found
    }
}

/// One line for each problem.
pub(crate) fn told(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems
        .iter()
        .take(PROBLEMS_MAX)
        .map(ToString::to_string)
        .collect();
    if problems.len() > PROBLEMS_MAX {
        lines.push(format!("and {} more", problems.len() - PROBLEMS_MAX));
    }
    lines.join("\n")
}
