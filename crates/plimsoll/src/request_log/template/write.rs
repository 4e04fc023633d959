//! A line, written from a template and a request.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use plimsoll_proxy::RequestEnd;

use super::Node;
use super::expression::{Comparison, Expression};
use crate::request_log::record::{Place, Record, Value};

/// What a line is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) record: &'a Record,
    pub(super) end: &'a RequestEnd,
    pub(super) place: &'a Place,
}

impl<'a> About<'a> {
    pub(super) fn write(self, line: &mut String, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Text(text) => line.push_str(text),
                Node::Value(value) => push(line, &self.value(value)),
                Node::If {
                    condition,
                    then,
                    otherwise,
                } => {
                    let holds = self.value(condition).is_true();
                    self.write(line, if holds { then } else { otherwise });
                }
            }
        }
    }

    fn value<'e>(self, expression: &'e Expression) -> Value<'e>
    where
        'a: 'e,
    {
        match expression {
            Expression::Field(field) => self.record.value(*field, self.end, self.place),
            Expression::Header(place) => Value::Text(self.record.header(*place)),
            Expression::Host(place) => Value::Text(self.record.host(*place)),
            Expression::TraceId { w3c, b3 } => Value::Text(self.trace_id(*w3c, *b3)),
            Expression::Text(text) => Value::Text(Cow::Borrowed(text)),
            Expression::Whole(number) => Value::Whole(*number),
            Expression::Real(number) => Value::Real(*number),
            Expression::Bool(value) => Value::Bool(*value),
            Expression::Js(inner) => {
                let mut plain = String::new();
                push(&mut plain, &self.value(inner));
                let mut escaped = String::with_capacity(plain.len());
                push_js(&mut escaped, &plain);
                Value::Text(Cow::Owned(escaped))
            }
            Expression::Not(inner) => Value::Bool(!self.value(inner).is_true()),
            Expression::And(all) => self.first(all, |value| !value.is_true()),
            Expression::Or(all) => self.first(all, Value::is_true),
            Expression::Compare(comparison, left, right) => {
                let order = compare(&self.value(left), &self.value(right));
                Value::Bool(comparison.holds(order))
            }
        }
    }

    /// The first that `decides`, or the last: the rule of Go's `and` and `or`.
    fn first<'e>(self, all: &'e [Expression], decides: impl Fn(&Value<'e>) -> bool) -> Value<'e>
    where
        'a: 'e,
    {
        let mut last = Value::Bool(false);
        for expression in all {
            last = self.value(expression);
            if decides(&last) {
                break;
            }
        }
        last
    }

    /// The second part of `traceparent`, or else B3's own field.
    fn trace_id(self, w3c: usize, b3: usize) -> Cow<'a, str> {
        match self.record.header(w3c).split('-').nth(1) {
            Some(id) if !id.is_empty() => Cow::Owned(id.to_owned()),
            _ => self.record.header(b3),
        }
    }
}

fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Whole(left), Value::Whole(right)) => Some(left.cmp(right)),
        (left, right) => real(left)?.partial_cmp(&real(right)?),
    }
}

fn real(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Whole(number) => Some(*number as f64),
        Value::Real(number) => Some(*number),
        Value::Text(_) | Value::Bool(_) => None,
    }
}

impl Comparison {
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// Appends a value as Go prints it.
fn push(line: &mut String, value: &Value<'_>) {
    let written = match value {
        Value::Text(text) => {
            line.push_str(text);
            Ok(())
        }
        Value::Whole(number) => write!(line, "{number}"),
        Value::Bool(value) => write!(line, "{value}"),
        Value::Real(number) => push_real(line, *number),
    };
    written.expect("writing to a String cannot fail");
}

/// The shortest text that reads back the same; with an exponent of at least two digits below 1e-4 and from 1e21 on,
/// as `%v` of Go.
fn push_real(line: &mut String, number: f64) -> std::fmt::Result {
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return write!(line, "{number}");
    }
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    write!(line, "{mantissa}e{sign}{digits:0>2}")
}

/// Appends a text as it stands within a string of JavaScript. As Go's `js`, but for the apostrophe: `\'` would be
/// wrong in JSON, which is what it is used for.
fn push_js(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => line.push_str("\\\\"),
            '"' => line.push_str("\\\""),
            '\'' | '<' | '>' | '&' | '=' => push_code(line, character),
            character if character.is_control() => push_code(line, character),
            '\u{2028}' | '\u{2029}' | '\u{feff}' => push_code(line, character),
            other => line.push(other),
        }
    }
}

fn push_code(line: &mut String, character: char) {
    write!(line, "\\u{:04X}", u32::from(character)).expect("writing to a String cannot fail");
}
