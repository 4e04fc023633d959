//! Attributes of requests by OpenTelemetry's names, typed as its conventions have them.

use super::{RequestLabels, Revision, UserSample};

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(i64),
}

/// Names and values.
pub(crate) type Attributes = Vec<(&'static str, Attribute)>;

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u16> for Attribute {
    fn from(number: u16) -> Self {
        Self::Whole(number.into())
    }
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Whole(number) => write!(formatter, "{number}"),
        }
    }
}

/// Which revision it is; what nobody has said is left out.
pub(crate) fn of_revision(revision: &Revision) -> Attributes {
    let all = [
        ("k8s.namespace.name", &revision.namespace),
        ("kn.service.name", &revision.service),
        ("kn.configuration.name", &revision.configuration),
        ("kn.revision.name", &revision.revision),
    ];
    let told = all.into_iter().filter(|(_, value)| !value.is_empty());
    told.map(|(name, value)| (name, value.as_str().into()))
        .collect()
}

/// Of `kn.serving.invocation.duration`.
pub(crate) fn of_invocation(labels: &RequestLabels) -> Attributes {
    vec![("http.response.status_code", labels.status.into())]
}

/// Of `http.server.…`.
pub(crate) fn of_server(labels: &RequestLabels) -> Attributes {
    let mut all = vec![
        ("http.request.method", labels.method.into()),
        ("http.response.status_code", labels.status.into()),
        ("network.protocol.name", "http".into()),
        ("network.protocol.version", labels.protocol_version.into()),
        ("server.address", labels.server_address.as_str().into()),
    ];
    if let Some(port) = labels.server_port {
        all.push(("server.port", port.into()));
    }
    all.push(("url.scheme", labels.scheme.into()));
    all.push(("kn.route.tag", labels.route_tag.today().into()));
    all
}

/// Of `http.client.…`.
pub(crate) fn of_client(sample: &UserSample<'_>, labels: &RequestLabels) -> Attributes {
    let (address, port) = sample.app;
    let result = match labels.error {
        None => ("http.response.status_code", labels.status.into()),
        Some(error) => ("error.type", error.as_str().into()),
    };
    let version = match labels.protocol_version {
        "2" => "2",
        // Whatever the client speaks, the application is not asked in less.
        _ => "1.1",
    };
    vec![
        ("http.request.method", labels.method.into()),
        result,
        ("network.protocol.name", "http".into()),
        ("network.protocol.version", version.into()),
        ("server.address", address.into()),
        ("server.port", port.into()),
        ("url.scheme", "http".into()),
        ("kn.route.tag", labels.route_tag.today().into()),
    ]
}
