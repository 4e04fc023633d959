//! Manifests: which crate may know which, and that the lints of the workspace hold everywhere.

use std::process::Command;

use serde_json::Value;

use crate::tree::{File, Finding};

/// What each crate may depend on among ours. A crate that is not here must be put here, and into the
/// drawing in ARCHITECTURE.md: the direction of dependencies is decided, not found.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("plimsoll-meter", &[]),
    ("plimsoll-fleet", &[]),
    ("plimsoll-limit", &[]),
    ("plimsoll-balance", &["plimsoll-limit", "plimsoll-meter"]),
    ("plimsoll-scale", &["plimsoll-meter"]),
    ("plimsoll-wire", &["plimsoll-meter"]),
    (
        "plimsoll-proxy",
        &[
            "plimsoll-balance",
            "plimsoll-limit",
            "plimsoll-meter",
            "plimsoll-wire",
        ],
    ),
    (
        "plimsoll",
        &[
            "plimsoll-balance",
            "plimsoll-fleet",
            "plimsoll-limit",
            "plimsoll-meter",
            "plimsoll-proxy",
            "plimsoll-scale",
            "plimsoll-wire",
        ],
    ),
    (
        "plimsoll-lab",
        &[
            "plimsoll-balance",
            "plimsoll-fleet",
            "plimsoll-limit",
            "plimsoll-meter",
            "plimsoll-proxy",
            "plimsoll-scale",
            "plimsoll-wire",
        ],
    ),
];

/// What tests of any crate may use besides: the lab is not shipped.
const FOR_TESTS: &str = "plimsoll-lab";

/// What cargo says of the packages of the workspace.
///
/// Panics when cargo cannot say it: a rule that looked at nothing would pass.
pub(crate) fn workspace() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs this test, so cargo is there");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {problem}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

/// Dependencies among our crates that [`MAY_DEPEND_ON`] does not name.
pub(crate) fn upward_dependencies(metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in array(metadata, "packages") {
        let name = string(package, "name");
        let path = string(package, "manifest_path");
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(known, _)| *known == name) else {
            let wrong = format!("`{name}` has no place in the order of crates");
            findings.push(Finding::new(path, 1, wrong, "add it to MAY_DEPEND_ON"));
            continue;
        };
        for dependency in array(package, "dependencies") {
            let on = string(dependency, "name");
            let for_tests = dependency["kind"] == "dev" && on == FOR_TESTS;
            if on.starts_with("plimsoll") && !allowed.contains(&on) && !for_tests {
                let wrong = format!("`{name}` depends on `{on}`");
                let right = format!("it may depend on {allowed:?} only: move the code down");
                findings.push(Finding::new(path, 1, wrong, right));
            }
        }
    }
    findings
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// Whether the path is the manifest of a crate of the workspace.
pub(crate) fn is_member(path: &str) -> bool {
    let folder = path.strip_suffix("/Cargo.toml");
    folder.is_some_and(|folder| folder == "lab" || folder.starts_with("crates/"))
}

/// A manifest whose `[lints]` table does not say `workspace = true`.
pub(crate) fn without_workspace_lints(manifest: &File) -> Option<Finding> {
    let mut lines = manifest
        .text
        .lines()
        .skip_while(|line| line.trim() != "[lints]")
        .skip(1);
    let inherits = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.split_whitespace().collect::<String>() == "workspace=true");
    let wrong = "does not take the lints of the workspace";
    let right = "add [lints] with workspace = true";
    (!inherits).then(|| Finding::new(&manifest.path, 1, wrong, right))
}

/// Lines of the root's clippy.toml that the closer file leaves out. clippy reads the closest file only.
pub(crate) fn missing_bans(root: &File, own: &File) -> Vec<Finding> {
    let is_rule = |line: &str| !line.is_empty() && !line.starts_with('#') && line != "]";
    let mut findings = Vec::new();
    for rule in root
        .text
        .lines()
        .map(str::trim)
        .filter(|line| is_rule(line))
    {
        if !own.text.lines().any(|line| line.trim() == rule) {
            let wrong = format!("does not repeat `{rule}`");
            findings.push(Finding::new(
                &own.path,
                1,
                wrong,
                "copy it from the root's clippy.toml",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, on: &str, kind: Option<&str>) -> Value {
        let dependencies = json!([{ "name": "bytes", "kind": null }, { "name": on, "kind": kind }]);
        json!({ "packages": [
            { "name": name, "manifest_path": "Cargo.toml", "dependencies": dependencies }
        ] })
    }

    #[test]
    fn a_dependency_that_points_up_or_sideways_is_found() {
        for (name, on, kind) in [
            ("plimsoll-meter", "plimsoll-limit", None),
            ("plimsoll-meter", "plimsoll-limit", Some("dev")),
            ("plimsoll-limit", "plimsoll-meter", None),
            ("plimsoll-wire", "plimsoll-proxy", None),
            ("plimsoll-proxy", "plimsoll", None),
            ("plimsoll", "plimsoll-lab", None),
            ("plimsoll", "plimsoll-lab", Some("build")),
            ("plimsoll-new", "bytes", None),
        ] {
            let found = upward_dependencies(&package(name, on, kind));
            assert_eq!(found.len(), 1, "{name} on {on}");
        }
    }

    #[test]
    fn dependencies_that_point_down_and_the_lab_in_tests_are_allowed() {
        for (name, on, kind) in [
            ("plimsoll-wire", "plimsoll-meter", None),
            ("plimsoll-proxy", "plimsoll-wire", None),
            ("plimsoll", "plimsoll-proxy", None),
            ("plimsoll-proxy", "plimsoll-lab", Some("dev")),
        ] {
            assert_eq!(
                upward_dependencies(&package(name, on, kind)),
                [],
                "{name} on {on}"
            );
        }
    }

    #[test]
    fn cargo_knows_the_crates_of_this_workspace() {
        let metadata = workspace();
        let names: Vec<&str> = array(&metadata, "packages")
            .iter()
            .map(|p| string(p, "name"))
            .collect();
        for (name, _) in MAY_DEPEND_ON {
            assert!(
                names.contains(name),
                "{name} is in MAY_DEPEND_ON and not in the workspace"
            );
        }
    }

    #[test]
    fn a_manifest_without_the_lints_of_the_workspace_is_found() {
        for text in [
            "[package]\n",
            "[lints]\n[dependencies]\nworkspace = true\n",
            "[lints.rust]\nworkspace = true\n",
        ] {
            assert!(
                without_workspace_lints(&File::new("Cargo.toml", text)).is_some(),
                "{text}"
            );
        }
        let good = File::new(
            "Cargo.toml",
            "[package]\n\n[lints]\nworkspace = true\n\n[dependencies]\n",
        );
        assert_eq!(without_workspace_lints(&good), None);
        assert!(is_member("crates/meter/Cargo.toml") && is_member("lab/Cargo.toml"));
        assert!(!is_member("Cargo.toml") && !is_member("fuzz/Cargo.toml"));
    }

    #[test]
    fn a_ban_that_the_closer_file_leaves_out_is_found() {
        let root = File::new(
            "clippy.toml",
            "# why\na = true\nbans = [\n    { path = \"x\" },\n]\n",
        );
        let whole = File::new(
            "c/clippy.toml",
            "a = true\nbans = [\n { path = \"x\" },\n { path = \"y\" },\n]\n",
        );
        let part = File::new(
            "c/clippy.toml",
            "a = true\nbans = [\n { path = \"y\" },\n]\n",
        );
        assert_eq!(missing_bans(&root, &whole), []);
        assert_eq!(missing_bans(&root, &part).len(), 1);
    }
}
