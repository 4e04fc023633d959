//! Variables about TLS: what handshakes on the data port and on the port of user metrics may agree on.

use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_proxy::{HandshakeRules, ServerTls, TlsError, TlsVersion};

use super::settings::{Certificate, Secured};
use super::tls::CertificateFiles;
use super::variables::{Problem, Reader};

/// The variables of one port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    min: &'static str,
    max: &'static str,
    suites: &'static str,
    groups: &'static str,
}

/// Those of the data port.
pub(super) const DATA: Names = Names {
    min: "QUEUE_PROXY_TLS_MIN_VERSION",
    max: "QUEUE_PROXY_TLS_MAX_VERSION",
    suites: "QUEUE_PROXY_TLS_CIPHER_SUITES",
    groups: "QUEUE_PROXY_TLS_CURVE_PREFERENCES",
};

/// Those of the port of user metrics.
const USER_METRICS: Names = Names {
    min: "METRICS_PROMETHEUS_TLS_MIN_VERSION",
    max: "METRICS_PROMETHEUS_TLS_MAX_VERSION",
    suites: "METRICS_PROMETHEUS_TLS_CIPHER_SUITES",
    groups: "METRICS_PROMETHEUS_TLS_CURVE_PREFERENCES",
};

const CERTIFICATE: &str = "METRICS_PROMETHEUS_TLS_CERT";
const KEY: &str = "METRICS_PROMETHEUS_TLS_KEY";
const CLIENT_AUTH: &str = "METRICS_PROMETHEUS_TLS_CLIENT_AUTH";
const CLIENT_CA: &str = "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE";

/// TLS on the port of user metrics, as it was asked for; no file has been read.
#[derive(Debug, Clone)]
pub(crate) struct MetricsTls {
    certificate: PathBuf,
    key: PathBuf,
    rules: HandshakeRules,
    /// Who signs the certificates of clients, and whether clients must have one.
    clients: Option<(PathBuf, bool)>,
}

/// Reads what handshakes may agree on. TLS 1.3 alone unless told otherwise.
pub(super) fn rules(
    names: Names,
    reader: &mut Reader<'_>,
    warnings: &mut Vec<String>,
) -> HandshakeRules {
    let version = |text: &str| match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err("write 1.2 or 1.3".to_owned()),
    };
    let min = reader.read(names.min, version);
    let max = reader.read(names.max, version);
    let (min, max) = (
        min.unwrap_or(TlsVersion::V1_3),
        max.unwrap_or(TlsVersion::V1_3),
    );
    let mut rules = HandshakeRules::default();
    if rules.versions(min, max).is_err() {
        let accepted = format!("write 1.3, or {}=1.2 beside it", names.min);
        reader.add(names.max, "1.2", accepted);
    }
    let suites = reader.read(names.suites, |text| {
        let left_out = rules.cipher_suites(listed(text));
        left_out.map_err(|error| error.to_string())
    });
    let groups = reader.read(names.groups, |text| {
        (rules.groups(listed(text))).map_err(|error| error.to_string())
    });
    for name in [suites, groups].into_iter().flatten().flatten() {
        warnings.push(format!("TLS: {name} is not supported and left out"));
    }
    rules
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split(',').map(str::trim);
    names.filter(|name| !name.is_empty())
}

/// Reads whether the port of user metrics has TLS. Files are looked at when the port is to be opened, and not before:
/// where it stays closed, what is mounted is nobody's business.
pub(super) fn user_metrics(
    reader: &mut Reader<'_>,
    warnings: &mut Vec<String>,
) -> Option<MetricsTls> {
    let certificate = reader.text(CERTIFICATE);
    let key = reader.text(KEY);
    let clients = reader.read(CLIENT_AUTH, |text| match text {
        "none" => Ok(None),
        "optional" => Ok(Some(false)),
        "require" => Ok(Some(true)),
        _ => Err("write none, optional or require".to_owned()),
    });
    let authorities = reader.text(CLIENT_CA);
    let mut rules = rules(USER_METRICS, reader, warnings);
    rules.without_http2();
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => {
            if clients.flatten().is_some() {
                let message = format!("there is no TLS without {CERTIFICATE} and {KEY}");
                reader.add(CLIENT_AUTH, "", message);
            }
            return None;
        }
        (Some(_), None) => {
            reader.add(KEY, "", format!("{CERTIFICATE} is set, and needs its key"));
            return None;
        }
        (None, Some(_)) => {
            let message = format!("{KEY} is set, and is of no use without it");
            reader.add(CERTIFICATE, "", message);
            return None;
        }
    };
    let clients = match (clients.flatten(), authorities) {
        (None, _) => None,
        (Some(is_required), Some(file)) => Some((file.into(), is_required)),
        (Some(_), None) => {
            let message = "name a PEM file of those who sign clients' certificates";
            reader.add(CLIENT_CA, "", message);
            None
        }
    };
    Some(MetricsTls {
        certificate: certificate.into(),
        key: key.into(),
        rules,
        clients,
    })
}

