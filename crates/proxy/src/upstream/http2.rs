//! One HTTP/2 connection to the application, shared by many requests.
//!
//! With one dead connection every request would hang, so it is watched: by pings while requests wait and nothing
//! arrives, by the kernel (see [`crate::upstream::connect`]), and by what becomes of the requests themselves.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Uri};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use plimsoll_meter::{Clock, Tick};

use crate::body::RequestBody;
use crate::clock::MonotonicClock;
use crate::config::{
    HEADER_LIST_BYTES_MAX, SEND_BUFFER_BYTES_MAX, STREAMS_PER_CONNECTION_MAX, UPSTREAM_IDLE_MAX,
};
use crate::io::{Listening, UpstreamIo};
use crate::tls::ClientTls;
use crate::upstream::connect::{ConnectError, Protocol, connect};
use crate::upstream::http1::Answer;
use crate::worker::LocalExecutor;

type Driven = Connection<TokioIo<Listening<UpstreamIo>>, RequestBody, LocalExecutor>;

/// How long an application may be silent while requests wait for it until it is asked whether it is still there, and
/// how long it has to say so. A peer that has vanished, or whose connection a firewall has forgotten, says nothing.
const PING_AFTER: Duration = Duration::from_secs(10);
const PONG_TIME_MAX: Duration = Duration::from_secs(10);

/// The same for a connection that carries gRPC. Its servers take more than a few pings within 5 minutes of silence for
/// an attack, and close the connection under the calls that wait (gRFC A8). The kernel's own probes go on meanwhile.
const PING_AFTER_GRPC: Duration = Duration::from_secs(310);

/// How long nothing must have been heard for a request that is given up to be evidence against its connection.
const SILENCE: Duration = Duration::from_millis(200);

/// The same in sweeps in a row, for a request whose answer had begun.
const SILENT_SWEEPS: u8 = 2;

/// What is known of a connection besides what the HTTP library knows.
#[derive(Debug)]
struct Health {
    is_grpc: bool,
    /// Requests under way.
    streams: Cell<u32>,
    /// Changes with everything that arrives.
    heard: Rc<Cell<u64>>,
    /// What `heard` was at the last sweep.
    seen: Cell<u64>,
    /// Sweeps since then that have found nothing new, though requests waited.
    silent: Cell<u8>,
    /// A request has been given up after a silence: the connection gets no more.
    retired: Cell<bool>,
    /// Since when it is without requests, as far as a sweep has seen.
    idle_since: Cell<Option<Tick>>,
}

/// See the module documentation.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: SendRequest<RequestBody>,
    health: Rc<Health>,
    is_tls: bool,
    /// `None` once it has ended.
    connection: Rc<RefCell<Option<Driven>>>,
}

/// A place among the streams of a connection; given back on drop.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    health: Rc<Health>,
    clock: MonotonicClock,
    began: Tick,
    /// What had been heard then.
    heard: u64,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let health = &self.health;
        health.streams.set(health.streams.get() - 1);
        let heard = health.heard.get();
        // With its answer, or the next part of it, something would have arrived: so it was given up.
        let in_silence = if heard == self.heard {
            let waited = self.clock.now().saturating_duration_since(self.began);
            waited >= SILENCE
        } else {
            health.silent.get() >= SILENT_SWEEPS && heard == health.seen.get()
        };
        if in_silence {
            health.retired.set(true);
        }
    }
}

impl Health {
    fn new(is_grpc: bool) -> Self {
        Self {
            is_grpc,
            streams: Cell::new(0),
            heard: Rc::default(),
            seen: Cell::new(0),
            silent: Cell::new(0),
            retired: Cell::new(false),
            idle_since: Cell::new(None),
        }
    }

    fn sweep(&self, now: Tick) {
        let heard = self.heard.get();
        let waits = self.streams.get() > 0;
        let is_silent = waits && self.seen.replace(heard) == heard;
        self.silent.set(if is_silent {
            self.silent.get().saturating_add(1)
        } else {
            0
        });
        let idle_since = if waits {
            None
        } else {
            Some(self.idle_since.get().unwrap_or(now))
        };
        self.idle_since.set(idle_since);
    }
}

