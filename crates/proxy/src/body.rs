//! Bodies on their way: the request's to the application, the response's to the client.
//!
//! Neither is buffered here. The response body carries everything the request holds (slot, measurement, time
//! limits, upstream connection), so all of it ends when the body does, however that happens.

use std::cell::Cell;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use plimsoll_meter::Clock;
use plimsoll_wire::{Answer, ProxyError};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::connection::ClientConnection;
use crate::deadline::{Deadlines, Limit};
use crate::exchange::Exchange;
use crate::forward::Carrier;
use crate::refusal::grpc_timeout_trailers;

/// How long the application may think about `Expect: 100-continue` before the body is sent anyway.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The body of a request to the application.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// As it comes from the client.
    Streaming(Box<ClientBody>),
}

/// Why the body of a request does not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientFault {
    /// The client went away.
    Gone,
    /// Its framing is wrong.
    Malformed,
}

/// Where a body tells its [`ClientFault`].
pub(crate) type FaultCell = Rc<Cell<Option<ClientFault>>>;

impl ClientFault {
    fn of(cause: &hyper::Error) -> Self {
        let io = cause
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>());
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Malformed,
            _ => Self::Gone,
        }
    }
}

/// A body that comes from the client.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Incoming,
    fault: FaultCell,
    connection: Rc<ClientConnection>,
    /// Opens when the client may send: see [`crate::forward`] for `Expect: 100-continue`.
    gate: Option<Gate>,
    ended: bool,
}

/// Keeps a body back.
#[derive(Debug)]
struct Gate {
    /// `None` when the application has given its final answer: it may not want the body.
    opened: Option<oneshot::Receiver<()>>,
    patience: Pin<Box<Sleep>>,
}

