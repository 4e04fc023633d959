//! WebSocket, spoken by a library on both ends.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async};

use crate::harness::app::free_listener;
use crate::harness::sidecar::Sidecar;
use crate::harness::soon;

/// A server that returns every message. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = free_listener().await;
        Self {
            addr: listener.local_addr().unwrap(),
            task: tokio::spawn(serve(listener)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut socket = accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err()
                {
                    return;
                }
            }
        });
    }
}

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(address: SocketAddr) -> Socket {
    let url = format!("ws://{address}/chat");
    let (socket, answer) = soon("the handshake", connect_async(url)).await.unwrap();
    assert_eq!(answer.status(), 101);
    socket
}

#[tokio::test]
async fn messages_of_every_kind_pass_and_the_request_lasts_as_long_as_the_socket() {
    let server = Server::start().await;
    let sidecar = Sidecar::start(server.addr, &["--concurrency", "1"]).await;
    let mut socket = connect(sidecar.data).await;
    assert_eq!(sidecar.scrape().await.in_flight(), 1.0);
    let large: Vec<u8> = (0..1 << 20).map(|index: u32| index as u8).collect();
    for message in [
        Message::text("text"),
        Message::binary(vec![0, 255, 128]),
        Message::text(""),
        Message::binary(large),
        Message::text("x".repeat(1 << 20)),
    ] {
        socket.send(message.clone()).await.unwrap();
        let echo = soon("the echo", socket.next()).await.unwrap().unwrap();
        assert!(echo == message, "{} bytes", message.len());
    }
    socket
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    let pong = soon("the pong", socket.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));

    let goodbye = CloseFrame {
        code: CloseCode::Away,
        reason: "goodbye".into(),
    };
    socket.close(Some(goodbye.clone())).await.unwrap();
    let answer = soon("the close", socket.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::Close(Some(goodbye)));
    assert!(soon("the end", socket.next()).await.is_none());
    drop(socket);
    let metrics = sidecar
        .scraped("the socket has ended", |metrics| metrics.in_flight() == 0.0)
        .await;
    assert_eq!(metrics.requests("1xx", "app"), 1.0);
}

#[tokio::test]
async fn many_sockets_are_carried_at_once() {
    let server = Server::start().await;
    let sidecar = Sidecar::start(server.addr, &[]).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(connect(sidecar.data).await);
    }
    assert_eq!(sidecar.scrape().await.in_flight(), 20.0);
    for (index, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(index.to_string())).await.unwrap();
    }
    for (index, socket) in sockets.iter_mut().enumerate() {
        let echo = soon("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo, Message::text(index.to_string()));
    }
    drop(sockets);
    sidecar
        .scraped("all have ended", |metrics| {
            metrics.in_flight() == 0.0 && metrics.requests("1xx", "app") == 20.0
        })
        .await;
}
