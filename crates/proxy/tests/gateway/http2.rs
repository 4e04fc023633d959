//! Endpoints and clients that speak HTTP/2 with prior knowledge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::{Endpoint, soon};

/// A client on a connection of its own.
pub(crate) async fn client(to: SocketAddr) -> SendRequest<Bytes> {
    let stream = soon("connect", TcpStream::connect(to)).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An answer over HTTP/2.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Result<String, h2::Error>,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }
}

/// Sends `request` with `body`, and reads the whole answer.
pub(crate) async fn ask(client: &SendRequest<Bytes>, request: Request<()>, body: &str) -> Answer {
    let mut client = soon("stream", client.clone().ready()).await.unwrap();
    let (response, mut stream) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream
            .send_data(Bytes::from(body.to_owned()), true)
            .unwrap();
    }
    let response = soon("head", response).await.unwrap();
    let (head, body) = response.into_parts();
    let (body, trailers) = soon("body", read(body)).await;
    Answer {
        head: Response::from_parts(head, ()),
        body,
        trailers,
    }
}

/// The rest of a message.
pub(crate) async fn read(mut body: RecvStream) -> (Result<String, h2::Error>, HeaderMap) {
    let mut text = String::new();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                body.flow_control().release_capacity(data.len()).unwrap();
                text.push_str(&String::from_utf8_lossy(&data));
            }
            Err(error) => return (Err(error), HeaderMap::new()),
        }
    }
    let trailers = body.trailers().await.ok().flatten();
    (Ok(text), trailers.unwrap_or_default())
}

/// What an endpoint answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    pub(crate) head: HeaderMap,
    pub(crate) trailers: HeaderMap,
    /// Resets with this instead: at once, or after a part of the body, when told.
    pub(crate) reset: Option<(h2::Reason, Option<Arc<Notify>>)>,
}

/// An endpoint that tells in its body what it was asked: method, target, `host` or authority, and the body.
pub(crate) async fn endpoint(script: Script) -> Endpoint {
    Endpoint::new(move |stream, served| {
        let script = script.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else {
                return;
            };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                served.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                tokio::spawn(async move {
                    if let Some((reason, None)) = script.reset {
                        return respond.send_reset(reason);
                    }
                    let (head, body) = request.into_parts();
                    let (body, _) = read(body).await;
                    let told = format!(
                        "{} {} {:?} {}",
                        head.method,
                        head.uri,
                        fields(&head.headers),
                        body.unwrap()
                    );
                    let mut response = Response::new(());
                    *response.headers_mut() = script.head;
                    let stream = respond.send_response(response, false).unwrap();
                    finish(stream, &told, script.trailers, script.reset).await;
                });
            }
        }
    })
    .await
}

async fn finish(
    mut stream: SendStream<Bytes>,
    body: &str,
    trailers: HeaderMap,
    reset: Option<(h2::Reason, Option<Arc<Notify>>)>,
) {
    stream
        .send_data(Bytes::from(body.to_owned()), false)
        .unwrap();
    match reset {
        Some((reason, told)) => {
            if let Some(told) = told {
                told.notified().await;
            }
            stream.send_reset(reason);
        }
        None => stream.send_trailers(trailers).unwrap(),
    }
}

/// Names and values, to compare.
pub(crate) fn fields(headers: &HeaderMap) -> Vec<String> {
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", value.to_str().unwrap())
    };
    headers.iter().map(text).collect()
}
