//! docs/metrics.md describes what the reports contain, and nothing else.

use std::collections::BTreeSet;

use plimsoll_wire::gateway::{EjectionReason, EndpointOutcome, EndpointState};
use plimsoll_wire::orca::ReportError;
use plimsoll_wire::prometheus::TextFormat;

use super::gateway::{gateway_text, run_text};
use super::user::user_text;
use super::*;

pub(crate) const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");

/// What the sidecar shows to operators and to users, and what the gateway shows, one after the other.
fn all() -> String {
    text(Format::PrometheusText, &sample(), &families())
        + &user_text(TextFormat::Prometheus)
        + &run_text(TextFormat::Prometheus)
        + &gateway_text(TextFormat::Prometheus)
}

/// Families in the reports: name and kind.
fn families_of(text: &str) -> BTreeSet<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Families in the document: a heading with the name, and a row with the type.
fn documented() -> BTreeSet<(String, String)> {
    let mut sections = DOCUMENT.split("\n### `").skip(1);
    let parse = |section: &str| {
        let (name, rest) = section.split_once('`').unwrap();
        let row = rest.split_once("| type | ").unwrap().1;
        let kind = row.split_once(" |").unwrap().0;
        (name.to_owned(), kind.to_owned())
    };
    let all: Vec<_> = sections.by_ref().map(parse).collect();
    let unique = BTreeSet::from_iter(all.iter().cloned());
    assert_eq!(all.len(), unique.len(), "a family is documented twice");
    unique
}

#[test]
fn every_family_is_documented_with_its_type_and_no_other() {
    assert_eq!(documented(), families_of(&all()));
}

#[test]
fn every_section_has_an_example_query_of_its_own_metric() {
    for section in DOCUMENT.split("\n### `").skip(1) {
        let (name, rest) = section.split_once('`').unwrap();
        let query = rest.split("```promql\n").nth(1).unwrap_or_default();
        let query = query.split("```").next().unwrap();
        assert!(query.contains(name), "{name} has no example query");
    }
}

#[test]
fn the_help_texts_are_in_the_document() {
    for line in all().lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            let section = DOCUMENT
                .split("\n### `")
                .find(|part| part.starts_with(&format!("{name}`")));
            assert!(section.unwrap().contains(help), "help text of {name}");
        }
    }
}

#[test]
fn every_label_value_is_documented() {
    let values = plimsoll_wire::AnswerSource::ALL
        .map(|source| source.as_str())
        .into_iter()
        .chain(ProxyError::ALL.map(ProxyError::as_str))
        .chain(EndpointState::ALL.map(EndpointState::as_str))
        .chain(EndpointOutcome::ALL.map(EndpointOutcome::as_str))
        .chain(EjectionReason::ALL.map(EjectionReason::as_str))
        .chain(ReportError::ALL.map(ReportError::as_str));
    for value in values {
        assert!(DOCUMENT.contains(&format!("| `{value}` |")), "{value}");
    }
}
