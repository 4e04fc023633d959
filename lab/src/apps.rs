//! Applications for `plimsoll run`: two as people put them behind it, one that is slow to start and one that keeps
//! connections open, and one that measures.
//!
//! - [`model`]: as servers of language models are: it takes seconds and memory to load, says so at `/health`, and
//!   streams its answers.
//! - [`chat`]: a page and a WebSocket; what one says all hear.
//! - [`witness`]: says when its process began and when it listened.

pub mod chat;
pub mod model;
pub mod witness;

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A body of any of the applications.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The server's end of a WebSocket.
type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

fn text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Agrees to a WebSocket, and hands it to `serve`.
fn web_socket<F>(
    request: Request<Incoming>,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send,
{
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return text(
            StatusCode::UPGRADE_REQUIRED,
            "text/plain",
            "this is a WebSocket\n",
        );
    };
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::try_from(accept).expect("Base64 can be a header value");
    tokio::spawn(async move {
        // The client may have gone before it has switched.
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let stream = TokioIo::new(upgraded);
            serve(WebSocketStream::from_raw_socket(stream, Role::Server, None).await).await;
        }
    });
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Serves HTTP/1.1 for ever; every request goes to `answer`.
async fn serve<A, F>(listener: TcpListener, answer: A) -> std::io::Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answered = answer(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::spawn(async move {
            // A client that goes away is no failure of a toy.
            drop(connection.await);
        });
    }
}
