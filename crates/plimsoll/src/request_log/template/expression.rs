//! What stands between the braces of an action: values, and functions of values.

use http::HeaderName;

use super::{DEPTH_MAX, HEADERS_MAX};
use crate::request_log::record::{FIELDS, Field, Kind};

/// An expression whose kinds fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Field(Field),
    /// The header field at this place of the template's list.
    Header(usize),
    /// Whom the client asked for; the place is that of `Host`.
    Host(usize),
    /// The identifier of the trace, by W3C or else by B3.
    TraceId {
        w3c: usize,
        b3: usize,
    },
    Text(Box<str>),
    Whole(i64),
    Real(f64),
    Bool(bool),
    /// As a text within a string of JavaScript or JSON.
    Js(Box<Self>),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a text is made of.
#[derive(Debug, Clone, PartialEq)]
enum Token<'a> {
    /// `.Request.Method`
    Path(&'a str),
    /// `js`
    Word(&'a str),
    Text(String),
    Whole(i64),
    Real(f64),
    Open,
    Close,
    Pipe,
}

/// Reads an expression; header fields that it names are added to `headers`.
pub(super) fn parse(text: &str, headers: &mut Vec<HeaderName>) -> Result<Expression, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        headers,
    };
    let expression = parser.pipeline(0)?;
    match parser.tokens {
        [] => Ok(expression),
        [token, ..] => Err(format!("{} is more than is expected", told(token))),
    }
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let length = match first {
            '(' | ')' | '|' => 1,
            '"' => quoted_length(rest).ok_or("a string without its end")?,
            '`' => rest[1..].find('`').ok_or("a string without its end")? + 2,
            '.' => rest.find(|c| !is_name(c) && c != '.').unwrap_or(rest.len()),
            '0'..='9' | '-' | '+' => rest
                .find(|c: char| c.is_whitespace() || "()|".contains(c))
                .unwrap_or(rest.len()),
            _ if is_name(first) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            _ => return Err(format!("{first:?} is not expected")),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(match first {
            '(' => Token::Open,
            ')' => Token::Close,
            '|' => Token::Pipe,
            '"' => Token::Text(unquoted(token)?),
            '`' => Token::Text(token[1..length - 1].to_owned()),
            '.' => Token::Path(token),
            '0'..='9' | '-' | '+' => number(token)?,
            _ => Token::Word(token),
        });
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// A string as Go writes it is mostly one as JSON writes it.
fn unquoted(text: &str) -> Result<String, String> {
    serde_json::from_str(text).map_err(|_| format!("{text} is not a string that can be read"))
}

fn number(text: &str) -> Result<Token<'static>, String> {
    if let Ok(whole) = text.parse() {
        return Ok(Token::Whole(whole));
    }
    match text.parse::<f64>() {
        Ok(real) if real.is_finite() => Ok(Token::Real(real)),
        _ => Err(format!("{text} is not a number")),
    }
}

fn told(token: &Token<'_>) -> String {
    match token {
        Token::Path(text) | Token::Word(text) => (*text).to_owned(),
        Token::Text(text) => format!("{text:?}"),
        Token::Whole(number) => number.to_string(),
        Token::Real(number) => number.to_string(),
        Token::Open => "(".to_owned(),
        Token::Close => ")".to_owned(),
        Token::Pipe => "|".to_owned(),
    }
}

struct Parser<'a, 'h> {
    tokens: &'a [Token<'a>],
    headers: &'h mut Vec<HeaderName>,
}