impl MetricsTls {
    /// Reads the files. Blocks.
    pub(super) fn read(mut self) -> Result<Secured, Problem> {
        let problem = |name: &str, file: &PathBuf, error: &TlsError| {
            Problem::new(name, file.display().to_string(), error.to_string())
        };
        if let Some((authorities, is_required)) = &self.clients {
            (self.rules.verify_clients(authorities, *is_required))
                .map_err(|error| problem(CLIENT_CA, authorities, &error))?;
        }
        let files = CertificateFiles::new(self.certificate.clone(), self.key);
        let known = files.known();
        let tls = files
            .read()
            .and_then(|identity| ServerTls::with_rules(&identity, &self.rules));
        let tls = tls.map_err(|error| problem(CERTIFICATE, &self.certificate, &error))?;
        Ok(Secured {
            tls: Arc::new(tls),
            certificate: Certificate { files, known },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::Variables;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<MetricsTls>, Vec<String>) {
        let variables = pairs.iter().copied().collect::<Variables>();
        let mut reader = Reader::new(&variables, Vec::new());
        let read = user_metrics(&mut reader, &mut Vec::new());
        let problems = reader.into_problems();
        (read, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn certificate_and_key_are_there_together_or_not_at_all() {
        assert!(matches!(read(&[]), (None, problems) if problems.is_empty()));
        let (both, problems) = read(&[(CERTIFICATE, "a"), (KEY, "b")]);
        let both = both.unwrap();
        assert_eq!(
            (both.certificate.to_str(), both.key.to_str()),
            (Some("a"), Some("b"))
        );
        assert!(problems.is_empty());
        for (set, missing) in [(CERTIFICATE, KEY), (KEY, CERTIFICATE)] {
            let (none, problems) = read(&[(set, "a")]);
            assert!(none.is_none());
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(
                problems[0].contains(&format!("for '{missing}'")),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn whoever_asks_for_certificates_of_clients_says_who_signs_them() {
        let with = |more: &[(&'static str, &'static str)]| {
            read(&[&[(CERTIFICATE, "a"), (KEY, "b")], more].concat()).1
        };
        assert!(with(&[(CLIENT_AUTH, "none")]).is_empty());
        for (more, names) in [
            (&[(CLIENT_AUTH, "require")][..], CLIENT_CA),
            (&[(CLIENT_AUTH, "yes")], CLIENT_AUTH),
            (&[(USER_METRICS.min, "1.1")], USER_METRICS.min),
            (&[(USER_METRICS.max, "1.2")], USER_METRICS.max),
            (&[(USER_METRICS.suites, "x")], USER_METRICS.suites),
            (&[(USER_METRICS.groups, "x")], USER_METRICS.groups),
        ] {
            let problems = with(more);
            assert_eq!(problems.len(), 1, "{more:?}: {problems:?}");
            assert!(
                problems[0].contains(&format!("for '{names}'")),
                "{problems:?}"
            );
        }
        let (named, problems) = read(&[
            (CERTIFICATE, "a"),
            (KEY, "b"),
            (CLIENT_AUTH, "optional"),
            (CLIENT_CA, "/no/such/file"),
        ]);
        assert!(problems.is_empty(), "no file has been read: {problems:?}");
        let problem = named.unwrap().read().unwrap_err();
        assert_eq!(
            (&*problem.name, &*problem.value),
            (CLIENT_CA, "/no/such/file")
        );
        // It is of no use alone, and whoever set it thinks otherwise.
        let (_, problems) = read(&[(CLIENT_AUTH, "require"), (CLIENT_CA, "c")]);
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
