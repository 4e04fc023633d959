//! Clients and applications that others wrote, with the gateway between them.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::Message;
use tonic::Code;

use crate::grpc::{self, Calculator, ENDLESS, count, square};
use crate::harness::app;
use crate::harness::gateway::Gateway;
use crate::harness::{eventually, program, soon};
use crate::websocket;

#[tokio::test]
async fn grpc_calls_of_every_kind_are_spread_and_blame_nobody() {
    let apps = [Calculator::start().await, Calculator::start().await];
    let addresses = apps.each_ref().map(|app| app.addr);
    let gateway = Gateway::before(&addresses, &["--policy", "round-robin"]).await;
    let mut client = grpc::client_of(gateway.data).await;
    // Streams of one connection go to both.
    for _ in 0..3 {
        grpc::all_four_kinds_of_calls(&mut client).await;
    }
    // An answer of the application is its own business, an error or not.
    for _ in 0..6 {
        grpc::out_of_range(&mut client).await;
    }
    for address in addresses {
        let endpoint = eventually("all have ended", async || {
            let endpoint = gateway.endpoint(address).await;
            (endpoint["in_flight"] == 0).then_some(endpoint)
        })
        .await;
        assert_eq!(endpoint["picks"], 9, "{endpoint}");
        assert_eq!(endpoint["successes"], 9, "{endpoint}");
    }
}

#[tokio::test]
async fn a_grpc_endpoint_that_is_gone_costs_no_call_and_all_gone_is_unavailable() {
    let app = Calculator::start().await;
    let dead = app::nowhere().await;
    let gateway = Gateway::before(&[dead, app.addr], &["--policy", "round-robin"]).await;
    let mut client = grpc::client_of(gateway.data).await;
    for value in 1..=10 {
        let squared = square(&mut client, value).await.unwrap();
        assert_eq!(squared.into_inner().value, value * value);
    }
    let gateway = Gateway::before(&[dead, app::nowhere().await], &[]).await;
    let mut client = grpc::client_of(gateway.data).await;
    let refused = square(&mut client, 2).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn a_deadline_within_a_grpc_stream_is_told_and_gives_the_slot_back() {
    let app = Calculator::start().await;
    let arguments = ["--timeout", "500ms", "--endpoint-concurrency", "1"];
    let gateway = Gateway::before(&[app.addr], &arguments).await;
    let mut client = grpc::client_of(gateway.data).await;
    let mut counted = count(&mut client, ENDLESS).await.unwrap();
    for _ in 1..=ENDLESS {
        assert!(soon("a number", counted.message()).await.unwrap().is_some());
    }
    let cut = soon("the limit", counted.message()).await.unwrap_err();
    assert_eq!(cut.code(), Code::DeadlineExceeded);
    let squared = square(&mut client, 3).await.unwrap();
    assert_eq!(squared.into_inner().value, 9);
}

#[tokio::test]
async fn a_websocket_holds_its_slot_as_long_as_it_lasts() {
    let servers = [
        websocket::Server::start().await,
        websocket::Server::start().await,
    ];
    let addresses = servers.each_ref().map(|server| server.addr);
    let gateway = Gateway::before(&addresses, &["--endpoint-concurrency", "1"]).await;
    let mut sockets = [
        websocket::connect(gateway.data).await,
        websocket::connect(gateway.data).await,
    ];
    for address in addresses {
        assert_eq!(gateway.endpoint(address).await["in_flight"], 1);
    }
    let third = tokio::spawn(websocket::connect(gateway.data));
    eventually("the third waits", async || {
        let services = gateway.api("services").await;
        (services["services"][0]["queue"]["depth"] == 1).then_some(())
    })
    .await;
    for (number, socket) in sockets.iter_mut().enumerate() {
        let message = Message::text(number.to_string());
        socket.send(message.clone()).await.unwrap();
        let echo = soon("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo, message);
    }
    drop(sockets);
    let mut third = soon("the third", third).await.unwrap();
    third.send(Message::text("third")).await.unwrap();
    let echo = soon("the echo", third.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("third"));
    for address in addresses {
        let endpoint = gateway.endpoint(address).await;
        assert_eq!(endpoint["state"], "healthy", "{endpoint}");
    }
}

#[tokio::test]
async fn curl_and_nghttp_get_what_they_ask_for() {
    let (a, b) = (app::lab(), app::lab());
    let gateway = Gateway::before(&[a.addr(), b.addr()], &[]).await;
    let url = |path: &str| format!("http://{}{path}", gateway.data);
    if program::is_here("curl") {
        for flag in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
            let said = program::run("curl", &["-sS", flag, &url("/bytes/300000")]).await;
            assert_eq!(said.stdout.len(), 300_000, "{flag} {}", said.stderr);
            let body = vec![b'z'; 200_000];
            let echo = ["-sS", flag, "--data-binary", "@-", &url("/echo")];
            let said = program::run_with("curl", &echo, &body).await;
            assert!(said.stdout == body, "{flag} {}", said.stderr);
        }
    }
    if program::is_here("nghttp") {
        let said = program::run("nghttp", &["--multiply=20", &url("/bytes/1000")]).await;
        assert!(said.success, "{}", said.stderr);
        assert_eq!(said.stdout.len(), 20 * 1000);
    }
}
