//! `plimsoll run`: a command is started by its first request, scaled with load, and stopped when idle.

use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::{self, Answer, Client};
use crate::harness::{eventually, program, soon};

/// An application in a language that people use: it says which process it is, and does what the path says.
const APP: &str = r#"
import http.server, os, sys, time

time.sleep(float(os.environ.get("START", "0")))

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/sleep/"):
            time.sleep(float(self.path.removeprefix("/sleep/")))
        if self.path == "/exit":
            print("asked to exit", flush=True)
            os._exit(7)
        if self.headers.get("upgrade"):
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            while data := self.connection.recv(4096):
                self.connection.sendall(data)
            self.close_connection = True
            return
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// `plimsoll run` with the application above.
pub(crate) struct Running {
    pub(crate) program: Gateway,
    _folder: Folder,
}

/// The application in a file of this folder.
pub(crate) fn app(folder: &Folder) -> PathBuf {
    folder.write("app.py", APP)
}

impl Running {
    /// `None` if there is no Python.
    pub(crate) async fn start(flags: &[&str]) -> Option<Self> {
        if !program::is_here("python3") {
            return None;
        }
        let folder = Folder::new();
        let app = app(&folder);
        let command = ["--", "python3", app.to_str().unwrap(), "{port}"];
        let program = Gateway::run(&[flags, &command].concat()).await;
        Some(Self {
            program,
            _folder: folder,
        })
    }

    /// How the service is scaled.
    pub(crate) async fn scale(&self) -> Value {
        self.program.api("services").await["services"][0]["scale"].clone()
    }

    /// Waits until so many replicas are ready, and none is starting or draining.
    pub(crate) async fn until_ready(&self, count: u64) {
        eventually(&format!("{count} replicas"), async || {
            let scale = self.scale().await;
            let is_so = scale["ready"] == count && scale["starting"] == 0 && scale["draining"] == 0;
            is_so.then_some(())
        })
        .await;
    }

    /// The processes of the replicas.
    pub(crate) async fn pids(&self) -> Vec<Pid> {
        let scale = self.scale().await;
        let pid = |replica: &Value| Pid::from_raw(replica["pid"].as_i64().unwrap() as i32).unwrap();
        scale["replicas"]
            .as_array()
            .unwrap()
            .iter()
            .map(pid)
            .collect()
    }

    pub(crate) async fn set_replicas(&self, count: u64) -> Answer {
        let body = format!("{{\"replicas\": {count}}}");
        self.program
            .ask("POST /api/v1/services/app/scale", &body)
            .await
    }
}

pub(crate) fn ask(to: SocketAddr, path: &str) -> JoinHandle<Answer> {
    tokio::spawn(http1::once(to, http1::get(path)))
}

pub(crate) async fn answered(asked: JoinHandle<Answer>) -> Answer {
    soon("an answer", asked).await.unwrap()
}

#[tokio::test]
async fn the_first_request_starts_one_replica_and_is_told_how_long_that_took() {
    let Some(run) = Running::start(&["--concurrency", "1"]).await else {
        return;
    };
    assert_eq!(run.scale().await["starts"], 0);
    let first = run.program.get("/").await;
    assert_eq!(first.status, 200);
    let told = first.field("server-timing").unwrap();
    let millis = told.strip_prefix("plimsoll-cold-start;dur=").unwrap();
    assert!(millis.parse::<u64>().unwrap() < 20_000, "{told}");
    let second = run.program.get("/").await;
    assert_eq!((second.status, second.field("server-timing")), (200, None));
    assert_eq!(first.text(), second.text(), "the same process");
    let scale = run.scale().await;
    assert_eq!((&scale["starts"], &scale["ready"]), (&1.into(), &1.into()));
    assert_eq!(scale["cold_starts"]["requests"], 1);
}

#[tokio::test]
async fn with_no_command_the_built_in_app_runs_and_goes_when_nobody_comes() {
    let program = Gateway::run(&["--window", "6s"]).await;
    let answer = program.get("/").await;
    assert!(
        answer.text().starts_with("Hello from the app"),
        "{}",
        answer.text()
    );
    let replicas = program.api("services").await["services"][0]["scale"]["replicas"].clone();
    let pid = Pid::from_raw(replicas[0]["pid"].as_i64().unwrap() as i32).unwrap();
    assert!(test_kill_process(pid).is_ok());
    eventually("it is gone", async || {
        test_kill_process(pid).is_err().then_some(())
    })
    .await;
    let decisions = program.api("services/app/decisions").await;
    assert_eq!(decisions["decisions"][0]["reason"], "idle");
    // And it comes back.
    assert_eq!(program.get("/").await.status, 200);
}

#[tokio::test]
async fn load_starts_as_many_as_it_needs_and_no_more_than_may_be() {
    let Some(run) = Running::start(&["--concurrency", "1", "--max", "3"]).await else {
        return;
    };
    let asked: Vec<_> = (0..9)
        .map(|_| ask(run.program.data, "/sleep/0.3"))
        .collect();
    for asked in asked {
        assert_eq!(answered(asked).await.status, 200);
    }
    let scale = run.scale().await;
    let starts = scale["starts"].as_u64().unwrap();
    assert!((2..=3).contains(&starts), "{scale}");
}

