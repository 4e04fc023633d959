//! TLS as it is configured: who we are, and whom we trust.
//!
//! Everything is checked when it is read, so that a handshake can only fail for what the peer does. The
//! connections themselves are in `io/tls.rs`.

mod client;
mod error;
mod failure;
mod identity;
mod pem;
mod rules;
mod server;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use client::{ClientTls, ClientTlsConfig, Trust};
pub use error::TlsError;
pub(crate) use failure::TlsFailure;
pub use identity::Identity;
pub use rules::{HandshakeRules, TlsVersion};
pub use server::{AcceptedTls, ServerTls};

/// HTTP/2 in ALPN (RFC 9113 section 3.2).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";

/// HTTP/1.1 in ALPN (RFC 7301 section 6).
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// HTTP/1.0 in ALPN: some clients that are told to speak it offer nothing else.
pub(crate) const ALPN_HTTP1_0: &[u8] = b"http/1.0";

/// The one implementation of ciphers: *ring*. It needs neither a C library of the system nor cmake to build.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
