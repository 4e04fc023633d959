//! Variables of the environment, read once, and what is wrong with them: all of it, so that it is mended once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// The most characters of a wrong value that are shown: JSON can be long.
const SHOWN_CHARS_MAX: usize = 80;

/// The most problems that are told at once; more are counted.
const PROBLEMS_MAX: usize = 50;

/// The environment as it was at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(BTreeMap<String, OsString>);

/// A value that cannot be used: where it is, what it says, what is accepted instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// A flag or a variable.
    pub(crate) name: String,
    /// As it was written, cut to [`SHOWN_CHARS_MAX`] characters when it is told.
    pub(crate) value: String,
    /// What is wrong, and what is accepted.
    pub(crate) message: String,
}

/// Reads variables and collects what is wrong with them.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    variables: &'a Variables,
    /// Variables that a flag has the better of: whatever they say, nobody asks.
    overridden: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl Variables {
    /// Those of this process. One whose name is not Unicode is none of ours.
    pub(crate) fn of_process() -> Self {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self(std::env::vars_os().filter_map(named).collect())
    }

    /// Whether it is set, to whatever value.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl<K: Into<String>, V: Into<OsString>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl Problem {
    pub(crate) fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            message: message.into(),
        }
    }
}

impl Problem {
    /// One whose message says all.
    pub(crate) fn plain(message: String) -> Self {
        Self::new("", "", message)
    }
}

/// One line for each problem.
pub(crate) fn told(problems: &[Problem]) -> String {
    let lines = problems.iter().take(PROBLEMS_MAX).map(ToString::to_string);
    let mut lines: Vec<String> = lines.collect();
    if problems.len() > PROBLEMS_MAX {
        lines.push(format!("and {} more", problems.len() - PROBLEMS_MAX));
    }
    lines.join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            return f.write_str(&self.message);
        }
        let mut letters = self.value.chars();
        let shown: String = letters.by_ref().take(SHOWN_CHARS_MAX).collect();
        let rest = if letters.next().is_some() { "..." } else { "" };
        write!(
            f,
            "invalid value '{}{rest}' for '{}': {}",
            shown.escape_debug(),
            self.name,
            self.message
        )
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(variables: &'a Variables, overridden: Vec<&'static str>) -> Self {
        Self {
            variables,
            overridden,
            problems: Vec::new(),
        }
    }

    /// The value of a variable that must not be empty if it is set: a number, a switch.
    ///
    /// `None` if it is not set, or wrong; the latter is kept to be told.
    pub(crate) fn strictly<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.variables.0.get(name)?;
        if self.overridden.contains(&name) {
            return None;
        }
        let parsed = match value.to_str() {
            Some(text) => parse(text),
            None => Err("it is not Unicode".to_owned()),
        };
        parsed
            .map_err(|message| self.add(name, value.to_string_lossy(), message))
            .ok()
    }

    /// The value of a variable that is as good as not set when it is empty.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parse = |text: &str| match text {
            "" => Ok(None),
            text => parse(text).map(Some),
        };
        self.strictly(name, parse).flatten()
    }

    /// A text, whatever it says; `None` if it is empty.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, |text| Ok(text.to_owned()))
    }

    /// A switch, as Go's `strconv.ParseBool` reads it.
    pub(crate) fn switch(&mut self, name: &'static str) -> Option<bool> {
        self.strictly(name, |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err("write true or false".to_owned()),
        })
    }

    /// Keeps a problem to be told.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.keep(Problem::new(name, value, message));
    }

    /// Keeps a problem to be told.
    pub(crate) fn keep(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether a variable is set and not empty, and no flag has the better of it.
    pub(crate) fn has(&self, name: &'static str) -> bool {
        let value = self.variables.0.get(name);
        value.is_some_and(|value| !value.is_empty()) && !self.overridden.contains(&name)
    }

    /// Whether something was wrong with this one.
    pub(crate) fn is_wrong(&self, name: &str) -> bool {
        self.problems.iter().any(|problem| problem.name == name)
    }

    /// Everything that was wrong, in the order it was read.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn problems_are_collected_and_name_variable_value_and_what_is_accepted() {
        let variables = Variables::from_iter([
            ("A", OsString::from("maybe")),
            ("B", OsString::from_vec(vec![0xff])),
            ("C", OsString::from("x".repeat(100))),
        ]);
        let mut reader = Reader::new(&variables, Vec::new());
        assert_eq!(reader.switch("A"), None);
        assert_eq!(reader.text("B"), None);
        assert_eq!(
            reader.read("C", |_| Err::<(), _>("write y".to_owned())),
            None
        );
        assert_eq!(reader.switch("D"), None);
        let told: Vec<_> = reader
            .into_problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        let long = format!("invalid value '{}...' for 'C': write y", "x".repeat(80));
        assert_eq!(
            told,
            [
                "invalid value 'maybe' for 'A': write true or false",
                "invalid value '\u{fffd}' for 'B': it is not Unicode",
                &long,
            ]
        );
    }

    #[test]
    fn switches_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("1", true),
            ("t", true),
            ("True", true),
            ("0", false),
            ("F", false),
            ("FALSE", false),
        ] {
            let variables = Variables::from_iter([("A", text)]);
            let mut reader = Reader::new(&variables, Vec::new());
            assert_eq!(reader.switch("A"), Some(expected), "{text}");
        }
        for text in ["", "yes", "tRUE", "2", " true"] {
            let variables = Variables::from_iter([("A", text)]);
            let mut reader = Reader::new(&variables, Vec::new());
            assert_eq!(reader.switch("A"), None, "{text}");
            assert_eq!(reader.into_problems().len(), 1, "{text}");
        }
    }

    #[test]
    fn what_a_flag_has_the_better_of_is_not_looked_at() {
        let variables = Variables::from_iter([("A", "nonsense")]);
        let mut reader = Reader::new(&variables, vec!["A"]);
        assert_eq!(reader.switch("A"), None);
        assert_eq!(reader.into_problems(), []);
    }

    #[test]
    fn an_empty_text_is_as_good_as_none() {
        let variables = Variables::from_iter([("A", "")]);
        let mut reader = Reader::new(&variables, Vec::new());
        assert_eq!(reader.text("A"), None);
        assert_eq!(reader.into_problems(), []);
        assert!(variables.is_set("A") && !variables.is_set("B"));
    }
}
