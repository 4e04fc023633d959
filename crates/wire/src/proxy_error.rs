//! Why a request failed, in the words of RFC 9209.

/// A failure that Plimsoll can meet, named as RFC 9209 (section 2.3) names it.
///
/// The same words are the label values of `plimsoll_request_errors_total` and
/// of `plimsoll_gateway_request_errors_total`, and the `error` parameter of the
/// `Proxy-Status` header, so that a client's log and a graph can be compared.
/// The RFC has more words; those for name resolution and content codings
/// cannot occur: names are resolved apart from requests, and bodies are not
/// looked into. Those for TLS and for routes occur in a gateway only, see
/// [`ProxyError::SIDECAR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProxyError {
    /// The application is known not to be ready, so no attempt was made.
    DestinationUnavailable,
    /// The application's port refused the connection: nothing listens there.
    ConnectionRefused,
    /// The connection closed or was reset before the answer had begun.
    ConnectionTerminated,
    /// The connection was not established in time.
    ConnectionTimeout,
    /// No bytes came from the application for longer than the idle limit,
    /// after its answer had begun.
    ConnectionReadTimeout,
    /// The application did not take the request's bytes in time.
    ConnectionWriteTimeout,
    /// All slots were taken and the queue was full.
    ConnectionLimitReached,
    /// The client's request was refused: malformed, or over a size limit.
    HttpRequestError,
    /// The answer broke off after its head.
    HttpResponseIncomplete,
    /// The head of the answer was over the size limit.
    HttpResponseHeaderSectionSize,
    /// The application did not begin to answer, or did not finish, in the time
    /// allowed.
    HttpResponseTimeout,
    /// The switch to another protocol (`101`) failed.
    HttpUpgradeFailed,
    /// The application's answer broke the rules of HTTP.
    HttpProtocolError,
    /// Plimsoll itself failed.
    ProxyInternalError,
    /// No service of the gateway takes requests for this host and path.
    DestinationNotFound,
    /// The TLS handshake with an endpoint failed, or its records broke the
    /// rules.
    TlsProtocolError,
    /// The certificate of an endpoint was not accepted: expired, for another
    /// name, or signed by nobody who is trusted.
    TlsCertificateError,
    /// An endpoint ended the TLS connection with an alert, for instance because
    /// it wants a client certificate.
    TlsAlertReceived,
}

impl ProxyError {
    /// How many errors there are: the length of an array indexed by
    /// [`ProxyError::index`].
    pub const COUNT: usize = 18;

    /// Every error, in the order of [`ProxyError::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::DestinationUnavailable,
        Self::ConnectionRefused,
        Self::ConnectionTerminated,
        Self::ConnectionTimeout,
        Self::ConnectionReadTimeout,
        Self::ConnectionWriteTimeout,
        Self::ConnectionLimitReached,
        Self::HttpRequestError,
        Self::HttpResponseIncomplete,
        Self::HttpResponseHeaderSectionSize,
        Self::HttpResponseTimeout,
        Self::HttpUpgradeFailed,
        Self::HttpProtocolError,
        Self::ProxyInternalError,
        Self::DestinationNotFound,
        Self::TlsProtocolError,
        Self::TlsCertificateError,
        Self::TlsAlertReceived,
    ];

    /// What can occur in a sidecar: the first in the order of
    /// [`ProxyError::index`].
    pub const SIDECAR: &'static [Self] = Self::ALL
        .first_chunk::<14>()
        .expect("a part is shorter than the whole")
        .as_slice();

    /// What can occur in a gateway before a request has a service.
    pub const UNROUTED: &'static [Self] = &[
        Self::HttpRequestError,
        Self::ProxyInternalError,
        Self::DestinationNotFound,
    ];

    /// A dense index below [`ProxyError::COUNT`], for an array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word of RFC 9209, e.g. `connection_refused`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DestinationUnavailable => "destination_unavailable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::HttpRequestError => "http_request_error",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::DestinationNotFound => "destination_not_found",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn indices_are_the_positions_in_all() {
        for (position, error) in ProxyError::ALL.into_iter().enumerate() {
            assert_eq!(error.index(), position, "{error:?}");
        }
    }

    #[test]
    fn every_word_is_a_structured_field_token_of_its_own() {
        let words = BTreeSet::from(ProxyError::ALL.map(ProxyError::as_str));
        assert_eq!(words.len(), ProxyError::COUNT);
        for word in words {
            assert!(
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{word}"
            );
        }
    }
}
