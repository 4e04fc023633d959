//! Connections to the port for users, with TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use plimsoll_proxy::{AcceptedTls, ServerTls};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How many handshakes may be on their way at once; more connections wait in the kernel. Who scrapes comes alone.
const HANDSHAKES_MAX: usize = 16;

/// How long a handshake may take: as long as Knative gives a head.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// Gives connections whose handshake has succeeded. The others are closed: a client that fails is its own concern.
///
/// Handshakes go on beside each other, so that one that stands still holds up nobody.
#[derive(Debug)]
pub(super) struct SecuredListener {
    tcp: TcpListener,
    tls: Arc<ServerTls>,
    handshakes: JoinSet<Option<(AcceptedTls, SocketAddr)>>,
}

impl SecuredListener {
    pub(super) fn new(tcp: TcpListener, tls: Arc<ServerTls>) -> Self {
        Self {
            tcp,
            tls,
            handshakes: JoinSet::new(),
        }
    }
}

impl Listener for SecuredListener {
    type Io = AcceptedTls;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (AcceptedTls, SocketAddr) {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                (stream, client) = Listener::accept(&mut self.tcp), if has_room => {
                    let tls = Arc::clone(&self.tls);
                    self.handshakes.spawn(async move {
                        let accepted = tls.accept(stream);
                        let accepted = tokio::time::timeout(HANDSHAKE_TIME_MAX, accepted).await;
                        Some((accepted.ok()?.ok()?, client))
                    });
                }
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = ended {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
