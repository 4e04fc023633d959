//! By which labels a request is counted, in a word of 64 bits.

use http::{HeaderMap, Method, Version};
use plimsoll_proxy::{Arrival, RequestEnd};
use plimsoll_wire::ProxyError;
use plimsoll_wire::user::{OTHER, OTHER_METHOD, RequestLabels, RequestSeries, Revision, RouteTag};

use super::names::Names;
use crate::telemetry::may_be_of_knative;

/// The most values of `Host` that are told apart.
const ADDRESSES_MAX: usize = 32;

/// The most route tags that are told apart.
const TAGS_MAX: usize = 32;

/// The header with which Knative's ingress says by which tag a request came.
const TAG: &str = "knative-serving-tag";

/// The header with which it says whether that is the default route.
const DEFAULT_ROUTE: &str = "knative-serving-default-route";

/// Methods that have their own series, as OpenTelemetry's conventions have them.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::CONNECT,
    Method::TRACE,
];

const VERSIONS: [&str; 3] = ["1.1", "2", "1.0"];

/// The bits of a [`Key`]: where each part begins, and how many values it can have.
const METHOD: Part = Part { at: 0, bits: 4 };
const VERSION: Part = Part { at: 4, bits: 2 };
const SCHEME: Part = Part { at: 6, bits: 1 };
const ADDRESS: Part = Part { at: 8, bits: 8 };
const ROUTE: Part = Part { at: 16, bits: 8 };
const STATUS: Part = Part { at: 24, bits: 16 };
const ERROR: Part = Part { at: 40, bits: 8 };

/// Values of [`ROUTE`] that are no tag's place.
const ROUTE_DISABLED: usize = TAGS_MAX;
const ROUTE_DEFAULT: usize = TAGS_MAX + 1;
const ROUTE_UNDEFINED: usize = TAGS_MAX + 2;
const ROUTE_OTHER: usize = TAGS_MAX + 3;

#[derive(Clone, Copy)]
struct Part {
    at: u32,
    bits: u32,
}

/// Labels of a request, as places in tables of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

/// The names that clients have said so far.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    addresses: Names<ADDRESSES_MAX>,
    tags: Names<TAGS_MAX>,
}

impl Key {
    const fn with(self, part: Part, value: usize) -> Self {
        let mask = ((1 << part.bits) - 1) << part.at;
        Self((self.0 & !mask) | (((value as u64) << part.at) & mask))
    }

    const fn get(self, part: Part) -> usize {
        ((self.0 >> part.at) & ((1 << part.bits) - 1)) as usize
    }

    /// With what is known at the end.
    pub(super) fn ended(self, end: &RequestEnd) -> Self {
        let error = end.error.map_or(0, |error| error.index() + 1);
        self.with(STATUS, end.status.into()).with(ERROR, error)
    }

    /// Nothing but the class of the status: one of ten.
    pub(super) fn coarse(self) -> Self {
        Self(0)
            .with(METHOD, METHODS.len())
            .with(ADDRESS, ADDRESSES_MAX)
            .with(ROUTE, ROUTE_OTHER)
            .with(STATUS, self.get(STATUS) / 100 % 10 * 100)
    }

    /// The word, for a table.
    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// The key with this word.
    #[cfg(test)]
    pub(super) fn of_word(word: u64) -> Self {
        Self(word)
    }
}

impl Vocabulary {
    /// The labels of a request that has arrived. Linear in the names that are kept.
    pub(super) fn key(&self, arrival: &Arrival<'_>) -> Key {
        let method = METHODS.iter().position(|method| method == arrival.method);
        let version = match arrival.version {
            Version::HTTP_2 => 1,
            Version::HTTP_10 | Version::HTTP_09 => 2,
            _ => 0,
        };
        let address = host(arrival).and_then(|host| {
            let own = if arrival.is_tls { ":443" } else { ":80" };
            self.addresses
                .place(host.strip_suffix(own.as_bytes()).unwrap_or(host))
        });
        Key(0)
            .with(METHOD, method.unwrap_or(METHODS.len()))
            .with(VERSION, version)
            .with(SCHEME, arrival.is_tls.into())
            .with(ADDRESS, address.unwrap_or(ADDRESSES_MAX))
            .with(ROUTE, self.route(arrival.headers))
    }

