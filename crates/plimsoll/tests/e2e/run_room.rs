//! `plimsoll run` where there is not room for everybody: groups of which one may run at a time, and memory.

use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;
use tokio::time::Instant;

use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::{self, Answer};
use crate::harness::{eventually, program, soon};
use crate::run;

/// Services with the application of [`run`], told apart by their hosts.
struct Running {
    program: Gateway,
    _folder: Folder,
}

impl Running {
    /// `None` if there is no Python. `each` are settings of every service, `all` of the process.
    async fn start(names: &[&str], all: &str, each: &str) -> Option<Self> {
        if !program::is_here("python3") {
            return None;
        }
        let folder = Folder::new();
        let app = run::app(&folder);
        let app = app.to_str().unwrap();
        let service = |name: &&str| {
            format!(
                "[services.{name}]\ncommand = [\"python3\", \"{app}\", \"{{port}}\"]\n{each}\n\
                 routes = [{{ hosts = [\"{name}\"] }}]\n"
            )
        };
        let services: String = names.iter().map(service).collect();
        let config = folder.write("run.toml", &format!("{all}\n{services}"));
        let program = Gateway::run(&["--config", config.to_str().unwrap()]).await;
        Some(Self {
            program,
            _folder: folder,
        })
    }

    async fn get(&self, host: &str, path: &str) -> Answer {
        get(self.program.data, host, path).await
    }

    /// How a service is scaled.
    async fn scale(&self, name: &str) -> Value {
        let services = self.program.api("services").await;
        let mut services = services["services"].as_array().unwrap().iter();
        let found = services.find(|service| service["name"] == name);
        found.unwrap()["scale"].clone()
    }

    async fn starts(&self, names: &[&str]) -> u64 {
        let mut starts = 0;
        for name in names {
            starts += self.scale(name).await["starts"].as_u64().unwrap();
        }
        starts
    }
}

async fn get(to: std::net::SocketAddr, host: &str, path: &str) -> Answer {
    http1::once(to, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
}

/// The process that has answered.
fn process(answer: &Answer) -> Pid {
    assert_eq!(answer.status, 200, "{}", answer.text());
    Pid::from_raw(answer.text().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn of_a_group_one_runs_at_a_time_and_the_busy_one_is_never_asked_to_go() {
    let (all, each) = (
        "replicas-residence = \"200ms\"",
        "exclusive-group = \"gpu\"",
    );
    let Some(run) = Running::start(&["one", "other"], all, each).await else {
        return;
    };
    let one = process(&run.get("one", "/").await);
    let to = run.program.data;
    let busy = tokio::spawn(async move { get(to, "one", "/sleep/2.5").await });
    eventually("it is busy", async || {
        let services = run.program.api("services").await.to_string();
        services.contains("\"requests_in_flight\":1").then_some(())
    })
    .await;
    let waiting = tokio::spawn(async move { get(to, "other", "/").await });
    eventually("why it waits", async || {
        let problem = run.scale("other").await["problem"].to_string();
        problem.contains("group `gpu`").then_some(())
    })
    .await;
    assert!(!waiting.is_finished());
    let busy = soon("the busy one", busy).await.unwrap();
    assert_eq!(process(&busy), one, "it has not been cut");
    let other = soon("the other", waiting).await.unwrap();
    assert_ne!(process(&other), one);
    assert!(test_kill_process(one).is_err(), "it has made room");
    assert_eq!(run.scale("one").await["ready"], 0);
}

#[tokio::test]
async fn those_who_take_turns_stay_long_enough_to_be_of_use() {
    const RESIDENCE: Duration = Duration::from_millis(800);
    let (all, each) = (
        "replicas-residence = \"800ms\"",
        "exclusive-group = \"gpu\"",
    );
    let names = ["one", "other"];
    let Some(run) = Running::start(&names, all, each).await else {
        return;
    };
    let (to, began) = (run.program.data, Instant::now());
    // Both want to be served all the time.
    let clients = names.map(|name| {
        tokio::spawn(async move {
            let mut answers = 0;
            while began.elapsed() < RESIDENCE * 5 {
                assert_eq!(get(to, name, "/").await.status, 200);
                answers += 1;
            }
            answers
        })
    });
    for client in clients {
        assert!(soon("its turns", client).await.unwrap() >= 1);
    }
    // Each stay is at least so long, whatever the start takes.
    let most = began.elapsed().as_millis() / RESIDENCE.as_millis() + 2;
    let starts = run.starts(&names).await;
    assert!(
        (2..=most).contains(&u128::from(starts)),
        "{starts} of {most}"
    );
}

#[tokio::test]
async fn the_longest_idle_makes_room_in_memory_and_others_stay() {
    let all = "replicas-memory = \"300MiB\"\nreplicas-residence = \"100ms\"";
    let names = ["first", "second", "third"];
    let Some(run) = Running::start(&names, all, "memory = \"120MiB\"").await else {
        return;
    };
    let first = process(&run.get("first", "/").await);
    let second = process(&run.get("second", "/").await);
    assert!(test_kill_process(first).is_ok(), "there is room for two");
    let third = process(&run.get("third", "/").await);
    assert!(test_kill_process(first).is_err(), "it was idle longest");
    assert_eq!(process(&run.get("second", "/").await), second);
    assert_eq!(process(&run.get("third", "/").await), third);
}

#[tokio::test]
async fn a_replica_that_needs_more_memory_than_it_may_have_is_ended_and_requests_are_told() {
    if !program::is_here("python3") {
        return;
    }
    let folder = Folder::new();
    let hog = "import time; kept = b'x' * (100 << 20); time.sleep(60)";
    let text =
        format!("[services.hog]\ncommand = [\"python3\", \"-c\", \"{hog}\"]\nmemory = \"48MiB\"\n");
    let config = folder.write("run.toml", &text);
    let program = Gateway::run(&["--config", config.to_str().unwrap()]).await;
    let answer = http1::once(program.data, http1::get("/")).await;
    assert_eq!(answer.status, 503);
    let said = answer.text();
    assert!(said.contains("of memory"), "{said}");
    assert!(said.contains("48 MiB"), "{said}");
    program
        .logged("who keeps the limit", |line| {
            let said = line["message"].as_str().unwrap_or_default();
            said.contains("limits of memory")
        })
        .await;
}
