//! A TCP socket, with the outbox in front of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::outbox::{self, Backlog};
use crate::waker;

/// A socket that the HTTP library owns and others may look at.
#[derive(Debug, Clone)]
pub(crate) struct PlainStream(Arc<Mutex<Socket>>);

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    backlog: Backlog,
}

impl PlainStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(Socket {
            stream,
            backlog: Backlog::default(),
        })))
    }

    /// Whether nothing has arrived on an idle connection, neither bytes nor the end.
    ///
    /// Asks the kernel, because the runtime learns of a close only when it next polls for events.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.lock().is_quiet()
    }

    /// The same, as far as the runtime has heard; only if it has heard of something since the last read is the kernel
    /// asked.
    ///
    /// The runtime asks for all sockets at once when a turn of the worker begins. To ask for one again with every
    /// request closes a gap of less than a turn, beside the time that a message from the peer is under way, and is a
    /// fifth of all system calls.
    pub(crate) fn has_been_quiet(&self) -> bool {
        let socket = self.0.lock();
        let looked = socket.stream.try_io(Interest::READABLE, || {
            if socket.is_quiet() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Takes what the kernel has for us, past the runtime, which may not have heard of it yet.
    pub(crate) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = rustix::net::recv(&self.0.lock().stream, buffer, RecvFlags::DONTWAIT);
        Ok(received.map(|(_, received)| received)?)
    }

    /// Waits until the peer has closed its side, without taking a byte that it sent before.
    ///
    /// Uses a registration of its own on a duplicate of the descriptor: the readiness the HTTP library sees
    /// is left alone.
    pub(crate) async fn peer_closed(&self) -> io::Result<()> {
        let duplicate = rustix::io::dup(&self.0.lock().stream)?;
        let watched = TcpStream::from_std(std::net::TcpStream::from(duplicate))?;
        watched
            .async_io(Interest::READABLE, || {
                let now = rustix::event::Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let mut poll = [PollFd::new(&watched, PollFlags::RDHUP)];
                rustix::event::poll(&mut poll, Some(&now))?;
                if poll[0].revents().is_empty() {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok(())
                }
            })
            .await
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }

    /// Reads without taking.
    pub(crate) fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        self.0.lock().stream.poll_peek(cx, buf)
    }

    /// Ready when there is something to read, or the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().stream.poll_read_ready(cx)
    }

    /// Writes a short message at the end of the turn, a longer one at once.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        {
            let mut socket = self.0.lock();
            ready!(socket.backlog.poll_empty(cx))?;
            if outbox::put(self, bufs.iter().map(|buf| &**buf), total) {
                socket.backlog.queued += 1;
                return Poll::Ready(Ok(total));
            }
        }
        ready!(self.poll_sent(cx))?;
        let stream = &mut self.0.lock().stream;
        match bufs {
            [only] => Pin::new(stream).poll_write(cx, only),
            _ => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    /// Ready when nothing that was written before is still in the outbox.
    pub(crate) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.lock().backlog.queued > 0 {
            outbox::send_now();
        }
        self.0.lock().backlog.poll_empty(cx)
    }

    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        Pin::new(&mut self.0.lock().stream).poll_shutdown(cx)
    }

    /// Sends a message from the outbox. Pending if a part of it has to wait.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, message: &[u8]) -> Poll<()> {
        let mut socket = self.0.lock();
        socket.backlog.queued -= 1;
        if socket.backlog.failed.is_some() {
            return Poll::Ready(());
        }
        if !socket.backlog.bytes.is_empty() {
            // It is among the blocked already.
            socket.backlog.bytes.extend_from_slice(message);
            return Poll::Ready(());
        }
        match Pin::new(&mut socket.stream).poll_write(cx, message) {
            Poll::Ready(Ok(written)) if written == message.len() => return Poll::Ready(()),
            Poll::Ready(Ok(written)) => socket.backlog.bytes.extend_from_slice(&message[written..]),
            Poll::Ready(Err(error)) => socket.backlog.failed = Some(error.kind()),
            Poll::Pending => socket.backlog.bytes.extend_from_slice(message),
        }
        socket.poll_send_rest(cx)
    }

    /// Whether a connection has it, and not just the outbox.
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Sends what had to wait. Pending if it still has to.
    pub(crate) fn poll_send_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.lock().poll_send_rest(cx)
    }
}

impl Socket {
    fn is_quiet(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(&self.stream, &mut byte, flags);
        matches!(peeked, Err(error) if error == rustix::io::Errno::AGAIN)
    }

    fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.backlog.bytes.is_empty() && self.backlog.failed.is_none() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.backlog.bytes)) {
                Ok(written) => drop(self.backlog.bytes.drain(..written)),
                Err(error) => self.backlog.failed = Some(error.kind()),
            }
        }
        self.backlog.bytes = Vec::new();
        if let Some(writer) = self.backlog.writer.take() {
            writer.wake();
        }
        Poll::Ready(())
    }
}

impl Backlog {
    /// Ready when the peer has taken everything, or never will.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        waker::remember(&mut self.writer, cx);
        Poll::Pending
    }
}

/// The socket as the layer above sees it: what is written is sent at the end of the turn.
impl AsyncRead for PlainStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Self::poll_read(&self, cx, buf)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(&self, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write_vectored(&self, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(&self, cx)
    }
}
