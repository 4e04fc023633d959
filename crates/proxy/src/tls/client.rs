//! TLS towards upstreams.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::{ALPN_HTTP1, ALPN_HTTP2, Identity, TlsError, pem, provider};

/// Whose certificates are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR` if set, else the store of the
    /// distribution.
    #[default]
    System,
    /// Those signed by a certificate in this PEM file, and no others.
    File(PathBuf),
    /// Any, valid or not, whoever's: the connection is encrypted, but anybody on the way can be its other end.
    InsecureAnyCertificate,
}

/// What TLS towards an upstream is made of.
#[derive(Debug, Clone, Default)]
pub struct ClientTlsConfig {
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// The host name or IP address that the upstream's certificate must be for; a host name is also sent (SNI).
    /// `None` is the IP address that is connected to.
    pub server_name: Option<String>,
    /// The certificate for upstreams that ask for one.
    pub identity: Option<Identity>,
}

/// TLS 1.2 and 1.3 towards upstreams. ALPN offers the one protocol that a connection is for.
///
/// Sessions are resumed. At most 256 server names are remembered for it, as the TLS library has it.
#[derive(Debug)]
pub struct ClientTls {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// Accepts every certificate; the peer must still have its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientTls {
    /// TLS as `config` says. Reads files, so it may block.
    ///
    /// # Errors
    /// No usable certificates to trust, a server name that is none, or a client certificate that cannot be used.
    pub fn new(config: &ClientTlsConfig) -> Result<Self, TlsError> {
        let server_name = config.server_name.as_deref().map(parse_name).transpose()?;
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::setup)?;
        let builder = match &config.trust {
            Trust::System => builder.with_root_certificates(system_roots()?),
            Trust::File(path) => builder.with_root_certificates(roots_of(path)?),
            Trust::InsecureAnyCertificate => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        };
        let mut http1 = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.private_key())
                .map_err(TlsError::setup)?,
        };
        let mut http2 = http1.clone();
        http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        http2.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        Ok(Self {
            http1: Arc::new(http1),
            http2: Arc::new(http2),
            server_name,
        })
    }

    /// Encrypts a connection of the caller's own, such as that of a health check, to speak HTTP/2 or HTTP/1.1 on it.
    ///
    /// # Errors
    /// Whatever the handshake fails of, a certificate that is not accepted among it.
    pub async fn connect(
        &self,
        stream: TcpStream,
        http2: bool,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = self.name_of(stream.peer_addr()?.ip());
        let config = if http2 { self.http2() } else { self.http1() };
        TlsConnector::from(config).connect(name, stream).await
    }

    /// For a connection that will speak HTTP/1.1.
    pub(crate) fn http1(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http1)
    }

    /// For a connection that will speak HTTP/2.
    pub(crate) fn http2(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http2)
    }

    /// Whom the certificate of a server at `address` must be for.
    pub(crate) fn name_of(&self, address: IpAddr) -> ServerName<'static> {
        self.server_name
            .clone()
            .unwrap_or_else(|| ServerName::from(address))
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName {
        name: name.to_owned(),
    })
}

/// The authorities in a PEM file.
pub(super) fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in pem::certificates(path)?.into_iter().enumerate() {
        roots
            .add(certificate)
            .map_err(|cause| TlsError::certificate(path, index + 1, &cause))?;
    }
    Ok(roots)
}

/// A store may hold a certificate that cannot be read; the others are used.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (used, ignored) = roots.add_parsable_certificates(found.certs);
    if used == 0 {
        let cause = (found.errors.first()).map_or_else(
            || format!("{ignored} that cannot be read"),
            ToString::to_string,
        );
        return Err(TlsError::NoSystemRoots { cause });
    }
    Ok(roots)
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
