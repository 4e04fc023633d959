//! One HTTP/1.1 connection to the application.
//!
//! It has no task of its own while it answers a request without a body: the task of the client's connection
//! polls it (see [`crate::inline_waker`]). A request with a body gets a task, because the body must flow even
//! while the client does not read the answer.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use plimsoll_meter::Tick;

use crate::body::RequestBody;
use crate::config::HEAD_BYTES_MAX;
use crate::inline_waker::InlineWaker;
use crate::io::{SharedStream, UpstreamIo};
use crate::tls::ClientTls;
use crate::upstream::connect::{ConnectError, Protocol, connect};

/// So long a connection is used again without asking the kernel whether the application has closed it.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// See the module documentation.
pub(crate) struct Http1 {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<UpstreamIo>, RequestBody>>,
    /// What had been read beyond the last head when it ended: the first bytes of another protocol, after a 101.
    leftover: Bytes,
    socket: SharedStream,
    inline: Arc<InlineWaker>,
    inline_waker: Waker,
    /// When it was last put back.
    pub(crate) idle_since: Tick,
}

/// The answer to come, or the request back if it was never written.
pub(crate) type Answer = Result<
    http::Response<hyper::body::Incoming>,
    hyper::client::conn::TrySendError<Request<RequestBody>>,
>;

impl Http1 {
    /// Connects to `app`, with TLS if there is one.
    pub(crate) async fn connect(
        app: SocketAddr,
        tls: Option<&ClientTls>,
    ) -> Result<Box<Self>, ConnectError> {
        let socket = connect(app, tls, Protocol::Http1).await?;
        let io = TokioIo::new(UpstreamIo::new(socket.clone()));
        let (sender, connection) = Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(|cause| ConnectError::Handshake { app, cause })?;
        let inline = InlineWaker::new();
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            leftover: Bytes::new(),
            socket,
            inline_waker: Waker::from(Arc::clone(&inline)),
            inline,
            idle_since: Tick::ZERO,
        }))
    }

    /// Hands over a request. The future resolves only while the connection is driven.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Answer> + use<> {
        self.sender.try_send_request(request)
    }

    /// Polls the connection and then `poll`, until `poll` is ready or nothing moves.
    pub(crate) fn drive<T>(
        &mut self,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let (connection, leftover) = (&mut self.connection, &mut self.leftover);
        self.inline.run(&self.inline_waker, cx, |cx| {
            if let Some(live) = connection
                && Pin::new(live).poll(cx).is_ready()
                && let Some(ended) = connection.take()
            {
                // Its end reaches `poll` as an error or the end of what it waits for.
                *leftover = ended.into_parts().read_buf;
            }
            poll(cx)
        })
    }

    /// Drives the connection until it is ready for another request (`true`) or has ended.
    pub(crate) fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.connection = None;
        }
        if self.connection.is_none() {
            return Poll::Ready(false);
        }
        self.sender.poll_ready(cx).map(|ready| ready.is_ok())
    }

    /// Whether it could take a request now, as far as the runtime has seen.
    pub(crate) fn is_free(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.connection.is_some() && self.sender.is_ready() && {
            // Notices the application's close if the runtime has seen it, and lets go of the last task.
            matches!(self.poll_free(&mut cx), Poll::Ready(true) | Poll::Pending)
                && !self.sender.is_closed()
        }
    }

    /// Whether nothing has arrived on the socket, which has been idle for `unused`.
    ///
    /// Applications close what has been idle for long, so then the kernel is asked. Where connections are used again
    /// within moments, what the worker has heard is as good, and cheaper; see [`SharedStream::has_been_quiet`].
    pub(crate) fn is_quiet(&self, unused: Duration) -> bool {
        if unused < SHORT_PAUSE {
            self.socket.has_been_quiet()
        } else {
            self.socket.is_quiet()
        }
    }

    /// Lets go of the task that last drove it.
    pub(crate) fn forget_task(&self) {
        self.inline.forget_task();
    }

    /// The socket after a 101 and what was read beyond the head. The 101 ends the connection as such, mostly
    /// before this is called.
    pub(crate) async fn into_upgraded(mut self: Box<Self>) -> Option<(SharedStream, Bytes)> {
        if let Some(mut connection) = self.connection.take() {
            let ended = std::future::poll_fn(|cx| Pin::new(&mut connection).poll(cx)).await;
            ended.ok()?;
            self.leftover = connection.into_parts().read_buf;
        }
        Some((self.socket, self.leftover))
    }
}

impl std::fmt::Debug for Http1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http1")
            .field("live", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}
