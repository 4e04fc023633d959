//! Making a connection to the application.

use std::io;
use std::net::SocketAddr;

use plimsoll_wire::ProxyError;
use tokio::net::TcpStream;

use crate::config::CONNECT_TIME_MAX;

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
        }
    }
}

/// A socket to `app` that sends without delay.
pub(crate) async fn connect(app: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(app))
        .await
        .map_err(|_| ConnectError::Timeout { app })?
        .map_err(|cause| ConnectError::Io { app, cause })?;
    stream
        .set_nodelay(true)
        .map_err(|cause| ConnectError::Io { app, cause })?;
    Ok(stream)
}
