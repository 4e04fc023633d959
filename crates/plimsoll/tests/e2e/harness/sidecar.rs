//! The program under test, running.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
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
    /// What it said when it began to serve.
    serving: Value,
    pub(crate) log: Log,
    /// What it writes to standard output.
    pub(crate) output: Log,
}

/// What Knative's controller sets for a revision without settings of its own; `USER_PORT` is to be added.
const POD: &[(&str, &str)] = &[
    ("CONTAINER_CONCURRENCY", "0"),
    ("ENABLE_HTTP2_AUTO_DETECTION", "false"),
    ("ENABLE_HTTP_FULL_DUPLEX", "false"),
    ("ENABLE_MULTI_CONTAINER_PROBES", "false"),
    ("HOST_IP", "10.0.0.1"),
    ("OBSERVABILITY_CONFIG", "{}"),
    ("QUEUE_SERVING_PORT", "8012"),
    ("QUEUE_SERVING_TLS_PORT", "8112"),
    ("REVISION_IDLE_TIMEOUT_SECONDS", "0"),
    ("REVISION_RESPONSE_START_TIMEOUT_SECONDS", "0"),
    ("REVISION_TIMEOUT_SECONDS", "300"),
    ("SERVING_CONFIGURATION", "hello"),
    ("SERVING_LOGGING_CONFIG", ""),
    ("SERVING_LOGGING_LEVEL", ""),
    ("SERVING_NAMESPACE", "default"),
    ("SERVING_POD", "hello-00001-deployment-8ff587cc9-7g9gc"),
    ("SERVING_POD_IP", "10.0.0.7"),
    ("SERVING_REVISION", "hello-00001"),
    ("SERVING_SERVICE", "hello"),
];

/// What it has written to one of its outputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

/// The program, to be given arguments; nothing of the environment reaches its settings.
pub(crate) fn plimsoll() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_string_lossy().starts_with("PLIMSOLL_");
        if is_ours || POD.iter().any(|(known, _)| name == *known) || name == "USER_PORT" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// `plimsoll sidecar` in the environment of a pod of Knative's.
pub(crate) fn in_pod(port: u16, variables: &[(&str, &str)]) -> Command {
    let mut command = plimsoll();
    command
        .arg("sidecar")
        .envs(POD.iter().copied())
        .env("USER_PORT", port.to_string())
        .envs(variables.iter().copied());
    command
}

impl Sidecar {
    /// Starts it in front of `app`, with more arguments, and waits until it serves.
    pub(crate) async fn start(app: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = plimsoll();
        command
            .args(["sidecar", "--app", &app.to_string()])
            .args(arguments);
        Self::run(command).await
    }

    /// Starts it as Knative does, in front of the application on `port` of this machine, with its ports out of the way.
    /// `variables` come after those of the controller.
    pub(crate) async fn start_in_pod(
        port: u16,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let mut command = in_pod(port, variables);
        command
            .args(["--drain-listen", "127.0.0.1:0"])
            .args(arguments);
        Self::run(command).await
    }

    async fn run(mut command: Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::of(&mut child);
        let output = Log::default();
        tokio::spawn(output.clone().fill(child.stdout.take().unwrap()));
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
            serving,
            log,
            output,
        }
    }

    /// Where one of the other ports is, by its name in the log.
    #[track_caller]
    pub(crate) fn port(&self, name: &str) -> SocketAddr {
        let address = self.serving[name].as_str();
        let address = address.unwrap_or_else(|| panic!("no {name}: {}", self.serving));
        address.parse().unwrap()
    }

    /// Whether one of the other ports is open.
    pub(crate) fn has_port(&self, name: &str) -> bool {
        self.serving[name].is_string()
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

    async fn fill(self, stream: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stream).lines();
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
