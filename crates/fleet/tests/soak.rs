//! Nothing is left over after many starts and stops: no process, no file descriptor, no memory.
//!
//! A program of its own, because it counts what this process has.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_fleet::{CommandSpec, Host, HostConfig, Observer, ReplicaEvent, ReplicaSet};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Starts and stops, unless the variable `PLIMSOLL_SOAK_CYCLES` says otherwise.
const CYCLES: u32 = 100;

/// Replicas of each cycle.
const REPLICAS: usize = 2;

/// Memory that may be used more at the end than after a tenth of the cycles: what an allocator keeps.
const GROWTH_MAX: u64 = 4 << 20;

/// No event takes so long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Tell(mpsc::UnboundedSender<ReplicaEvent>);

impl Observer for Tell {
    fn event(&self, event: ReplicaEvent) {
        // The test may have seen enough.
        drop(self.0.send(event));
    }
}

/// What this process has.
#[derive(Debug, PartialEq)]
struct Has {
    files: usize,
    children: Vec<u32>,
}

fn has() -> Has {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").expect("it is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        after_name.split(' ').nth(1) == Some(&own.to_string())
    };
    Has {
        files: std::fs::read_dir("/proc/self/fd")
            .expect("it is mounted")
            .count(),
        children: pids.filter(is_child).collect(),
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("it is mounted");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * rustix::param::page_size() as u64
}

#[tokio::test]
async fn nothing_is_left_after_many_starts_and_stops() {
    let cycles = std::env::var("PLIMSOLL_SOAK_CYCLES").map_or(CYCLES, |text| text.parse().unwrap());
    let host = Host::new(HostConfig::default()).unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    // Listens at once, has a child, writes on both outputs, and follows its signal.
    let script = "echo up; echo up >&2; sleep 1000 & wait";
    let mut command = CommandSpec::new("sh", ["-c", script]);
    command.readiness =
        plimsoll_fleet::Readiness::LogLine(plimsoll_fleet::LinePattern::new("^up$").unwrap());
    let set = ReplicaSet::new(&host, "soak", command, Arc::new(Tell(tell))).unwrap();
    let mut early = None;
    for cycle in 0..cycles {
        for _ in 0..REPLICAS {
            set.start().unwrap();
        }
        let mut gone = 0;
        while gone < REPLICAS {
            let event = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
            match event {
                ReplicaEvent::Ready { id, .. } => {
                    set.stop(id);
                }
                ReplicaEvent::Gone { .. } => gone += 1,
                _ => {}
            }
        }
        set.emptied().await;
        if cycle == cycles / 10 {
            early = Some((has(), resident()));
        }
    }
    let (early, memory) = early.unwrap();
    assert_eq!(has(), early);
    assert_eq!(early.children, [0; 0]);
    let grown = resident().saturating_sub(memory);
    assert!(
        grown <= GROWTH_MAX,
        "{grown} bytes more than after a tenth of the cycles"
    );
    assert_eq!((host.replicas(), host.ports_in_use()), (0, 0));
}
