//! Pure crates name no clock, no file, no socket, no thread and no log.
//!
//! clippy.toml bans the calls; this bans the names, in macro bodies too, and so also says no to a
//! `use` line that nothing calls yet. Tests, benches and examples of a pure crate may do as they like.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::tokens::{self, attribute_at};
use crate::tree::{File, Finding, Tree};

/// Paths that a pure crate does not name.
const BANNED_PATHS: &[(&str, &str)] = &[
    ("Instant::now", "take the time as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("tokio::time", "leave timers to the caller"),
    ("std::fs", "take the contents as an argument"),
    ("std::net", "leave sockets to the caller"),
    ("std::env", "take the value as an argument"),
    ("std::process", "leave processes to the caller"),
    ("tokio::net", "leave sockets to the caller"),
    ("tokio::fs", "take the contents as an argument"),
    ("tokio::process", "leave processes to the caller"),
    (
        "tokio::spawn",
        "return a future and let the caller drive it",
    ),
    ("tokio::task", "return a future and let the caller drive it"),
    (
        "tokio::runtime",
        "return a future and let the caller drive it",
    ),
    ("thread::spawn", "let the caller start threads"),
    ("thread::scope", "let the caller start threads"),
    ("thread::Builder", "let the caller start threads"),
    ("thread::sleep", "let the caller wait"),
    ("tracing", "return what happened and let the caller log it"),
    ("log", "return what happened and let the caller log it"),
];

/// Macros that a pure crate does not call.
const BANNED_MACROS: &[&str] = &["println", "print", "eprintln", "eprint"];

/// Offences against purity in `crate_path/src`, outside its tests.
pub(crate) fn impurities(crate_path: &str, tree: &Tree) -> Vec<Finding> {
    let source = format!("{crate_path}/src/");
    let files: Vec<&File> = tree
        .rust()
        .filter(|file| file.path.starts_with(&source))
        .collect();
    if files.is_empty() {
        let wrong = "is listed as a pure crate and has no source";
        return vec![Finding::new(crate_path, 1, wrong, "correct PURE_CRATES")];
    }
    let tests: Vec<String> = files.iter().flat_map(|file| test_modules(file)).collect();
    let is_test = |file: &File| tests.iter().any(|stem| belongs(&file.path, stem));
    files
        .into_iter()
        .filter(|file| !is_test(file))
        .flat_map(in_file)
        .collect()
}

fn in_file(file: &File) -> Vec<Finding> {
    let tokens = without_tests(tokens::parse(&file.path, &file.text)).0;
    let mut findings = Vec::new();
    for line in elapsed_calls(tokens.clone()) {
        let right = "subtract two times that came in as arguments";
        findings.push(Finding::new(
            &file.path,
            line,
            "`.elapsed()` reads the clock",
            right,
        ));
    }
    for path in tokens::paths(tokens) {
        let written = path.segments.join("::");
        for (banned, right) in BANNED_PATHS
            .iter()
            .filter(|(banned, _)| names(&path, banned))
        {
            let wrong = format!("a pure crate names `{banned}` (`{written}`)");
            findings.push(Finding::new(&file.path, path.line, wrong, *right));
        }
        if path.is_macro && BANNED_MACROS.contains(&written.trim_start_matches("std::")) {
            let wrong = format!("a pure crate calls `{written}!`");
            findings.push(Finding::new(
                &file.path,
                path.line,
                wrong,
                "return it instead",
            ));
        }
    }
    findings
}

/// A ban of one word in small letters is a crate: `log::info` counts, a field or method `log` does not.
fn names(path: &tokens::Path, banned: &str) -> bool {
    if banned.contains("::") || banned.starts_with(char::is_uppercase) {
        path.contains(banned)
    } else {
        path.segments.len() > 1 && path.segments[0] == banned
    }
}

/// Lines of `.elapsed()` without arguments.
fn elapsed_calls(tokens: TokenStream) -> Vec<usize> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut lines = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) => lines.extend(elapsed_calls(group.stream())),
            TokenTree::Ident(name) if name == "elapsed" && index > 0 => {
                let called = matches!(trees.get(index + 1), Some(TokenTree::Group(group))
                    if group.delimiter() == Delimiter::Parenthesis && group.stream().is_empty());
                if called && tokens::is_punct(trees.get(index - 1), '.') {
                    lines.push(name.span().start().line);
                }
            }
            _ => {}
        }
    }
    lines
}

/// The path, without `.rs`, of each module that a file declares for tests alone.
fn test_modules(file: &File) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let stem = name.trim_end_matches(".rs");
    let home = match stem {
        "lib" | "main" | "mod" => folder.to_owned(),
        _ => format!("{folder}/{stem}"),
    };
    let modules = without_tests(tokens::parse(&file.path, &file.text)).1;
    modules
        .into_iter()
        .map(|module| format!("{home}/{module}"))
        .collect()
}

