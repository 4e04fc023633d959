//! Making a connection to the application.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_wire::ProxyError;
use rustix::net::sockopt::set_tcp_user_timeout;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::config::CONNECT_TIME_MAX;
use crate::io::{PlainStream, SharedStream, TlsStream};
use crate::tls::{ALPN_HTTP2, ClientTls, TlsFailure};

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("connect {app}: {cause}")]
    Io { app: SocketAddr, cause: io::Error },
    #[error("connect {app}: no answer within {CONNECT_TIME_MAX:?}")]
    Timeout { app: SocketAddr },
    #[error("connect {app}: {cause}")]
    Handshake {
        app: SocketAddr,
        cause: hyper::Error,
    },
    #[error("TLS with {app}: {cause}")]
    Tls { app: SocketAddr, cause: io::Error },
    #[error("TLS with {app}: the server does not agree to HTTP/2 (ALPN h2)")]
    NoHttp2 { app: SocketAddr },
}

impl ConnectError {
    /// The word for it.
    pub(crate) fn word(&self) -> ProxyError {
        match self {
            Self::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::ConnectionRefused => ProxyError::ConnectionRefused,
                io::ErrorKind::TimedOut => ProxyError::ConnectionTimeout,
                _ => ProxyError::DestinationUnavailable,
            },
            Self::Timeout { .. } => ProxyError::ConnectionTimeout,
            Self::Handshake { .. } => ProxyError::ConnectionTerminated,
            Self::Tls { cause, .. } => {
                TlsFailure::word_of(cause).unwrap_or(ProxyError::ConnectionTerminated)
            }
            Self::NoHttp2 { .. } => ProxyError::TlsProtocolError,
        }
    }
}

/// What will be spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// How long a peer elsewhere may be silent before the kernel asks whether it is still there, and how often it asks then.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);

/// How long it may leave unacknowledged what was sent to it, in milliseconds. The system's own limit is a quarter of
/// an hour.
const UNACKNOWLEDGED_MILLISECONDS_MAX: u32 = 30_000;

/// Lets the kernel notice a peer that has vanished without a word, or whose connection a firewall in between has
/// forgotten. On this host nobody can.
fn notice_if_it_vanishes(stream: &TcpStream, app: SocketAddr) -> io::Result<()> {
    if app.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_TIME);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    Ok(set_tcp_user_timeout(
        stream,
        UNACKNOWLEDGED_MILLISECONDS_MAX,
    )?)
}

/// A connection to `app` that sends without delay; encrypted if there is `tls`.
pub(crate) async fn connect(
    app: SocketAddr,
    tls: Option<&ClientTls>,
    protocol: Protocol,
) -> Result<SharedStream, ConnectError> {
    let connected = async {
        let io = |cause| ConnectError::Io { app, cause };
        let stream = TcpStream::connect(app).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        notice_if_it_vanishes(&stream, app).map_err(io)?;
        match tls {
            None => Ok(SharedStream::new(stream)),
            Some(tls) => {
                let secured = Box::pin(secure(stream, app, tls, protocol));
                secured.await.map(SharedStream::Tls)
            }
        }
    };
    tokio::time::timeout(CONNECT_TIME_MAX, connected)
        .await
        .map_err(|_| ConnectError::Timeout { app })?
}

async fn secure(
    stream: TcpStream,
    app: SocketAddr,
    tls: &ClientTls,
    protocol: Protocol,
) -> Result<TlsStream, ConnectError> {
    let config = match protocol {
        Protocol::Http1 => tls.http1(),
        Protocol::Http2 => tls.http2(),
    };
    let below = PlainStream::new(stream);
    let stream = TlsStream::connect(below, config, tls.name_of(app.ip()))
        .await
        .map_err(|cause| ConnectError::Tls { app, cause })?;
    // RFC 9113 section 3.3: without that agreement it is HTTP/1.1.
    if protocol == Protocol::Http2 && stream.protocol().as_deref() != Some(ALPN_HTTP2) {
        return Err(ConnectError::NoHttp2 { app });
    }
    Ok(stream)
}
