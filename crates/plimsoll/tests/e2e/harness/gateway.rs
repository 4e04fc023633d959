//! `plimsoll gateway` under test, running, and files for it to read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::http1::{self, Answer};
use super::metrics::Metrics;
use super::sidecar::{Log, plimsoll};
use super::{eventually, soon};

/// A running `plimsoll gateway`. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    /// Where clients connect.
    pub(crate) data: SocketAddr,
    /// Where metrics and the API are.
    pub(crate) admin: SocketAddr,
    log: Log,
}

/// A folder of a test's own. It goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Gateway {
    /// Starts it with these arguments, and waits until it serves.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_as(plimsoll(), "gateway", arguments).await
    }

    /// Starts `plimsoll run`, which has all that a gateway has.
    pub(crate) async fn run(arguments: &[&str]) -> Self {
        Self::start_as(plimsoll(), "run", arguments).await
    }

    /// The same as another user of this machine, which only root can do.
    pub(crate) async fn run_by(user: u32, arguments: &[&str]) -> Self {
        let mut program = plimsoll();
        program.uid(user);
        Self::start_as(program, "run", arguments).await
    }

    async fn start_as(mut program: Command, command: &str, arguments: &[&str]) -> Self {
        // Unless the test has one of its own: a flag cannot be given twice.
        let unless_given = |flag, value| (!arguments.contains(&flag)).then_some([flag, value]);
        let mut child = program
            .arg(command)
            .args(["--listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .args(unless_given("--drain-quiet", "0").iter().flatten())
            .args(unless_given("--admin", "127.0.0.1:0").iter().flatten())
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
        let admin = serving["admin"].as_str().unwrap();
        let admin = admin.strip_prefix("http://").unwrap();
        Self {
            child,
            data: serving["listen"].as_str().unwrap().parse().unwrap(),
            admin: admin.replace("0.0.0.0", "127.0.0.1").parse().unwrap(),
            log,
        }
    }

    /// Starts it in front of these addresses, with more arguments.
    pub(crate) async fn before(upstreams: &[SocketAddr], arguments: &[&str]) -> Self {
        let upstreams: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
        let flags = upstreams
            .iter()
            .flat_map(|upstream| ["--upstream", upstream]);
        let all: Vec<&str> = flags.chain(arguments.iter().copied()).collect();
        Self::start(&all).await
    }

    /// Starts it with a configuration file.
    pub(crate) async fn configured(config: &Path) -> Self {
        Self::start(&["--config", config.to_str().unwrap()]).await
    }

    /// One request of a client, on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        http1::once(self.data, http1::get(path)).await
    }

    /// One answer of the admin port to `METHOD PATH`, with a body.
    pub(crate) async fn ask(&self, line: &str, body: &str) -> Answer {
        let length = body.len();
        let request =
            format!("{line} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}");
        http1::once(self.admin, request).await
    }

    /// What the API says at `/api/v1/…`.
    pub(crate) async fn api(&self, path: &str) -> Value {
        let answer = self.ask(&format!("GET /api/v1/{path}"), "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The endpoints of all services, in order.
    pub(crate) async fn endpoints(&self) -> Vec<Value> {
        let shown = self.api("endpoints").await;
        shown["endpoints"].as_array().unwrap().clone()
    }

    /// The addresses of all endpoints, in order.
    pub(crate) async fn addresses(&self) -> Vec<String> {
        let address = |endpoint: &Value| endpoint["address"].as_str().unwrap().to_owned();
        self.endpoints().await.iter().map(address).collect()
    }

    /// The endpoint with this address.
    pub(crate) async fn endpoint(&self, address: SocketAddr) -> Value {
        let address = address.to_string();
        let mut all = self.endpoints().await.into_iter();
        let found = all.find(|endpoint| endpoint["address"] == address);
        found.unwrap_or_else(|| panic!("no endpoint {address}"))
    }

    /// Waits until the endpoints have these addresses.
    pub(crate) async fn until_addresses(&self, wanted: &[SocketAddr]) {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        eventually(&format!("endpoints {wanted:?}"), async || {
            (self.addresses().await == wanted).then_some(())
        })
        .await;
    }

    pub(crate) async fn scrape(&self) -> Metrics {
        let answer = self.ask("GET /metrics", "").await;
        assert_eq!(answer.status, 200);
        Metrics::parse(answer.text())
    }

    /// The first log line, old or new, that `wanted` takes.
    pub(crate) async fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("log line: {what}"), async || {
            self.log.find(&wanted)
        })
        .await
    }

    /// How many log lines `wanted` takes.
    pub(crate) fn count_logged(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        self.log.count(wanted)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        soon("the end of the program", self.child.wait())
            .await
            .unwrap()
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("plimsoll-gateway-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file beside the one of that name, and puts it in its place.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, next) = (self.path(name), self.path("next"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over lies in the folder for temporary files.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