    /// Knative's rules: `kn.route.tag` of queue-proxy.
    fn route(&self, headers: &HeaderMap) -> usize {
        if !may_be_of_knative(headers) {
            return ROUTE_DISABLED;
        }
        let value = |name| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        let (tag, default) = (value(TAG), value(DEFAULT_ROUTE));
        match (tag, default) {
            (b"", b"") => ROUTE_DISABLED,
            (b"", _) => ROUTE_DEFAULT,
            (_, b"true") => ROUTE_UNDEFINED,
            (tag, _) => self.tags.place(tag).unwrap_or(ROUTE_OTHER),
        }
    }

    /// The labels behind a key.
    pub(super) fn labels(&self, key: Key) -> RequestLabels {
        let method = METHODS.get(key.get(METHOD));
        let address = self.addresses.get(key.get(ADDRESS)).unwrap_or(OTHER);
        let (server_address, server_port) = split(address);
        RequestLabels {
            method: method.map_or(OTHER_METHOD, standard),
            status: u16::try_from(key.get(STATUS)).unwrap_or_default(),
            protocol_version: VERSIONS.get(key.get(VERSION)).copied().unwrap_or("1.1"),
            server_address: server_address.to_owned(),
            server_port,
            scheme: ["http", "https"][key.get(SCHEME)],
            route_tag: self.route_tag(key.get(ROUTE)),
            error: (key.get(ERROR).checked_sub(1))
                .and_then(|index| ProxyError::ALL.get(index).copied()),
        }
    }

    fn route_tag(&self, route: usize) -> RouteTag {
        match route {
            ROUTE_DISABLED => RouteTag::Disabled,
            ROUTE_DEFAULT => RouteTag::Default,
            ROUTE_UNDEFINED => RouteTag::Undefined,
            ROUTE_OTHER => RouteTag::Other,
            place => {
                (self.tags.get(place)).map_or(RouteTag::Other, |tag| RouteTag::Tag(tag.to_owned()))
            }
        }
    }
}

/// Whom the client asked for: what stands in the target, or else in `Host`.
fn host<'a>(arrival: &'a Arrival<'_>) -> Option<&'a [u8]> {
    match arrival.uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => arrival
            .headers
            .get(http::header::HOST)
            .map(|host| host.as_bytes()),
    }
}

/// Host and port; what does not look like that is a host as it is.
fn split(address: &str) -> (&str, Option<u16>) {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (address, ""),
    };
    match port.parse() {
        Ok(port) => (host, Some(port)),
        Err(_) => (address, None),
    }
}

fn standard(method: &Method) -> &'static str {
    let name = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ];
    let known = name.into_iter().find(|name| *name == method.as_str());
    known.unwrap_or(OTHER_METHOD)
}

