//! What a request without a body costs in memory while it waits.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::program::Program;
use super::{Promise, Setup};
use crate::compare::Tree;
use crate::load::{Held, Target};

/// How often it is looked whether all wait.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// Quiet time before a reading.
const QUIET: Duration = Duration::from_secs(1);

/// A request that waits may have this many bytes, in KiB.
const GOAL_KIB: f64 = 16.0;

/// Has `count` requests wait for a replica that is never ready: on new connections, and on ones that have carried a
/// request before.
pub(super) async fn measure(setup: &Setup, count: usize) -> anyhow::Result<Vec<Promise>> {
    let new = on_new_connections(setup, count).await?;
    let used = on_used_connections(setup, count).await?;
    let each = |from: u64, to: u64| to.saturating_sub(from) as f64 / count as f64;
    let what = format!("{count} requests wait, connection included: of each");
    Ok(vec![
        Promise::at_most(&what, each(new[0], new[2]), GOAL_KIB, "KiB"),
        Promise::told(
            "… beyond a connection that has sent nothing",
            format!("{:.1} KiB", each(new[1], new[2])),
        ),
        Promise::told(
            "… beyond an idle connection that has carried a request",
            format!(
                "{:.1} KiB of {:.1}",
                each(used[1], used[2]),
                each(used[0], used[2])
            ),
        ),
    ])
}

/// Resident memory, in KiB: before, with the connections, with the requests.
type Readings = [u64; 3];

async fn on_new_connections(setup: &Setup, count: usize) -> anyhow::Result<Readings> {
    let program = begin(setup).await?;
    let before = resident(&program).await?;
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(TcpStream::connect(program.data).await?);
    }
    let connected = resident(&program).await?;
    for stream in &mut streams {
        stream
            .write_all(
                b"GET /held HTTP/1.1\r\nhost: lab.test\r\nuser-agent: lab\r\naccept: */*\r\n\r\n",
            )
            .await?;
    }
    until_waiting(&program, count).await?;
    let waiting = resident(&program).await?;
    Ok([before, connected, waiting])
}

async fn on_used_connections(setup: &Setup, count: usize) -> anyhow::Result<Readings> {
    let program = begin(setup).await?;
    let before = resident(&program).await?;
    let mut held = Held::open(&Target::at(program.data, "/warm"), count).await?;
    let idle = resident(&program).await?;
    held.send_all("/held")
        .await
        .map_err(|why| anyhow::anyhow!("requests that are to wait: {why}"))?;
    until_waiting(&program, count).await?;
    let waiting = resident(&program).await?;
    Ok([before, idle, waiting])
}

/// One service that answers, warm, and one whose replica never listens.
async fn begin(setup: &Setup) -> anyhow::Result<Program> {
    let lab = setup.lab.display().to_string();
    let config = format!(
        "[services.warm]\ncommand = [{lab:?}, \"witness\", \"--port\", \"{{port}}\"]\nconcurrency = 0\n\
         routes = [{{ path = \"/warm\" }}]\n[services.warm.scale]\nmin = 1\nmax = 1\n\
         [services.held]\ncommand = [\"sleep\", \"3600\"]\nstart-timeout = \"1h\"\nconcurrency = 1\n\
         routes = [{{ path = \"/held\" }}]\n[services.held.scale]\nmax = 1\n\
         [services.held.queue]\ndepth = 100000\nbytes = \"1GiB\"\nage = \"1h\"\n"
    );
    let program = Program::start(setup, "run", &config, &[], None).await?;
    program.until_ready("warm", 1).await?;
    drop(Held::open(&Target::at(program.data, "/warm"), 1).await?);
    Ok(program)
}

async fn until_waiting(program: &Program, count: usize) -> anyhow::Result<()> {
    while program.waiting("held").await? < count as u64 {
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

/// Of Plimsoll alone, without its replicas.
async fn resident(program: &Program) -> anyhow::Result<u64> {
    tokio::time::sleep(QUIET).await;
    Ok(Tree::alone(program.pid()?).memory()?.rss_kib)
}
