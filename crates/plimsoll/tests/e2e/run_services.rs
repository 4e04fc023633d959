//! `plimsoll run` with a file: several services, their mistakes, and changes while everything goes on.

use std::time::Duration;

use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::{self, Client};
use crate::harness::{eventually, program};
use crate::run;

fn service(name: &str, app: &str, more: &str) -> String {
    format!(
        "[services.{name}]\ncommand = [\"python3\", \"{app}\", \"{{port}}\"]\n{more}\n\
         [[services.{name}.routes]]\nhosts = [\"{name}.test\"]\n"
    )
}

async fn get(program: &Gateway, host: &str) -> http1::Answer {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    http1::once(program.data, request).await
}

#[tokio::test]
async fn each_service_has_its_own_replicas_and_a_change_drops_nothing() {
    if !program::is_here("python3") {
        return;
    }
    let folder = Folder::new();
    let app = run::app(&folder);
    let app = app.to_str().unwrap();
    let both = service("one", app, "concurrency = 2") + &service("two", app, "");
    let config = folder.write("run.toml", &both);
    let program = Gateway::run(&["--config", config.to_str().unwrap()]).await;
    let (one, two) = (
        get(&program, "one.test").await,
        get(&program, "two.test").await,
    );
    assert_eq!((one.status, two.status), (200, 200));
    assert_ne!(one.text(), two.text(), "two processes");
    assert_eq!(get(&program, "three.test").await.status, 404);

    let mut busy = Client::connect(program.data).await;
    busy.send("GET /sleep/1 HTTP/1.1\r\nhost: two.test\r\n\r\n")
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // One stays as it was but for a setting, two goes, three comes.
    let other = service("one", app, "concurrency = 3") + &service("three", app, "");
    folder.write("run.toml", &other);
    eventually("three", async || {
        (get(&program, "three.test").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(
        get(&program, "one.test").await.text(),
        one.text(),
        "the same process"
    );
    assert_eq!(busy.answer().await.status, 200);
    assert_eq!(get(&program, "two.test").await.status, 404);
    let pid: i32 = two.text().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    eventually("two has ended", async || {
        rustix::process::test_kill_process(pid)
            .is_err()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_mistake_of_a_file_is_told_with_its_line() {
    let folder = Folder::new();
    let text = "[services.a]\ncommand = []\n[services.b]\ncommand = [\"x\"]\nupstreams = [\"h:1\"]\n\
        [services.c]\ncommand = [\"x\"]\nready-line = \"(\"\n[services.c.scale]\nmin = 9\nmax = 3\n\
        [services.d]\ncommand = [\"x\"]\nstop-signal = \"SIGSTOP\"\nmemory = \"lots\"\nfoo = 1\n";
    let path = folder.write("run.toml", text);
    let said = program::run(
        env!("CARGO_BIN_EXE_plimsoll"),
        &["run", "--check", "--config", path.to_str().unwrap()],
    )
    .await;
    assert!(!said.success);
    for part in [
        "run.toml:2:11: services.a.command: it is empty",
        "run.toml:5:1: services.b.upstreams: a service with a command has no upstreams",
        "\n 16 | foo = 1\n    | ^^^",
        "run.toml:8:14: services.c.ready-line",
        "run.toml:10:7: services.c.scale.min: it is 9; accepted: 0 to 3, which max is",
        "run.toml:14:15: services.d.stop-signal: `SIGSTOP` is not accepted",
        "run.toml:15:10: services.d.memory",
        "run.toml:16:1: services.d.foo: there is no such key",
    ] {
        assert!(said.stderr.contains(part), "{part} in\n{}", said.stderr);
    }
    let said = program::run(
        env!("CARGO_BIN_EXE_plimsoll"),
        &["gateway", "--check", "--config", path.to_str().unwrap()],
    )
    .await;
    assert!(said.stderr.contains("use plimsoll run"), "{}", said.stderr);
}

#[tokio::test]
async fn what_check_shows_can_be_read_again() {
    let folder = Folder::new();
    let text = "replicas-memory = \"8GiB\"\n[services.a]\ncommand = [\"x\", \"{port}\"]\nready-path = \"/healthz\"\nmemory = \"1GiB\"\n\
        exclusive-group = \"gpu\"\nwaiting-page = true\nwebsocket-idle-timeout = \"5m\"\n\
        [services.a.environment]\nMODE = \"a \\\"b\\\"\"\n[services.a.scale]\nmin = 1\nwindow = \"30s\"\n";
    let path = folder.write("run.toml", text);
    let check = async |path: &std::path::Path| {
        let flags = ["run", "--check", "--config", path.to_str().unwrap()];
        let said = program::run(env!("CARGO_BIN_EXE_plimsoll"), &flags).await;
        assert!(said.success, "{}", said.stderr);
        said.text().to_owned()
    };
    let first = check(&path).await;
    assert!(first.contains("websocket-idle-timeout = \"5m\""), "{first}");
    assert!(first.contains("MODE"), "{first}");
    let again = folder.write("again.toml", &first);
    assert_eq!(check(&again).await, first);
}
