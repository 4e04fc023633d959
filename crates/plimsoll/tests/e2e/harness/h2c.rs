//! An HTTP/2 client with prior knowledge that sees frames: resets, trailers, GOAWAY.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::soon;

/// A client on one connection.
#[derive(Debug)]
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// One answer that came to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request whose body is being sent.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) response: ResponseFuture,
    pub(crate) body: SendStream<Bytes>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The error that `Proxy-Status` names.
    pub(crate) fn proxy_error(&self) -> Option<&str> {
        super::http1::proxy_error(self.field("proxy-status")?)
    }
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = soon("connect", TcpStream::connect(to)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = soon("handshake", h2::client::handshake(stream))
            .await
            .unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// Begins a request; `end` if it has no body.
    pub(crate) async fn begin(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<Pending, h2::Error> {
        let mut ready = soon("a stream", self.sender.clone().ready()).await?;
        let (response, body) = ready.send_request(request, end)?;
        self.sender = ready;
        Ok(Pending { response, body })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, h2::Error> {
        let pending = self.begin(request("GET", path), true).await?;
        answer(pending.response).await
    }

    /// Waits until the server has closed the connection, in an orderly way.
    pub(crate) async fn closed(self) {
        let Self { sender, connection } = self;
        // The server must end it: a sender that is still there keeps the client from doing so.
        soon("the end of the connection", connection)
            .await
            .unwrap()
            .unwrap();
        drop(sender);
    }
}

impl Pending {
    /// Sends a part of the body, waiting for room.
    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            self.body.reserve_capacity(bytes.len());
            let room = soon(
                "room to send",
                std::future::poll_fn(|cx| self.body.poll_capacity(cx)),
            )
            .await
            .expect("the stream is open")
            .unwrap();
            let part = bytes.split_to(room.min(bytes.len()));
            self.body.send_data(part, false).unwrap();
        }
    }

    /// Ends the body.
    pub(crate) fn finish(&mut self) {
        self.body.send_data(Bytes::new(), true).unwrap();
    }
}

/// A request for `path`.
pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://a{path}"))
        .body(())
        .unwrap()
}

/// The whole answer, or the way it broke.
pub(crate) async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = soon("an answer", response).await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = part(&mut stream).await {
        body.extend(data?);
    }
    let trailers = soon("trailers", stream.trailers()).await?;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
        trailers,
    })
}

/// The next part of a body.
pub(crate) async fn part(stream: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = soon("a part of the body", stream.data()).await?;
    if let Ok(data) = &data {
        stream.flow_control().release_capacity(data.len()).unwrap();
    }
    Some(data)
}
