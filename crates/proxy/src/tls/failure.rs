//! What went wrong on a TLS connection, in the words of RFC 9209.

use std::error::Error;
use std::io;

use plimsoll_wire::ProxyError;

/// What an error of TLS begins with, also where only its text is left.
const MARK: &str = "TLS: ";

/// An error of TLS after the handshake, on its way through the HTTP library.
#[derive(Debug, thiserror::Error)]
#[error("{MARK}{cause}")]
pub(crate) struct TlsFailure {
    cause: rustls::Error,
}

impl TlsFailure {
    /// Makes an error of TLS known as one; leaves others as they are.
    pub(crate) fn mark(error: io::Error) -> io::Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(cause) => {
                let cause = rustls::Error::clone(cause);
                io::Error::new(error.kind(), Self { cause })
            }
            None => error,
        }
    }

    /// The word for a failure that comes of TLS; `None` if it does not.
    pub(crate) fn word_of(failure: &(dyn Error + 'static)) -> Option<ProxyError> {
        let mut cause = Some(failure);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && let Some(inner) = io.get_ref()
            {
                return word_of_inner(inner);
            }
            cause = error.source();
        }
        None
    }
}

fn word_of_inner(inner: &(dyn Error + Send + Sync + 'static)) -> Option<ProxyError> {
    if let Some(tls) = inner.downcast_ref() {
        return Some(word(tls));
    }
    if let Some(failure) = inner.downcast_ref::<TlsFailure>() {
        return Some(word(&failure.cause));
    }
    // The HTTP/2 library hands an error to every stream, and so keeps no more than its text.
    let text = inner.to_string();
    let text = text.strip_prefix(MARK)?;
    let is_alert = text.starts_with("received fatal alert");
    Some(if is_alert {
        ProxyError::TlsAlertReceived
    } else {
        ProxyError::TlsProtocolError
    })
}

fn word(error: &rustls::Error) -> ProxyError {
    match error {
        rustls::Error::AlertReceived(_) => ProxyError::TlsAlertReceived,
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType => ProxyError::TlsCertificateError,
        _ => ProxyError::TlsProtocolError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, CertificateError};

    #[test]
    fn an_error_keeps_its_word_on_its_way() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let cases = [
            (alert, ProxyError::TlsAlertReceived),
            (rustls::Error::DecryptError, ProxyError::TlsProtocolError),
            (
                CertificateError::Expired.into(),
                ProxyError::TlsCertificateError,
            ),
        ];
        for (error, word) in cases {
            let fresh = || io::Error::new(io::ErrorKind::InvalidData, error.clone());
            assert_eq!(TlsFailure::word_of(&fresh()), Some(word));
            let marked = TlsFailure::mark(fresh());
            assert_eq!(marked.kind(), io::ErrorKind::InvalidData);
            assert_eq!(TlsFailure::word_of(&marked), Some(word));
            if word != ProxyError::TlsCertificateError {
                let text = io::Error::new(marked.kind(), marked.to_string());
                assert_eq!(TlsFailure::word_of(&text), Some(word));
            }
        }
    }

    #[test]
    fn an_error_of_something_else_is_none_of_tls() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(TlsFailure::word_of(&TlsFailure::mark(reset)), None);
        let other = io::Error::other("received fatal alert");
        assert_eq!(TlsFailure::word_of(&TlsFailure::mark(other)), None);
    }
}
