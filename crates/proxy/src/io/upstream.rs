//! The application's side of a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::SharedStream;

/// The application's side.
///
/// A failed write does not end the connection: an application that answers early and closes has often put its
/// answer into our receive buffer already. The bytes go nowhere, the answer is read, and the connection is
/// not used again, because the application has closed it.
#[derive(Debug)]
pub(crate) struct UpstreamIo {
    stream: SharedStream,
    write_failed: bool,
}

impl UpstreamIo {
    pub(crate) fn new(stream: SharedStream) -> Self {
        Self {
            stream,
            write_failed: false,
        }
    }

    /// Turns a failed write of `len` bytes into one that went nowhere.
    fn swallow(&mut self, result: Poll<io::Result<usize>>, len: usize) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Err(_)) => {
                self.write_failed = true;
                Poll::Ready(Ok(len))
            }
            other => other,
        }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.poll_read(cx, buf)
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.write_failed {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = this.stream.poll_write(cx, buf);
        this.swallow(result, buf.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if this.write_failed {
            return Poll::Ready(Ok(len));
        }
        let result = this.stream.poll_write_vectored(cx, bufs);
        this.swallow(result, len)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.write_failed {
            return Poll::Ready(Ok(()));
        }
        let flushed = this.stream.poll_flush(cx).map_ok(|()| 0);
        this.swallow(flushed, 0).map_ok(|_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}
