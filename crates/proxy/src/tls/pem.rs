//! Reading PEM files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::TlsError;

/// The largest PEM file that is read, in bytes; all public authorities together take a quarter of a MiB.
pub(super) const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// All certificates in `path`, in order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| damaged(path, &cause))?;
    if certificates.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::NoCertificate { path });
    }
    Ok(certificates)
}

/// The first private key in `path`.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(no_key(path, &text)),
        Err(cause) => Err(damaged(path, &cause)),
    }
}

fn no_key(path: &Path, text: &[u8]) -> TlsError {
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    let path = path.to_owned();
    if text.windows(encrypted.len()).any(|part| part == encrypted) {
        TlsError::EncryptedKey { path }
    } else {
        TlsError::NoKey { path }
    }
}

fn damaged(path: &Path, cause: &pem::Error) -> TlsError {
    let cause = match cause {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!(
                "`-----END {}-----` is missing",
                String::from_utf8_lossy(end_marker)
            )
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("`{}` begins no block", String::from_utf8_lossy(line))
        }
        other => other.to_string(),
    };
    TlsError::Pem {
        path: path.to_owned(),
        cause,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |cause| TlsError::Read {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = Vec::new();
    let mut bounded = file.take(PEM_BYTES_MAX + 1);
    bounded.read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > PEM_BYTES_MAX {
        let path = path.to_owned();
        return Err(TlsError::TooLarge { path });
    }
    Ok(text)
}
