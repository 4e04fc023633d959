//! `plimsoll run` after many starts and stops: it has what it had. `just soak` does it for longer.

use serde_json::Value;

use crate::harness::gateway::Gateway;
use crate::harness::{eventually, status_kib};

/// Times up and down, unless the variable `PLIMSOLL_SOAK_CYCLES` says otherwise.
const CYCLES: u64 = 10;

/// Replicas of each time.
const REPLICAS: u64 = 2;

/// Memory that may be used more at the end than after a tenth of the cycles: decisions, a history of ten minutes, and
/// what an allocator keeps.
const GROWTH_MAX: u64 = 4 << 20;

/// What the process has.
#[derive(Debug, PartialEq, Eq)]
struct Has {
    files: usize,
    /// The one that ends replicas if this process is killed.
    children: usize,
}

fn has(pid: u32) -> Has {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |other: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        after_name.split(' ').nth(1) == Some(&pid.to_string())
    };
    Has {
        files: std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count(),
        children: pids.filter(is_child).count(),
    }
}

fn resident(pid: u32) -> u64 {
    status_kib(pid, "VmRSS") * 1_024
}

async fn set_replicas(program: &Gateway, count: u64) {
    let body = format!("{{\"replicas\": {count}}}");
    let set = program.ask("POST /api/v1/services/app/scale", &body).await;
    assert_eq!(set.status, 200, "{}", set.text());
    eventually(&format!("{count} replicas"), async || {
        let scale: Value = program.api("services").await["services"][0]["scale"].clone();
        let there = scale["replicas"].as_array().unwrap().len() as u64;
        (scale["ready"] == count && there == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_many_times_up_and_down() {
    let cycles = std::env::var("PLIMSOLL_SOAK_CYCLES").map_or(CYCLES, |text| text.parse().unwrap());
    let mut program = Gateway::run(&[]).await;
    let pid = program.pid();
    let mut early = None;
    for cycle in 0..cycles {
        set_replicas(&program, REPLICAS).await;
        assert_eq!(program.get("/").await.status, 200);
        set_replicas(&program, 0).await;
        if cycle == cycles / 10 {
            early = Some((has(pid), resident(pid)));
        }
    }
    let (early, memory) = early.unwrap();
    assert_eq!(early.children, 1);
    // A connection of the last question may be about to close.
    let now = eventually("it has what it had", async || {
        let now = has(pid);
        (now.files <= early.files && now.children == 1).then_some(now)
    })
    .await;
    let grown = resident(pid).saturating_sub(memory);
    println!("{cycles} cycles: {now:?}, then {early:?}, {grown} bytes more");
    assert!(
        grown <= GROWTH_MAX,
        "{grown} bytes more than after a tenth of the cycles"
    );
    program.signal(rustix::process::Signal::TERM);
    assert!(program.ended().await.success());
}
