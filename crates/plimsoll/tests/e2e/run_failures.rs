//! Commands that cannot be started, or end, or never listen: what requests are told.

use std::time::Duration;

use plimsoll_lab::stopped_thread::StoppedThread;

use crate::harness::gateway::Gateway;
use crate::harness::http1::{self, Client};
use crate::harness::{eventually, soon};
use crate::run::{Running, answered, ask};

#[tokio::test]
async fn a_command_that_does_not_start_is_told_to_every_request_with_its_last_words() {
    let shell = |script: &'static str| ["--", "sh", "-c", script];
    let late = ["--start-timeout", "300ms", "--", "sleep", "60"];
    for (command, words) in [
        (
            &["--", "no-such-program", "{port}"][..],
            "command not found",
        ),
        (&shell("echo one; echo boom; exit 3"), "exit status: 3"),
        (
            &shell("echo one; echo boom; exit 3"),
            "its last output: boom",
        ),
        (&late, "was not ready within 300ms"),
        (&["--", "/etc/passwd"], "may not be executed"),
    ] {
        let program = Gateway::run(command).await;
        let asked = [ask(program.data, "/"), ask(program.data, "/")];
        for asked in asked {
            let answer = answered(asked).await;
            assert_eq!(answer.status, 503, "{command:?}");
            assert!(answer.text().contains(words), "{}", answer.text());
            assert_eq!(answer.proxy_error(), Some("destination_unavailable"));
            let retry: u64 = answer.field("retry-after").unwrap().parse().unwrap();
            assert!((1..=30).contains(&retry));
        }
        // It is not tried again before it is time, and nothing is left of it.
        let scale = program.api("services").await["services"][0]["scale"].clone();
        assert!(
            scale["problem"].as_str().unwrap().contains(words),
            "{scale}"
        );
        eventually("nothing is left", async || {
            let scale = program.api("services").await["services"][0]["scale"].clone();
            (scale["replicas"] == serde_json::json!([])).then_some(())
        })
        .await;
        let problems = program.api("status").await["problems"].to_string();
        assert!(problems.contains(words), "{problems}");
    }
}

#[tokio::test]
async fn a_command_that_has_been_mended_is_tried_again() {
    let folder = crate::harness::gateway::Folder::new();
    let app = folder.path("app.py");
    let command = ["--", "python3", app.to_str().unwrap(), "{port}"];
    let program = Gateway::run(&command).await;
    assert_eq!(program.get("/").await.status, 503);
    crate::run::app(&folder);
    eventually("an answer", async || {
        (program.get("/").await.status == 200).then_some(())
    })
    .await;
    let scale = program.api("services").await["services"][0]["scale"].clone();
    assert!(scale["problem"].is_null(), "{scale}");
}

#[tokio::test]
async fn a_request_whose_replica_ends_goes_to_the_next_one_if_it_may() {
    let Some(run) = Running::start(&["--concurrency", "1", "--max", "1"]).await else {
        return;
    };
    let first = run.program.get("/").await;
    // It may be done only once, so one replica ends.
    let exit = "POST /exit HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let killer = tokio::spawn(http1::once(run.program.data, exit));
    let beside = [0, 1].map(|_| ask(run.program.data, "/"));
    assert_eq!(answered(killer).await.status, 502);
    for asked in beside {
        let answer = answered(asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let after = run.program.get("/").await;
    assert_eq!(after.status, 200, "{}", after.text());
    assert_ne!(after.text(), first.text(), "another process");
}

#[tokio::test]
async fn if_the_part_that_decides_stands_still_what_is_warm_is_served() {
    let Some(run) = Running::start(&["--concurrency", "2", "--max", "2"]).await else {
        return;
    };
    assert_eq!(run.program.get("/").await.status, 200);
    let stopping = StoppedThread::main_of(run.program.pid());
    let Some(stopped) = soon("it is stopped", stopping).await.unwrap() else {
        println!("skipped: a thread of another process may not be stopped here");
        return;
    };
    let mut client = Client::connect(run.program.data).await;
    for _ in 0..100 {
        assert_eq!(client.get("/sleep/0.01").await.status, 200);
    }
    let nobody_decides = run.program.ask("GET /healthz", "");
    let answered = tokio::time::timeout(Duration::from_millis(200), nobody_decides).await;
    assert!(answered.is_err(), "it had not been stopped");
    soon("it goes on", stopped.go_on()).await.unwrap();
    assert_eq!(run.scale().await["ready"], 1);
}
