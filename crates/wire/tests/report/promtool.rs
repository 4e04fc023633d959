//! Prometheus' own tool reads the reports, and the queries of the document.
//!
//! `promtool check metrics` parses the 0.0.4 format only, whatever it is given;
//! OpenMetrics goes through the parser of the Prometheus server instead, by way
//! of `promtool tsdb create-blocks-from openmetrics`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use plimsoll_wire::prometheus::TextFormat;

use super::document::DOCUMENT;
use super::gateway::gateway_text;
use super::*;

/// Whether promtool can be run. A build server must have it; elsewhere its
/// absence is told, and the test has nothing to say.
pub(super) fn promtool_is_here() -> bool {
    let is_here = Command::new("promtool").arg("--version").output().is_ok();
    let must_be_here = std::env::var_os("CI").is_some();
    assert!(is_here || !must_be_here, "promtool is not installed");
    if !is_here {
        println!("skipped: promtool is not installed");
    }
    is_here
}

/// What the linter says, both streams, and whether it was content.
pub(super) fn lint(text: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), both_streams(&output))
}

fn both_streams(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams
        .map(|stream| String::from_utf8_lossy(stream).into_owned())
        .concat()
}

#[test]
fn the_linter_has_no_remark_on_the_prometheus_text() {
    if !promtool_is_here() {
        return;
    }
    for families in [families(), idle()] {
        let report = text(Format::PrometheusText, &sample(), &families);
        assert_eq!(lint(&report), (true, String::new()));
    }
    let report = gateway_text(TextFormat::Prometheus);
    assert_eq!(lint(&report), (true, String::new()));
    // It does look: a family without a help text is remarked on.
    let report = text(Format::PrometheusText, &sample(), &families());
    let (content, remarks) = lint(&report.replace("# HELP plimsoll_slots ", "# "));
    assert!(!content);
    assert_eq!(remarks, "plimsoll_slots no help text\n");
}

/// Has the parser of the Prometheus server read a text, and gives the number
/// of series that it found, or what it objected to.
pub(super) fn series_of(name: &str, open_metrics: &str) -> Result<usize, String> {
    let folder = empty_folder(name);
    let input = folder.join("input");
    fs::write(&input, with_times(open_metrics)).unwrap();
    let output = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&input, &folder.join("blocks")])
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(both_streams(&output));
    }
    let table = both_streams(&output);
    let block = table.lines().nth(1).unwrap();
    // ULID, first time, last time, duration (two words apart or one), samples,
    // chunks, series, size: series is the last but one.
    let mut columns = block.split_whitespace().rev();
    Ok(columns.nth(1).unwrap().parse().unwrap())
}

fn empty_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The same text with a time on each sample, which the import calls for.
fn with_times(open_metrics: &str) -> String {
    open_metrics
        .lines()
        .map(|line| match line.starts_with('#') {
            true => format!("{line}\n"),
            false => format!("{line} 1700000000\n"),
        })
        .collect()
}

#[test]
fn the_parser_of_the_server_reads_every_series_of_open_metrics() {
    if !promtool_is_here() {
        return;
    }
    let of_a_sidecar = |families| text(Format::OpenMetrics, &sample(), &families);
    for (name, report) in [
        ("limited", of_a_sidecar(families())),
        ("idle", of_a_sidecar(idle())),
        ("gateway", gateway_text(TextFormat::OpenMetrics)),
    ] {
        let written = report.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(series_of(name, &report), Ok(written));
    }
}

#[test]
fn the_parser_of_the_server_objects_to_broken_open_metrics() {
    if !promtool_is_here() {
        return;
    }
    let report = text(Format::OpenMetrics, &sample(), &families());
    for (name, whole, broken) in [
        ("no-end", "# EOF\n", ""),
        ("unit", "duration_seconds seconds", "duration_seconds bytes"),
        ("quote", "version=\"0.1.0\"", "version=\"0.1.0"),
        (
            "kind",
            "# TYPE plimsoll_slots gauge",
            "# TYPE plimsoll_slots dial",
        ),
    ] {
        let report = report.replacen(whole, broken, 1);
        assert!(series_of(name, &report).is_err(), "{name}");
    }
}

/// The example queries of the document, as the expressions of a rule file.
fn rules_of(document: &str) -> String {
    let mut rules = "groups: [{name: examples, rules: [".to_owned();
    for (index, block) in document.split("```promql\n").skip(1).enumerate() {
        let query = block.split("```").next().unwrap();
        rules.push_str(&format!("{{record: example_{index}, expr: {query:?}}},"));
    }
    rules + "]}]"
}

fn check_rules(name: &str, document: &str) -> (bool, String) {
    let file = empty_folder(name).join("rules.yml");
    fs::write(&file, rules_of(document)).unwrap();
    let mut command = Command::new("promtool");
    let output = command.args(["check", "rules"]).arg(file).output().unwrap();
    (output.status.success(), both_streams(&output))
}

#[test]
fn the_example_queries_of_the_document_parse() {
    if !promtool_is_here() {
        return;
    }
    let (content, remarks) = check_rules("rules", DOCUMENT);
    assert!(content, "{remarks}");
    let families = DOCUMENT.matches("\n### `").count();
    assert!(
        remarks.contains(&format!("SUCCESS: {families} rules found")),
        "{remarks}"
    );

    let (content, _) = check_rules("broken-rules", &DOCUMENT.replacen("rate(", "rate((", 1));
    assert!(!content);
}
