//! A host with one service, and what is told of its replicas.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_fleet::{
    CommandSpec, End, Host, HostConfig, Observer, ReplicaEvent, ReplicaId, ReplicaSet, Usage,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No event takes so long, on however busy a machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server in Python that answers every GET with 200 and says what happens to it. `{more}` runs before it serves.
const SERVER: &str = r#"
import http.server, os, signal, subprocess, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["PORT"].encode())
    def log_message(self, *a): pass
port = int(sys.argv[1])
"#;

pub(crate) struct Service {
    pub(crate) host: Host,
    pub(crate) set: ReplicaSet,
    usage: Arc<Mutex<Usage>>,
    told: mpsc::UnboundedReceiver<ReplicaEvent>,
    lines: mpsc::UnboundedReceiver<String>,
}

/// Sends events to the test, which says how much the service is used.
struct Tell {
    events: mpsc::UnboundedSender<ReplicaEvent>,
    usage: Arc<Mutex<Usage>>,
}

impl Observer for Tell {
    fn event(&self, event: ReplicaEvent) {
        // The test may have seen enough.
        drop(self.events.send(event));
    }

    fn usage(&self) -> Usage {
        *self.usage.lock().expect("no panic")
    }
}

impl Service {
    pub(crate) fn new(spec: CommandSpec) -> Self {
        Self::with(HostConfig::default(), spec)
    }

    pub(crate) fn with(mut config: HostConfig, spec: CommandSpec) -> Self {
        let (write, lines) = mpsc::unbounded_channel();
        config.output = Some(Arc::new(move |line| {
            // The test may have read enough.
            drop(write.send(line.text.to_owned()));
        }));
        let host = Host::new(config).expect("the settings can be");
        Self::on(host, "chat", spec, lines)
    }

    /// Another service of the same host. Its output goes where that of the first goes.
    pub(crate) fn another(&self, name: &str, spec: CommandSpec) -> Self {
        let (_, no_lines) = mpsc::unbounded_channel();
        Self::on(self.host.clone(), name, spec, no_lines)
    }

    fn on(
        host: Host,
        name: &str,
        spec: CommandSpec,
        lines: mpsc::UnboundedReceiver<String>,
    ) -> Self {
        let (events, told) = mpsc::unbounded_channel();
        let usage = Arc::new(Mutex::new(Usage::Unknown));
        let tell = Tell {
            events,
            usage: Arc::clone(&usage),
        };
        let set = ReplicaSet::new(&host, name, spec, Arc::new(tell));
        let set = set.expect("the settings can be");
        Self {
            host,
            set,
            usage,
            told,
            lines,
        }
    }

    /// What the service says of its use from now on.
    pub(crate) fn is(&self, usage: Usage) {
        *self.usage.lock().expect("no panic") = usage;
    }

    pub(crate) async fn next(&mut self) -> ReplicaEvent {
        let next = timeout(PATIENCE, self.told.recv()).await;
        next.expect("something happens").expect("the set is open")
    }

    /// The rest of the next line that begins so.
    pub(crate) async fn line(&mut self, begin: &str) -> String {
        loop {
            let next = timeout(PATIENCE, self.lines.recv()).await;
            let line = next
                .expect("something is written")
                .expect("the host is there");
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.to_owned();
            }
        }
    }

    /// Until the replica is ready.
    pub(crate) async fn ready(&mut self, id: ReplicaId) -> std::net::SocketAddr {
        loop {
            match self.next().await {
                ReplicaEvent::Ready {
                    id: of, address, ..
                } if of == id => return address,
                ReplicaEvent::Ended { id: of, end } if of == id => panic!("{end}"),
                _ => {}
            }
        }
    }

    /// Until the replica can take no more requests.
    pub(crate) async fn ended(&mut self, id: ReplicaId) -> Arc<End> {
        loop {
            if let ReplicaEvent::Ended { id: of, end } = self.next().await
                && of == id
            {
                return end;
            }
        }
    }

    /// Until nothing is left of the replica.
    pub(crate) async fn gone(&mut self, id: ReplicaId) {
        while !matches!(self.next().await, ReplicaEvent::Gone { id: of } if of == id) {}
    }
}

/// A server; `more` is Python that runs before it listens.
pub(crate) fn server(more: &str) -> CommandSpec {
    let serve = "http.server.HTTPServer(('127.0.0.1', port), Handler).serve_forever()";
    let program = format!("{SERVER}{more}\n{serve}");
    CommandSpec::new("python3", ["-u", "-c", &program, "{port}"])
}

/// A script of the shell.
pub(crate) fn shell(script: &str) -> CommandSpec {
    CommandSpec::new("/bin/sh", ["-c", script, "sh", "{port}"])
}

/// Whether a process of this number runs.
pub(crate) fn runs(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.starts_with(['Z', 'X'])
}
