//! What a handshake with a client may agree on: versions, cipher suites, groups, and who the client is.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};

use crate::tls::client::roots_of;
use crate::tls::{TlsError, provider};

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// What a handshake with a client may agree on. The default is all that is safe: TLS 1.2 and 1.3, every cipher suite
/// and group of the TLS library, HTTP/2 and HTTP/1. Clients need no certificate.
///
/// ```
/// use plimsoll_proxy::{HandshakeRules, TlsVersion};
///
/// let mut rules = HandshakeRules::default();
/// rules.versions(TlsVersion::V1_3, TlsVersion::V1_3)?;
/// // P-521 is known and not there: it is left out.
/// let left_out = rules.groups(["X25519", "CurveP521"])?;
/// assert_eq!(left_out, ["CurveP521"]);
/// assert!(rules.groups(["X448"]).is_err());
/// # Ok::<(), plimsoll_proxy::TlsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HandshakeRules {
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    suites: Vec<SupportedCipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
    /// Who judges the certificates of clients; `None` asks for none.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether HTTP/2 is offered.
    pub(super) offers_http2: bool,
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const ONLY_1_2: &[&SupportedProtocolVersion] = &[&TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];

/// Cipher suites of TLS 1.2 by their names (IANA; Go writes the last two without their ending), and whether the TLS
/// library has them. Those without forward secrecy or with a broken cipher are not here: they are not safe.
const SUITES: &[(&str, Option<CipherSuite>)] = &[
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
];

/// Cipher suites of TLS 1.3: always all, as Go has it, so naming them changes nothing.
const SUITES_1_3: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// Groups by their names, in Go's words and in those of NIST, and whether the TLS library has them.
const GROUPS: &[(&str, Option<NamedGroup>)] = &[
    ("X25519", Some(NamedGroup::X25519)),
    ("CurveP256", Some(NamedGroup::secp256r1)),
    ("P-256", Some(NamedGroup::secp256r1)),
    ("CurveP384", Some(NamedGroup::secp384r1)),
    ("P-384", Some(NamedGroup::secp384r1)),
    ("CurveP521", None),
    ("P-521", None),
    ("X25519MLKEM768", None),
];

impl Default for HandshakeRules {
    fn default() -> Self {
        let all = ring::default_provider();
        Self {
            versions: BOTH,
            suites: all.cipher_suites,
            groups: all.kx_groups,
            clients: None,
            offers_http2: true,
        }
    }
}

impl HandshakeRules {
    /// Accepts versions from `min` to `max`.
    ///
    /// # Errors
    /// `min` is above `max`.
    pub fn versions(&mut self, min: TlsVersion, max: TlsVersion) -> Result<(), TlsError> {
        self.versions = match (min, max) {
            (TlsVersion::V1_2, TlsVersion::V1_3) => BOTH,
            (TlsVersion::V1_2, TlsVersion::V1_2) => ONLY_1_2,
            (TlsVersion::V1_3, TlsVersion::V1_3) => ONLY_1_3,
            (TlsVersion::V1_3, TlsVersion::V1_2) => return Err(TlsError::NoVersion),
        };
        Ok(())
    }

    /// Accepts these cipher suites alone for TLS 1.2; those of TLS 1.3 cannot be chosen. Gives those that are left out,
    /// because the TLS library does not have them.
    ///
    /// # Errors
    /// A name that is none of a safe cipher suite, or none that the TLS library has.
    pub fn cipher_suites<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<String>, TlsError> {
        let names = names.into_iter().filter(|name| !SUITES_1_3.contains(name));
        let (wanted, left_out) = sort("cipher suite", SUITES, names)?;
        if wanted.is_empty() && left_out.is_empty() {
            return Ok(left_out);
        }
        self.suites.retain(|suite| {
            suite.version().version == TLS13.version || wanted.contains(&suite.suite())
        });
        Ok(left_out)
    }

    /// Accepts these groups alone for the exchange of keys, the first ones rather than the last. Gives those that are
    /// left out, because the TLS library does not have them.
    ///
    /// # Errors
    /// A name that is none of a group, or none that the TLS library has.
    pub fn groups<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<String>, TlsError> {
        let (wanted, left_out) = sort("group", GROUPS, names)?;
        let place = |group: &&dyn SupportedKxGroup| {
            wanted.iter().position(|wanted| *wanted == group.name())
        };
        if !wanted.is_empty() {
            self.groups.retain(|group| place(group).is_some());
            self.groups.sort_by_key(place);
        }
        Ok(left_out)
    }

