//! Applications as people have them behind `plimsoll run`: a chat over WebSockets, and gRPC with a library on both ends.
//! Both are started by their first client.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use plimsoll_lab::apps::chat;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::grpc::{self, Calculator};
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::{eventually, soon};
use crate::websocket::{self, Socket};

/// Which application a process that is started from this very program is to be.
const APP: &str = "PLIMSOLL_TEST_APP";

/// What `plimsoll run` starts in these tests: this program again, with this test alone. As a test it has nothing to do.
#[tokio::test]
async fn be_an_application() {
    let Ok(app) = std::env::var(APP) else {
        return;
    };
    let port = std::env::var("PORT").unwrap().parse().unwrap();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match app.as_str() {
        "chat" => chat::run(listen).await.unwrap(),
        "grpc" => Calculator::serve(listen).await,
        other => panic!("no application {other}"),
    }
}

/// One service with one of the applications.
struct Running {
    program: Gateway,
    _folder: Folder,
}

impl Running {
    async fn start(app: &str, settings: &str) -> Self {
        let own = std::env::current_exe().unwrap();
        let own = own.to_str().unwrap();
        let text = format!(
            "[services.app]\n\
             command = [\"{own}\", \"--exact\", \"run_apps::be_an_application\", \"--nocapture\"]\n\
             {settings}\n\
             [services.app.environment]\n{APP} = \"{app}\"\n"
        );
        let folder = Folder::new();
        let config = folder.write("run.toml", &text);
        Self {
            program: Gateway::run(&["--config", config.to_str().unwrap()]).await,
            _folder: folder,
        }
    }

    async fn scale(&self) -> Value {
        self.program.api("services").await["services"][0]["scale"].clone()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(what, async || is_so(&self.scale().await).then_some(())).await;
    }

    async fn post(&self, what: &str, body: &str) {
        let line = format!("POST /api/v1/services/app/{what}");
        let answer = self.program.ask(&line, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

async fn say(socket: &mut Socket, words: &str) {
    soon("to say it", socket.send(Message::text(words)))
        .await
        .unwrap();
}

/// Until these words are heard.
async fn hear(socket: &mut Socket, words: &str) {
    loop {
        let message = soon(words, socket.next()).await;
        let message = message.expect("it is open").expect("it is well");
        if message == Message::text(words) {
            return;
        }
    }
}

#[tokio::test]
async fn a_chat_is_started_by_its_first_guest_and_never_cut_by_scaling_down() {
    let run = Running::start("chat", "concurrency = 8").await;
    assert_eq!(run.scale().await["starts"], 0);
    for round in 1..=3 {
        let mut one = websocket::connect(run.program.data).await;
        let mut other = websocket::connect(run.program.data).await;
        hear(&mut one, "somebody has come").await;
        run.post("scale", "{\"replicas\": 0}").await;
        run.until("it drains", |scale| scale["draining"] == 1).await;
        for turn in 0..5 {
            say(&mut one, &format!("question {turn}")).await;
            hear(&mut other, &format!("question {turn}")).await;
            say(&mut other, &format!("answer {turn}")).await;
            hear(&mut one, &format!("answer {turn}")).await;
        }
        let scale = run.scale().await;
        assert_eq!(scale["starts"], round, "{scale}");
        assert_eq!(scale["draining"], 1, "{scale}");
        other.close(None).await.unwrap();
        hear(&mut one, "somebody has gone").await;
        drop((one, other));
        run.until("it has gone", |scale| {
            scale["replicas"] == serde_json::json!([])
        })
        .await;
        // The load decides again, and starts the next one.
        run.post("start", "").await;
    }
}

#[tokio::test]
async fn a_silent_chat_has_a_limit_of_its_own_and_then_its_replica_may_go() {
    let settings =
        "timeout = \"500ms\"\nidle-timeout = \"500ms\"\nwebsocket-idle-timeout = \"1500ms\"";
    let run = Running::start("chat", settings).await;
    run.program.get("/").await;
    let mut one = websocket::connect(run.program.data).await;
    let mut other = websocket::connect(run.program.data).await;
    run.post("scale", "{\"replicas\": 0}").await;
    // Together longer than any of the limits, and never silent for as long as one.
    for turn in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        say(&mut one, &format!("turn {turn}")).await;
        hear(&mut other, &format!("turn {turn}")).await;
    }
    run.until("it drains", |scale| scale["draining"] == 1).await;
    for socket in [&mut one, &mut other] {
        // Words may still be on their way, and then it ends.
        while let Some(Ok(_)) = soon("the limit", socket.next()).await {}
    }
    run.until("it has gone", |scale| {
        scale["replicas"] == serde_json::json!([])
    })
    .await;
}

#[tokio::test]
async fn grpc_passes_through_a_cold_start_unary_and_streaming() {
    let run = Running::start("grpc", "concurrency = 8").await;
    let mut client = grpc::client_of(run.program.data).await;
    assert_eq!(run.scale().await["starts"], 0);
    let squared = grpc::square(&mut client, 12).await.unwrap();
    let told = squared.metadata().get("server-timing").unwrap();
    assert!(
        told.to_str()
            .unwrap()
            .starts_with("plimsoll-cold-start;dur=")
    );
    assert_eq!(squared.into_inner().value, 144);
    let again = grpc::square(&mut client, 3).await.unwrap();
    assert!(again.metadata().get("server-timing").is_none());

    // None again; then a stream on the same connection is what starts one.
    run.post("scale", "{\"replicas\": 0}").await;
    run.until("none", |scale| scale["replicas"] == serde_json::json!([]))
        .await;
    let mut waiting = grpc::client_of(run.program.data).await;
    let streamed = tokio::spawn(async move {
        grpc::all_four_kinds_of_calls(&mut client).await;
        grpc::all_four_kinds_of_calls(&mut waiting).await;
    });
    eventually("it waits", async || {
        let services = run.program.api("services").await;
        (services["services"][0]["requests_in_flight"] == 1).then_some(())
    })
    .await;
    run.post("start", "").await;
    soon("all kinds of calls", streamed).await.unwrap();
    assert_eq!(run.scale().await["starts"], 2);
}

#[tokio::test]
async fn a_stream_of_grpc_is_not_cut_by_scaling_down() {
    let run = Running::start("grpc", "concurrency = 8").await;
    let mut client = grpc::client_of(run.program.data).await;
    let mut counted = grpc::count(&mut client, grpc::ENDLESS).await.unwrap();
    for expected in 1..=grpc::ENDLESS {
        let message = soon("a number", counted.message()).await.unwrap();
        assert_eq!(message.map(|number| number.value), Some(expected));
    }
    run.post("scale", "{\"replicas\": 0}").await;
    run.until("it drains", |scale| scale["draining"] == 1).await;
    // The stream stays open for as long as the client wants it.
    let more = tokio::time::timeout(Duration::from_millis(300), counted.message()).await;
    assert!(more.is_err(), "it has ended: {more:?}");
    drop((counted, client));
    run.until("it has gone", |scale| {
        scale["replicas"] == serde_json::json!([])
    })
    .await;
}
