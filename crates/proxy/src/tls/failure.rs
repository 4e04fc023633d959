//! What went wrong on a TLS connection, in the words of RFC 9209.

use std::error::Error;
use std::io;

use plimsoll_wire::ProxyError;

/// The word for a failure whose cause, or the cause of whose cause, is TLS; `None` if it is not.
pub(crate) fn word_of(failure: &(dyn Error + 'static)) -> Option<ProxyError> {
    let mut cause = Some(failure);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(word(tls));
        }
        // An I/O error does not name what is in it as its source, but the source of that.
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref())
        {
            return Some(word(tls));
        }
        if let Some(io) = error.downcast_ref().and_then(h2::Error::get_io)
            && io.kind() == io::ErrorKind::InvalidData
        {
            return Some(word_by_text(&io.to_string()));
        }
        cause = error.source();
    }
    None
}

/// The HTTP/2 library keeps an I/O error's kind and text only. Of all that reads and writes, TLS alone speaks of
/// invalid data.
fn word_by_text(text: &str) -> ProxyError {
    if text.starts_with("received fatal alert") {
        ProxyError::TlsAlertReceived
    } else {
        ProxyError::TlsProtocolError
    }
}

fn word(error: &rustls::Error) -> ProxyError {
    match error {
        rustls::Error::AlertReceived(_) => ProxyError::TlsAlertReceived,
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType
        | rustls::Error::InvalidCertRevocationList(_) => ProxyError::TlsCertificateError,
        _ => ProxyError::TlsProtocolError,
    }
}
