//! The files of the repository, and what is found wrong in them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One text file: where it is, relative to the root, with `/` between the parts, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files that git tracks or would track.
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<File>,
}

/// One offence against one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    wrong: String,
    right: String,
}

impl File {
    /// A file for the tests of the checkers.
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .split('\n')
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// The part of the name after the last full stop, or nothing.
    pub(crate) fn extension(&self) -> &str {
        Path::new(&self.path)
            .extension()
            .and_then(|text| text.to_str())
            .unwrap_or("")
    }
}

impl Tree {
    /// Reads the repository this test was built from.
    ///
    /// Panics when git cannot list the files: a rule that looked at nothing would pass.
    pub(crate) fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("lab is in the root");
        let mut paths = tracked(root).unwrap_or_else(|| walked(root));
        paths.sort();
        let files: Vec<File> = paths
            .into_iter()
            .filter_map(|path| read(root, path))
            .collect();
        let rust = files.iter().filter(|file| file.extension() == "rs").count();
        assert!(
            rust > 5,
            "only {rust} Rust files found under {}",
            root.display()
        );
        Self {
            root: root.to_owned(),
            files,
        }
    }

    /// A tree for the tests of the checkers, with nothing on the disk.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| File::new(path, text))
            .collect();
        Self {
            root: PathBuf::from("/nowhere"),
            files,
        }
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    pub(crate) fn with_extension<'a>(
        &'a self,
        extension: &'a str,
    ) -> impl Iterator<Item = &'a File> {
        self.files()
            .filter(move |file| file.extension() == extension)
    }

    /// The Rust files of the workspace.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.with_extension("rs")
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files().find(|file| file.path == path)
    }

    /// Whether `path` is a file or a folder, be it text or not.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files()
            .any(|file| file.path == path || file.path.starts_with(&folder))
            || self.root.join(path).exists()
    }
}

impl Finding {
    pub(crate) fn new(
        path: &str,
        line: usize,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            line,
            wrong: wrong.into(),
            right: right.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}; {}",
            self.path, self.line, self.wrong, self.right
        )
    }
}

/// Fails with one line for each finding.
#[track_caller]
pub(crate) fn assert_clean(findings: impl IntoIterator<Item = Finding>) {
    let lines: Vec<String> = findings
        .into_iter()
        .map(|finding| finding.to_string())
        .collect();
    assert!(
        lines.is_empty(),
        "{} found:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

/// What git tracks, and what is new and not ignored. `None` outside a git checkout.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .ok()?;
    let list = String::from_utf8(output.stdout).ok()?;
    let mut paths: Vec<String> = list
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    paths.dedup();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

/// The same from the folders themselves, for a source archive without git.
fn walked(root: &Path) -> Vec<String> {
    const NOT_SOURCE: &[&str] = &["target", ".git", "corpus", "artifacts"];
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if !NOT_SOURCE
                    .iter()
                    .any(|skipped| name.as_os_str() == *skipped)
                {
                    folders.push(path);
                }
            } else if let Some(path) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                found.push(path.to_owned());
            }
        }
    }
    found
}

/// The file, unless it is not text or was deleted since git listed it.
fn read(root: &Path, path: String) -> Option<File> {
    let bytes = std::fs::read(root.join(&path)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(File { path, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_without_git_finds_what_git_tracks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("lab is in the root");
        let walked = walked(root);
        for path in ["Cargo.toml", "lab/tests/tidy.rs", "crates/meter/src/lib.rs"] {
            assert!(
                walked.iter().any(|found| found == path),
                "{path} is missing"
            );
        }
        assert!(
            !walked
                .iter()
                .any(|path| path.starts_with("target/") || path.contains(".git/"))
        );
    }

    #[test]
    fn a_finding_says_where_what_and_what_would_be_right() {
        let finding = Finding::new("a.rs", 7, "too long", "split it");
        assert_eq!(finding.to_string(), "a.rs:7: too long; split it");
    }

    #[test]
    #[should_panic(expected = "1 found:\na.rs:7: too long; split it")]
    fn a_finding_fails_the_test() {
        assert_clean([Finding::new("a.rs", 7, "too long", "split it")]);
    }
}
