//! The HTTP/2 client: hyper's, several lanes to a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::client::Failure;
use super::{Error, Options};

type Sender = SendRequest<Full<Bytes>>;

/// One connection, shared by its lanes. The first lane that finds it closed opens it again.
pub(super) struct Connection {
    addr: SocketAddr,
    sender: Mutex<Sender>,
}

/// One lane: one stream at a time.
pub(super) struct Http2 {
    connection: Arc<Connection>,
    request: Request<Full<Bytes>>,
    sender: Option<Sender>,
}

/// The request every lane repeats.
pub(super) fn template(options: &Options) -> Result<Request<Full<Bytes>>, Error> {
    let uri = format!("http://{}{}", options.target.authority, options.target.path);
    let uri: Uri = uri.parse().map_err(|_| Error::Target {
        url: uri,
        why: "not a URL".into(),
    })?;
    let mut request = Request::new(Full::new(options.body.clone()));
    *request.method_mut() = options.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = options.headers.clone();
    Ok(request)
}

impl Connection {
    pub(super) async fn open(addr: SocketAddr) -> io::Result<Self> {
        let sender = Mutex::new(handshake(addr).await?);
        Ok(Self { addr, sender })
    }

    async fn sender(&self) -> Result<Sender, Failure> {
        let mut sender = self.sender.lock().await;
        if sender.is_closed() {
            *sender = handshake(self.addr).await.map_err(|_| Failure::Connect)?;
        }
        Ok(sender.clone())
    }
}

impl Http2 {
    pub(super) fn new(connection: Arc<Connection>, request: Request<Full<Bytes>>) -> Self {
        Self {
            connection,
            request,
            sender: None,
        }
    }

    pub(super) async fn call(&mut self) -> Result<u16, Failure> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connection.sender().await?,
        };
        let closed = |_| Failure::Closed;
        sender.ready().await.map_err(closed)?;
        let response = sender
            .send_request(self.request.clone())
            .await
            .map_err(closed)?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(closed)?;
        }
        self.sender = Some(sender);
        Ok(status)
    }
}

async fn handshake(addr: SocketAddr) -> io::Result<Sender> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        // No response of a comparison waits for a window update.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its error reaches every lane through the sender.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}
