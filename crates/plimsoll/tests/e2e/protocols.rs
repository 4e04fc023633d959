//! HTTP/1.0, HTTP/1.1 and HTTP/2 on one port, each carried to the application as it came.

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client, End};
use crate::harness::sidecar::Sidecar;
use crate::harness::{h2c, program, soon};

#[tokio::test]
async fn http10_is_answered_and_closed() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send("GET /headers HTTP/1.0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.end), (200, End::Whole));
    assert_eq!(answer.json()["version"], "HTTP/1.1", "towards the app");
    assert_eq!(client.0.read_to_end().await, b"", "closed after the answer");
}

#[tokio::test]
async fn http10_gets_a_body_of_unknown_length_without_chunks() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send("GET /stream/3/1 HTTP/1.0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.body.len(), 3 * 64);
}

#[tokio::test]
async fn http10_keeps_the_connection_when_it_asks_to() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..2 {
        client
            .send("GET /bytes/3 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "xxx"));
        assert_eq!(answer.field("connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn http11_keeps_the_connection_on_both_sides() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--workers", "1"]).await;
    let mut client = Client::connect(sidecar.data).await;
    for length in [0, 1, 100_000, 5] {
        let answer = client.get(&format!("/bytes/{length}")).await;
        assert_eq!((answer.status, answer.body.len()), (200, length));
    }
    assert_eq!((app.requests(), app.connections()), (4, 1));
}

#[tokio::test]
async fn http11_closes_when_the_client_asks_to() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--workers", "1"]).await;
    for _ in 0..2 {
        let mut client = Client::connect(sidecar.data).await;
        client
            .send("GET /bytes/3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "xxx"));
        assert_eq!(client.0.read_to_end().await, b"");
    }
    assert_eq!(app.connections(), 1, "the application's connection is kept");
}

#[tokio::test]
async fn requests_sent_in_a_row_are_answered_in_order() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    let requests: String = ["/delay/30", "/bytes/2", "/status/404", "/bytes/4"]
        .map(http1::get)
        .concat();
    client.send(requests).await;
    for (status, length) in [(200, 5), (200, 2), (404, 4), (200, 4)] {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.len()), (status, length));
    }
}

#[tokio::test]
async fn answers_without_a_body_keep_their_framing() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send("HEAD /bytes/1234 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let head = client.answer_to_head().await;
    assert_eq!(head.field("content-length"), Some("1234"));
    for status in [204, 304] {
        let answer = client.get(&format!("/status/{status}")).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
    assert_eq!(client.get("/bytes/1").await.text(), "x");
}

#[tokio::test]
async fn h2c_shares_the_port_and_reaches_the_application_as_h2c() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--workers", "1"]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let seen = client.get("/headers?q=1").await.unwrap().json();
    assert_eq!(seen["version"], "HTTP/2.0");
    assert_eq!(
        (&seen["path"], &seen["query"]),
        (&"/headers".into(), &"q=1".into())
    );

    // 50 streams at once: one connection on each side.
    let mut pending = Vec::new();
    for _ in 0..50 {
        let request = h2c::request("GET", "/delay/50");
        pending.push(client.begin(request, true).await.unwrap());
    }
    for stream in pending {
        assert_eq!(h2c::answer(stream.response).await.unwrap().text(), "late\n");
    }
    assert_eq!(app.connections(), 1);
    assert_eq!(http1::once(sidecar.data, http1::get("/")).await.status, 200);
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn a_preface_that_comes_byte_by_byte_is_told_from_a_request_that_begins_like_it() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    // An empty SETTINGS frame; the server's own comes first.
    client.send(b"\0\0\0\x04\0\0\0\0\0").await;
    let frame = client.0.exactly(9).await;
    assert_eq!(frame[3], 4, "SETTINGS: {frame:?}");

    let mut client = Client::connect(sidecar.data).await;
    client.send("P").await;
    client
        .send("OST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    assert_eq!(client.answer().await.text(), "hi");
}

#[tokio::test]
async fn an_application_that_speaks_http10_is_understood() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.text()), (200, "until the end"));
        assert_eq!(answer.end, End::Whole);
    }
}

#[tokio::test]
async fn python_s_server_is_a_good_application() {
    if !program::is_here("python3") {
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), vec![b'p'; 100_000]).unwrap();
    let addr = app::nowhere().await;
    let _python = tokio::process::Command::new("python3")
        .args(["-m", "http.server", "--bind"])
        .arg(addr.ip().to_string())
        .arg(addr.port().to_string())
        .current_dir(&folder)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    soon("python listens", async {
        while tokio::net::TcpStream::connect(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sidecar = Sidecar::start(addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..3 {
        let answer = client.get("/file").await;
        assert_eq!((answer.status, answer.body.len()), (200, 100_000));
        assert_eq!(client.get("/none").await.status, 404);
    }
}

#[tokio::test]
async fn curl_speaks_all_three() {
    if !program::is_here("curl") {
        return;
    }
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let url = |path: &str| format!("http://{}{path}", sidecar.data);
    for (flag, towards_app) in [
        ("--http1.0", "HTTP/1.1"),
        ("--http1.1", "HTTP/1.1"),
        ("--http2-prior-knowledge", "HTTP/2.0"),
    ] {
        let said = program::run("curl", &["-sS", flag, &url("/headers")]).await;
        let seen: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(seen["version"], towards_app, "{flag} {}", said.stderr);
        let said = program::run("curl", &["-sS", flag, &url("/bytes/300000")]).await;
        assert_eq!(said.stdout.len(), 300_000, "{flag} {}", said.stderr);
        let echo = ["-sS", flag, "--data-binary", "@-", &url("/echo")];
        let body = vec![b'z'; 200_000];
        let said = program::run_with("curl", &echo, &body).await;
        assert!(said.stdout == body, "{flag} {}", said.stderr);
    }
}

#[tokio::test]
async fn nghttp_gets_many_streams_on_one_connection() {
    if !program::is_here("nghttp") {
        return;
    }
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let url = format!("http://{}/bytes/1000", sidecar.data);
    let said = program::run("nghttp", &["--multiply=20", &url]).await;
    assert!(said.success, "{}", said.stderr);
    assert_eq!(said.stdout.len(), 20 * 1000);
}
