//! The program under test, running.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::http1::{self, Answer};
use super::metrics::Metrics;
use super::{eventually, soon};

/// A running `plimsoll sidecar`. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Sidecar {
    child: Child,
    /// Where clients connect.
    pub(crate) data: SocketAddr,
    /// Where metrics are served.
    pub(crate) metrics: SocketAddr,
    log: Log,
}

/// What it has written to standard error.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

/// The program, to be given arguments; nothing of the environment reaches its settings.
pub(crate) fn plimsoll() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PLIMSOLL_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Sidecar {
    /// Starts it in front of `app`, with more arguments, and waits until it serves.
    pub(crate) async fn start(app: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = plimsoll()
            .args(["sidecar", "--app", &app.to_string()])
            .args(["--listen", "127.0.0.1:0"])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::of(&mut child);
        let serving = eventually("the program serves", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("it has ended with {status}: {:?}", log.lines());
            }
            log.find(|line| line["message"] == "serving")
        })
        .await;
        let metrics = serving["metrics"].as_str().unwrap();
        let metrics = metrics
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/metrics"));
        Self {
            child,
            data: serving["listen"].as_str().unwrap().parse().unwrap(),
            metrics: metrics.unwrap().parse().unwrap(),
            log,
        }
    }

    /// One answer of the metrics port.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        http1::once(self.metrics, http1::get(path)).await
    }

    pub(crate) async fn scrape(&self) -> Metrics {
        let answer = self.admin("/metrics").await;
        assert_eq!(answer.status, 200);
        Metrics::parse(answer.text())
    }

    /// Scrapes until `found` is content.
    pub(crate) async fn scraped(&self, what: &str, found: impl Fn(&Metrics) -> bool) -> Metrics {
        eventually(what, async || {
            let metrics = self.scrape().await;
            found(&metrics).then_some(metrics)
        })
        .await
    }

    /// The first log line, old or new, that `wanted` takes.
    pub(crate) async fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("log line: {what}"), async || {
            self.log.find(&wanted)
        })
        .await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        soon("the end of the program", self.child.wait())
            .await
            .unwrap()
    }
}

impl Log {
    /// The lines of a program whose standard error is piped.
    pub(crate) fn of(child: &mut Child) -> Self {
        let log = Self::default();
        let stderr = child.stderr.take().unwrap();
        tokio::spawn(log.clone().fill(stderr));
        log
    }

    async fn fill(self, stderr: tokio::process::ChildStderr) {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            self.0.lock().unwrap().push(line);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn find(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.values().into_iter().find(wanted)
    }

    /// How many lines `wanted` takes.
    pub(crate) fn count(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        self.values().iter().filter(|line| wanted(line)).count()
    }

    fn values(&self) -> Vec<Value> {
        let lines = self.lines().into_iter();
        let value = |line: String| serde_json::from_str(&line).unwrap_or(Value::Null);
        lines.map(value).collect()
    }
}
