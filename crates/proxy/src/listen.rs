//! The data port: binding it, and accepting connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::tls::ServerTls;

/// Connections the kernel may hold until they are accepted.
const BACKLOG: i32 = 4_096;

/// How long a client may be silent before the kernel asks whether it is still there, and how often it asks then.
/// A client that has lost its network says no goodbye, and its connection would be kept for ever.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);

/// How long accepting rests when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The data port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub cause: io::Error,
}

/// A connection that a worker will serve.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
    /// Its place among the open connections.
    pub(crate) place: OwnedSemaphorePermit,
    /// What the port speaks TLS with; `None` is plain HTTP.
    pub(crate) tls: Option<Arc<ServerTls>>,
}

/// An open data port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// TLS towards clients; `None` is plain HTTP.
    pub(crate) tls: Option<Arc<ServerTls>>,
}

impl Port {
    pub(crate) fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Self, BindError> {
        let listener = bind(address)?;
        Ok(Self { listener, tls })
    }
}

/// Opens the data port. Accepted sockets inherit `TCP_NODELAY` and keep-alive.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_TIME);
        socket.set_tcp_keepalive(&keepalive)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|cause| BindError { address, cause })
}

/// Ends the accepting. Carries the means to say when it has ended: it is dropped once the port is closed and
/// every connection from the backlog has been handed on.
pub(crate) type StopAccepting = oneshot::Receiver<oneshot::Sender<()>>;

/// Accepts until told to stop, and hands each connection to `take`; then takes those that are already in the
/// backlog, and closes the port.
pub(crate) async fn accept_until(
    port: Port,
    places: Arc<Semaphore>,
    mut stop: StopAccepting,
    mut take: impl FnMut(Accepted),
) -> io::Result<()> {
    let Port { listener, tls } = port;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let _ended = loop {
        let place = tokio::select! {
            biased;
            ended = &mut stop => break ended,
            place = Arc::clone(&places).acquire_owned() => place.map_err(io::Error::other)?,
        };
        let accepted = tokio::select! {
            biased;
            ended = &mut stop => break ended,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => take(Accepted {
                stream,
                remote: canonical(remote),
                place,
                tls: tls.clone(),
            }),
            Err(error) if is_of_one_connection(&error) => {}
            Err(cause) => {
                tracing::error!(%cause, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    };
    // Declared after the sender, so dropped before it.
    let listener = listener.into_std()?;
    while let Ok(place) = Arc::clone(&places).try_acquire_owned() {
        match listener.accept() {
            Ok((stream, remote)) => {
                stream.set_nonblocking(true)?;
                take(Accepted {
                    stream: TcpStream::from_std(stream)?,
                    remote: canonical(remote),
                    place,
                    tls: tls.clone(),
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// A client of IPv4 on a socket for both versions is one of IPv4.
fn canonical(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

/// Errors of a connection that went away before it was accepted, not of the port.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::Ipv4Addr;

    #[test]
    fn accepted_sockets_send_without_delay_and_notice_clients_that_have_vanished() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
    }
}
