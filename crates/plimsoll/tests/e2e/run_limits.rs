//! What all processes of a machine share is used up: the reason is told, and what runs goes on.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Pid, Resource, Signal, getrlimit, getuid, kill_process};
use tokio::process::Command;

use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::{self, Answer, Client};
use crate::harness::sidecar::plimsoll;
use crate::harness::{eventually, program, soon};
use crate::run;

/// A user with no other process. Limits of processes do not hold for root.
const USER: u32 = 64_321;

/// `plimsoll run` with two services, `/a` and `/b`, and their files.
struct Two {
    program: Gateway,
    user: Option<u32>,
    _folder: Folder,
}

impl Two {
    async fn start(user: Option<u32>) -> Self {
        let folder = Folder::new();
        let app = run::app(&folder);
        let service = |name| {
            format!(
                "[services.{name}]\ncommand = [\"python3\", {app:?}, \"{{port}}\"]\n\
                 routes = [{{ path = \"/{name}\" }}]\n"
            )
        };
        let config = folder.write("run.toml", &(service("a") + &service("b")));
        let arguments = ["--config", config.to_str().unwrap()];
        let program = match user {
            Some(user) => Gateway::run_by(user, &arguments).await,
            None => Gateway::run(&arguments).await,
        };
        Self {
            program,
            user,
            _folder: folder,
        }
    }

    /// From now on it may have so many of these; `None` is as before.
    async fn limit(&self, what: Resource, count: Option<u64>) {
        let name = match what {
            Resource::Nproc => "nproc",
            _ => "nofile",
        };
        let count = count.or_else(|| getrlimit(what).current);
        let count = count.map_or_else(|| "unlimited".to_owned(), |count| count.to_string());
        let mut command = Command::new("prlimit");
        // The hard limit stays: who is not root could not raise it again.
        command
            .args(["--pid", &self.program.pid().to_string()])
            .arg(format!("--{name}={count}:"));
        if let Some(user) = self.user {
            // Only whoever it belongs to may, in a container.
            command.uid(user);
        }
        assert!(command.status().await.unwrap().success());
    }
}

fn assert_refused(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains(why), "{}", answer.text());
    assert!(answer.field("retry-after").is_some(), "{}", answer.head);
}

#[tokio::test]
async fn a_full_process_table_is_told_and_what_runs_goes_on() {
    if !program::is_here("python3") || !program::is_here("prlimit") {
        return;
    }
    let user = getuid().is_root().then_some(USER);
    let exe = env!("CARGO_BIN_EXE_plimsoll");
    if user.is_some()
        && plimsoll()
            .uid(USER)
            .arg("--version")
            .output()
            .await
            .is_err()
    {
        println!("skipped: another user may not execute {exe}");
        return;
    }
    let two = Two::start(user).await;
    assert_eq!(two.program.get("/a").await.status, 200);
    two.limit(Resource::Nproc, Some(1)).await;
    let refused = two.program.get("/b").await;
    assert_refused(&refused, "the limit of processes is reached");
    // A thread is a process to the kernel, and cannot be had either.
    for _ in 0..20 {
        assert_eq!(two.program.get("/a").await.status, 200);
    }
    let problems = two.program.api("status").await["problems"].to_string();
    assert!(problems.contains("the limit of processes"), "{problems}");
    two.limit(Resource::Nproc, None).await;
    eventually("it is started", async || {
        (two.program.get("/b").await.status == 200).then_some(())
    })
    .await;
    let panics = |line: &serde_json::Value| line.to_string().contains("panicked");
    assert_eq!(two.program.count_logged(panics), 0);
}

#[tokio::test]
async fn no_more_open_files_is_told_and_what_runs_goes_on() {
    if !program::is_here("python3") || !program::is_here("prlimit") {
        return;
    }
    let two = Two::start(None).await;
    let mut warm = Client::connect(two.program.data).await;
    let mut cold = Client::connect(two.program.data).await;
    assert_eq!(warm.get("/a").await.status, 200);
    assert_eq!(cold.get("/a").await.status, 200);
    two.limit(Resource::Nofile, Some(1)).await;
    assert_refused(&cold.get("/b").await, "the limit of open files is reached");
    for _ in 0..20 {
        assert_eq!(warm.get("/a").await.status, 200);
    }
    two.limit(Resource::Nofile, None).await;
    eventually("it is started", async || {
        (two.program.get("/b").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_for_the_log_stops_nothing() {
    if !program::is_here("python3") {
        return;
    }
    let folder = Folder::new();
    let app = run::app(&folder);
    // Nobody can read where it listens.
    let free = || {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    };
    let (data, admin): (SocketAddr, SocketAddr) = (free(), free());
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = plimsoll()
        .args(["run", "--listen", &data.to_string()])
        .args(["--admin", &admin.to_string()])
        .args(["--", "python3", app.to_str().unwrap(), "{port}"])
        .stderr(full)
        .spawn()
        .unwrap();
    eventually("it listens", async || {
        tokio::net::TcpStream::connect(data).await.ok()
    })
    .await;
    for _ in 0..20 {
        let answer = http1::once(data, http1::get("/")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(soon("its end", child.wait()).await.unwrap().success());
}
