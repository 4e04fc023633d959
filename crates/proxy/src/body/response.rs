//! The body of a response, on its way to the client.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use plimsoll_meter::Tick;
use plimsoll_wire::{Answer, ProxyError};
use slab::Slab;

use crate::connection::{ClientConnection, Farewell};
use crate::deadline::{Deadlines, Limit};
use crate::exchange::Exchange;
use crate::forward::Carrier;
use crate::load_report::LoadReports;
use crate::refusal::grpc_timeout_trailers;

/// The body of a response to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Made here.
    Local(Bytes),
    /// As it comes from the application.
    Forwarded(Rc<RefCell<ForwardedBody>>),
}

/// A body that comes from the application.
#[derive(Debug)]
pub(crate) struct ForwardedBody {
    /// `None` once it has been given up.
    incoming: Option<Incoming>,
    connection: Rc<ClientConnection>,
    /// `None` once the body has ended.
    held: Option<Held>,
    /// How it ends before its time, until the HTTP library hears of it.
    last: Option<Result<Frame<Bytes>, BrokenOff>>,
    /// Where the worker looks after it; see [`OpenAnswers`].
    watched_as: Option<usize>,
    status: StatusCode,
    grpc: bool,
}

/// Answers that are being sent.
///
/// The HTTP library asks for more of a body only when the client has taken what there is, so a client that reads
/// nothing would never see a time limit pass. The worker looks after the answers of such clients.
#[derive(Debug, Default)]
pub(crate) struct OpenAnswers(RefCell<Slab<Weak<RefCell<ForwardedBody>>>>);

impl OpenAnswers {
    /// Gives up the answers whose time is over.
    pub(crate) fn give_up_overdue(&self, now: Tick) {
        let is_overdue = |body: &Rc<RefCell<ForwardedBody>>| {
            body.try_borrow()
                .is_ok_and(|body| body.overdue(now).is_some())
        };
        let open = self.0.borrow();
        let overdue: Vec<_> = open
            .iter()
            .filter_map(|(_, body)| body.upgrade())
            .filter(is_overdue)
            .collect();
        drop(open);
        for body in overdue {
            body.borrow_mut().give_up(now);
        }
    }
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
        mut exchange: Exchange,
        deadlines: Deadlines,
        carrier: Carrier,
    ) -> Self {
        exchange.answers_with(status);
        let connection = Rc::clone(exchange.connection());
        let held = Some(Held {
            exchange,
            deadlines,
            carrier,
        });
        let mut body = ForwardedBody {
            incoming: Some(incoming),
            connection,
            held,
            last: None,
            watched_as: None,
            status,
            grpc,
        };
        if body.has_all() {
            body.complete();
            return Self::Local(Bytes::new());
        }
        if let Some(held) = &mut body.held {
            held.exchange.rest_follows();
        }
        let is_http2 = body.connection.is_http2();
        let body = Rc::new(RefCell::new(body));
        if is_http2 {
            // Its window may be closed already; an HTTP/1 body is asked for its first part in any case.
            watch(&body);
        }
        Self::Forwarded(body)
    }
}

/// Lets the worker look after a body that has not ended.
fn watch(body: &Rc<RefCell<ForwardedBody>>) {
    let mut watched = body.borrow_mut();
    if watched.watched_as.is_none() && watched.held.is_some() {
        let open = &watched.connection.worker().open_answers;
        let key = open.0.borrow_mut().insert(Rc::downgrade(body));
        watched.watched_as = Some(key);
    }
}

impl Drop for ForwardedBody {
    fn drop(&mut self) {
        if let Some(key) = self.watched_as {
            self.connection
                .worker()
                .open_answers
                .0
                .borrow_mut()
                .remove(key);
        }
        let slot = self
            .held
            .as_ref()
            .and_then(|held| held.exchange.shared_slot().cloned());
        if let (Some(slot), Some(held), Some(incoming)) =
            (slot, self.held.take(), self.incoming.take())
        {
            slot.adopt(incoming, held.carrier);
        }
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
            let now = exchange.answered(self.status);
            if let Carrier::Inline { lease, .. } = carrier {
                lease.put_back(now);
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
    fn broken_by_limit(&mut self, limit: Limit) -> Result<Frame<Bytes>, BrokenOff> {
        // The application must not go on with it: neither answering, nor reading the request.
        self.incoming = None;
        if let Some(mut held) = self.held.take() {
            held.exchange.stop_body();
            held.exchange.failed(
                Answer::Timeout,
                ProxyError::HttpResponseTimeout,
                limit.as_str(),
            );
        }
        if self.grpc {
            let mut trailers = grpc_timeout_trailers();
            self.reports().add_to_trailers(&mut trailers);
            Ok(Frame::trailers(trailers))
        } else {
            Err(BrokenOff::Timeout(limit.as_str()))
        }
    }

    fn reports(&self) -> &LoadReports {
        &self.connection.worker().shared.reports
    }

    /// Whether the application has sent all of it.
    fn has_all(&self) -> bool {
        self.incoming.as_ref().is_some_and(Incoming::is_end_stream)
    }

    fn overdue(&self, now: Tick) -> Option<Limit> {
        self.held
            .as_ref()
            .and_then(|held| held.deadlines.overdue(now))
    }

    /// Ends an answer that the client does not read, if its time is over.
    fn give_up(&mut self, now: Tick) {
        if let Some(limit) = self.overdue(now) {
            if let Some(held) = &mut self.held {
                held.exchange.acquit();
            }
            self.last = Some(self.broken_by_limit(limit));
            if !self.connection.is_http2() {
                self.connection.bid(Farewell::Cut);
            }
        }
    }

    fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let mut incoming = Pin::new(incoming);
        match self.held.as_mut().map(|held| &mut held.carrier) {
            Some(Carrier::Inline { lease, .. }) => lease
                .connection
                .drive(cx, |cx| incoming.as_mut().poll_frame(cx)),
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
        if let Some(last) = this.last.take() {
            return Poll::Ready(Some(last));
        }
        if this.held.is_none() {
            return Poll::Ready(None);
        }
        match this.poll_upstream(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let (Some(held), Some(data)) = (&mut this.held, frame.data_ref()) {
                    held.exchange.hands_on(data.len());
                }
                if let (true, Some(trailers)) = (this.grpc, frame.trailers_mut()) {
                    this.reports().add_to_trailers(trailers);
                }
                if frame.is_trailers() || this.has_all() {
                    if let (Some(held), Some(trailers)) = (&mut this.held, frame.trailers_ref()) {
                        held.exchange.trailers(trailers);
                    }
                    this.complete();
                } else if let Some(held) = &mut this.held {
                    held.deadlines.touch();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(cause))) => {
                // One turn later: until then the HTTP library sends what it has, the head at least.
                this.last = Some(Err(this.broken_by_application(cause)));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => match this.held.as_mut().map(|held| held.deadlines.poll(cx)) {
                Some(Poll::Ready(limit)) => Poll::Ready(Some(this.broken_by_limit(limit))),
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && (self.held.is_none() || self.has_all())
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
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
            Self::Forwarded(body) => {
                let frame = Pin::new(&mut *body.borrow_mut()).poll_frame(cx);
                if frame.is_ready() {
                    // What follows may have to wait for the client.
                    watch(body);
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(bytes) => bytes.is_empty(),
            Self::Forwarded(body) => body.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Forwarded(body) => body.borrow().size_hint(),
        }
    }
}
