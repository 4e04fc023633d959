//! Results over the wire, as tables.

use std::path::Path;

use crate::compare::Setup;
use crate::scenario::{self, Metric, Outcomes, Scenario};

/// The name of the contender that is the simulator's.
pub(super) const SIMULATED: &str = "simulated";

/// The columns of the detailed table.
const COLUMNS: [(&str, Metric); 6] = [
    ("in time", Metric::Success),
    ("failed", Metric::Errors),
    ("p50", Metric::P50Ms),
    ("p99", Metric::P99Ms),
    ("p99.9", Metric::P999Ms),
    ("max/avg load", Metric::LoadRatio),
];

/// One row for each contender of each scenario, whatever its goal is; Markdown.
#[must_use]
pub fn details(all: &[Outcomes]) -> String {
    let mut text = String::from("| scenario | gateway |");
    for (name, _) in COLUMNS {
        text.push_str(&format!(" {name} |"));
    }
    text.push_str("\n| --- | --- |");
    text.push_str(&" ---: |".repeat(COLUMNS.len()));
    text.push('\n');
    for outcomes in all {
        for contender in &outcomes.contenders {
            let id = &outcomes.scenario.id;
            text.push_str(&format!("| {id} | {} |", contender.name));
            for (_, metric) in COLUMNS {
                let figure = contender.score.figure(metric);
                let written =
                    figure.map_or_else(|| "none".to_owned(), |known| metric.written(known));
                text.push_str(&format!(" {written} |"));
            }
            text.push('\n');
        }
    }
    text
}

/// Writes the results into `balancing.md` of the folder, between the marks `wire`, and a picture of each scenario into
/// its folder `balancing`.
///
/// # Errors
///
/// If the document has no place for them, or a file cannot be written.
pub fn write_document(
    folder: &Path,
    all: &[Outcomes],
    setup: &Setup,
    seed: u64,
) -> anyhow::Result<()> {
    let pictures = folder.join("balancing");
    std::fs::create_dir_all(&pictures)?;
    let mut links = String::new();
    for outcomes in all {
        let Scenario { name, id, .. } = &outcomes.scenario;
        std::fs::write(
            pictures.join(format!("{name}-wire.svg")),
            scenario::plot(outcomes),
        )?;
        links.push_str(&format!("- [{id}](balancing/{name}-wire.svg)\n"));
    }
    let results = format!(
        "{}\n{}\n{}\n{}\nLatencies over time, or their tails:\n\n{links}",
        scenario::table(all),
        circumstances(setup, seed),
        changes(all),
        details(all),
    );
    scenario::put_in_document(folder, "wire", &results)
}

/// On what it was measured.
fn circumstances(setup: &Setup, seed: u64) -> String {
    let mut text = format!(
        "Seed {seed}. Bold: the goal is reached.\n\n- {}\n- Gateways on processor {}, one worker each; clients and \
         backends on processor {}.\n",
        crate::compare::machine::describe(),
        setup.proxy_cpu,
        setup.load_cpu,
    );
    for peer in &setup.peers {
        if let Some(version) = peer.version() {
            text.push_str(&format!("- {} {version}\n", peer.kind));
        }
    }
    for kind in &setup.missing {
        text.push_str(&format!("- {kind} was not there\n"));
    }
    text
}

/// In what the scenarios were not as in their files.
fn changes(all: &[Outcomes]) -> String {
    let mut text = String::new();
    for outcomes in all {
        let scenario = &outcomes.scenario;
        if scenario.wire_seconds.is_some() {
            text.push_str(&format!(
                "- {}: its first {} s only\n",
                scenario.id, scenario.seconds
            ));
        }
        let stretch = scenario.wire_stretch;
        if stretch > 1.0 {
            text.push_str(&format!("- {}: {stretch} times as slow\n", scenario.id));
        } else if stretch < 1.0 {
            text.push_str(&format!(
                "- {}: {} times as fast\n",
                scenario.id,
                stretch.recip()
            ));
        }
    }
    if !text.is_empty() {
        text.insert_str(
            0,
            "Not as in their files were the following. Their goals are those of the whole scenarios.\n\n",
        );
    }
    text
}