impl<'a> Parser<'a, '_> {
    fn take(&mut self) -> Option<&'a Token<'a>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// `command | js`
    fn pipeline(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_MAX {
            return Err(format!("parentheses are nested deeper than {DEPTH_MAX}"));
        }
        let mut value = self.command(depth)?;
        while self.tokens.first() == Some(&Token::Pipe) {
            self.take();
            value = match self.take() {
                Some(Token::Word("js")) => Expression::Js(Box::new(value)),
                Some(Token::Word("not")) => Expression::Not(Box::new(value)),
                Some(token) => return Err(unknown(&told(token))),
                None => return Err("a function is missing after |".to_owned()),
            };
            if matches!(&value, Expression::Js(inner) if matches!(**inner, Expression::Js(_))) {
                // As in Go it would escape twice; nobody means that.
                return Err("js twice".to_owned());
            }
        }
        Ok(value)
    }

    /// A value, or a function with its arguments.
    fn command(&mut self, depth: usize) -> Result<Expression, String> {
        let Some(Token::Word(word)) = self.tokens.first() else {
            return self.operand(depth);
        };
        use Comparison as C;
        self.take();
        let comparison = match *word {
            "true" => return Ok(Expression::Bool(true)),
            "false" => return Ok(Expression::Bool(false)),
            "js" => return Ok(Expression::Js(Box::new(self.operand(depth)?))),
            "not" => return Ok(Expression::Not(Box::new(self.operand(depth)?))),
            "and" => return Ok(Expression::And(self.operands(depth)?)),
            "or" => return Ok(Expression::Or(self.operands(depth)?)),
            "index" => return self.index(),
            "eq" => C::Equal,
            "ne" => C::NotEqual,
            "lt" => C::Less,
            "le" => C::LessOrEqual,
            "gt" => C::Greater,
            "ge" => C::GreaterOrEqual,
            _ => return Err(unknown(word)),
        };
        let (left, right) = (self.operand(depth)?, self.operand(depth)?);
        if left.kind() != right.kind() {
            return Err(format!("{word} needs two texts or two numbers"));
        }
        Ok(Expression::Compare(
            comparison,
            Box::new(left),
            Box::new(right),
        ))
    }

    /// Two or more, all of the same kind, for `and` and `or` give one of them.
    fn operands(&mut self, depth: usize) -> Result<Vec<Expression>, String> {
        let mut all = vec![self.operand(depth)?, self.operand(depth)?];
        while !matches!(self.tokens, [] | [Token::Close | Token::Pipe, ..]) {
            all.push(self.operand(depth)?);
        }
        let kind = all[0].kind();
        if all.iter().any(|value| value.kind() != kind) {
            return Err("and, or: texts, numbers and conditions cannot be mixed".to_owned());
        }
        Ok(all)
    }

    fn operand(&mut self, depth: usize) -> Result<Expression, String> {
        match self.take() {
            Some(Token::Path(path)) => self.path(path),
            Some(Token::Text(text)) => Ok(Expression::Text(text.as_str().into())),
            Some(Token::Whole(number)) => Ok(Expression::Whole(*number)),
            Some(Token::Real(number)) => Ok(Expression::Real(*number)),
            Some(Token::Word("true")) => Ok(Expression::Bool(true)),
            Some(Token::Word("false")) => Ok(Expression::Bool(false)),
            Some(Token::Open) => {
                let inner = self.pipeline(depth + 1)?;
                match self.take() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err("( without )".to_owned()),
                }
            }
            Some(token) => Err(format!("{} is not a value", told(token))),
            None => Err("a value is missing".to_owned()),
        }
    }

    fn path(&mut self, path: &str) -> Result<Expression, String> {
        if let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == path) {
            return Ok(Expression::Field(*field));
        }
        match path {
            ".Request.UserAgent" => self.header("user-agent").map(Expression::Header),
            ".Request.Referer" => self.header("referer").map(Expression::Header),
            ".Request.Host" => self.header("host").map(Expression::Host),
            ".TraceID" => Ok(Expression::TraceId {
                w3c: self.header("traceparent")?,
                b3: self.header("x-b3-traceid")?,
            }),
            ".Request.Header.Get" => self.named_header(),
            _ => Err(format!("{path} is not a field; {}", fields())),
        }
    }

    /// `index .Request.Header "X"`
    fn index(&mut self) -> Result<Expression, String> {
        match self.take() {
            Some(Token::Path(".Request.Header")) => self.named_header(),
            _ => Err("index is accepted for .Request.Header only".to_owned()),
        }
    }

    fn named_header(&mut self) -> Result<Expression, String> {
        let Some(Token::Text(name)) = self.take() else {
            return Err(
                "the name of a header field is missing, such as \"X-Request-Id\"".to_owned(),
            );
        };
        // `index (index .Request.Header "X") 0` would be the first of the list; this is it already.
        self.header(name).map(Expression::Header)
    }

    /// The place of a header field in the list of those that are needed.
    fn header(&mut self, name: &str) -> Result<usize, String> {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("{name:?} is no name of a header field"))?;
        if let Some(place) = self.headers.iter().position(|known| *known == name) {
            return Ok(place);
        }
        if self.headers.len() == HEADERS_MAX {
            return Err(format!("more than {HEADERS_MAX} header fields"));
        }
        self.headers.push(name);
        Ok(self.headers.len() - 1)
    }
}

fn unknown(word: &str) -> String {
    let known = "js, index .Request.Header, and, or, not, eq, ne, lt, le, gt and ge";
    format!("{word} is not a function here; there are {known}")
}

/// What there is in place of something that is no field.
fn fields() -> String {
    let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    let more = ".Request.UserAgent, .Request.Referer, .Request.Host, .Request.Header.Get \"…\" and .TraceID";
    format!("there are {}, {more}", names.join(", "))
}

impl Expression {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Field(field) => field.kind(),
            Self::Header(_)
            | Self::Host(_)
            | Self::TraceId { .. }
            | Self::Text(_)
            | Self::Js(_) => Kind::Text,
            Self::Whole(_) | Self::Real(_) => Kind::Number,
            Self::Bool(_) | Self::Not(_) | Self::Compare(..) => Kind::Bool,
            Self::And(all) | Self::Or(all) => all.first().map_or(Kind::Bool, Self::kind),
        }
    }
}
