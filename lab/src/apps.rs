//! Two applications as people put them behind `plimsoll run`: one is slow to start, one keeps connections open.
//!
//! - [`model`]: as servers of language models are: it takes seconds and memory to load, says so at `/health`, and
//!   streams its answers.
//! - [`chat`]: a page and a WebSocket; what one says all hear.

pub mod chat;
pub mod model;

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A body of either application.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

fn text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
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