/// Whether `path` is the module `stem` or lies below it.
fn belongs(path: &str, stem: &str) -> bool {
    path.strip_prefix(stem)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The stream without the items under `#[cfg(test)]` or `#[test]`, and the names of the modules among
/// them that are in files of their own.
fn without_tests(tokens: TokenStream) -> (TokenStream, Vec<String>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut modules = Vec::new();
    let mut index = 0;
    while index < trees.len() {
        if attribute_at(&trees, index).is_some_and(|group| is_for_tests(group.stream())) {
            let end = item_end(&trees, index);
            modules.extend(module_name(&trees[index..end]));
            index = end;
        } else {
            kept.push(trees[index].clone());
            index += 1;
        }
    }
    (
        kept.into_iter()
            .map(|tree| inside(tree, &mut modules))
            .collect(),
        modules,
    )
}

fn inside(tree: TokenTree, modules: &mut Vec<String>) -> TokenTree {
    let TokenTree::Group(group) = tree else {
        return tree;
    };
    let (stream, found) = without_tests(group.stream());
    modules.extend(found);
    let mut cleaned = proc_macro2::Group::new(group.delimiter(), stream);
    cleaned.set_span(group.span());
    TokenTree::Group(cleaned)
}

/// `cfg(test)`, `cfg(all(test, …))` or `test`; not `cfg(not(test))`, nor `any`, which is also built
/// without tests.
fn is_for_tests(attribute: TokenStream) -> bool {
    let trees: Vec<TokenTree> = attribute.into_iter().collect();
    match trees.as_slice() {
        [TokenTree::Ident(name)] => name == "test",
        [TokenTree::Ident(name), TokenTree::Group(group)] if name == "cfg" || name == "all" => {
            let conditions: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut parts = conditions.split(|tree| tokens::is_punct(Some(tree), ','));
            parts.any(|part| is_for_tests(part.iter().cloned().collect()))
        }
        _ => false,
    }
}

/// Where the item that begins at `index` with its attributes ends: after `;` or the first braces.
fn item_end(trees: &[TokenTree], index: usize) -> usize {
    let is_use = |tree: &TokenTree| matches!(tree, TokenTree::Ident(name) if name == "use");
    let imports = trees[index..].iter().find_map(|tree| match tree {
        TokenTree::Ident(_) => Some(is_use(tree)),
        _ => None,
    });
    for (at, tree) in trees.iter().enumerate().skip(index) {
        let braces =
            matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if tokens::is_punct(Some(tree), ';') || (braces && imports != Some(true)) {
            return at + 1;
        }
    }
    trees.len()
}

/// The name in `mod name;`.
fn module_name(item: &[TokenTree]) -> Option<String> {
    item.windows(3).find_map(|part| match part {
        [TokenTree::Ident(keyword), TokenTree::Ident(name), end]
            if keyword == "mod" && tokens::is_punct(Some(end), ';') =>
        {
            Some(name.to_string())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<usize> {
        let tree = Tree::of(&[("crates/p/src/lib.rs", source)]);
        impurities("crates/p", &tree)
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn each_impurity_is_found_on_its_line() {
        for source in [
            "fn f() { Instant::now(); }",
            "fn f() { std::time::Instant::now(); }",
            "use std::time::{Duration, SystemTime};",
            "fn f(t: T) { t.elapsed(); }",
            "use tokio::{sync::Semaphore, time};",
            "use std::{fs, fmt};",
            "fn f() { let s = std::net::TcpStream::connect(a); }",
            "fn f() { tokio::spawn(g()); }",
            "fn f() { thread::spawn(g); }",
            "fn f() { tracing::info!(\"x\"); }",
            "use log::info;",
            "fn f() { println!(\"x\"); }",
            "fn f() { assert!(m! { std::env::var(\"x\") }); }",
            "#[cfg(not(test))] fn f() { Instant::now(); }",
            "#[cfg(any(test, loom))] fn f() { Instant::now(); }",
            "#[cfg(test)] use std::{fs, net}; fn f() { Instant::now(); }",
        ] {
            assert_eq!(found(&format!("\n{source}")), [2], "{source}");
        }
    }

    #[test]
    fn names_that_only_look_alike_are_left_alone() {
        for source in [
            "fn f(at: Instant, x: f64) -> f64 { x.log(2.0) }",
            "fn f(log: &mut Vec<u8>) { log.push(1); self.log = 1; }",
            "// Instant::now()\n/// `std::fs`\nfn f() { g(\"println!\"); clock.elapsed(a); }",
            "use std::time::Duration; use tokio::sync::Semaphore; fn now(&self) -> Tick;",
        ] {
            assert_eq!(found(source), [0; 0], "{source}");
        }
    }

    #[test]
    fn tests_of_a_pure_crate_may_read_the_clock() {
        for source in [
            "#[cfg(test)] mod tests { fn f() { Instant::now(); } }",
            "#[cfg(all(test, not(loom)))]\n#[path = \"x\"]\nmod tests { fn f() { Instant::now(); } }",
            "mod m { #[test] fn f() { std::fs::read(p); } }",
            "#[cfg(test)] use std::{fs, net};",
        ] {
            assert_eq!(found(source), [0; 0], "{source}");
        }
    }

    #[test]
    fn files_of_tests_are_left_out_and_others_are_not() {
        let tree = Tree::of(&[
            ("crates/p/src/lib.rs", "mod a; #[cfg(test)] mod oracle;"),
            ("crates/p/src/a.rs", "#[cfg(test)] mod tests;"),
            ("crates/p/src/a/tests.rs", "fn f() { Instant::now(); }"),
            ("crates/p/src/oracle/deep.rs", "fn f() { Instant::now(); }"),
            ("crates/p/src/tests.rs", "fn f() { Instant::now(); }"),
            ("crates/p/benches/b.rs", "fn f() { Instant::now(); }"),
        ]);
        let found = impurities("crates/p", &tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/p/src/tests.rs");
    }

    #[test]
    fn a_pure_crate_that_is_not_there_is_a_finding() {
        assert_eq!(impurities("crates/gone", &Tree::of(&[])).len(), 1);
    }
}
