//! Nothing outlives the program, however the program ends.
//!
//! This program starts itself again as a host of replicas, kills that, and looks whether anything of it is left.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_fleet::{CommandSpec, Host, HostConfig, Keeper, Observer, ReplicaEvent, ReplicaSet};
use tokio::time::{Instant, sleep};

/// A replica that has a child in its group, one with a session of its own, an orphan with one, and ignores `SIGTERM`.
const REPLICA: &str = r#"
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
children = [
    subprocess.Popen(["sleep", "1000"]),
    subprocess.Popen(["sleep", "1000"], start_new_session=True),
]
daemon = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!"], start_new_session=True, stdout=subprocess.PIPE)
orphan = int(daemon.stdout.readline()); daemon.wait()
print("pids", os.getpid(), *[child.pid for child in children], orphan, flush=True)
time.sleep(1000)
"#;

/// Replicas of the host that is killed.
const REPLICAS: usize = 3;

/// Processes of each.
const PROCESSES: usize = 4;

/// Nothing takes so long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: ReplicaEvent) {}
}

/// A host of replicas as another process, and the processes of its replicas.
struct Victim {
    host: Child,
    pids: Vec<u32>,
}

fn main() {
    if let Some(kept) = plimsoll_fleet::keep_if_asked(std::env::args_os()) {
        return kept.expect("the keeper can run");
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if std::env::args().nth(1).as_deref() == Some("host") {
            return be_host().await;
        }
        nothing_outlives_a_host_that_is_killed().await;
        nothing_outlives_a_host_whose_keeper_was_killed_before().await;
        nothing_outlives_a_host_that_ends_as_it_should().await;
    });
}

/// Runs replicas, writes what they write, and ends when its input does.
async fn be_host() {
    let config = HostConfig {
        keeper: Some(Keeper::this_program()),
        output: Some(Arc::new(|line| {
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{}", line.text).expect("the test reads it");
        })),
        ..HostConfig::default()
    };
    let host = Host::new(config).expect("the settings can be");
    let mut command = CommandSpec::new("python3", ["-c", REPLICA]);
    command.stop_grace = Duration::from_millis(100);
    let set = ReplicaSet::new(&host, "victim", command, Arc::new(Nobody));
    let set = set.expect("the settings can be");
    for _ in 0..REPLICAS {
        set.start().expect("Python is there");
    }
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    end.await.expect("no panic").expect("a pipe");
    host.shutdown().await;
}

impl Victim {
    fn start() -> Self {
        let own = std::env::current_exe().expect("this program");
        let mut host = Command::new(own)
            .arg("host")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let stdout = BufReader::new(host.stdout.take().expect("it is piped"));
        let lines = stdout.lines().map(|line| line.expect("a pipe"));
        let told = lines.filter_map(|line| line.strip_prefix("pids ").map(str::to_owned));
        let number = |word: &str| word.parse().expect("a number");
        let pids: Vec<u32> = told
            .take(REPLICAS)
            .flat_map(|line| line.split(' ').map(number).collect::<Vec<_>>())
            .collect();
        assert_eq!(pids.len(), REPLICAS * PROCESSES, "all have started");
        assert!(pids.iter().all(|pid| runs(*pid)), "all run: {pids:?}");
        Self { host, pids }
    }

    fn keeper(&self) -> Option<u32> {
        let mut keepers = children(self.host.id()).filter(|pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            line.is_ok_and(|line| line.contains("--keep-fleet"))
        });
        keepers.next()
    }

    async fn nothing_is_left(&mut self) {
        self.host.wait().expect("it is ours");
        until("its replicas have ended", || {
            !self.pids.iter().any(|pid| runs(*pid))
        })
        .await;
    }
}

async fn nothing_outlives_a_host_that_is_killed() {
    let mut victim = Victim::start();
    let keeper = victim.keeper().expect("it has one");
    victim.host.kill().expect("it is ours");
    victim.nothing_is_left().await;
    until("its keeper has ended", || !runs(keeper)).await;
}

async fn nothing_outlives_a_host_whose_keeper_was_killed_before() {
    let mut victim = Victim::start();
    let first = victim.keeper().expect("it has one");
    let kill = Command::new("kill")
        .args(["-KILL", &first.to_string()])
        .status();
    assert!(kill.expect("kill is there").success());
    until("there is another keeper", || {
        victim.keeper().is_some_and(|keeper| keeper != first)
    })
    .await;
    victim.host.kill().expect("it is ours");
    victim.nothing_is_left().await;
}

async fn nothing_outlives_a_host_that_ends_as_it_should() {
    let mut victim = Victim::start();
    let keeper = victim.keeper().expect("it has one");
    drop(victim.host.stdin.take());
    victim.nothing_is_left().await;
    until("its keeper has ended", || !runs(keeper)).await;
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// The fields of a line of `/proc/PID/stat` after the name: state, parent and so on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = line.rsplit(')').next()?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

fn children(of: u32) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("it is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = of.to_string();
    pids.filter(move |pid| runs(*pid) && stat(*pid).is_some_and(|fields| fields[1] == parent))
}
