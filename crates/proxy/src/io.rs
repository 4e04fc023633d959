//! Sockets as the HTTP library sees them.
//!
//! Both sides of a connection are a [`SharedStream`], so that the socket can be looked at (has the peer hung
//! up?) while the HTTP library owns it. The lock is never contended: everything happens on one worker.
//!
//! A [`PlainStream`] is the socket; a [`TlsStream`] encrypts on top of one, so what it writes goes through the
//! outbox too. The rejected alternative, a trait object, would cost connections without TLS an indirect call
//! for every read and write.

mod downstream;
mod listening;
mod plain;
mod read_ahead;
mod tls;
mod upstream;

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

pub(crate) use downstream::{DownstreamIo, WireObserver};
pub(crate) use listening::Listening;
pub(crate) use plain::PlainStream;
pub(crate) use tls::TlsStream;
pub(crate) use upstream::UpstreamIo;

/// A connection that the HTTP library owns and others may look at.
#[derive(Debug, Clone)]
pub(crate) enum SharedStream {
    Plain(PlainStream),
    Tls(TlsStream),
}

impl SharedStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self::Plain(PlainStream::new(stream))
    }

    /// Whether an idle connection can be used: nothing has arrived on it that matters to HTTP, neither bytes
    /// nor the end.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_quiet(),
            Self::Tls(stream) => stream.is_quiet(),
        }
    }

    /// The same for a connection that is to be used now, at less cost: as far as the worker has heard when its turn
    /// began.
    #[inline]
    pub(crate) fn has_been_quiet(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.has_been_quiet(),
            Self::Tls(stream) => stream.is_quiet(),
        }
    }

    /// Waits until the peer has closed its side, without taking a byte that it sent before.
    pub(crate) async fn peer_closed(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.peer_closed().await,
            Self::Tls(stream) => Box::pin(stream.peer_closed()).await,
        }
    }

    #[inline]
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_read(cx, buf),
            Self::Tls(stream) => stream.poll_read(cx, buf),
        }
    }

    /// Reads without taking.
    #[inline]
    pub(crate) fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_peek(cx, buf),
            Self::Tls(stream) => stream.poll_peek(cx, buf),
        }
    }

    /// Ready when there is something to read, or the end.
    #[inline]
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_readable(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
        }
    }

    /// Writes a short message at the end of the turn, a longer one at once.
    ///
    /// What a TLS connection has taken may stay with it until it is flushed.
    #[inline]
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_write(cx, buf),
            Self::Tls(stream) => stream.poll_write(cx, buf),
        }
    }

    #[inline]
    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_write_vectored(cx, bufs),
            Self::Tls(stream) => stream.poll_write_vectored(cx, bufs),
        }
    }

    /// Ready when all that was written is on its way or in the outbox.
    #[inline]
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Ready when nothing that was written before is still in the outbox.
    pub(crate) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_sent(cx),
            Self::Tls(stream) => stream.poll_sent(cx),
        }
    }

    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}
