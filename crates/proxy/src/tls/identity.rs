//! Who we are: a certificate chain and its private key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::{TlsError, pem, provider};

/// A certificate chain and its private key, which belong together.
#[derive(Clone)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// Reads the certificates in the PEM file `chain` (the own one first, then those up to the authority) and
    /// the private key in the PEM file `key`, which may be the same file.
    ///
    /// Reads files, so it may block. Does not look at the certificate's names and dates: they are the clients'
    /// to judge.
    ///
    /// # Errors
    /// A file that cannot be read or lacks what is expected, a kind of key that is not supported (RSA, ECDSA on
    /// P-256, P-384 or P-521, and Ed25519 are), or a key of another certificate.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let certificates = pem::certificates(chain)?;
        let private_key = pem::private_key(key)?;
        let signing_key = provider()
            .key_provider
            .load_private_key(private_key.clone_key())
            .map_err(|cause| TlsError::UnusableKey {
                path: key.to_owned(),
                cause: cause.to_string(),
            })?;
        let certified = CertifiedKey::new(certificates.clone(), signing_key);
        match certified.keys_match() {
            // A key that cannot tell its public part is taken at its word.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(TlsError::KeyMismatch {
                    key: key.to_owned(),
                    chain: chain.to_owned(),
                });
            }
            Err(cause) => return Err(TlsError::certificate(chain, 1, &cause)),
        }
        Ok(Self {
            certified: Arc::new(certified),
            chain: certificates,
            key: Arc::new(private_key),
        })
    }

    /// A certificate that nobody trusts.
    #[cfg(test)]
    pub(crate) fn self_signed() -> Self {
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let chain = vec![CertificateDer::from(made.cert)];
        let key = PrivateKeyDer::from(made.signing_key);
        let signing_key = provider().key_provider.load_private_key(key.clone_key());
        Self {
            certified: Arc::new(CertifiedKey::new(chain.clone(), signing_key.unwrap())),
            chain,
            key: Arc::new(key),
        }
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}
