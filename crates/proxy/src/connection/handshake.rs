//! The beginning of a connection on a port with TLS.

use std::io;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use plimsoll_meter::Clock;
use tokio::io::ReadBuf;

use crate::config::HEAD_TIME_MAX;
use crate::connection::{ClientConnection, Farewell};
use crate::io::{PlainStream, SharedStream, TlsStream};
use crate::tls::{ALPN_HTTP1, ALPN_HTTP1_0, ALPN_HTTP2, ServerTls};

/// How long a handshake may take once it has begun.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// What a client gets that speaks HTTP to a port with TLS. In HTTP/1.0, which every client understands.
const HTTP_TO_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\n\r\nthis port speaks HTTPS: use https://\n";

/// What client and server agreed on in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    Http2,
    Http1,
    /// The client offered nothing, or there was no handshake.
    Nothing,
}

impl ClientConnection {
    /// Makes it a TLS connection; `None` if there is nothing to serve.
    pub(super) async fn secure(&self, tls: &ServerTls) -> Option<Agreed> {
        let SharedStream::Plain(below) = self.socket() else {
            return None;
        };
        // No method of HTTP begins like a handshake, whose first byte is 22.
        if self.first_byte(&below).await?.is_ascii_uppercase() {
            self.handshake_failed("the client speaks HTTP without TLS");
            answer_in_plain(&below).await;
            Box::pin(self.linger()).await;
            return None;
        }
        let handshake = TlsStream::accept(below, tls.config());
        match self.unless_cut(handshake).await? {
            Ok(stream) => {
                let agreed = match stream.protocol().as_deref() {
                    Some(ALPN_HTTP2) => Agreed::Http2,
                    Some(ALPN_HTTP1 | ALPN_HTTP1_0) => Agreed::Http1,
                    _ => Agreed::Nothing,
                };
                self.socket.replace(SharedStream::Tls(stream));
                Some(agreed)
            }
            Err(cause) => {
                self.handshake_failed(&cause.to_string());
                if cause.kind() == io::ErrorKind::InvalidData {
                    // It hears why, which a reset would destroy on its way.
                    Box::pin(self.linger()).await;
                }
                None
            }
        }
    }

    /// Waits for the first byte and leaves it where it is; `None` if there comes none.
    async fn first_byte(&self, below: &PlainStream) -> Option<u8> {
        let mut patience = pin!(tokio::time::sleep(HEAD_TIME_MAX));
        std::future::poll_fn(|cx| {
            self.remember_task(cx);
            if self.may_leave_unserved() || patience.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let mut byte = [0];
            let mut seen = ReadBuf::new(&mut byte);
            let peeked = ready!(below.poll_peek(cx, &mut seen));
            Poll::Ready(peeked.ok().and_then(|_| seen.filled().first().copied()))
        })
        .await
    }

    /// Ends a handshake that takes too long with an error, and with `None` one that must not go on.
    async fn unless_cut<T>(
        &self,
        handshake: impl Future<Output = io::Result<T>>,
    ) -> Option<io::Result<T>> {
        let mut handshake = pin!(handshake);
        let mut patience = pin!(tokio::time::sleep(HANDSHAKE_TIME_MAX));
        std::future::poll_fn(|cx| {
            self.remember_task(cx);
            if self.farewell.get() == Farewell::Cut {
                return Poll::Ready(None);
            }
            if let Poll::Ready(done) = handshake.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            ready!(patience.as_mut().poll(cx));
            let text = format!("no handshake within {HANDSHAKE_TIME_MAX:?}");
            Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, text))))
        })
        .await
    }

    /// Counts it, and writes a line unless there was one a moment before.
    fn handshake_failed(&self, cause: &str) {
        self.worker.stats().count_handshake_failure();
        let now = self.worker.shared.clock.now();
        if let Some(suppressed) = self.worker.handshake_throttle.admit(now) {
            tracing::warn!(client = %self.remote, cause, suppressed, "TLS handshake failed");
        }
    }

    /// Tells a client whose TLS connection is closed while nothing is under way that this is its regular end.
    pub(super) fn close_notify(&self) {
        if let SharedStream::Tls(stream) = self.socket() {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            // It is closed next, whether it could be told or not.
            let _told = stream.poll_shutdown(&mut cx);
        }
    }
}

async fn answer_in_plain(below: &PlainStream) {
    let written = std::future::poll_fn(|cx| below.poll_write(cx, HTTP_TO_TLS));
    // Nothing else was written on it, so it all goes at once or the client is gone.
    let _gone = written.await;
}
