//! Where a collector is, and what it is told besides.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use plimsoll_wire::otlp;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Metrics,
    Traces,
}

/// How OTLP is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(super) protocol: Protocol,
    pub(super) is_tls: bool,
    pub(super) authority: Authority,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
    /// What `OTEL_EXPORTER_OTLP_HEADERS` says: mostly who is asking.
    pub(super) headers: HeaderMap,
    /// The variable that named it; empty if none did.
    pub(crate) source: &'static str,
}

impl Signal {
    const fn variable(self) -> &'static str {
        match self {
            Self::Metrics => "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            Self::Traces => "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Metrics => otlp::METRICS_PATH,
            Self::Traces => otlp::TRACES_PATH,
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Metrics => otlp::METRICS_METHOD,
            Self::Traces => otlp::TRACES_METHOD,
        }
    }
}

impl Protocol {
    /// OpenTelemetry's default.
    const fn default_endpoint(self) -> &'static str {
        match self {
            Self::Grpc => "http://localhost:4317",
            Self::Http => "http://localhost:4318",
        }
    }
}

impl Endpoint {
    /// The endpoint that OpenTelemetry's variables name, or else `configured`, or else the default one.
    ///
    /// # Errors
    /// What is wrong: the variable if it was one, the value, and what is accepted.
    pub(crate) fn resolve(
        signal: Signal,
        protocol: Protocol,
        configured: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
        let told = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let headers = match told(HEADERS) {
            None => HeaderMap::new(),
            Some(text) => headers(&text).map_err(|error| format!("{HEADERS}: {error}"))?,
        };
        let (source, url, is_base) = if let Some(url) = told(signal.variable()) {
            (signal.variable(), url, false)
        } else if let Some(url) = told(ALL) {
            (ALL, url, true)
        } else if let Some(url) = configured {
            ("OBSERVABILITY_CONFIG", url.to_owned(), false)
        } else {
            ("", protocol.default_endpoint().to_owned(), false)
        };
        let endpoint = Self::of_url(signal, protocol, url.trim(), is_base);
        let endpoint = endpoint.map(|endpoint| Self {
            headers,
            source,
            ..endpoint
        });
        endpoint.ok_or_else(|| {
            format!("{source}: {url:?} is no endpoint; write a URL such as http://collector:4318")
        })
    }

