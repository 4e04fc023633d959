//! Plimsoll as a process, and what its API says.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::Setup;
use crate::affinity;
use crate::compare::scratch::Scratch;
use crate::conformance::wire;

/// How long anything may take that takes no time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at that nobody announces.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// Plimsoll at work. It is killed when this is dropped, and its replicas with it.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    /// Where clients connect.
    pub(super) data: SocketAddr,
    admin: SocketAddr,
    scratch: Scratch,
}

/// How one service is scaled now, as the API says it.
#[derive(Clone, Debug)]
pub(super) struct Scale(Value);

impl Program {
    /// Starts `plimsoll COMMAND` with a configuration file of this text and further arguments, on processor `cpu` if
    /// given, and waits until it serves.
    pub(super) async fn start(
        setup: &Setup,
        command: &str,
        config: &str,
        arguments: &[&str],
        cpu: Option<usize>,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let file = scratch.path().join("plimsoll.toml");
        std::fs::write(&file, config)?;
        let log = scratch.path().join("log");
        let mut starting = Command::new(&setup.plimsoll);
        starting
            .arg(command)
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--drain-quiet", "0", "--log-format", "json", "--config"])
            .arg(&file)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true);
        let child = match cpu {
            Some(cpu) => affinity::while_pinned(cpu, || starting.spawn())?,
            None => starting.spawn(),
        };
        let mut child = child.with_context(|| format!("starting {}", setup.plimsoll.display()))?;
        let began = Instant::now();
        let (data, admin) = loop {
            let said = std::fs::read_to_string(&log)?;
            if let Some(addresses) = said.lines().find_map(addresses) {
                break addresses;
            }
            if let Some(status) = child.try_wait()? {
                bail!("plimsoll {command} ended: {status}\n{said}");
            }
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "plimsoll {command} does not serve\n{said}"
            );
            tokio::time::sleep(LOOK_PERIOD).await;
        };
        Ok(Self {
            child,
            data,
            admin,
            scratch,
        })
    }

    /// Its process.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("it has ended")
    }

    /// How the service of this name is scaled.
    pub(super) async fn scale(&self, service: &str) -> anyhow::Result<Scale> {
        let services = self.ask("GET /api/v1/services", "").await?;
        let mut all = services["services"].as_array().into_iter().flatten();
        let found = all.find(|found| found["name"] == service);
        Ok(Scale(found.context("no such service")?["scale"].clone()))
    }

    /// Requests of a service that wait.
    pub(super) async fn waiting(&self, service: &str) -> anyhow::Result<u64> {
        let services = self.ask("GET /api/v1/services", "").await?;
        let mut all = services["services"].as_array().into_iter().flatten();
        let found = all.find(|found| found["name"] == service);
        let depth = found.context("no such service")?["queue"]["depth"].as_u64();
        depth.context("no depth of a queue")
    }

    /// Has the service have so many replicas.
    pub(super) async fn set_replicas(&self, service: &str, count: u64) -> anyhow::Result<Scale> {
        let body = format!("{{\"replicas\": {count}}}");
        let line = format!("POST /api/v1/services/{service}/scale");
        Ok(Scale(self.ask(&line, &body).await?["scale"].clone()))
    }

    /// Has the service have none.
    pub(super) async fn stop_service(&self, service: &str) -> anyhow::Result<Scale> {
        let line = format!("POST /api/v1/services/{service}/stop");
        Ok(Scale(self.ask(&line, "").await?["scale"].clone()))
    }

    /// Waits until the service is scaled so.
    pub(super) async fn until(
        &self,
        service: &str,
        what: &str,
        is_so: impl Fn(&Scale) -> bool,
    ) -> anyhow::Result<Scale> {
        let began = Instant::now();
        loop {
            let scale = self.scale(service).await?;
            if is_so(&scale) {
                return Ok(scale);
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "not {what}: {:?}", scale.0);
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// Waits until so many replicas are ready, and none is starting or draining.
    pub(super) async fn until_ready(&self, service: &str, count: u64) -> anyhow::Result<Scale> {
        let is_so = |scale: &Scale| {
            (scale.ready(), scale.starting(), scale.draining()) == (count, 0, 0)
                && scale.pids().len() as u64 == count
        };
        let what = format!("{count} replicas ready");
        self.until(service, &what, is_so).await
    }

    async fn ask(&self, line: &str, body: &str) -> anyhow::Result<Value> {
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let answer = wire::ask(self.admin, &head).await?;
        let text = String::from_utf8_lossy(&answer.body);
        anyhow::ensure!(answer.status == 200, "{line}: {} {text}", answer.status);
        Ok(serde_json::from_str(&text)?)
    }

    /// Has it end, and waits.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        signal(self.pid()?, Signal::TERM);
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.context("it does not end")??;
        let said = || std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
        anyhow::ensure!(status.success(), "it ended with {status}\n{}", said());
        Ok(())
    }
}

impl Scale {
    fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or(0)
    }

    pub(super) fn ready(&self) -> u64 {
        self.number("ready")
    }

    fn starting(&self) -> u64 {
        self.number("starting")
    }

    pub(super) fn draining(&self) -> u64 {
        self.number("draining")
    }

    /// Replicas that were ever started.
    pub(super) fn starts(&self) -> u64 {
        self.number("starts")
    }

    /// The processes of all replicas, oldest first.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.of_replicas("pid")
    }

    /// Their ports.
    pub(super) fn ports(&self) -> Vec<u32> {
        self.of_replicas("port")
    }

    fn of_replicas(&self, key: &str) -> Vec<u32> {
        let replicas = self.0["replicas"].as_array().into_iter().flatten();
        let numbers = replicas.filter_map(|replica| replica[key].as_u64());
        numbers
            .filter_map(|number| u32::try_from(number).ok())
            .collect()
    }
}

/// Where it listens, if this is the line that says so.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "serving").then_some(())?;
    let admin = line["admin"].as_str()?.strip_prefix("http://")?;
    Some((line["listen"].as_str()?.parse().ok()?, admin.parse().ok()?))
}

/// Sends a signal; who has ended already does not need it.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        kill_process(pid, signal).ok();
    }
}

/// Waits until there is no such process.
pub(super) async fn until_gone(pid: u32) -> anyhow::Result<()> {
    let began = Instant::now();
    let folder = format!("/proc/{pid}");
    while Path::new(&folder).exists() {
        anyhow::ensure!(began.elapsed() < PATIENCE, "process {pid} does not end");
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_where_it_listens_is_found() {
        let line = r#"{"level":"INFO","message":"serving","listen":"127.0.0.1:1","admin":"http://127.0.0.1:2"}"#;
        let expected = (
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        assert_eq!(addresses(line), Some(expected));
        for other in ["", "{}", &line.replace("serving", "service")] {
            assert_eq!(addresses(other), None, "{other}");
        }
    }
}