    /// Asks clients for a certificate that an authority in the PEM file `authorities` has signed. One of somebody else's
    /// is refused in any case, a client without any only if it `is_required`. Reads a file, so it may block.
    ///
    /// # Errors
    /// No usable certificate in the file.
    pub fn verify_clients(
        &mut self,
        authorities: &Path,
        is_required: bool,
    ) -> Result<(), TlsError> {
        let roots = Arc::new(roots_of(authorities)?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        let builder = if is_required {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        let verifier = builder.build().map_err(|cause| TlsError::Setup {
            cause: cause.to_string(),
        })?;
        self.clients = Some(verifier);
        Ok(())
    }

    /// Offers HTTP/1 alone, for a port where nobody speaks HTTP/2.
    pub fn without_http2(&mut self) {
        self.offers_http2 = false;
    }

    pub(super) fn provider(&self) -> CryptoProvider {
        CryptoProvider {
            cipher_suites: self.suites.clone(),
            kx_groups: self.groups.clone(),
            ..ring::default_provider()
        }
    }
}

/// What of `names` there is, and what there is not. Not nothing, if anything was named.
fn sort<'a, T: Copy>(
    what: &'static str,
    known: &[(&'static str, Option<T>)],
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(Vec<T>, Vec<String>), TlsError> {
    let (mut wanted, mut left_out) = (Vec::new(), Vec::new());
    for name in names {
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, Some(found))) => wanted.push(*found),
            Some((_, None)) => left_out.push(name.to_owned()),
            None => return Err(unknown(what, known, name)),
        }
    }
    match left_out.first() {
        Some(name) if wanted.is_empty() => Err(unknown(what, known, name)),
        _ => Ok((wanted, left_out)),
    }
}

fn unknown<T>(what: &'static str, known: &[(&'static str, Option<T>)], name: &str) -> TlsError {
    let there = known.iter().filter(|(_, found)| found.is_some());
    let accepted: Vec<&str> = there.map(|(name, _)| *name).collect();
    TlsError::UnknownName {
        what,
        name: name.to_owned(),
        accepted: accepted.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_must_be_in_order() {
        let mut rules = HandshakeRules::default();
        assert!(rules.versions(TlsVersion::V1_3, TlsVersion::V1_2).is_err());
        rules.versions(TlsVersion::V1_2, TlsVersion::V1_2).unwrap();
        assert_eq!(rules.versions.len(), 1);
    }

    #[test]
    fn suites_of_1_3_stay_whatever_is_named() {
        let mut rules = HandshakeRules::default();
        let all = rules.suites.len();
        let left_out = rules.cipher_suites(["TLS_AES_128_GCM_SHA256"]).unwrap();
        assert_eq!((rules.suites.len(), left_out), (all, Vec::new()));
        let named = [
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        ];
        let left_out = rules.cipher_suites(named).unwrap();
        assert_eq!(left_out, ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]);
        assert_eq!(rules.suites.len(), 4, "three of 1.3 and the one named");
    }

    #[test]
    fn groups_are_preferred_in_the_order_in_which_they_are_named() {
        let mut rules = HandshakeRules::default();
        rules
            .groups(["P-384", "X25519MLKEM768", "CurveP256"])
            .unwrap();
        let names: Vec<NamedGroup> = rules.groups.iter().map(|group| group.name()).collect();
        assert_eq!(names, [NamedGroup::secp384r1, NamedGroup::secp256r1]);
    }

    #[test]
    fn unknown_names_and_nothing_but_missing_ones_are_refused_with_what_is_accepted() {
        let mut rules = HandshakeRules::default();
        for name in [
            "TLS_RSA_WITH_RC4_128_SHA",
            "x",
            "",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        ] {
            let error = rules.cipher_suites([name]).unwrap_err().to_string();
            assert!(
                error.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
                "{error}"
            );
        }
        for name in ["P-521", "secp256k1", ""] {
            let error = rules.groups([name]).unwrap_err().to_string();
            assert!(error.contains("X25519, CurveP256"), "{error}");
        }
    }
}
