//! What can be wrong with the files and names that TLS is configured with.

use std::io;
use std::path::{Path, PathBuf};

use crate::tls::pem::PEM_BYTES_MAX;

/// A certificate, key or name that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file larger than any that is meant.
    #[error("{} is larger than {PEM_BYTES_MAX} bytes: is it a PEM file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file with a damaged PEM block.
    #[error("{} is not valid PEM: {cause}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A file without certificates.
    #[error("{} holds no certificate: it needs at least one block `BEGIN CERTIFICATE`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file without a private key.
    #[error(
        "{} holds no private key: it needs a block `BEGIN PRIVATE KEY`, `BEGIN EC PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key that needs a passphrase.
    #[error("the private key in {} is encrypted: store it without a passphrase", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key of a kind that is not supported, or damaged.
    #[error("the private key in {} cannot be used: {cause}", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A certificate that cannot be read.
    #[error("certificate {number} in {} cannot be used: {cause}", path.display())]
    UnusableCertificate {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        cause: String,
    },
    /// A private key of another certificate.
    #[error(
        "the private key in {} does not belong to the first certificate in {}",
        key.display(),
        chain.display()
    )]
    KeyMismatch {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        chain: PathBuf,
    },
    /// The system has no certificate authorities.
    #[error(
        "the system has no CA certificates ({cause}): install them, or name a file with those to trust"
    )]
    NoSystemRoots {
        /// Where they were not found.
        cause: String,
    },
    /// A name no certificate can belong to.
    #[error("`{name}` is neither a host name nor an IP address")]
    ServerName {
        /// As it was given.
        name: String,
    },
    /// A name of a cipher suite or of a group that is not there.
    #[error("{what} `{name}` is not supported: {accepted} are")]
    UnknownName {
        /// What it should be a name of.
        what: &'static str,
        /// As it was given.
        name: String,
        /// What there is.
        accepted: String,
    },
    /// The least version is above the greatest.
    #[error("the minimum version is above the maximum")]
    NoVersion,
    /// The system has no randomness, or something as unlikely.
    #[error("TLS cannot be set up: {cause}")]
    Setup {
        /// What the TLS library said.
        cause: String,
    },
}

impl TlsError {
    /// What is wrong with a certificate of our own files. The TLS library calls all certificates the peer's.
    pub(super) fn certificate(path: &Path, number: usize, cause: &rustls::Error) -> Self {
        let cause = match cause {
            rustls::Error::InvalidCertificate(cause) => cause.to_string(),
            other => other.to_string(),
        };
        Self::UnusableCertificate {
            path: path.to_owned(),
            number,
            cause,
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is given to map_err as it is"
    )]
    pub(super) fn setup(cause: rustls::Error) -> Self {
        Self::Setup {
            cause: cause.to_string(),
        }
    }
}
