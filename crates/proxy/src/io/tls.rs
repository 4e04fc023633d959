//! TLS on top of a socket.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConnectionCommon, ServerConfig, SideData};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::io::PlainStream;
use crate::io::read_ahead::ReadAhead;
use crate::tls::TlsFailure;

/// One look at an idle connection, in bytes.
const LOOK_BYTES: usize = 4 * 1024;

/// The most looks at an idle connection before it is used: the tickets that a server sends after the handshake
/// fit into one or two. What sends more than this without being asked is not used again.
const LOOKS_MAX: usize = 8;

/// A connection that is encrypted since its handshake.
#[derive(Debug, Clone)]
pub(crate) struct TlsStream(Arc<Mutex<Session>>);

type Session = tokio_rustls::TlsStream<ReadAhead>;

impl TlsStream {
    /// The server's part of a handshake.
    pub(crate) async fn accept(below: PlainStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = TlsAcceptor::from(config)
            .accept(ReadAhead::new(below))
            .await?;
        Ok(Self(Arc::new(Mutex::new(session.into()))))
    }

    /// The client's part of a handshake with the server that `name` must belong to.
    pub(crate) async fn connect(
        below: PlainStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = TlsConnector::from(config)
            .connect(name, ReadAhead::new(below))
            .await?;
        Ok(Self(Arc::new(Mutex::new(session.into()))))
    }

    /// The protocol that both sides agreed on in the handshake (ALPN, RFC 7301).
    pub(crate) fn protocol(&self) -> Option<Vec<u8>> {
        let session = self.0.lock();
        session.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    }

    /// Whether an idle connection can be used: no application data and no end has arrived.
    ///
    /// Asks the kernel like [`PlainStream::is_quiet`], but bytes alone say little: a TLS 1.3 server sends its
    /// session tickets after the handshake, when it likes. So what has arrived is taken in.
    pub(crate) fn is_quiet(&self) -> bool {
        match &mut *self.0.lock() {
            Session::Client(session) => {
                let (below, session) = session.get_mut();
                take_in(below, session)
            }
            Session::Server(session) => {
                let (below, session) = session.get_mut();
                take_in(below, session)
            }
        }
        .unwrap_or(false)
    }

    /// Waits until the peer has said that it closes its side, or has closed the connection below.
    ///
    /// Its saying so can be seen only once the application data before it has been read.
    pub(crate) async fn peer_closed(&self) -> io::Result<()> {
        let below = self.0.lock().get_ref().0.below().clone();
        let mut closed_below = pin!(below.peer_closed());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(closed) = closed_below.as_mut().poll(cx) {
                return Poll::Ready(closed);
            }
            match Pin::new(&mut *self.0.lock()).poll_fill_buf(cx) {
                Poll::Ready(Ok(data)) if !data.is_empty() => Poll::Pending,
                // Whatever is wrong with it, nothing more comes.
                Poll::Ready(_) => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock())
            .poll_read(cx, buf)
            .map_err(TlsFailure::mark)
    }

    /// Reads without taking.
    pub(crate) fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut session = self.0.lock();
        let data = ready!(Pin::new(&mut *session).poll_fill_buf(cx))?;
        let seen = data.len().min(buf.remaining());
        buf.put_slice(&data[..seen]);
        Poll::Ready(Ok(seen))
    }

    /// Ready when there is application data to read, or the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.0.lock();
        Pin::new(&mut *session).poll_fill_buf(cx).map_ok(|_| ())
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write(cx, buf)
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write_vectored(cx, bufs)
    }

    /// Ready when all that was written is encrypted and with the socket or its outbox.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_flush(cx)
    }

    /// Ready when nothing that was written before is still with us.
    pub(crate) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.0.lock();
        ready!(Pin::new(&mut *session).poll_flush(cx))?;
        session.get_ref().0.below().poll_sent(cx)
    }

    /// Says that nothing more comes, and closes the sending side of the socket.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_shutdown(cx)
    }
}

/// Takes in what the kernel has; `false` if that is application data or the end.
fn take_in<D: SideData>(
    below: &mut ReadAhead,
    session: &mut ConnectionCommon<D>,
) -> io::Result<bool> {
    let mut buffer = [0_u8; LOOK_BYTES];
    for _ in 0..LOOKS_MAX {
        let mut arrived = match below.receive_now(&mut buffer) {
            Ok(arrived) => &buffer[..arrived],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let state = session.process_new_packets().map_err(io::Error::other)?;
                return Ok(state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed());
            }
            Err(error) => return Err(error),
        };
        if arrived.is_empty() {
            return Ok(false);
        }
        while !arrived.is_empty() {
            if session.read_tls(&mut arrived)? == 0 {
                // What follows the goodbye is ignored.
                return Ok(false);
            }
            session.process_new_packets().map_err(io::Error::other)?;
        }
    }
    Ok(false)
}
