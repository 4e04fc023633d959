//! The style of this repository, as tests.
//!
//! A rule that only a reviewer knows is kept until the reviewer is tired. Each rule here is one
//! test; what it prints on failure has the file, the line, what is wrong and what would be right.
//! The rules look at every file that git knows of (see [`tree`]), and the Rust rules look at tokens,
//! not at text, so a comment or a string that names a banned thing is no offence ([`tokens`]).
//!
//! Each checker is a plain function from the text of a file to a list of [`Finding`]s, so that its
//! own tests can show it a small bad input and see it object. A checker that cannot fail is worth
//! nothing.
//!
//! Rejected: a script beside the tests. `cargo test` is what everybody runs, so that is where the
//! rules are.

#[path = "tidy/architecture.rs"]
mod architecture;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/purity.rs"]
mod purity;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/tokens.rs"]
mod tokens;
#[path = "tidy/tree.rs"]
mod tree;

use tree::{Finding, Tree, assert_clean};

/// Rust files that may be longer than [`shape::MAX_FILE_LINES`], each with the reason.
///
/// An entry that is no longer needed is itself a finding.
const LONG_FILES: &[(&str, &str)] = &[];

/// The crates that read no clock, do no I/O, start nothing and log nothing.
const PURE_CRATES: &[&str] = &[
    "crates/meter",
    "crates/limit",
    "crates/balance",
    "crates/scale",
    "crates/wire",
];

/// The crates whose own clippy.toml must repeat the bans of the workspace.
const CRATES_WITH_CLIPPY_TOML: &[&str] = &[
    "crates/meter",
    "crates/limit",
    "crates/balance",
    "crates/scale",
    "crates/proxy",
];

#[test]
fn functions_fit_on_a_screen() {
    let tree = Tree::load();
    assert_clean(tree.rust().flat_map(shape::long_functions));
}

#[test]
fn files_hold_one_idea() {
    let tree = Tree::load();
    let rust: Vec<_> = tree.rust().collect();
    assert_clean(shape::long_files(&rust, LONG_FILES));
}

#[test]
fn nothing_is_left_unfinished_in_the_code() {
    let tree = Tree::load();
    assert_clean(tree.rust().flat_map(shape::unfinished));
}

#[test]
fn no_file_carries_an_unfinished_mark() {
    let tree = Tree::load();
    assert_clean(tree.files().flat_map(text::unfinished_marks));
}

#[test]
fn the_repository_speaks_of_the_project_alone() {
    let tree = Tree::load();
    assert_clean(tree.files().flat_map(text::foreign_words));
}

#[test]
fn lines_are_not_too_wide() {
    let tree = Tree::load();
    assert_clean(tree.files().flat_map(text::wide_lines));
}

#[test]
fn no_line_ends_in_white_space() {
    let tree = Tree::load();
    assert_clean(tree.files().flat_map(text::trailing_space));
}

#[test]
fn every_file_ends_with_a_newline() {
    let tree = Tree::load();
    assert_clean(tree.files().flat_map(text::final_newline));
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let tree = Tree::load();
    let documents: Vec<_> = tree.with_extension("md").collect();
    assert_clean(documents.iter().flat_map(|file| links::broken(file, &tree)));
}

#[test]
fn pure_crates_read_no_clock_do_no_io_start_nothing_and_log_nothing() {
    let tree = Tree::load();
    let mut findings = Vec::new();
    for name in PURE_CRATES {
        findings.extend(purity::impurities(name, &tree));
    }
    assert_clean(findings);
}

#[test]
fn dependencies_point_downwards() {
    assert_clean(manifests::upward_dependencies(&manifests::workspace()));
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let tree = Tree::load();
    let manifests = tree.files().filter(|file| manifests::is_member(&file.path));
    assert_clean(manifests.flat_map(manifests::without_workspace_lints));
}

#[test]
fn a_closer_clippy_toml_repeats_the_bans_of_the_workspace() {
    let tree = Tree::load();
    let root = tree.get("clippy.toml").expect("the root has a clippy.toml");
    let mut findings = Vec::new();
    for name in CRATES_WITH_CLIPPY_TOML {
        let path = format!("{name}/clippy.toml");
        match tree.get(&path) {
            Some(own) => findings.extend(manifests::missing_bans(root, own)),
            None => findings.push(Finding::new(
                &path,
                1,
                "is missing",
                "write the clock bans there",
            )),
        }
    }
    assert_clean(findings);
}

#[test]
fn every_permission_for_unsafe_code_is_in_the_architecture() {
    let tree = Tree::load();
    let document = tree.get("ARCHITECTURE.md").map(|file| file.text.as_str());
    assert_clean(
        tree.rust()
            .flat_map(|file| architecture::unlisted_unsafe(file, document)),
    );
}
