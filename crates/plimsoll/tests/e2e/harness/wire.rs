//! A socket and what has been read from it: either side of a conversation, byte by byte.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// One connection. Reads wait no longer than [`super::PATIENCE`].
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::new(soon("connect", TcpStream::connect(to)).await.unwrap())
    }

    /// Writes all of it.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Writes all of it, or says why it cannot.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        soon("write", self.stream.write_all(bytes.as_ref())).await
    }

    /// Ends this side; the other may still send.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Closes at once and so that the other side sees a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Closes, and waits until the other side's kernel knows, though perhaps not yet the program.
    pub(crate) async fn close(self) {
        let peer = self.stream.peer_addr().unwrap();
        let own = self.stream.local_addr().unwrap();
        let established = format!(": {} {} 01 ", as_in_proc(peer), as_in_proc(own));
        drop(self);
        let arrived = async {
            while std::fs::read_to_string("/proc/net/tcp")
                .unwrap()
                .contains(&established)
            {
                tokio::task::yield_now().await;
            }
        };
        soon("the close arrives", arrived).await;
    }

    /// Reads once more; the number of bytes, 0 at the end.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        self.unread.reserve(64 * 1024);
        soon("read", self.stream.read_buf(&mut self.unread)).await
    }

    /// Takes `count` bytes; fewer if the other side ends before.
    pub(crate) async fn up_to(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count && matches!(self.fill().await, Ok(read) if read > 0) {}
        self.unread.drain(..count.min(self.unread.len())).collect()
    }

    /// Takes exactly `count` bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.up_to(count).await;
        assert_eq!(bytes.len(), count, "the other side ended early");
        bytes
    }

    /// Takes what has arrived, at least a byte; nothing at the end.
    pub(crate) async fn some(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            // A reset is an end as well.
            self.fill().await.unwrap_or(0);
        }
        std::mem::take(&mut self.unread)
    }

    /// Takes everything until the other side ends, which it must do in an orderly way.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().await.unwrap() > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// Takes everything up to and with `mark`; `None` if the other side ends before.
    pub(crate) async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let mut looked = 0;
        loop {
            let tail = &self.unread[looked..];
            if let Some(at) = tail.windows(mark.len()).position(|window| window == mark) {
                return Some(self.unread.drain(..looked + at + mark.len()).collect());
            }
            looked = self.unread.len().saturating_sub(mark.len() - 1);
            if !matches!(self.fill().await, Ok(read) if read > 0) {
                return None;
            }
        }
    }

    /// Takes the head of a message, with its empty line; `None` if the other side ends before.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.until(b"\r\n\r\n")
            .await
            .map(|head| String::from_utf8(head).unwrap())
    }

    /// Throws away whatever comes, until the other side ends.
    pub(crate) async fn discard(&mut self) {
        while matches!(self.fill().await, Ok(read) if read > 0) {
            self.unread.clear();
        }
    }

    /// The socket, once everything that was read has been taken.
    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.unread.is_empty(), "unread: {:?}", self.unread);
        self.stream
    }

    /// The two directions apart. What was read must have been taken.
    pub(crate) fn split(
        self,
    ) -> (
        tokio::net::tcp::OwnedReadHalf,
        tokio::net::tcp::OwnedWriteHalf,
    ) {
        self.into_stream().into_split()
    }
}

/// An address as `/proc/net/tcp` writes it: the host as a number of this machine.
fn as_in_proc(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else {
        panic!("an address of version 4, not {address}");
    };
    let host = u32::from_ne_bytes(address.ip().octets());
    format!("{host:08X}:{:04X}", address.port())
}
