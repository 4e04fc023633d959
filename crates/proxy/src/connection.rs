//! One client connection: which protocol it speaks, how it is served, how it ends.

mod handshake;
mod observer;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plimsoll_meter::Tick;
use plimsoll_wire::{Answer, ProxyError};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use self::handshake::Agreed;
use self::observer::Observer;
use crate::body::ResponseBody;
use crate::config::HEAD_TIME_MAX;
use crate::gateway;
use crate::io::{DownstreamIo, SharedStream};
use crate::listen::Accepted;
use crate::sidecar;
use crate::tunnel::Tunnel;
use crate::waker;
use crate::worker::{Path, Worker};

/// What a client that speaks HTTP/2 with prior knowledge sends first (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection that was answered before its request had been read is kept, so that the client can
/// read the answer: closing with unread bytes would reset the connection and destroy the answer on its way.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an HTTP/2 client may take to end its connection once it has been told to and has all its answers.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(10);

/// The most that is read and thrown away meanwhile, in bytes.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a connection has been told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Farewell {
    /// Not at all.
    None,
    /// HTTP/2 clients are told to go away; HTTP/1 clients are told with their next answer.
    Drain,
    /// It ends as soon as nothing is in flight.
    Close,
    /// It ends now.
    Cut,
}

/// How recently an HTTP/1 connection was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    /// Bytes have come since the last look.
    Used,
    /// None have.
    Unused,
    /// None have for a whole period: what it occupies is given back.
    Park,
}

/// Why the HTTP library stopped.
#[derive(Debug)]
enum Why {
    Completed,
    Broken,
    Unused,
}

/// How serving requests stopped, with what was read beyond them.
#[derive(Debug)]
enum Stopped {
    /// All requests have been answered.
    Completed { unread: Bytes },
    /// It failed, or has to end.
    Broken,
    /// Nothing has happened for a while.
    Parked { unread: Bytes },
}

/// How long a state may last.
#[derive(Debug, Default)]
struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// Ready when `holds` has been true at every poll for `time`.
    fn poll(&mut self, holds: bool, time: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if !holds {
            self.0 = None;
            return Poll::Pending;
        }
        let timer = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        timer.as_mut().poll(cx)
    }
}

/// What everything on one connection shares.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    worker: Rc<Worker>,
    remote: SocketAddr,
    forwarded_for: HeaderValue,
    /// Plain until the handshake of TLS has been made.
    socket: RefCell<SharedStream>,
    http2: Cell<bool>,
    /// Requests whose answer has not ended.
    in_flight: Cell<u32>,
    /// An answer may still be in the HTTP library's buffer.
    unflushed: Cell<bool>,
    /// Bytes have arrived since the last request: a head has begun.
    head_begun: Cell<bool>,
    /// A request was answered before its body had been read.
    unread: Cell<bool>,
    /// The client has hung up while its request waited.
    abandoned: Cell<bool>,
    usage: Cell<Usage>,
    farewell: Cell<Farewell>,
    tunnel: RefCell<Option<Tunnel>>,
    /// The task that serves it.
    task: RefCell<Option<Waker>>,
}

/// Serves a connection to its end.
///
/// The future lasts as long as the connection, so what it needs only for a while is in boxes.
pub(crate) fn serve(worker: &Rc<Worker>, accepted: Accepted) -> impl Future<Output = ()> + use<> {
    let Accepted {
        stream,
        remote,
        place,
        tls,
    } = accepted;
    let connection = Rc::new(ClientConnection::new(Rc::clone(worker), stream, remote));
    let registration = Registration {
        key: worker.register(&connection),
        worker: Rc::clone(worker),
    };
    async move {
        let _place = place;
        // Behind the place, so that it ends first.
        let _registration = registration;
        let agreed = match tls {
            None => Some(Agreed::Nothing),
            Some(tls) => Box::pin(connection.secure(&tls)).await,
        };
        let Some(agreed) = agreed else { return };
        if let Ok(Some(prefix)) = Box::pin(connection.detect()).await {
            if agreed != Agreed::Nothing {
                connection.http2.set(agreed == Agreed::Http2);
            }
            if connection.is_http2() {
                connection.serve_http2(prefix).await;
            } else {
                connection.serve_http1(prefix).await;
            }
        }
        if connection.may_end() {
            connection.close_notify();
        }
    }
}

/// An entry among the worker's connections; ends with the connection, even if that panics.
struct Registration {
    key: usize,
    worker: Rc<Worker>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.worker.unregister(self.key);
    }
}

