//! The gateway before servers that were not written for it.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::gateway::{Folder, Gateway};
use crate::harness::http1::Client;
use crate::harness::{program, soon};

/// `python3 -m http.server` over a folder. It is killed when it is dropped.
#[derive(Debug)]
struct Python {
    addr: SocketAddr,
    child: Child,
}

impl Python {
    async fn start(folder: &Folder) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
            .arg("--directory")
            .arg(folder.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Serving HTTP on 127.0.0.1 port 43211 (http://127.0.0.1:43211/) ...
        let line = soon("a port", lines.next_line()).await.unwrap().unwrap();
        let port = line.split(' ').nth(5).unwrap().parse().unwrap();
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            child,
        }
    }
}

#[tokio::test]
async fn one_of_three_stops_and_no_request_fails() {
    if !program::is_here("python3") {
        return;
    }
    let folder = Folder::new();
    folder.write("hello.txt", "hello\n");
    let mut servers = [
        Python::start(&folder).await,
        Python::start(&folder).await,
        Python::start(&folder).await,
    ];
    let addresses = servers.each_ref().map(|server| server.addr);
    let gateway = Gateway::before(&addresses, &["--policy", "round-robin"]).await;
    let mut client = Client::connect(gateway.data).await;
    for round in 0..100 {
        if round == 30 {
            servers[1].child.kill().await.unwrap();
        }
        let answer = client.get("/hello.txt").await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "hello\n"),
            "round {round}"
        );
    }
    for address in [addresses[0], addresses[2]] {
        let endpoint = gateway.endpoint(address).await;
        assert!(endpoint["successes"].as_u64() >= Some(30), "{endpoint}");
    }
    let stopped = gateway.endpoint(addresses[1]).await;
    assert!(
        stopped["failures"].to_string().contains(":1") || stopped["failures"]["connect"] != 0,
        "{stopped}"
    );
}
