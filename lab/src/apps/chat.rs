//! A chat: a page, and a WebSocket at `/chat`; what one says all hear.
//!
//! Those who are there hear who comes and who goes. A replica knows its own people only: that is so of every chat
//! without a store behind it, and the reason to run it with one replica at most.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_tungstenite::tungstenite::Message;

use super::{Body, WebSocket, serve, text, web_socket};

/// Words that a slow listener may be behind; it misses what is older.
const BEHIND_MAX: usize = 64;

const PAGE: &str = r#"<!doctype html><meta charset=utf-8><title>Chat</title>
<style>body{font:16px sans-serif;max-width:40em;margin:2em auto;padding:0 1em}input{width:100%;font:inherit}</style>
<h1>Chat</h1><div id=log></div><input id=say placeholder="Say something" autofocus>
<script>
const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/\/?$/, "/chat"));
socket.onmessage = event => log.append(Object.assign(document.createElement("p"), {textContent: event.data}));
say.onchange = () => { socket.send(say.value); say.value = ""; };
</script>
"#;

/// Serves the chat for ever.
///
/// # Errors
///
/// It cannot listen.
pub async fn run(listen: SocketAddr) -> std::io::Result<()> {
    serve_on(TcpListener::bind(listen).await?).await
}

async fn serve_on(listener: TcpListener) -> std::io::Result<()> {
    let (said, _) = broadcast::channel::<Bytes>(BEHIND_MAX);
    serve(listener, move |request| {
        let said = said.clone();
        async move { answer(request, said) }
    })
    .await
}

fn answer(request: Request<Incoming>, said: broadcast::Sender<Bytes>) -> Response<Body> {
    match request.uri().path() {
        "/" => text(StatusCode::OK, "text/html", PAGE),
        "/chat" => web_socket(request, |socket| take_part(socket, said)),
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there is / and /chat\n",
        ),
    }
}

/// Until the client goes.
async fn take_part(mut socket: WebSocket, said: broadcast::Sender<Bytes>) {
    let mut heard = said.subscribe();
    let say = |words: String| {
        // Nobody may be there to hear it.
        drop(said.send(words.into()));
    };
    say("somebody has come".to_owned());
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(words))) => say(words.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            words = heard.recv() => {
                let words = match words {
                    Ok(words) => String::from_utf8_lossy(&words).into_owned(),
                    Err(RecvError::Lagged(missed)) => format!("({missed} missed)"),
                    Err(RecvError::Closed) => break,
                };
                if socket.send(Message::text(words)).await.is_err() {
                    break;
                }
            }
        }
    }
    say("somebody has gone".to_owned());
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::{WebSocketStream, connect_async};

    use super::*;

    #[tokio::test]
    async fn what_one_says_all_hear() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/chat", listener.local_addr().unwrap());
        let server = tokio::spawn(serve_on(listener));
        let (mut one, _) = connect_async(&url).await.unwrap();
        let hear = async |socket: &mut WebSocketStream<_>| {
            let message = socket
                .next()
                .await
                .expect("it is open")
                .expect("it is well");
            message.into_text().unwrap().to_string()
        };
        assert_eq!(hear(&mut one).await, "somebody has come");
        let (mut other, _) = connect_async(&url).await.unwrap();
        assert_eq!(hear(&mut one).await, "somebody has come");
        assert_eq!(hear(&mut other).await, "somebody has come");
        other.send(Message::text("hello")).await.unwrap();
        assert_eq!(hear(&mut one).await, "hello");
        other.close(None).await.unwrap();
        assert_eq!(hear(&mut one).await, "somebody has gone");
        server.abort();
    }
}
