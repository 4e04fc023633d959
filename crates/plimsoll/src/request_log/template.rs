//! Templates of the request log: the part of Go's `text/template` that is seen in the wild.
//!
//! Supported are the fields of [`FIELDS`](super::record::FIELDS), header fields, `js`, plain conditionals with
//! comparisons, comments, and `-` that trims white space. Everything is checked when the template is read, so no
//! line can fail. What is not supported is refused with its place and with what is accepted.
//!
//! Rejected: an engine of templates. The whole of Go's language has loops, variables and reflection, and those that there
//! are differ from it in what they print; a template that silently prints something else is worse than one refused.

mod expression;
mod scan;
mod write;

use http::HeaderName;
use plimsoll_proxy::RequestEnd;

use self::expression::Expression;
use self::scan::{Piece, pieces};
use super::record::{Place, Record};

/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 64 * 1024;

/// How deep conditionals may be nested, and parentheses too.
const DEPTH_MAX: usize = 32;

/// The most header fields that a template may name.
const HEADERS_MAX: usize = 64;

/// What is logged unless told otherwise: Knative's default, and then what Knative cannot say.
pub(crate) const DEFAULT: &str = concat!(
    r#"{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", "#,
    r#""requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "responseSize": "{{.Response.Size}}", "#,
    r#""userAgent": "{{js .Request.UserAgent}}", "remoteIp": "{{js .Request.RemoteAddr}}", "#,
    r#""serverIp": "{{.Revision.PodIP}}", "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", "#,
    r#""protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}", "queued": "{{.Response.Queued}}s", "#,
    r#""upstream": "{{.Response.Upstream}}s", "answeredBy": "{{.Response.Source}}"}"#,
);

/// A template that can be written for any request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    nodes: Vec<Node>,
    /// The header fields that it needs.
    headers: Vec<HeaderName>,
    /// How long its own text is.
    text_bytes: usize,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(Box<str>),
    Value(Expression),
    If {
        condition: Expression,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(crate) struct TemplateError {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// How a list of nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End<'a> {
    /// By the end of the text.
    Text,
    /// By `{{end}}`.
    Closed,
    /// With the rest of the action, for `else if`.
    Else(&'a str),
}

impl Default for Template {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("a test reads it")
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first thing in it that is not supported or not whole.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            let message = format!(
                "it has {} bytes, at most {TEMPLATE_BYTES_MAX} are accepted",
                text.len()
            );
            return Err(TemplateError { line: 1, message });
        }
        let pieces = pieces(text)?;
        let mut parser = Parser {
            pieces: &pieces,
            next: 0,
            headers: Vec::new(),
        };
        let (nodes, end) = parser.nodes(0)?;
        if end != End::Text {
            return Err(parser.error("there is no {{if}} before it"));
        }
        Ok(Self {
            nodes,
            headers: parser.headers,
            text_bytes: text.len(),
        })
    }

    /// The header fields whose values a [`Record`] must have, in this order.
    pub(super) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// About how long a line is, in bytes.
    pub(super) fn usual_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Appends the line of a request.
    pub(super) fn write(
        &self,
        line: &mut String,
        record: &Record,
        end: &RequestEnd,
        place: &Place,
    ) {
        let about = write::About { record, end, place };
        about.write(line, &self.nodes);
    }
}

struct Parser<'a> {
    pieces: &'a [Piece<'a>],
    next: usize,
    headers: Vec<HeaderName>,
}

impl<'a> Parser<'a> {
    /// Nodes up to the end of the text, or of the conditional that they are in.
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, End<'a>), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            let action = match piece {
                Piece::Text(text) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text((*text).into()));
                    }
                    continue;
                }
                Piece::Action { text, .. } => *text,
            };
            let (word, rest) = first_word(action);
            match word {
                "end" if rest.is_empty() => return Ok((nodes, End::Closed)),
                "else" => return Ok((nodes, End::Else(rest))),
                "if" => nodes.push(self.conditional(rest, depth)?),
                "end" => return Err(self.error("{{end}} stands alone")),
                "range" | "with" | "define" | "template" | "block" | "break" | "continue" => {
                    let only = "only fields, js, header fields and {{if}} are";
                    return Err(self.error(&format!("{{{{{word}}}}} is not supported; {only}")));
                }
                _ => nodes.push(Node::Value(self.expression(action)?)),
            }
        }
        Ok((nodes, End::Text))
    }

    fn conditional(&mut self, condition: &'a str, depth: usize) -> Result<Node, TemplateError> {
        if depth >= DEPTH_MAX {
            let message = format!("conditionals are nested deeper than {DEPTH_MAX}");
            return Err(self.error(&message));
        }
        let condition = self.expression(condition)?;
        let begun_at = self.next;
        let (then, end) = self.nodes(depth + 1)?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Text => {
                self.next = begun_at;
                return Err(self.error("this {{if}} has no {{end}}"));
            }
            End::Else("") => match self.nodes(depth + 1)? {
                (otherwise, End::Closed) => otherwise,
                _ => {
                    self.next = begun_at;
                    return Err(self.error("after {{else}} this {{if}} needs an {{end}}"));
                }
            },
            End::Else(rest) => match first_word(rest) {
                // It shares the end of the outer one.
                ("if", condition) => vec![self.conditional(condition, depth + 1)?],
                _ => return Err(self.error("after {{else only if is accepted")),
            },
        };
        Ok(Node::If {
            condition,
            then,
            otherwise,
        })
    }

    fn expression(&mut self, text: &str) -> Result<Expression, TemplateError> {
        let parsed = expression::parse(text, &mut self.headers);
        parsed.map_err(|message| self.error(&message))
    }

    /// What is wrong with the piece that was taken last.
    fn error(&self, message: &str) -> TemplateError {
        let last = self.pieces[..self.next.min(self.pieces.len())].last();
        let (line, action) = match last {
            Some(Piece::Action { line, text }) => (*line, format!("{{{{{text}}}}}: ")),
            _ => (1, String::new()),
        };
        TemplateError {
            line,
            message: format!("{action}{message}"),
        }
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests;