#[tokio::test]
async fn what_goes_is_not_cut_short() {
    let Some(run) = Running::start(&["--concurrency", "4", "--max", "3"]).await else {
        return;
    };
    for _ in 0..3 {
        assert_eq!(run.set_replicas(3).await.status, 200);
        run.until_ready(3).await;
        let mut tunnel = Client::connect(run.program.data).await;
        let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        tunnel.send(upgrade).await;
        assert_eq!(tunnel.head().await.0, 101);
        let asked: Vec<_> = (0..6)
            .map(|_| ask(run.program.data, "/sleep/0.5"))
            .collect();
        eventually("they run", async || {
            let services = run.program.api("services").await;
            (services["services"][0]["requests_in_flight"] == 7).then_some(())
        })
        .await;
        assert_eq!(run.set_replicas(0).await.status, 200);
        for asked in asked {
            assert_eq!(answered(asked).await.status, 200);
        }
        // All the others have gone; who has the tunnel stays for as long as it is open.
        eventually("one is left", async || {
            let scale = run.scale().await;
            (scale["ready"] == 0 && scale["draining"] == 1).then_some(())
        })
        .await;
        tunnel.send("still here").await;
        assert_eq!(tunnel.0.up_to(10).await, b"still here");
        drop(tunnel);
        run.until_ready(0).await;
    }
}

#[tokio::test]
async fn a_replica_that_dies_costs_no_request_that_may_be_sent_again() {
    let flags = ["--concurrency", "20", "--max", "3", "--min", "2"];
    let Some(run) = Running::start(&flags).await else {
        return;
    };
    run.until_ready(2).await;
    let to = run.program.data;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(to).await;
                let mut statuses = Vec::new();
                for _ in 0..60 {
                    statuses.push(client.get("/sleep/0.01").await.status);
                }
                statuses
            })
        })
        .collect();
    for _ in 0..2 {
        let victim = run.pids().await[0];
        kill_process(victim, Signal::KILL).unwrap();
        eventually("that it has been noticed", async || {
            (!run.pids().await.contains(&victim)).then_some(())
        })
        .await;
        run.until_ready(2).await;
    }
    for client in clients {
        let statuses = soon("the clients", client).await.unwrap();
        assert_eq!(statuses, [200; 60]);
    }
}

#[tokio::test]
async fn no_replica_outlives_the_program() {
    let Some(mut run) = Running::start(&["--min", "2"]).await else {
        return;
    };
    run.until_ready(2).await;
    let pids = run.pids().await;
    run.program.signal(Signal::TERM);
    assert!(run.program.ended().await.success());
    for pid in pids {
        assert!(test_kill_process(pid).is_err(), "{pid:?} is there");
    }
}

#[tokio::test]
async fn no_replica_outlives_the_program_even_if_it_is_killed() {
    let Some(mut run) = Running::start(&["--min", "2"]).await else {
        return;
    };
    run.until_ready(2).await;
    let pids = run.pids().await;
    run.program.signal(Signal::KILL);
    run.program.ended().await;
    eventually("all are gone", async || {
        let is_gone = |pid: &Pid| test_kill_process(*pid).is_err();
        pids.iter().all(is_gone).then_some(())
    })
    .await;
}

#[tokio::test]
async fn somebody_may_say_how_many_there_are() {
    let Some(run) = Running::start(&["--max", "2"]).await else {
        return;
    };
    assert_eq!(run.set_replicas(2).await.status, 200);
    run.until_ready(2).await;
    let refused = run.set_replicas(3).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("N from 0 to 2"),
        "{}",
        refused.text()
    );
    let stopped = run.program.ask("POST /api/v1/services/app/stop", "").await;
    assert_eq!(stopped.status, 200);
    run.until_ready(0).await;
    let answer = run.program.get("/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("is stopped"), "{}", answer.text());
    let started = run.program.ask("POST /api/v1/services/app/start", "").await;
    assert_eq!(started.json()["scale"]["mode"], "auto");
    assert_eq!(run.program.get("/").await.status, 200);
    let missing = run.program.ask("POST /api/v1/services/none/stop", "").await;
    assert_eq!(missing.status, 404);
    let from_page =
        "POST /api/v1/services/app/stop HTTP/1.1\r\nhost: a\r\norigin: http://evil\r\n\r\n";
    assert_eq!(http1::once(run.program.admin, from_page).await.status, 403);
}

#[tokio::test]
async fn a_browser_sees_a_page_until_a_replica_is_ready() {
    let Some(run) = Running::start(&["--waiting-page", "--ready-path", "/sleep/1"]).await else {
        return;
    };
    let page = "GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\n\r\n";
    let shown = http1::once(run.program.data, page).await;
    assert_eq!(shown.status, 503);
    assert_eq!(
        shown.field("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(shown.text().contains("Starting app"), "{}", shown.text());
    eventually("the answer", async || {
        let answer = http1::once(run.program.data, page).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(run.scale().await["starts"], 1);
}