impl ClientConnection {
    fn new(worker: Rc<Worker>, stream: TcpStream, remote: SocketAddr) -> Self {
        let address = remote.ip().to_canonical().to_string();
        Self {
            worker,
            remote,
            forwarded_for: HeaderValue::try_from(address)
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            socket: RefCell::new(SharedStream::new(stream)),
            http2: Cell::new(false),
            in_flight: Cell::new(0),
            unflushed: Cell::new(false),
            head_begun: Cell::new(false),
            unread: Cell::new(false),
            abandoned: Cell::new(false),
            usage: Cell::new(Usage::Used),
            farewell: Cell::new(Farewell::None),
            tunnel: RefCell::new(None),
            task: RefCell::new(None),
        }
    }

    fn socket(&self) -> SharedStream {
        self.socket.borrow().clone()
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The client's address.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// What `X-Forwarded-For` gets: the client's address without the port.
    pub(crate) fn forwarded_for(&self) -> &HeaderValue {
        &self.forwarded_for
    }

    /// The client's address.
    pub(crate) fn remote_ip(&self) -> IpAddr {
        self.remote.ip()
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.get()
    }

    /// Whether the client's bytes are encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(*self.socket.borrow(), SharedStream::Tls(_))
    }

    pub(crate) fn request_began(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.unflushed.set(true);
        self.head_begun.set(false);
        self.unread.set(false);
    }

    pub(crate) fn request_ended(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }

    /// Writes a line for a failed request, unless there was one for the same cause a moment before `now`.
    pub(crate) fn log_failure(&self, answer: Answer, error: ProxyError, details: &str, now: Tick) {
        if let Some(suppressed) = self.worker.throttle.admit(error, now) {
            tracing::warn!(
                error = error.as_str(),
                source = answer.source().as_str(),
                client = %self.remote,
                suppressed,
                "{details}"
            );
        }
    }

    pub(crate) fn request_left_unread(&self) {
        self.unread.set(true);
    }

