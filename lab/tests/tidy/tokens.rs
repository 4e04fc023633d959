//! Rust source as tokens: paths, macro calls and attributes with their lines.
//!
//! Tokens hold no ordinary comments, and strings stay closed, so a rule over tokens never objects to
//! prose. They also reach into macro bodies, which a syntax tree does not.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path as written, `use` lists unfolded: `use a::{b, c}` is `a::b` and `a::c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// It is followed by `!`, so it names a macro that is called here.
    pub(crate) is_macro: bool,
}

impl Path {
    /// Whether `wanted` (`a::b`) occurs in the path as consecutive whole segments.
    pub(crate) fn contains(&self, wanted: &str) -> bool {
        let wanted: Vec<&str> = wanted.split("::").collect();
        self.segments
            .windows(wanted.len())
            .any(|part| part == wanted)
    }
}

/// Parses a file. Panics with the place when it is not Rust.
pub(crate) fn parse(path: &str, text: &str) -> TokenStream {
    match text.parse() {
        Ok(tokens) => tokens,
        Err(error) => panic!("{path}: cannot be read as Rust tokens: {error}"),
    }
}

/// Every path of the stream, in the order of the text, at any depth.
pub(crate) fn paths(tokens: TokenStream) -> Vec<Path> {
    let mut found = Vec::new();
    walk(&tokens.into_iter().collect::<Vec<_>>(), &mut found);
    found
}

/// Every attribute of the stream: the tokens inside the brackets, and the line.
pub(crate) fn attributes(tokens: TokenStream) -> Vec<(TokenStream, usize)> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        if let Some(group) = attribute_at(&trees, index) {
            found.push((group.stream(), tree.span().start().line));
        }
        if let TokenTree::Group(group) = tree {
            found.extend(attributes(group.stream()));
        }
    }
    found
}

/// The lines of strings that take more than one: snapshots, tables, pages.
pub(crate) fn lines_of_long_strings(tokens: TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => lines.append(&mut lines_of_long_strings(group.stream())),
            TokenTree::Literal(literal) => {
                let (start, end) = (literal.span().start().line, literal.span().end().line);
                lines.extend((start..=end).filter(|_| start < end));
            }
            _ => {}
        }
    }
    lines
}

/// The bracket group of the attribute that begins at `index` (`#[…]` or `#![…]`).
pub(crate) fn attribute_at(trees: &[TokenTree], index: usize) -> Option<&Group> {
    if !is_punct(trees.get(index), '#') {
        return None;
    }
    let after = if is_punct(trees.get(index + 1), '!') {
        index + 2
    } else {
        index + 1
    };
    match trees.get(after) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => Some(group),
        _ => None,
    }
}

/// Whether the tree is the one-character operator `wanted`.
pub(crate) fn is_punct(tree: Option<&TokenTree>, wanted: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn walk(trees: &[TokenTree], found: &mut Vec<Path>) {
    let mut index = 0;
    while index < trees.len() {
        match &trees[index] {
            TokenTree::Ident(_) => index = path_at(trees, index, &[], found),
            TokenTree::Group(group) => {
                walk(&group.stream().into_iter().collect::<Vec<_>>(), found);
                index += 1;
            }
            _ => index += 1,
        }
    }
}

/// Reads the path that begins at `index`, under `prefix`; returns where it ends.
fn path_at(trees: &[TokenTree], index: usize, prefix: &[String], found: &mut Vec<Path>) -> usize {
    let line = trees[index].span().start().line;
    let mut segments = prefix.to_vec();
    segments.push(trees[index].to_string());
    let mut next = index + 1;
    while is_punct(trees.get(next), ':') && is_punct(trees.get(next + 1), ':') {
        match trees.get(next + 2) {
            Some(TokenTree::Ident(ident)) => {
                segments.push(ident.to_string());
                next += 3;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                list(
                    &group.stream().into_iter().collect::<Vec<_>>(),
                    &segments,
                    found,
                );
                return next + 3;
            }
            _ => break,
        }
    }
    let is_macro = is_punct(trees.get(next), '!') && !is_punct(trees.get(next + 1), '=');
    found.push(Path {
        segments,
        line,
        is_macro,
    });
    next
}

/// The entries of a `use` list, each under `prefix`.
fn list(trees: &[TokenTree], prefix: &[String], found: &mut Vec<Path>) {
    let mut index = 0;
    while index < trees.len() {
        index = match &trees[index] {
            TokenTree::Ident(_) => path_at(trees, index, prefix, found),
            _ => index + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str) -> Vec<String> {
        paths(parse("test.rs", source))
            .iter()
            .map(|path| path.segments.join("::"))
            .collect()
    }

    #[test]
    fn lists_of_imports_are_unfolded() {
        let paths = written("use std::{fs, net::{TcpStream, UdpSocket}};");
        assert_eq!(
            paths,
            [
                "use",
                "std::fs",
                "std::net::TcpStream",
                "std::net::UdpSocket"
            ]
        );
    }

    #[test]
    fn paths_in_macro_bodies_are_seen_and_comments_and_strings_are_not() {
        let paths = written("// std::fs\nmac! { let a = b::c(\"std::net\"); }");
        assert_eq!(paths, ["mac", "let", "a", "b::c"]);
    }

    #[test]
    fn a_call_of_a_macro_is_told_from_an_inequality() {
        let found = paths(parse("test.rs", "todo!(); a != b"));
        assert!(found[0].is_macro);
        assert!(!found[1].is_macro);
    }

    #[test]
    fn a_path_contains_whole_segments_only() {
        let path = Path {
            segments: ["tokio", "timer"].map(str::to_owned).into(),
            line: 1,
            is_macro: false,
        };
        assert!(path.contains("tokio") && path.contains("tokio::timer"));
        assert!(!path.contains("tokio::time"));
    }

    #[test]
    fn strings_of_several_lines_are_found_and_others_are_not() {
        let source = "f(\"a\");\ng(r\"b\nc\nd\");\n// e\n/// f\nfn h() {}";
        let lines: Vec<usize> = lines_of_long_strings(parse("test.rs", source))
            .into_iter()
            .collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn attributes_are_found_at_any_depth() {
        let found = attributes(parse("test.rs", "#![a]\nmod m {\n#[b]\nfn f() {} }"));
        let lines: Vec<usize> = found.iter().map(|(_, line)| *line).collect();
        assert_eq!(lines, [1, 3]);
    }
}
