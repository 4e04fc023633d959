//! TLS towards clients.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::{ALPN_HTTP1, ALPN_HTTP1_0, ALPN_HTTP2, HandshakeRules, Identity, TlsError};

/// TLS 1.2 and 1.3 towards clients, with HTTP/2 and HTTP/1 by ALPN.
///
/// The certificate can be replaced while connections are open: handshakes that begin afterwards use the new
/// one, and nothing else changes. Clients may resume sessions for 12 hours by tickets, which are encrypted with
/// a key of this process; nothing is stored for a client that is not connected.
///
/// ```no_run
/// use std::path::Path;
/// use plimsoll_proxy::{Identity, ServerTls};
///
/// let read = || Identity::from_pem_files(Path::new("tls.crt"), Path::new("tls.key"));
/// let tls = ServerTls::new(&read()?)?;
/// // Later, when the files have changed. If they cannot be used, the old ones stay.
/// tls.replace(&read()?);
/// # Ok::<(), plimsoll_proxy::TlsError>(())
/// ```
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
}

/// A connection that [`ServerTls::accept`] has encrypted.
pub type AcceptedTls = TlsStream<TcpStream>;

/// The certificate of the moment.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerTls {
    /// TLS with the certificate of `identity`, and whatever is safe.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(identity: &Identity) -> Result<Self, TlsError> {
        Self::with_rules(identity, &HandshakeRules::default())
    }

    /// The same, with handshakes that agree on what `rules` accept.
    ///
    /// # Errors
    /// The system has no randomness, or the rules leave nothing to agree on.
    pub fn with_rules(identity: &Identity, rules: &HandshakeRules) -> Result<Self, TlsError> {
        let current = Arc::new(Current(ArcSwap::new(Arc::clone(&identity.certified))));
        let builder = ServerConfig::builder_with_provider(Arc::new(rules.provider()))
            .with_protocol_versions(rules.versions)
            .map_err(TlsError::setup)?;
        let builder = match &rules.clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        };
        let mut config = builder.with_cert_resolver(Arc::<Current>::clone(&current));
        let protocols = [ALPN_HTTP2, ALPN_HTTP1, ALPN_HTTP1_0].map(<[u8]>::to_vec);
        let offered = protocols.into_iter().skip(usize::from(!rules.offers_http2));
        config.alpn_protocols = offered.collect();
        // Tickets do it: whoever cannot keep one shakes hands in full.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new().map_err(TlsError::setup)?;
        Ok(Self {
            config: Arc::new(config),
            current,
        })
    }

    /// Uses the certificate of `identity` from now on. Does not wait, and may be called from any thread.
    pub fn replace(&self, identity: &Identity) {
        self.current.0.store(Arc::clone(&identity.certified));
    }

    /// Encrypts a connection that the caller has accepted, such as one to a port beside the data port.
    ///
    /// # Errors
    /// Whatever the handshake fails of.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<AcceptedTls> {
        TlsAcceptor::from(self.config()).accept(stream).await
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}
