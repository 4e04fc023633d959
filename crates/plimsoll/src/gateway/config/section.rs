//! Reading a table of the file, key by key.
//!
//! A [`Section`] hands out the value of each key it is asked for, once it has the right kind, and remembers
//! which keys it was asked for. What is left at the end is unknown, and is told with what is accepted. So the
//! list of accepted keys cannot differ from what the program reads, and one mistake does not hide the next.
//! (Rejected: derived deserialisation. It stops at the first mistake, and knows no line for a rule that
//! spans several keys.)

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::Problems;
use crate::cli::values;

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    /// Its name from the root, as in `services.web.queue`; empty for the root.
    name: String,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
    problems: &'a Problems<'a>,
}

/// A key that the user has given, with a value that is written as text or as a number.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// As it would stand in quotes.
    pub(crate) value: String,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    /// The key in full.
    pub(crate) key: String,
    pub(crate) span: Range<usize>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(table: &'a Spanned<DeTable<'a>>, problems: &'a Problems<'a>) -> Self {
        Self::new(String::new(), table.get_ref(), table.span(), problems)
    }

    fn new(
        name: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        problems: &'a Problems<'a>,
    ) -> Self {
        Self {
            name,
            table,
            span,
            asked: RefCell::default(),
            problems,
        }
    }

    /// The name of a key from the root.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// Tells that the table as a whole is wrong.
    pub(crate) fn wrong(&self, message: impl Into<String>) {
        self.problems.add(&self.span, &self.name, message);
    }

    /// Tells that `key` should not be here, or that something follows from it being here.
    pub(crate) fn wrong_key(&self, key: &str, message: impl Into<String>) {
        let place = self.table.get_key_value(key).map(|(key, _)| key.span());
        let span = place.unwrap_or_else(|| self.span());
        self.problems.add(&span, &self.key(key), message);
    }

    /// Tells that what `key` comes to is wrong: at its value, or at the table if that is from elsewhere.
    pub(crate) fn wrong_value(&self, key: &str, message: impl Into<String>) {
        let place = self.table.get(key).map(Spanned::span);
        let span = place.unwrap_or_else(|| self.span());
        self.problems.add(&span, &self.key(key), message);
    }

    /// Tells that a value is wrong.
    pub(crate) fn wrong_at<T>(&self, found: &Found<T>, message: impl Into<String>) {
        self.problems.add(&found.span, &found.key, message);
    }

    /// The line of a value.
    pub(crate) fn line_of<T>(&self, found: &Found<T>) -> usize {
        self.problems.line(found.span.start)
    }

    /// Where the table stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Whether `key` is there, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Remembers that `key` is accepted here.
    pub(crate) fn asks(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asks(key);
        self.table.get(key)
    }

    /// The value of `key` as `read` understands it; what it does not take is told.
    fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let value = self.get(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(Found {
                value: read,
                key: self.key(key),
                span: value.span(),
            }),
            Err(message) => {
                self.problems.add(&value.span(), &self.key(key), message);
                None
            }
        }
    }

    /// A string, read by `parse`.
    pub(crate) fn text<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        self.read(key, |value| match value {
            DeValue::String(text) => parse(text),
            other => Err(format!("write a string in quotes, not {}", kind(other))),
        })
    }

    /// A length of time, such as `"5s"`.
    pub(crate) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let found = self.text(key, |text| {
            let duration = values::duration(text).map_err(|error| format!("`{text}`: {error}"))?;
            if range.contains(&duration) {
                return Ok(duration);
            }
            let (least, most) = (
                values::written(*range.start()),
                values::written(*range.end()),
            );
            Err(format!("`{text}` is out of range; write {least} to {most}"))
        });
        found.map(|found| found.value)
    }

    /// A whole number.
    pub(crate) fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let found = self.read(key, |value| {
            let accepted = format!(
                "write a whole number from {} to {}",
                range.start(),
                range.end()
            );
            let DeValue::Integer(integer) = value else {
                return Err(format!("{accepted}, not {}", kind(value)));
            };
            u64::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("{integer} is out of range; {accepted}"))
        });
        found.map(|found| found.value)
    }

    /// One of a few numbers.
    pub(crate) fn number_among(&self, key: &'static str, accepted: &[u16]) -> Option<u16> {
        let found = self.read(key, |value| {
            let number = match value {
                DeValue::Integer(integer) => integer.as_str().parse().ok(),
                _ => None,
            };
            number
                .filter(|number| accepted.contains(number))
                .ok_or_else(|| {
                    let words: Vec<_> = accepted.iter().map(ToString::to_string).collect();
                    format!("write {}", words.join(" or "))
                })
        });
        found.map(|found| found.value)
    }

    /// A number that need not be whole.
    pub(crate) fn real(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let found = self.read(key, |value| {
            let accepted = format!("write a number from {} to {}", range.start(), range.end());
            let text = match value {
                DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
                DeValue::Float(float) => float.as_str(),
                other => return Err(format!("{accepted}, not {}", kind(other))),
            };
            // A range does not contain what is not a number.
            text.parse()
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("{text} is out of range; {accepted}"))
        });
        found.map(|found| found.value)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &'static str) -> Option<Found<bool>> {
        self.read(key, |value| match value {
            DeValue::Boolean(flag) => Ok(*flag),
            other => Err(format!("write true or false, not {}", kind(other))),
        })
    }

    /// A list of strings, each read by `parse`.
    pub(crate) fn list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<Found<T>> {
        let Some(array) = self.read(key, |value| match value {
            DeValue::Array(array) => Ok(array),
            other => Err(format!(
                "write a list of strings in brackets, not {}",
                kind(other)
            )),
        }) else {
            return Vec::new();
        };
        let mut read = Vec::new();
        for item in array.value {
            let parsed = match item.get_ref() {
                DeValue::String(text) => parse(text),
                other => Err(format!("write strings in quotes, not {}", kind(other))),
            };
            match parsed {
                Ok(value) => read.push(Found {
                    value,
                    key: array.key.clone(),
                    span: item.span(),
                }),
                Err(message) => self.problems.add(&item.span(), &array.key, message),
            }
        }
        read
    }

    /// A table.
    pub(crate) fn table(&self, key: &'static str) -> Option<Self> {
        let found = self.read(key, |value| match value {
            DeValue::Table(table) => Ok(table),
            other => Err(format!("write a table, not {}", kind(other))),
        })?;
        Some(Section::new(
            found.key,
            found.value,
            found.span,
            self.problems,
        ))
    }

    /// The tables of a list of tables, such as those that begin with `[[routes]]`.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Self> {
        let Some(array) = self.read(key, |value| match value {
            DeValue::Array(array) => Ok(array),
            other => Err(format!(
                "write a list of tables, each beginning with [[{}]], not {}",
                self.key(key),
                kind(other)
            )),
        }) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array.value {
            match item.get_ref() {
                DeValue::Table(table) => tables.push(Section::new(
                    array.key.clone(),
                    table,
                    item.span(),
                    self.problems,
                )),
                other => {
                    let message = format!("write a table, not {}", kind(other));
                    self.problems.add(&item.span(), &array.key, message);
                }
            }
        }
        tables
    }

    /// The tables in a table whose keys are names that the user has given.
    pub(crate) fn named_tables(&self, key: &'static str) -> Vec<(Found<String>, Self)> {
        let Some(table) = self.table(key) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, value) in table.table {
            let text: &DeString<'_> = name.get_ref();
            let full = table.key(text);
            match value.get_ref() {
                DeValue::Table(inner) => {
                    let found = Found {
                        value: text.to_string(),
                        key: full.clone(),
                        span: name.span(),
                    };
                    tables.push((found, Section::new(full, inner, name.span(), self.problems)));
                }
                other => {
                    let message = format!("write a table, not {}", kind(other));
                    self.problems.add(&value.span(), &full, message);
                }
            }
        }
        tables
    }

    /// Strings in a table whose keys are names that the user has given.
    pub(crate) fn texts(&self, key: &'static str) -> Vec<(String, String)> {
        let Some(table) = self.table(key) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (name, value) in table.table {
            let text: &DeString<'_> = name.get_ref();
            match value.get_ref() {
                DeValue::String(value) => texts.push((text.to_string(), value.to_string())),
                other => {
                    let message = format!("write a string in quotes, not {}", kind(other));
                    self.problems.add(&value.span(), &table.key(text), message);
                }
            }
        }
        texts
    }

    /// Everything in this table, whatever it is called: strings, numbers, `true` and `false`.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (name, value) in self.table {
            let name: &DeString<'_> = name.get_ref();
            let text = match value.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
                DeValue::Float(number) => Ok(number.as_str().to_owned()),
                DeValue::Boolean(flag) => Ok(flag.to_string()),
                other => Err(format!("write a string in quotes, not {}", kind(other))),
            };
            match text {
                Ok(value) => entries.push(Entry {
                    name: name.to_string(),
                    value,
                }),
                Err(message) => self.wrong_value(name, message),
            }
        }
        entries
    }

    /// Tells of every key that nobody has asked for.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let text: &DeString<'_> = key.get_ref();
            if !asked.iter().any(|asked| *asked == text.as_ref()) {
                let mut accepted = asked.clone();
                accepted.sort_unstable();
                accepted.dedup();
                let message = format!(
                    "there is no such key; accepted here: {}",
                    accepted.join(", ")
                );
                self.problems.add(&key.span(), &self.key(text), message);
            }
        }
    }
}

/// What a value is, in the words of a person.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
