//! One HTTP/2 connection to the application (cleartext, prior knowledge), shared by many requests.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::uri::Scheme;
use http::{Request, Uri};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use crate::body::RequestBody;
use crate::config::{HEADER_LIST_BYTES_MAX, SEND_BUFFER_BYTES_MAX, STREAMS_PER_CONNECTION_MAX};
use crate::io::UpstreamIo;
use crate::tls::ClientTls;
use crate::upstream::connect::{ConnectError, Protocol, connect};
use crate::upstream::http1::Answer;
use crate::worker::LocalExecutor;

type Driven = Connection<TokioIo<UpstreamIo>, RequestBody, LocalExecutor>;

/// See the module documentation.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: SendRequest<RequestBody>,
    /// Clones of this, less one for the pool, are requests under way.
    streams: Rc<Cell<u32>>,
    is_tls: bool,
    /// `None` once it has ended.
    connection: Rc<RefCell<Option<Driven>>>,
}

/// A place among the streams of a connection; given back on drop.
#[derive(Debug)]
pub(crate) struct StreamGuard(Rc<Cell<u32>>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Http2 {
    /// Connects to `app`; the connection is driven by a task of its own until it ends.
    pub(crate) async fn connect(
        app: SocketAddr,
        tls: Option<&ClientTls>,
    ) -> Result<Self, ConnectError> {
        let socket = connect(app, tls, Protocol::Http2).await?;
        let io = TokioIo::new(UpstreamIo::new(socket));
        let (sender, connection) = Builder::new(LocalExecutor)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(|cause| ConnectError::Handshake { app, cause })?;
        let connection = Rc::new(RefCell::new(Some(connection)));
        let driven = Rc::clone(&connection);
        tokio::task::spawn_local(async move {
            let ended = std::future::poll_fn(|cx| {
                driven
                    .borrow_mut()
                    .as_mut()
                    .map_or(Poll::Ready(Ok(())), |live| Pin::new(live).poll(cx))
            })
            .await;
            // Only once it is gone do requests that wait for it hear of its end.
            drop(driven.take());
            if let Err(cause) = ended {
                tracing::debug!(%app, %cause, "HTTP/2 connection to the application ended");
            }
        });
        Ok(Self {
            sender,
            streams: Rc::new(Cell::new(0)),
            is_tls: tls.is_some(),
            connection,
        })
    }

    /// Whether it can take another stream.
    pub(crate) fn has_room(&self) -> bool {
        self.sender.is_ready() && self.streams.get() < self.streams_max()
    }

    /// How many streams the application takes at once, as far as it has said.
    fn streams_max(&self) -> u32 {
        let taken = (self.connection.borrow().as_ref()).map_or(0, Driven::current_max_send_streams);
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        // At least one, or an application that takes none would be given ever more connections.
        taken.clamp(1, STREAMS_PER_CONNECTION_MAX)
    }

    /// Whether it has ended, or the application has told it to go.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Takes a stream.
    pub(crate) fn stream(&self) -> StreamGuard {
        self.streams.set(self.streams.get() + 1);
        StreamGuard(Rc::clone(&self.streams))
    }

    /// Sends a request.
    pub(crate) fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Answer> + use<> {
        if self.is_tls {
            set_https(request.uri_mut());
        }
        self.sender.try_send_request(request)
    }
}

/// A client without TLS has sent `http`, and servers with TLS may turn that away.
fn set_https(uri: &mut Uri) {
    let mut parts = std::mem::take(uri).into_parts();
    if parts.authority.is_some() {
        parts.scheme = Some(Scheme::HTTPS);
    }
    // Its parts were those of a URI before.
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2")
            .field("streams", &self.streams.get())
            .finish_non_exhaustive()
    }
}
