//! The dashboards for Grafana and the alerts: whether Prometheus takes them, and whether they speak of what there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::gateway::Folder;
use crate::harness::program;

/// The files of a folder of the repository with an ending, in order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder);
    let entries = std::fs::read_dir(root).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{folder}");
    found
}

fn rules() -> Vec<PathBuf> {
    let is_test = |path: &PathBuf| path.to_str().unwrap().ends_with(".test.yaml");
    let mut found = files("deploy/alerts", ".yaml");
    found.retain(|path| !is_test(path));
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The names of metrics in a text, without what histograms and summaries add to theirs.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_word(letter));
    let named = words.filter(|word| word.starts_with("plimsoll_"));
    let whole = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let end = ends.iter().find_map(|end| word.strip_suffix(end));
        end.unwrap_or(word).to_owned()
    };
    named.map(whole).collect()
}

fn documented() -> BTreeSet<String> {
    let text = include_str!("../../../../docs/metrics.md");
    let headings = text.lines().filter_map(|line| line.strip_prefix("### `"));
    headings
        .map(|line| line.trim_end_matches('`').to_owned())
        .collect()
}

/// The queries of a dashboard, as Grafana sends them.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let query = |target: &Value| {
        target["expr"]
            .as_str()
            .unwrap()
            .replace("$__rate_interval", "5m")
            .replace("$service", ".*")
            .replace("$pod", ".*")
    };
    targets.flatten().map(query).collect()
}

#[test]
fn every_metric_that_is_asked_for_is_documented() {
    let documented = documented();
    assert!(documented.len() > 30);
    for path in files("deploy/grafana", ".json").iter().chain(&rules()) {
        let unknown: Vec<String> = metrics_in(&read(path))
            .difference(&documented)
            .cloned()
            .collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}

#[tokio::test]
async fn prometheus_takes_the_alerts_and_each_has_a_test_that_it_fires() {
    for path in rules() {
        let tests = path.with_extension("test.yaml");
        let (rules, tested) = (read(&path), read(&tests));
        for line in rules.lines() {
            let Some(name) = line.trim().strip_prefix("- alert: ") else {
                continue;
            };
            let mut cases = tested.split("alertname: ").skip(1);
            let fires = |case: &str| {
                case.starts_with(&format!("{name}\n"))
                    && case.lines().nth(1).unwrap().trim() == "exp_alerts:"
            };
            assert!(cases.any(fires), "{name} is not tested");
        }
        if !program::is_here("promtool") {
            return;
        }
        for (what, path) in [("check", &path), ("test", &tests)] {
            let said = program::run("promtool", &[what, "rules", path.to_str().unwrap()]).await;
            assert!(
                said.success,
                "{}: {} {}",
                path.display(),
                said.text(),
                said.stderr
            );
        }
    }
}

#[tokio::test]
async fn prometheus_takes_every_query_of_the_dashboards() {
    let mut rules = "groups:\n  - name: queries\n    rules:\n".to_owned();
    let mut count = 0;
    for path in files("deploy/grafana", ".json") {
        let dashboard: Value = serde_json::from_str(&read(&path)).unwrap();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
            let place = &panel["gridPos"];
            let right = place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap();
            assert!(right <= 24, "{panel}");
        }
        for query in queries(&dashboard) {
            assert!(!query.contains('$'), "{query}");
            count += 1;
            let query = serde_json::to_string(&query).unwrap();
            rules.push_str(&format!(
                "      - record: query:{count}\n        expr: {query}\n"
            ));
        }
    }
    assert!(count > 20, "{count}");
    if !program::is_here("promtool") {
        return;
    }
    let folder = Folder::new();
    let path = folder.write("rules.yaml", &rules);
    let said = program::run("promtool", &["check", "rules", path.to_str().unwrap()]).await;
    assert!(said.success, "{} {}", said.text(), said.stderr);
}