    fn of_url(signal: Signal, protocol: Protocol, url: &str, is_base: bool) -> Option<Self> {
        // As Knative has it: without a scheme it is https.
        let url = if url.contains("://") {
            url.to_owned()
        } else {
            format!("https://{url}")
        };
        let parts = url.parse::<Uri>().ok()?.into_parts();
        let is_tls = match parts.scheme? {
            scheme if scheme == Scheme::HTTPS => true,
            scheme if scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = parts
            .authority
            .filter(|authority| !authority.as_str().contains('@'))?;
        let port = match (protocol, is_tls) {
            // One that is there and is no number up to 65535 is none at all.
            _ if authority.as_str() != authority.host() => authority.port_u16()?,
            (Protocol::Grpc, _) => 4317,
            (Protocol::Http, true) => 443,
            (Protocol::Http, false) => 80,
        };
        let own = parts.path_and_query.filter(|path| path.as_str() != "/");
        let path = match (protocol, own) {
            (Protocol::Grpc, _) => PathAndQuery::from_static(signal.method()),
            (Protocol::Http, None) => PathAndQuery::from_static(signal.path()),
            (Protocol::Http, Some(own)) if is_base => {
                let base = own.path().trim_end_matches('/');
                format!("{base}{}", signal.path()).parse().ok()?
            }
            (Protocol::Http, Some(own)) => own,
        };
        Some(Self {
            protocol,
            is_tls,
            authority,
            port,
            path,
            headers: HeaderMap::new(),
            source: "",
        })
    }

    /// The host without the brackets of IPv6.
    pub(super) fn host(&self) -> &str {
        self.authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// `name=value,name=value`, values as they stand in a URL.
fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair.split_once('=').ok_or("write name=value,name=value")?;
        let name: HeaderName = (name.trim().parse())
            .map_err(|_| format!("{:?} is no name of a header field", name.trim()))?;
        let decoded = decoded(value.trim()).and_then(|value| HeaderValue::from_bytes(&value).ok());
        let mut value =
            decoded.ok_or_else(|| format!("the value of {name} cannot be a header field's"))?;
        // Mostly a secret.
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        signal: Signal,
        protocol: Protocol,
        configured: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let endpoint = Endpoint::resolve(signal, protocol, configured, variable);
        endpoint.map(|endpoint| format!("{endpoint} {}", endpoint.port))
    }

    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export 4317";

    #[test]
    fn without_variables_an_endpoint_is_the_configured_one_or_the_default() {
        use Protocol::{Grpc, Http};
        use Signal::{Metrics, Traces};
        for (signal, protocol, configured, expected) in [
            (Traces, Http, None, "http://localhost:4318/v1/traces 4318"),
            (
                Traces,
                Grpc,
                None,
                &format!("http://localhost:4317{EXPORT}"),
            ),
            (
                Metrics,
                Http,
                Some("http://c:80"),
                "http://c:80/v1/metrics 80",
            ),
            (Metrics, Http, Some("https://c/own"), "https://c/own 443"),
            (
                Traces,
                Grpc,
                Some("c:4317"),
                &format!("https://c:4317{EXPORT}"),
            ),
            (
                Traces,
                Http,
                Some("http://[::1]:4318"),
                "http://[::1]:4318/v1/traces 4318",
            ),
        ] {
            let resolved = resolve(signal, protocol, configured, &[]);
            assert_eq!(resolved.as_deref(), Ok(expected), "{configured:?}");
        }
    }

    #[test]
    fn variables_win_over_the_configured_endpoint() {
        use Signal::{Metrics, Traces};
        let base: &[_] = &[(ALL, "http://e:1/base/")];
        let both: &[_] = &[(ALL, "http://e:1"), (TRACES, "http://t:2/x")];
        let traces: &[_] = &[(TRACES, "http://t:2/x")];
        for (signal, configured, variables, expected) in [
            (
                Traces,
                Some("http://c"),
                base,
                "http://e:1/base/v1/traces 1",
            ),
            (Traces, Some("http://c"), both, "http://t:2/x 2"),
            (Metrics, Some("http://c"), both, "http://e:1/v1/metrics 1"),
            (
                Metrics,
                Some("http://c:3"),
                traces,
                "http://c:3/v1/metrics 3",
            ),
            (
                Traces,
                None,
                &[(ALL, " ")],
                "http://localhost:4318/v1/traces 4318",
            ),
        ] {
            let resolved = resolve(signal, Protocol::Http, configured, variables);
            assert_eq!(
                resolved.as_deref(),
                Ok(expected),
                "{configured:?} {variables:?}"
            );
        }
    }

    #[test]
    fn what_is_no_endpoint_is_told_with_what_is_accepted() {
        for url in [
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a b",
            "://",
            "http://a:99999",
        ] {
            let error = resolve(Signal::Traces, Protocol::Http, Some(url), &[]).expect_err(url);
            assert!(
                error.contains(&format!("{url:?}")) && error.contains("http://collector:4318"),
                "{error}"
            );
        }
        let variables = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "x y")];
        let error = resolve(Signal::Metrics, Protocol::Grpc, None, &variables).expect_err("x y");
        assert!(
            error.starts_with("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "),
            "{error}"
        );
    }

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let all = headers("api-key=a%20b%3D, x = y ,").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all["api-key"], "a b=");
        assert_eq!(all["x"], "y");
        for wrong in ["x", "a b=c", "x=%", "x=%zz", "x=%0a"] {
            assert!(headers(wrong).is_err(), "{wrong}");
        }
    }
}
