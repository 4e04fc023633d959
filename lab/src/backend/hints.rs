//! 103 Early Hints over HTTP/1.1, below hyper.
//!
//! hyper's server has no way to send an informational response. So its connection is wrapped: the
//! service arms a switch, and the next write, which begins with the final response's head, is
//! preceded by the 103.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What goes before the final response.
const EARLY_HINTS: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n";

/// The service's end: one per connection.
#[derive(Clone, Debug, Default)]
pub(super) struct HintSwitch(Arc<AtomicBool>);

/// The connection's end: passes everything through, and puts the hints in when armed.
pub(super) struct HintIo<T> {
    inner: T,
    switch: HintSwitch,
    /// Bytes of [`EARLY_HINTS`] already written.
    written: usize,
}

impl HintSwitch {
    /// Has the next write preceded by a 103.
    pub(super) fn arm(&self) {
        // The service and the connection run in one task: no ordering is needed.
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T: AsyncWrite + Unpin> HintIo<T> {
    pub(super) fn new(inner: T, switch: HintSwitch) -> Self {
        Self {
            inner,
            switch,
            written: 0,
        }
    }

    fn poll_hints(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.switch.0.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        while self.written < EARLY_HINTS.len() {
            let rest = &EARLY_HINTS[self.written..];
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.written = 0;
        self.switch.0.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HintIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for HintIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_hints(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_hints(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
