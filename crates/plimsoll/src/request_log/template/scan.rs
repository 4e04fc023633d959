//! Text and actions of a template.

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// What stands between the braces, without white space around it.
    Action {
        text: &'a str,
        /// Counted from 1.
        line: usize,
    },
}

/// Takes a template apart. Comments are left out, and so is the white space that a `-` trims.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trims = false;
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let mut before = if trims { before.trim_start() } else { before };
        let Some(after) = after else {
            pieces.push(Piece::Text(before));
            return Ok(pieces);
        };
        let line = 1 + text[..text.len() - after.len()].matches('\n').count();
        let inner = match after.strip_prefix('-') {
            Some(inner) if inner.starts_with(is_space) => {
                before = before.trim_end();
                inner.trim_start()
            }
            _ => after,
        };
        let Some(length) = end_of_action(inner) else {
            let message = "{{ without }}".to_owned();
            return Err(TemplateError { line, message });
        };
        let mut action = &inner[..length];
        rest = &inner[length + 2..];
        trims = false;
        if let Some(trimmed) = action.strip_suffix('-')
            && trimmed.ends_with(is_space)
        {
            trims = true;
            action = trimmed;
        }
        let action = action.trim();
        pieces.push(Piece::Text(before));
        if !(action.starts_with("/*") && action.ends_with("*/") && action.len() >= 4) {
            pieces.push(Piece::Action { text: action, line });
        }
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// Where `}}` is that does not stand in a string or a comment.
fn end_of_action(text: &str) -> Option<usize> {
    if let Some(comment) = text.trim_start().strip_prefix("/*") {
        let end = text.len() - comment.len() + comment.find("*/")? + 2;
        return Some(end + text[end..].find("}}")?);
    }
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), character) if open == character => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if text[index..].starts_with("}}") => return Some(index),
            _ => {}
        }
    }
    None
}