impl Http2 {
    /// Connects to `app`; the connection is driven by a task of its own until it ends.
    pub(crate) async fn connect(
        app: SocketAddr,
        tls: Option<&ClientTls>,
        is_grpc: bool,
    ) -> Result<Self, ConnectError> {
        let socket = connect(app, tls, Protocol::Http2).await?;
        let health = Rc::new(Health::new(is_grpc));
        let io = Listening::new(UpstreamIo::new(socket), Rc::clone(&health.heard));
        let io = TokioIo::new(io);
        let (sender, connection) = Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .keep_alive_interval(if is_grpc { PING_AFTER_GRPC } else { PING_AFTER })
            .keep_alive_timeout(PONG_TIME_MAX)
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
            health,
            is_tls: tls.is_some(),
            connection,
        })
    }

    /// Whether it can take another stream, of gRPC or not.
    pub(crate) fn has_room(&self, is_grpc: bool) -> bool {
        self.health.is_grpc == is_grpc
            && self.sender.is_ready()
            && self.health.streams.get() < self.streams_max()
    }

    /// How many streams the application takes at once, as far as it has said.
    fn streams_max(&self) -> u32 {
        let taken = (self.connection.borrow().as_ref()).map_or(0, Driven::current_max_send_streams);
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        // At least one, or an application that takes none would be given ever more connections.
        taken.clamp(1, STREAMS_PER_CONNECTION_MAX)
    }

    /// Whether it gets no more requests: it has ended, the application has told it to go, or a request waited on it in
    /// vain and nothing else was heard.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.health.retired.get()
    }

    /// Looks what has been heard since the last time. Tells whether it is of further use.
    pub(crate) fn sweep(&self, now: Tick) -> bool {
        self.health.sweep(now);
        let idle_since = self.health.idle_since.get();
        let is_old = idle_since
            .is_some_and(|since| now.saturating_duration_since(since) >= UPSTREAM_IDLE_MAX);
        !is_old && !self.is_closed()
    }

    /// Takes a stream, for a request that begins at `now`.
    pub(crate) fn stream(&self, clock: MonotonicClock, now: Tick) -> StreamGuard {
        let streams = &self.health.streams;
        streams.set(streams.get() + 1);
        StreamGuard {
            health: Rc::clone(&self.health),
            clock,
            began: now,
            heard: self.health.heard.get(),
        }
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
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::runtime;
    use std::net::Ipv4Addr;
    use tokio::net::{TcpListener, TcpStream};

    /// A connection to a peer that takes what it gets and never says anything.
    async fn to_black_hole(is_grpc: bool) -> (Http2, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let app = listener.local_addr().unwrap();
        let (connected, accepted) =
            tokio::join!(Http2::connect(app, None, is_grpc), listener.accept());
        (connected.unwrap(), accepted.unwrap().0)
    }

    fn begin(connection: &Http2) -> StreamGuard {
        let clock = MonotonicClock::start();
        connection.stream(clock, clock.now())
    }

    fn request() -> Request<RequestBody> {
        let request = Request::get("http://a/");
        request.body(RequestBody::Empty).unwrap()
    }

    #[test]
    fn a_peer_that_answers_no_ping_is_given_up_and_grpc_is_asked_seldom() {
        for (is_grpc, seconds) in [(false, 20), (true, 320)] {
            runtime().unwrap().block_on(async {
                let (mut connection, _peer) = to_black_hole(is_grpc).await;
                let _stream = begin(&connection);
                let answer = connection.send(request());
                tokio::time::pause();
                let clock = MonotonicClock::start();
                assert!(answer.await.is_err());
                let waited = clock.now().saturating_duration_since(Tick::ZERO);
                assert_eq!(waited.as_secs(), seconds, "gRPC {is_grpc}");
                assert!(connection.is_closed());
            });
        }
    }

    #[test]
    fn a_request_given_up_after_a_silence_is_the_last_on_its_connection() {
        let later = |sweeps: u64| Tick::from_nanos(sweeps * 200_000_000);
        runtime().unwrap().block_on(async {
            // (sweeps after the answer has begun, whether there is more of it, whether it is the last)
            for (sweeps, is_heard, expected) in [
                (0, false, false),
                (2, false, false),
                (3, false, true),
                (3, true, false),
            ] {
                let (connection, _peer) = to_black_hole(false).await;
                let stream = begin(&connection);
                connection.health.heard.set(1);
                for sweep in 0..sweeps {
                    assert!(connection.sweep(later(sweep)));
                }
                if is_heard {
                    connection.health.heard.set(2);
                }
                drop(stream);
                let case = format!("{sweeps} sweeps, heard {is_heard}");
                assert_eq!(connection.is_closed(), expected, "{case}");
            }
            // The same without a beginning of the answer: (milliseconds, whether it is the last)
            for (milliseconds, expected) in [(0, false), (190, false), (200, true)] {
                let (connection, _peer) = to_black_hole(false).await;
                tokio::time::pause();
                let stream = begin(&connection);
                tokio::time::advance(Duration::from_millis(milliseconds)).await;
                drop(stream);
                assert_eq!(connection.is_closed(), expected, "{milliseconds} ms");
                tokio::time::resume();
            }
        });
    }

    #[test]
    fn a_connection_without_requests_is_kept_for_a_while() {
        runtime().unwrap().block_on(async {
            let (connection, _peer) = to_black_hole(false).await;
            let idle = |seconds: u64| Tick::from_nanos(seconds * 1_000_000_000);
            assert!(connection.sweep(idle(0)) && connection.sweep(idle(89)));
            let stream = begin(&connection);
            assert!(connection.sweep(idle(100)));
            drop(stream);
            assert!(connection.sweep(idle(101)) && connection.sweep(idle(190)));
            assert!(!connection.sweep(idle(191)));
        });
    }
}
