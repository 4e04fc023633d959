//! The commands that ask a running gateway.

use std::net::SocketAddr;
use std::process::Stdio;

use crate::harness::app::{self, App};
use crate::harness::gateway::Gateway;
use crate::harness::sidecar::{Sidecar, plimsoll};
use crate::harness::{eventually, soon};
use crate::run::Running;

/// What a command has said.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn ask(admin: SocketAddr, words: &[&str]) -> Told {
    let mut command = plimsoll();
    command.args(words).arg("--admin").arg(admin.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = soon("the answer", command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

async fn told(admin: SocketAddr, words: &[&str]) -> String {
    let told = ask(admin, words).await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:?}");
    let wide = told.stdout.lines().find(|line| line.chars().count() > 80);
    assert!(words.contains(&"--json") || wide.is_none(), "{wide:?}");
    told.stdout
}

/// It ends with 1 and one line that says what is wrong and what to do.
async fn refused(admin: SocketAddr, words: &[&str], parts: &[&str]) {
    let told = ask(admin, words).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""), "{told:?}");
    assert_eq!(told.stderr.lines().count(), 1, "{told:?}");
    for part in parts {
        assert!(told.stderr.contains(part), "no {part:?}: {told:?}");
    }
}

#[tokio::test]
async fn status_tells_of_services_endpoints_and_problems() {
    let app = App::answering(app::OK).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let text = told(gateway.admin, &["status"]).await;
    assert!(text.contains("serving for 0:0"), "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with("default"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..4], ["default", "0", "0", "3"], "{text}");
    assert!(
        line.contains("1 healthy") || line.contains("1 slow-start"),
        "{text}"
    );
    assert!(!text.contains("look at this"), "{text}");
    let json = told(gateway.admin, &["status", "--json"]).await;
    let said: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(said["services"][0]["requests_total"], 3);
}

#[tokio::test]
async fn why_tells_what_each_endpoint_gets_and_who_was_ejected() {
    let app = App::answering(app::OK).await;
    let bad = App::answering("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Gateway::before(&[app.addr, bad.addr], &["--policy", "round-robin"]).await;
    eventually("the failing endpoint is ejected", async || {
        gateway.get("/").await;
        (gateway.endpoint(bad.addr).await["state"] == "ejected").then_some(())
    })
    .await;
    let text = eventually("the event is told", async || {
        let text = told(gateway.admin, &["why", "default"]).await;
        text.contains(" ago ").then_some(text)
    })
    .await;
    for part in [
        "default: 2 endpoints, chosen by round-robin",
        &format!("{}", bad.addr),
        "ejected for failures",
        "of all requests so far",
        "0 s ago",
        "it gets nothing for",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
    let json = told(gateway.admin, &["why", "default", "--json"]).await;
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
}

#[tokio::test]
async fn top_writes_one_view_after_the_other_where_there_is_no_terminal() {
    let app = App::answering(app::OK).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    let mut child = plimsoll()
        .args(["top", "default", "--admin", &gateway.admin.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut output = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    soon("two views", async {
        use tokio::io::AsyncBufReadExt;
        while text.matches("req/s").count() < 2 {
            assert_ne!(output.read_line(&mut text).await.unwrap(), 0, "{text}");
        }
    })
    .await;
    assert!(text.contains(&app.addr.to_string()), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    // It ends by itself when there is nobody left to ask.
    drop(gateway);
    let ended = soon("its end", child.wait_with_output()).await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("plimsoll: "), "{said}");
}

#[tokio::test]
async fn whoever_is_not_there_or_is_somebody_else_is_told_with_what_to_do() {
    let nowhere = app::nowhere().await;
    for words in [
        &["status"][..],
        &["why", "a"],
        &["top"],
        &["scale", "a", "1"],
        &["stop", "a"],
        &["start", "a"],
    ] {
        refused(
            nowhere,
            words,
            &["nothing listens on", "plimsoll run", "--admin"],
        )
        .await;
    }
    let app = App::answering(app::OK).await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    refused(
        sidecar.metrics,
        &["status"],
        &["of a sidecar", "admin port"],
    )
    .await;
    let other = App::answering("HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno").await;
    refused(
        other.addr,
        &["status"],
        &["something else than Plimsoll", "404"],
    )
    .await;
    refused(app.addr, &["status"], &["not understood"]).await;
    let mute = App::answering("220 mail.test ESMTP\r\n").await;
    refused(mute.addr, &["status"], &["does not speak HTTP"]).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_what_can() {
    let app = App::answering(app::OK).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    refused(gateway.admin, &["why", "x"], &["no service x", "default"]).await;
    refused(gateway.admin, &["top", "x"], &["no service x", "default"]).await;
    for words in [
        &["scale", "default", "2"][..],
        &["stop", "default"],
        &["start", "default"],
    ] {
        refused(gateway.admin, words, &["fixed endpoints", "plimsoll run"]).await;
    }
}

#[tokio::test]
async fn replicas_are_scaled_stopped_and_started_from_a_terminal() {
    let Some(running) = Running::start(&["--max", "3"]).await else {
        return;
    };
    let admin = running.program.admin;
    let text = told(admin, &["scale", "app", "2"]).await;
    assert!(text.contains("app: 2 replicas desired"), "{text}");
    assert!(text.contains("plimsoll start"), "{text}");
    running.until_ready(2).await;
    let text = told(admin, &["status"]).await;
    assert!(text.contains("2 ready, fixed"), "{text}");
    let text = told(admin, &["stop", "app"]).await;
    assert!(text.contains("it is stopped"), "{text}");
    running.until_ready(0).await;
    let text = told(admin, &["start", "app"]).await;
    assert!(text.contains("the load decides"), "{text}");
    assert_eq!(running.program.get("/").await.status, 200);
    let text = told(admin, &["why", "app", "--last", "3"]).await;
    assert!(text.contains("0 to 1: "), "{text}");
    assert!(
        text.contains(" ago ") && text.contains("1 replica"),
        "{text}"
    );
    refused(
        admin,
        &["scale", "app", "4"],
        &["more than the maximum", "0 to 3"],
    )
    .await;
    refused(admin, &["stop", "x"], &["no service x", "app"]).await;
}
