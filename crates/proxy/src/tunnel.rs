//! Bytes in both directions after a protocol switch: WebSocket and anything else.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use plimsoll_wire::{Answer, ProxyError};
use tokio::io::ReadBuf;

use crate::deadline::Deadlines;
use crate::exchange::Exchange;
use crate::io::SharedStream;

/// One direction's buffer, in bytes. Kept small: a tunnel mostly waits, and there may be thousands.
const BUFFER_BYTES: usize = 4 * 1024;

/// What follows a 101 once it has been sent.
#[derive(Debug)]
pub(crate) struct Tunnel {
    upstream: SharedStream,
    /// What the application sent right behind its 101.
    unread: Bytes,
    exchange: Exchange,
    deadlines: Deadlines,
}

/// One direction of the flow.
struct Flow<'a> {
    from: &'a SharedStream,
    to: &'a SharedStream,
    pending: Bytes,
    buffer: Box<[u8; BUFFER_BYTES]>,
    filled: usize,
    written: usize,
    read_all: bool,
    done: bool,
}

impl Tunnel {
    pub(crate) fn new(
        upstream: SharedStream,
        unread: Bytes,
        exchange: Exchange,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            upstream,
            unread,
            exchange,
            deadlines,
        }
    }

    /// Carries bytes until both sides have ended, one has failed, a time limit has passed or `cut` resolves.
    pub(crate) async fn run(
        mut self,
        client: SharedStream,
        unread: Bytes,
        cut: impl Future<Output = ()>,
    ) {
        let upstream = self.upstream.clone();
        let mut to_app = Flow::new(&client, &upstream, unread);
        let mut to_client = Flow::new(&upstream, &client, std::mem::take(&mut self.unread));
        let deadlines = &mut self.deadlines;
        let mut cut = pin!(cut);
        let timed_out = std::future::poll_fn(|cx| {
            let mut moved = false;
            let up = to_app.poll(cx, &mut moved);
            let down = to_client.poll(cx, &mut moved);
            if moved {
                deadlines.touch();
            }
            match (up, down) {
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(None),
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(None),
                _ => {}
            }
            if cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            deadlines.poll(cx).map(Some)
        })
        .await;
        match timed_out {
            // Whoever closed: a tunnel has no status of its own but that it was opened.
            None => {
                self.exchange.answered(StatusCode::SWITCHING_PROTOCOLS);
            }
            Some(limit) => self.exchange.failed(
                Answer::Timeout,
                ProxyError::HttpResponseTimeout,
                limit.as_str(),
            ),
        }
    }
}

impl<'a> Flow<'a> {
    fn new(from: &'a SharedStream, to: &'a SharedStream, pending: Bytes) -> Self {
        Self {
            from,
            to,
            pending,
            buffer: Box::new([0; BUFFER_BYTES]),
            filled: 0,
            written: 0,
            read_all: false,
            done: false,
        }
    }

    /// Ready when everything has been passed on, the end of it included.
    fn poll(&mut self, cx: &mut Context<'_>, moved: &mut bool) -> Poll<io::Result<()>> {
        while !self.done {
            while !self.pending.is_empty() {
                let written = ready!(self.to.poll_write(cx, &self.pending))?;
                self.pending.advance(nonzero(written)?);
                *moved = true;
            }
            while self.written < self.filled {
                let written = ready!(
                    self.to
                        .poll_write(cx, &self.buffer[self.written..self.filled])
                )?;
                self.written += nonzero(written)?;
                *moved = true;
            }
            ready!(self.to.poll_flush(cx))?;
            if self.read_all {
                ready!(self.to.poll_shutdown(cx))?;
                self.done = true;
                break;
            }
            let mut buffer = ReadBuf::new(&mut self.buffer[..]);
            ready!(self.from.poll_read(cx, &mut buffer))?;
            self.filled = buffer.filled().len();
            self.written = 0;
            self.read_all = self.filled == 0;
            *moved |= self.filled > 0;
        }
        Poll::Ready(Ok(()))
    }
}

fn nonzero(written: usize) -> io::Result<usize> {
    if written == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(written)
    }
}
