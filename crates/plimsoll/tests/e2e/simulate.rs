//! `plimsoll simulate`: a trace in, a table out, and a mistake with its place.

use std::process::Stdio;

use crate::harness::gateway::Folder;
use crate::harness::sidecar::plimsoll;
use crate::harness::soon;

/// The exit code, what was said, and what was complained about.
async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = plimsoll();
    command
        .arg("simulate")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = soon("the end of the program", command.output())
        .await
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn policies_are_compared_on_one_screen() {
    let folder = Folder::new();
    let plot = folder.path("plot.svg");
    let (code, told, complaints) = run(&[
        "--load=bursts",
        "--service-time=1s",
        "--concurrency=1",
        "--start-up=3s",
        "--duration=10m",
        "--plot",
        plot.to_str().expect("the path is text"),
    ])
    .await;
    assert_eq!((code, complaints.as_str()), (Some(0), ""));
    assert!(
        told.lines().all(|line| line.chars().count() <= 80),
        "{told}"
    );
    let row = |label: &str| {
        let line = told.lines().find(|line| line.starts_with(label));
        let cells = line.unwrap_or_else(|| panic!("no {label} in {told}"));
        cells[label.len()..]
            .split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(row("requests  "), ["200", "200"]);
    // The bursts after the first find their replicas, by the default policy.
    assert_eq!(row("waited for a start")[0], "10");
    assert_ne!(row("waited for a start")[1], "10");
    let svg = std::fs::read_to_string(&plot).expect("the plot is there");
    assert!(
        svg.starts_with("<svg ") && svg.contains("policy=kpa"),
        "{svg}"
    );
}

#[tokio::test]
async fn a_mistake_in_a_trace_is_told_with_its_place() {
    let folder = Folder::new();
    let trace = folder.path("trace.csv");
    let name = trace.to_str().expect("the path is text");
    std::fs::write(&trace, "arrival,duration\n0,1\n0.5,soon\n").expect("a file can be written");
    let (code, told, complaint) = run(&[name]).await;
    assert_eq!((code, told.as_str()), (Some(64), ""));
    let wanted = format!(
        "plimsoll: {name}:3:5: \"soon\" is no time; write seconds such as 0.25, or a number and a unit such as 250ms\n"
    );
    assert_eq!(complaint, wanted);

    std::fs::write(&trace, "arrival,duration\n0,1\n0.5,2s\n").expect("a file can be written");
    let (code, told, _) = run(&[name, "--decisions=3"]).await;
    assert_eq!(code, Some(0));
    assert!(
        told.contains("1 replica (was 0): the requests that are there need them"),
        "{told}"
    );
}
