//! Tables that say which test holds what: each of the tests that they name is there.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of the tables in a page.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    lines.map(|line| line.split('|').map(str::trim).collect())
}

/// What is in backticks at the beginning of a cell.
fn quoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.split('`').next()
}

#[test]
fn each_counterpart_of_knatives_tests_is_there() {
    let page = read("lab/conformance/README.md");
    let mut counted = 0;
    for row in rows(&page) {
        let [_, file, name, path] = row[..] else {
            panic!("{row:?}");
        };
        let (Some(name), Some(path)) = (quoted(name), quoted(path)) else {
            continue;
        };
        assert!(
            read(path).contains(&format!("fn {name}(")),
            "{name} is not in {path}"
        );
        if let Some(file) = quoted(file) {
            assert!(!read(&format!("lab/conformance/{file}")).is_empty());
        }
        counted += 1;
    }
    assert!(counted > 50, "{counted} rows were found");
}

#[test]
fn each_known_defect_has_a_test_of_its_name() {
    let page = read("docs/knative.md");
    // Files that are called by their last name only are in this folder.
    let at = |path: &str| match path {
        "defects.rs" => "crates/proxy/tests/knative/defects.rs".to_owned(),
        path => path.to_owned(),
    };
    let mut before = String::new();
    for number in 1..=17 {
        let name = format!("F{number}");
        let row = rows(&page).find(|row| row[0] == name);
        let row = row.unwrap_or_else(|| panic!("{name} is not in docs/knative.md"));
        let cell = row.last().copied().unwrap_or_default();
        let test = quoted(cell).unwrap_or_else(|| panic!("{name} names no test: {cell}"));
        let path = match cell.split('`').nth(3) {
            Some(path) => at(path),
            None if cell.ends_with("in the same") => before,
            None => panic!("{name} names no file: {cell}"),
        };
        let start = test.trim_end_matches('…');
        assert!(
            read(&path).contains(&format!("fn {start}")),
            "{test} is not in {path}"
        );
        before = path;
    }
}

/// What systemd says of our units. The program they start is not installed where tests run: it is looked for elsewhere.
#[test]
fn systemd_has_nothing_against_its_units() {
    let verify = |path: &Path| {
        Command::new("systemd-analyze")
            .arg("verify")
            .arg(path)
            .output()
    };
    let folder = std::env::temp_dir().join(format!("plimsoll-units-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let units = std::fs::read_dir(root().join("deploy/systemd")).unwrap();
    let mut units: Vec<(String, String)> = units
        .map(|unit| unit.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(units.len() >= 2, "{units:?}");
    // One that is wrong is found: else this test would say nothing.
    units.push((
        "wrong.service".to_owned(),
        "[Service]\nExecStart=nothing\n".to_owned(),
    ));
    for (name, text) in units {
        let path = folder.join(&name);
        std::fs::write(&path, text.replace("/usr/local/bin/plimsoll", "/bin/true")).unwrap();
        let Ok(output) = verify(&path) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "systemd-analyze is not installed"
            );
            println!("skipped: systemd-analyze is not installed");
            break;
        };
        let told = String::from_utf8_lossy(&output.stderr);
        let is_sound = output.status.success() && !told.contains(&name);
        assert_eq!(is_sound, name != "wrong.service", "{name}: {told}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
