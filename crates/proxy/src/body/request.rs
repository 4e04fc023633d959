//! The body of a request, on its way to the application.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::connection::ClientConnection;
use crate::tls::TlsFailure;
use crate::waker;

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

/// What a body and the request it belongs to tell each other.
#[derive(Debug, Default)]
pub(crate) struct BodyLink {
    fault: Cell<Option<ClientFault>>,
    stopped: Cell<bool>,
    /// The application wants more of it, and the client has not sent it.
    waits: Cell<bool>,
    /// How much of it has come.
    bytes: Cell<u64>,
    /// The task that waits for more of it.
    reader: RefCell<Option<Waker>>,
}

/// Why a body does not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error("the request has been given up")]
    Stopped,
}

impl BodyLink {
    /// What is wrong with the body.
    pub(crate) fn fault(&self) -> Option<ClientFault> {
        self.fault.get()
    }

    /// Whether it is the client that others wait for.
    pub(crate) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// How much of it has come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Breaks the body off: the application gets no more of it.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Ready when the body has been broken off.
    fn poll_stopped(&self, cx: &Context<'_>) -> Poll<()> {
        if self.stopped.get() {
            return Poll::Ready(());
        }
        waker::remember(&mut self.reader.borrow_mut(), cx);
        Poll::Pending
    }
}

impl ClientFault {
    fn of(cause: &hyper::Error) -> Self {
        if TlsFailure::word_of(cause).is_some() {
            // Not its framing is wrong, but what carries it: nobody is there to be told.
            return Self::Gone;
        }
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
    link: Rc<BodyLink>,
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
                link: Rc::default(),
                connection: Rc::clone(connection),
                gate: None,
                ended: false,
            }))
        }
    }

    /// How to hear what is wrong with it, and to break it off.
    pub(crate) fn link(&self) -> Option<Rc<BodyLink>> {
        match self {
            Self::Empty => None,
            Self::Streaming(body) => Some(Rc::clone(&body.link)),
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
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Streaming(body) = self.get_mut() else {
            return Poll::Ready(None);
        };
        if body.link.poll_stopped(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Stopped)));
        }
        if let Some(gate) = &mut body.gate {
            ready!(gate.poll(cx));
            body.gate = None;
        }
        let frame = Pin::new(&mut body.incoming).poll_frame(cx);
        body.link.waits.set(frame.is_pending());
        let frame = ready!(frame);
        body.ended = frame.is_none() || body.incoming.is_end_stream();
        match &frame {
            Some(Err(cause)) => body.link.fault.set(Some(ClientFault::of(cause))),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                body.link.bytes.set(body.link.bytes.get() + bytes as u64);
            }
            None => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
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