/// Series that are there before any request, so that `increase()` sees the first success and the first failure.
pub(super) fn from_the_start(revision: &Revision) -> Vec<RequestSeries> {
    let server_address = match revision.service.as_str() {
        "" => OTHER.to_owned(),
        service => format!("{service}.{}.svc.cluster.local", revision.namespace),
    };
    let of_status = |status| {
        RequestSeries::empty(RequestLabels {
            method: "GET",
            status,
            protocol_version: "1.1",
            server_address: server_address.clone(),
            server_port: None,
            scheme: "http",
            route_tag: RouteTag::Disabled,
            error: None,
        })
    };
    [200, 500].map(of_status).into()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::{HeaderValue, Uri};
    use plimsoll_meter::Tick;
    use plimsoll_wire::Answer;

    use super::*;

    const CLIENT: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    fn key(
        vocabulary: &Vocabulary,
        target: &str,
        fields: &[(&'static str, &str)],
        is_tls: bool,
    ) -> Key {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        vocabulary.key(&Arrival {
            worker: 0,
            at: Tick::from_nanos(0),
            remote: CLIENT,
            is_tls,
            method: &Method::from_bytes(b"PATCH").unwrap(),
            uri: &target.parse::<Uri>().unwrap(),
            version: Version::HTTP_11,
            headers: &mut headers,
            content_length: Some(0),
        })
    }

    #[test]
    fn route_tags_follow_the_two_headers() {
        let vocabulary = Vocabulary::default();
        // tag, default route, label
        for (tag, default, expected) in [
            (None, None, "kn:disabled"),
            (Some(""), Some(""), "kn:disabled"),
            (None, Some("true"), "kn:default"),
            (None, Some("false"), "kn:default"),
            (Some("test-tag"), Some("true"), "kn:undefined"),
            (Some("test-tag"), Some("false"), "test-tag"),
            (Some("test-tag"), None, "test-tag"),
        ] {
            let fields: Vec<_> = [(TAG, tag), (DEFAULT_ROUTE, default)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let labels = vocabulary.labels(key(&vocabulary, "/", &fields, false));
            assert_eq!(labels.route_tag.today(), expected, "{tag:?} {default:?}");
        }
    }

    #[test]
    fn the_address_is_that_of_host_without_the_schemes_own_port() {
        let vocabulary = Vocabulary::default();
        for (target, host, is_tls, expected) in [
            ("/", Some("Hello.Default"), false, ("hello.default", None)),
            (
                "/",
                Some("hello.default:80"),
                false,
                ("hello.default", None),
            ),
            (
                "/",
                Some("hello.default:443"),
                true,
                ("hello.default", None),
            ),
            (
                "/",
                Some("hello.default:80"),
                true,
                ("hello.default", Some(80)),
            ),
            ("/", Some("[::1]:8012"), false, ("[::1]", Some(8012))),
            ("/", Some("[::1]"), false, ("[::1]", None)),
            ("/", Some("a:b"), false, ("a:b", None)),
            (
                "http://target.example/",
                Some("host.example"),
                false,
                ("target.example", None),
            ),
            ("/", None, false, (OTHER, None)),
        ] {
            let fields: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
            let labels = vocabulary.labels(key(&vocabulary, target, &fields, is_tls));
            assert_eq!(
                (labels.server_address.as_str(), labels.server_port),
                expected,
                "{host:?}"
            );
        }
    }

    /// F8: queue-proxy has a series for every `Host`.
    #[test]
    fn f8_addresses_are_bounded_whatever_clients_say() {
        let vocabulary = Vocabulary::default();
        let addresses: std::collections::BTreeSet<String> = (0..10_000)
            .map(|index| {
                let host = format!("host-{index}.example");
                let tag = format!("tag-{index}");
                let key = key(&vocabulary, "/", &[("host", &host), (TAG, &tag)], false);
                vocabulary.labels(key).server_address
            })
            .collect();
        assert_eq!(addresses.len(), ADDRESSES_MAX + 1);
        assert!(addresses.contains(OTHER));
    }

    #[test]
    fn the_end_adds_status_and_error_and_coarsely_the_class_is_left() {
        let vocabulary = Vocabulary::default();
        let end = RequestEnd {
            answer: Answer::UpstreamError,
            error: Some(ProxyError::TlsAlertReceived),
            status: 999,
            request_bytes: 0,
            response_bytes: 0,
            running_since: None,
            ended: Tick::from_nanos(1),
        };
        let key = key(&vocabulary, "/", &[("host", "a"), (TAG, "t")], true).ended(&end);
        let labels = vocabulary.labels(key);
        assert_eq!((labels.method, labels.scheme), ("PATCH", "https"));
        assert_eq!((labels.status, labels.error), (999, end.error));
        assert_eq!(Key::of_word(key.word()), key);
        let coarse = vocabulary.labels(key.coarse());
        let expected = RequestLabels {
            method: OTHER_METHOD,
            status: 900,
            protocol_version: "1.1",
            server_address: OTHER.to_owned(),
            server_port: None,
            scheme: "http",
            route_tag: RouteTag::Other,
            error: None,
        };
        assert_eq!(coarse, expected);
    }
}