impl Gate {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.opened.as_mut().map(|opened| Pin::new(opened).poll(cx)) {
            Some(Poll::Ready(Ok(()))) => return Poll::Ready(()),
            Some(Poll::Ready(Err(_))) => self.opened = None,
            _ => {}
        }
        self.patience.as_mut().poll(cx)
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, connection: &Rc<ClientConnection>) -> Self {
        if incoming.is_end_stream() {
            Self::Empty
        } else {
            Self::Streaming(Box::new(ClientBody {
                incoming,
                fault: Rc::default(),
                connection: Rc::clone(connection),
                gate: None,
                ended: false,
            }))
        }
    }

    /// Where it will tell what is wrong with it.
    pub(crate) fn fault(&self) -> Option<FaultCell> {
        match self {
            Self::Empty => None,
            Self::Streaming(body) => Some(Rc::clone(&body.fault)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Holds the body back until the other end of `opened` is used, at most [`CONTINUE_WAIT`].
    pub(crate) fn hold_until(&mut self, opened: oneshot::Receiver<()>) {
        if let Self::Streaming(body) = self {
            body.gate = Some(Gate {
                opened: Some(opened),
                patience: Box::pin(tokio::time::sleep(CONTINUE_WAIT)),
            });
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Streaming(body) = self.get_mut() else {
            return Poll::Ready(None);
        };
        if let Some(gate) = &mut body.gate {
            ready!(gate.poll(cx));
            body.gate = None;
        }
        let frame = ready!(Pin::new(&mut body.incoming).poll_frame(cx));
        body.ended = frame.is_none() || body.incoming.is_end_stream();
        if let Some(Err(cause)) = &frame {
            body.fault.set(Some(ClientFault::of(cause)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(body) => body.incoming.size_hint(),
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.request_left_unread();
        }
    }
}

/// The body of a response to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Made here.
    Local(Bytes),
    /// As it comes from the application.
    Forwarded(Box<ForwardedBody>),
}

/// A body that comes from the application.
#[derive(Debug)]
pub(crate) struct ForwardedBody {
    incoming: Incoming,
    /// `None` once the body has ended.
    held: Option<Held>,
    /// Why it breaks off, until the HTTP library hears of it.
    broken: Option<BrokenOff>,
    status: StatusCode,
    grpc: bool,
}

/// What a request occupies until its answer ends.
#[derive(Debug)]
struct Held {
    exchange: Exchange,
    deadlines: Deadlines,
    carrier: Carrier,
}

/// Why a response body broke off. The HTTP library then aborts the message: it closes the connection before
/// the end, or resets the stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    #[error("the application broke off its answer: {0}")]
    Upstream(hyper::Error),
    #[error("{0} passed")]
    Timeout(&'static str),
}

impl ResponseBody {
    pub(crate) fn local(bytes: Bytes) -> Self {
        Self::Local(bytes)
    }

    /// The application's answer; what the request holds goes with it.
    pub(crate) fn forwarded(
        incoming: Incoming,
        status: StatusCode,
        grpc: bool,
        exchange: Exchange,
        deadlines: Deadlines,
        carrier: Carrier,
    ) -> Self {
        let held = Some(Held {
            exchange,
            deadlines,
            carrier,
        });
        let mut body = ForwardedBody {
            incoming,
            held,
            broken: None,
            status,
            grpc,
        };
        if body.incoming.is_end_stream() {
            body.complete();
            return Self::Local(Bytes::new());
        }
        Self::Forwarded(Box::new(body))
    }
}

impl ForwardedBody {
    /// The answer is complete: the connection goes back to the pool, the slot to the next request.
    fn complete(&mut self) {
        if let Some(Held {
            mut exchange,
            deadlines,
            carrier,
        }) = self.held.take()
        {
            exchange.answered(self.status);
            if let Carrier::Inline { lease, .. } = carrier {
                // The pool's clock need not be exact: the moment of the request's end follows in a moment.
                lease.put_back(exchange.connection().worker().shared.clock.now());
            }
            drop(deadlines);
        }
    }

    fn broken_by_application(&mut self, cause: hyper::Error) -> BrokenOff {
        if let Some(mut held) = self.held.take() {
            let details = format!("the application broke off its answer: {cause}");
            held.exchange.failed(
                Answer::UpstreamError,
                ProxyError::HttpResponseIncomplete,
                &details,
            );
        }
        BrokenOff::Upstream(cause)
    }

    /// gRPC is told in trailers; for any other client the message breaks off.
    fn broken_by_limit(&mut self, limit: Limit) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(mut held) = self.held.take() {
            held.exchange.failed(
                Answer::Timeout,
                ProxyError::HttpResponseTimeout,
                limit.as_str(),
            );
        }
        Poll::Ready(Some(if self.grpc {
            Ok(Frame::trailers(grpc_timeout_trailers()))
        } else {
            Err(BrokenOff::Timeout(limit.as_str()))
        }))
    }

    fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = Pin::new(&mut self.incoming);
        match self.held.as_mut().map(|held| &mut held.carrier) {
            Some(Carrier::Inline { lease, .. }) => {
                let mut incoming = incoming;
                lease
                    .connection
                    .drive(cx, |cx| incoming.as_mut().poll_frame(cx))
            }
            _ => incoming.poll_frame(cx),
        }
    }
}

impl Body for ForwardedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        if let Some(broken) = this.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        if this.held.is_none() {
            return Poll::Ready(None);
        }
        match this.poll_upstream(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if frame.is_trailers() || this.incoming.is_end_stream() {
                    this.complete();
                } else if let Some(held) = &mut this.held {
                    held.deadlines.touch();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(cause))) => {
                // One turn later: until then the HTTP library sends what it has, the head at least.
                this.broken = Some(this.broken_by_application(cause));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => match this.held.as_mut().map(|held| held.deadlines.poll(cx)) {
                Some(Poll::Ready(limit)) => this.broken_by_limit(limit),
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && (self.held.is_none() || self.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Local(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Local(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Forwarded(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(bytes) => bytes.is_empty(),
            Self::Forwarded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Forwarded(body) => body.size_hint(),
        }
    }
}
