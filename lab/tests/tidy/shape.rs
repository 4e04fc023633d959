//! The shape of Rust files: how long functions and files are, and that nothing is left unfinished.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::tokens;
use crate::tree::{File, Finding};

/// Lines of a function's body, the lines of both braces included. What fits on a screen can be read
/// from top to bottom without scrolling; the number is TigerBeetle's.
pub(crate) const MAX_FUNCTION_LINES: usize = 70;

/// Lines of a Rust file, its tests included.
pub(crate) const MAX_FILE_LINES: usize = 600;

/// Macros that say that the code is not finished, or that it was looked at with a debugger's eye.
const UNFINISHED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// The functions of a file, with the lines of their bodies.
#[derive(Default)]
struct Functions {
    found: Vec<(String, Span, usize)>,
}

impl Functions {
    fn add(&mut self, name: &proc_macro2::Ident, body: Span) {
        let lines = body.end().line + 1 - body.start().line;
        self.found.push((name.to_string(), name.span(), lines));
    }

    /// Functions in the body of a macro (`proptest! { … }`), which is no syntax tree: `fn`, a name, and
    /// the first group in braces after it.
    fn scan(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, tree) in trees.iter().enumerate() {
            match (tree, trees.get(index + 1)) {
                (TokenTree::Ident(keyword), Some(TokenTree::Ident(name))) if keyword == "fn" => {
                    if let Some(body) = body_after(&trees[index + 2..]) {
                        self.add(name, body.span());
                    }
                }
                (TokenTree::Group(group), _) => self.scan(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, item.block.brace_token.span.join());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, item.block.brace_token.span.join());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig.ident, block.brace_token.span.join());
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.scan(item.tokens.clone());
    }
}

fn body_after(trees: &[TokenTree]) -> Option<&Group> {
    trees.iter().find_map(|tree| match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    })
}

/// Functions whose body is longer than [`MAX_FUNCTION_LINES`].
pub(crate) fn long_functions(file: &File) -> Vec<Finding> {
    let syntax = match syn::parse_file(&file.text) {
        Ok(syntax) => syntax,
        Err(error) => {
            let line = error.span().start().line;
            return vec![Finding::new(
                &file.path,
                line,
                error.to_string(),
                "make it compile",
            )];
        }
    };
    let mut functions = Functions::default();
    functions.visit_file(&syntax);
    let long = functions
        .found
        .into_iter()
        .filter(|(_, _, lines)| *lines > MAX_FUNCTION_LINES);
    long.map(|(name, span, lines)| {
        Finding::new(
            &file.path,
            span.start().line,
            format!("the body of `{name}` has {lines} lines"),
            format!("split it by idea: at most {MAX_FUNCTION_LINES}"),
        )
    })
    .collect()
}

/// Files longer than [`MAX_FILE_LINES`] that are not in `listed`, and entries of `listed` without need.
pub(crate) fn long_files(files: &[&File], listed: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        if lines > MAX_FILE_LINES && !listed.iter().any(|(path, _)| *path == file.path) {
            let right =
                format!("split it by idea (at most {MAX_FILE_LINES}), or list it with a reason");
            findings.push(Finding::new(
                &file.path,
                lines,
                format!("has {lines} lines"),
                right,
            ));
        }
    }
    for (path, reason) in listed {
        let long = |file: &&&File| file.path == *path && file.text.lines().count() > MAX_FILE_LINES;
        if files.iter().find(long).is_none() || reason.is_empty() {
            let wrong = "is listed as a long file and is not one, or has no reason";
            findings.push(Finding::new(path, 1, wrong, "strike it from LONG_FILES"));
        }
    }
    findings
}

/// Calls of [`UNFINISHED_MACROS`], and tests that are switched off.
pub(crate) fn unfinished(file: &File) -> Vec<Finding> {
    let tokens = tokens::parse(&file.path, &file.text);
    let mut findings = Vec::new();
    for path in tokens::paths(tokens.clone()) {
        let name = path.segments.last().map_or("", String::as_str);
        if path.is_macro && UNFINISHED_MACROS.contains(&name) {
            let wrong = format!("`{name}!` is called");
            findings.push(Finding::new(
                &file.path,
                path.line,
                wrong,
                "finish it or leave it out",
            ));
        }
    }
    for (attribute, line) in tokens::attributes(tokens) {
        let switches_off = |path: &tokens::Path| path.segments == ["ignore"];
        if tokens::paths(attribute).iter().any(switches_off) {
            let right = "make the test run everywhere, or delete it";
            findings.push(Finding::new(
                &file.path,
                line,
                "a test is switched off",
                right,
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_71_lines_is_one_too_many() {
        assert_eq!(long_functions(&File::new("a.rs", &function(70))), []);
        let found = long_functions(&File::new("a.rs", &function(71)));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].line), ("a.rs", 1));
    }

    #[test]
    fn methods_defaults_nested_functions_and_macro_bodies_count() {
        for (before, after) in [
            ("impl S {\n", "}"),
            ("trait T {\n", "}"),
            ("fn outer() { mod m {\n", "} }"),
            ("proptest! {\n", "}"),
        ] {
            let source = format!("{before}{}{after}", function(71));
            let found = long_functions(&File::new("a.rs", &source));
            assert_eq!(
                found.iter().filter(|finding| finding.line == 2).count(),
                1,
                "{before}"
            );
        }
    }

    #[test]
    fn what_is_not_rust_is_a_finding() {
        assert_eq!(long_functions(&File::new("a.rs", "fn f( {")).len(), 1);
    }

    #[test]
    fn a_long_file_needs_an_entry_and_an_entry_needs_a_long_file() {
        let long = File::new("long.rs", &"\n".repeat(MAX_FILE_LINES + 1));
        let short = File::new("short.rs", &"\n".repeat(MAX_FILE_LINES));
        assert_eq!(long_files(&[&short], &[]), []);
        assert_eq!(long_files(&[&long], &[]).len(), 1);
        assert_eq!(long_files(&[&long], &[("long.rs", "a table")]), []);
        assert_eq!(long_files(&[&long], &[("long.rs", "")]).len(), 1);
        assert_eq!(long_files(&[&short], &[("short.rs", "a table")]).len(), 1);
        assert_eq!(long_files(&[], &[("gone.rs", "a table")]).len(), 1);
    }

    #[test]
    fn unfinished_macros_are_seen_wherever_they_are_called() {
        for source in [
            "fn f() { todo!() }",
            "fn f() { std::unimplemented!(\"later\") }",
            "fn f() { vec![dbg!(1)] }",
            "#[test]\n#[ignore = \"slow\"]\nfn f() {}",
            "#[cfg_attr(windows, ignore)]\nfn f() {}",
        ] {
            assert_eq!(unfinished(&File::new("a.rs", source)).len(), 1, "{source}");
        }
    }

    #[test]
    fn prose_about_unfinished_macros_is_no_offence() {
        let source = "// dbg!(x)\n/// Never `#[ignore]`.\nfn dbg() { f(\"todo!()\") }";
        assert_eq!(unfinished(&File::new("a.rs", source)), []);
    }
}
