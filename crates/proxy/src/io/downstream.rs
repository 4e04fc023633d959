//! The client's side of a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::SharedStream;

/// What the client's side of a connection tells its owner about the bytes that pass.
pub(crate) trait WireObserver {
    /// Bytes have arrived.
    fn on_read(&self);

    /// A write begins with `bytes` while no request is in progress: the HTTP library answers a malformed head
    /// by itself. Returns what to send instead.
    fn on_own_answer(&self, bytes: &[u8]) -> Option<Bytes>;

    /// All that was buffered has been written.
    fn on_flush(&self);
}

/// The client's side: what was read to detect the protocol comes first.
#[derive(Debug)]
pub(crate) struct DownstreamIo<O> {
    stream: SharedStream,
    prefix: Bytes,
    observer: O,
    /// The rest of an answer sent in place of the HTTP library's own.
    substitute: Bytes,
}

impl<O> DownstreamIo<O> {
    pub(crate) fn new(stream: SharedStream, prefix: Bytes, observer: O) -> Self {
        Self {
            stream,
            prefix,
            observer,
            substitute: Bytes::new(),
        }
    }
}

impl<O: WireObserver> DownstreamIo<O> {
    fn poll_substitute(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.substitute.is_empty() {
            let written = ready!(self.stream.poll_write(cx, &self.substitute))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.substitute.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<O: WireObserver + Unpin> AsyncRead for DownstreamIo<O> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            let taken = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix.split_to(taken));
            this.observer.on_read();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = this.stream.poll_read(cx, buf);
        if buf.filled().len() > before {
            this.observer.on_read();
        }
        result
    }
}

impl<O: WireObserver + Unpin> AsyncWrite for DownstreamIo<O> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(answer) = this.observer.on_own_answer(buf) {
            this.substitute = answer;
            return Poll::Ready(Ok(buf.len()));
        }
        this.stream.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(first) = bufs.first()
            && let Some(answer) = this.observer.on_own_answer(first)
        {
            this.substitute = answer;
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        this.stream.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_substitute(cx))?;
        ready!(this.stream.poll_flush(cx))?;
        this.observer.on_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_substitute(cx))?;
        this.stream.poll_shutdown(cx)
    }
}