    /// After the 101 has been written, `tunnel` takes the connection over.
    pub(crate) fn tunnel_follows(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// Tells the connection to end.
    pub(crate) fn bid(&self, farewell: Farewell) {
        self.farewell.set(self.farewell.get().max(farewell));
        self.wake();
    }

    /// Waits for `place`, and gives the connection up if the client hangs up meanwhile.
    ///
    /// For HTTP/1 requests with an unread body: any other hang-up the HTTP library notices by itself.
    pub(crate) async fn unless_peer_closed<T>(&self, place: impl Future<Output = T>) -> T {
        let mut place = pin!(place);
        let socket = self.socket();
        let mut peer_closed = pin!(socket.peer_closed());
        let mut watching = true;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = place.as_mut().poll(cx) {
                return Poll::Ready(value);
            }
            if watching && let Poll::Ready(closed) = peer_closed.as_mut().poll(cx) {
                watching = false;
                self.abandoned.set(closed.is_ok());
            }
            Poll::Pending
        })
        .await
    }

    /// Looks at just enough to tell HTTP/2 from HTTP/1. Returns what had to be read for it, mostly nothing;
    /// `None` if there is nothing to serve.
    async fn detect(&self) -> io::Result<Option<Bytes>> {
        let mut begun = Vec::new();
        let mut patience = pin!(tokio::time::sleep(HEAD_TIME_MAX));
        std::future::poll_fn(|cx| {
            self.remember_task(cx);
            loop {
                if self.may_leave_unserved() || patience.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(None));
                }
                let mut buffer = [0_u8; HTTP2_PREFACE.len()];
                let mut seen = ReadBuf::new(&mut buffer[begun.len()..]);
                ready!(self.socket().poll_peek(cx, &mut seen))?;
                let seen = seen.filled().len();
                if seen == 0 {
                    return Poll::Ready(Ok(None));
                }
                let preface = &HTTP2_PREFACE[begun.len()..begun.len() + seen];
                if buffer[begun.len()..begun.len() + seen] != *preface {
                    return Poll::Ready(Ok(Some(Bytes::from(std::mem::take(&mut begun)))));
                }
                if begun.len() + seen == HTTP2_PREFACE.len() {
                    self.http2.set(true);
                    return Poll::Ready(Ok(Some(Bytes::from(std::mem::take(&mut begun)))));
                }
                // So far it is the preface, but not all of it: take it, to be woken by the rest.
                let mut taken = ReadBuf::new(&mut buffer[..seen]);
                ready!(self.socket().poll_read(cx, &mut taken))?;
                begun.extend_from_slice(taken.filled());
            }
        })
        .await
    }

    /// Serves HTTP/1 until the connection ends. While it is unused, all it keeps is the socket.
    async fn serve_http1(self: &Rc<Self>, mut prefix: Bytes) {
        loop {
            // In a box, so that a parked connection gives the room back.
            let stopped = match &self.worker.path {
                Path::Sidecar(app) => {
                    Box::pin(self.carry_http1(prefix, |request| sidecar::carry(app, self, request)))
                        .await
                }
                Path::Gateway(gateway) => {
                    let carry = |request| gateway::carry(gateway, self, request);
                    Box::pin(self.carry_http1(prefix, carry)).await
                }
            };
            let tunnel = self.tunnel.borrow_mut().take();
            match (stopped, tunnel) {
                (Stopped::Parked { unread }, _) => {
                    self.worker.stats().connection_released();
                    // Empty as it is, it would keep the whole buffer.
                    prefix = if unread.is_empty() {
                        Bytes::new()
                    } else {
                        unread
                    };
                    if prefix.is_empty() && !self.readable().await {
                        return;
                    }
                }
                (Stopped::Completed { unread }, Some(tunnel)) => {
                    return Box::pin(tunnel.run(self.socket(), unread, self.cut())).await;
                }
                _ if self.unread.get() && !self.abandoned.get() => {
                    return Box::pin(self.linger()).await;
                }
                _ => return,
            }
        }
    }

    async fn carry_http1<F>(
        self: &Rc<Self>,
        prefix: Bytes,
        carry: impl Fn(Request<Incoming>) -> F,
    ) -> Stopped
    where
        F: Future<Output = Result<Response<ResponseBody>, Infallible>>,
    {
        let io = self.io(prefix);
        let mut http1 = self.worker.http1.serve_connection(io, service_fn(carry));
        let mut told = false;
        let mut patience = Patience::default();
        let why = std::future::poll_fn(|cx| {
            self.remember_task(cx);
            if self.farewell.get() == Farewell::Cut {
                return Poll::Ready(Why::Broken);
            }
            // Told before its first request, the HTTP library would not read what has arrived.
            let is_busy = self.in_flight.get() > 0 || self.unflushed.get();
            if self.farewell.get() == Farewell::Close && is_busy && !told {
                told = true;
                Pin::new(&mut http1).graceful_shutdown();
            }
            match Pin::new(&mut http1).poll(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Why::Completed),
                Poll::Ready(Err(_)) => Poll::Ready(Why::Broken),
                Poll::Pending if self.abandoned.get() || self.may_close(cx) => {
                    Poll::Ready(Why::Broken)
                }
                Poll::Pending if self.may_park() => Poll::Ready(Why::Unused),
                // A head that has begun must come to its end in time.
                Poll::Pending => patience
                    .poll(self.head_begun.get(), HEAD_TIME_MAX, cx)
                    .map(|()| Why::Broken),
            }
        })
        .await;
        // What the connection holds ends here, before the socket is waited for.
        let unread = http1.into_parts().read_buf;
        match why {
            Why::Completed => Stopped::Completed { unread },
            Why::Unused => Stopped::Parked { unread },
            Why::Broken => Stopped::Broken,
        }
    }

    /// Waits for the next bytes of a parked connection; `false` if it ends instead.
    async fn readable(&self) -> bool {
        std::future::poll_fn(|cx| {
            self.remember_task(cx);
            if self.may_leave_unserved() {
                return Poll::Ready(false);
            }
            self.socket().poll_readable(cx).map(|ready| ready.is_ok())
        })
        .await
    }

    /// Whether a connection on which no request has begun has been told to end. What has arrived already is
    /// served; the kernel is asked, because the runtime may not have heard of it yet.
    fn may_leave_unserved(&self) -> bool {
        match self.farewell.get() {
            Farewell::None | Farewell::Drain => false,
            Farewell::Close => self.socket().is_quiet(),
            Farewell::Cut => true,
        }
    }

    /// Called once a period: a connection that is not used for a whole one is parked.
    pub(crate) fn park_if_unused(&self) {
        let is_idle = self.in_flight.get() == 0 && !self.head_begun.get() && !self.is_http2();
        match self.usage.get() {
            Usage::Used if is_idle => self.usage.set(Usage::Unused),
            Usage::Unused if is_idle => {
                self.usage.set(Usage::Park);
                self.wake();
            }
            _ => {}
        }
    }

    /// Whether it is to be parked, and nothing is under way after all.
    fn may_park(&self) -> bool {
        self.usage.get() == Usage::Park
            && self.in_flight.get() == 0
            && !self.head_begun.get()
            && !self.unflushed.get()
    }

    async fn serve_http2(self: &Rc<Self>, prefix: Bytes) {
        let connection = Rc::clone(self);
        match &self.worker.path {
            Path::Sidecar(app) => {
                let app = Rc::clone(app);
                let carry = move |request| sidecar::carry(&app, &connection, request);
                Box::pin(self.carry_http2(prefix, carry)).await;
            }
            Path::Gateway(gateway) => {
                let gateway = Rc::clone(gateway);
                let carry = move |request| gateway::carry(&gateway, &connection, request);
                Box::pin(self.carry_http2(prefix, carry)).await;
            }
        }
    }

    async fn carry_http2<F>(
        self: &Rc<Self>,
        prefix: Bytes,
        carry: impl Fn(Request<Incoming>) -> F + 'static,
    ) where
        F: Future<Output = Result<Response<ResponseBody>, Infallible>> + 'static,
    {
        let io = self.io(prefix);
        let mut http2 = pin!(self.worker.http2.serve_connection(io, service_fn(carry)));
        let mut told = false;
        let mut patience = Patience::default();
        let served = std::future::poll_fn(|cx| {
            self.remember_task(cx);
            if self.farewell.get() == Farewell::Cut {
                return Poll::Ready(Ok(()));
            }
            if self.farewell.get() >= Farewell::Drain && !told {
                told = true;
                http2.as_mut().graceful_shutdown();
            }
            match http2.as_mut().poll(cx) {
                // The HTTP library waits for the answer to its last ping, which a frozen client never gives.
                Poll::Pending => {
                    let is_over =
                        self.farewell.get() >= Farewell::Close && self.in_flight.get() == 0;
                    patience.poll(is_over, GOODBYE_TIME_MAX, cx).map(Ok)
                }
                ended @ Poll::Ready(_) => ended,
            }
        })
        .await;
        if let Err(cause) = served {
            tracing::debug!(client = %self.remote, %cause, "HTTP/2 connection ended");
        }
    }

    /// Whether it has been told to end and owes no answer.
    fn may_end(&self) -> bool {
        self.farewell.get() >= Farewell::Close && self.in_flight.get() == 0 && !self.unflushed.get()
    }

    /// Whether it may be closed now. The HTTP library would wait for the rest of a head.
    /// It has taken the last answer, but the client may not have.
    fn may_close(&self, cx: &mut Context<'_>) -> bool {
        self.may_end() && self.socket().poll_sent(cx).is_ready()
    }

    /// Reads and throws away what the client still sends, until it stops.
    async fn linger(&self) {
        let mut budget = LINGER_BYTES_MAX;
        let mut told = false;
        let drained = std::future::poll_fn(|cx| {
            self.remember_task(cx);
            if !told {
                // Nothing more comes, so the client need not wait for it.
                told = self.socket().poll_shutdown(cx).is_ready();
            }
            let mut scratch = [0_u8; 4096];
            while budget > 0 && self.farewell.get() < Farewell::Cut {
                let mut buffer = ReadBuf::new(&mut scratch);
                match ready!(self.socket().poll_read(cx, &mut buffer)) {
                    Ok(()) if !buffer.filled().is_empty() => {
                        budget = budget.saturating_sub(buffer.filled().len());
                    }
                    _ => break,
                }
            }
            Poll::Ready(())
        });
        // Either way the socket is closed next.
        let _in_time = tokio::time::timeout(LINGER_TIME_MAX, drained).await;
    }

    /// Resolves when the connection must end now.
    async fn cut(&self) {
        std::future::poll_fn(|cx| {
            self.remember_task(cx);
            if self.farewell.get() == Farewell::Cut {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn remember_task(&self, cx: &Context<'_>) {
        waker::remember(&mut self.task.borrow_mut(), cx);
    }

    /// Has the connection looked at by its task.
    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// The socket as the HTTP library is given it.
    fn io(self: &Rc<Self>, prefix: Bytes) -> TokioIo<DownstreamIo<Observer>> {
        let observer = Observer(Rc::clone(self));
        TokioIo::new(DownstreamIo::new(self.socket(), prefix, observer))
    }
}
