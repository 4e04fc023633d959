//! Reading more at a time than one is asked for.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::PlainStream;

/// The most that is read at a time, in bytes: two whole records of TLS.
const READ_BYTES: usize = 32 * 1024;

thread_local! {
    /// Where to read to: one place for all connections of a worker.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// A socket under TLS.
///
/// The TLS library asks for 4 KiB at a time, which makes a call of the system for each quarter of a record. What has
/// come beyond that is kept here until it is asked for; most of the time that is nothing, and occupies nothing.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    below: PlainStream,
    rest: Vec<u8>,
    /// How much of `rest` has been taken.
    taken: usize,
}

impl ReadAhead {
    pub(crate) fn new(below: PlainStream) -> Self {
        Self {
            below,
            rest: Vec::new(),
            taken: 0,
        }
    }

    pub(crate) fn below(&self) -> &PlainStream {
        &self.below
    }

    /// Takes what there is, past the runtime; see [`PlainStream::receive_now`].
    pub(crate) fn receive_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        if self.take_rest(&mut buffer) {
            return Ok(buffer.filled().len());
        }
        self.below.receive_now(buffer.initialize_unfilled())
    }

    /// Hands out what was read before; `false` if that is nothing.
    fn take_rest(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.rest[self.taken..];
        if rest.is_empty() {
            return false;
        }
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.taken += taken;
        if self.taken == self.rest.len() {
            self.rest = Vec::new();
            self.taken = 0;
        }
        true
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.take_rest(buf) {
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= READ_BYTES {
            return this.below.poll_read(cx, buf);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(this.below.poll_read(cx, &mut read))?;
            let (now, later) = read
                .filled()
                .split_at(read.filled().len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                this.rest = later.to_vec();
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.below.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.below.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::runtime;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    #[test]
    fn what_is_there_is_read_at_once_and_handed_out_in_order() {
        runtime().unwrap().block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let peer = TcpStream::connect(listener.local_addr().unwrap());
            let (accepted, peer) = tokio::join!(listener.accept(), peer);
            let (stream, _) = accepted.unwrap();
            let sent: Vec<u8> = (0..20_000_u32).map(|index| (index % 251) as u8).collect();
            peer.unwrap().write_all(&sent).await.unwrap();
            let mut reader = ReadAhead::new(PlainStream::new(stream));

            let mut got = vec![0; 4096];
            reader.read_exact(&mut got).await.unwrap();
            assert_eq!(reader.rest.len(), sent.len() - got.len());
            let mut past_the_runtime = [0; 100];
            assert_eq!(reader.receive_now(&mut past_the_runtime).unwrap(), 100);
            got.extend(past_the_runtime);
            reader.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, sent);
            assert_eq!(reader.rest.capacity(), 0);
        });
    }
}
