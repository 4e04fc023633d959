//! What happens to header fields on the way: hop-by-hop ones go, `X-Forwarded-For` grows, the rest stays.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, Entry, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use plimsoll_meter::Source;

use crate::config::HEAD_BYTES_MAX;
use crate::knative::is_probe_agent;
use crate::refusal::Refusal;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// How a request over the bounds of a head is told so.
pub(crate) const HEAD_TOO_LARGE: &str = "the head of the request is over 64 KiB or 100 fields";
const K_PROXY_REQUEST: HeaderName = HeaderName::from_static("k-proxy-request");

/// The colon, the space and the end of the line of a header field.
const FIELD_OVERHEAD_BYTES: usize = 4;

/// What one look over a request's head finds. One, because each look-up by name costs a hash.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Survey {
    proxied: bool,
    hosts: usize,
    /// A `Host` is none.
    wrong_host: bool,
    content_lengths: usize,
    transfer_encoding: bool,
    hop_by_hop: bool,
    /// There is a field for a proxy to prove itself, which HTTP/2 has too.
    proxy_authentication: bool,
    /// There is a field of Knative's that somebody may have to act on.
    of_knative: bool,
    /// It may be a probe.
    may_probe: bool,
    /// Proxies before us have said whom they forward for.
    forwarded: bool,
    /// Names, values and what separates them.
    bytes: usize,
}

impl Survey {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self::default();
        for (name, value) in headers {
            let text = name.as_str();
            survey.bytes += text.len() + value.len() + FIELD_OVERHEAD_BYTES;
            if *name == HOST {
                survey.hosts += 1;
                survey.wrong_host |= !is_host(value);
            } else if *name == USER_AGENT {
                survey.may_probe |= is_probe_agent(value);
            } else if *name == CONTENT_LENGTH {
                survey.content_lengths += 1;
            } else if is_hop_by_hop(name) {
                survey.hop_by_hop = true;
                survey.transfer_encoding |= *name == TRANSFER_ENCODING;
                survey.proxy_authentication |=
                    *name == PROXY_AUTHORIZATION || *name == PROXY_AUTHENTICATE;
            } else if text.starts_with('k') {
                survey.see_knative(text, value);
            } else if text.starts_with("x-forwarded-") {
                survey.forwarded = true;
            }
        }
        survey
    }

    /// Looks at a field whose name begins as Knative's do.
    fn see_knative(&mut self, name: &str, value: &HeaderValue) {
        match name {
            "k-proxy-request" => self.proxied |= value == "activator",
            "k-network-probe" | "k-kubelet-probe" => self.may_probe = true,
            "k-original-host" | "knative-serving-revision" | "knative-serving-namespace" => {
                self.of_knative = true;
            }
            _ => {}
        }
    }

    /// Whether it is more than a plain request where Knative's contract holds.
    pub(crate) fn concerns_knative(&self) -> bool {
        self.of_knative || self.may_probe || self.forwarded
    }

    /// Whether it could be a probe.
    pub(crate) fn may_probe(&self) -> bool {
        self.may_probe
    }

    /// Whether proxies before us have said whom they forward for, in the older fields.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.forwarded
    }

    /// What the fields occupy, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Which total the request counts in: Knative's activator marks what it forwards.
    pub(crate) fn source(&self) -> Source {
        if self.proxied {
            Source::Proxied
        } else {
            Source::Direct
        }
    }
}

/// Whether the caller speaks gRPC, and so expects failures in `grpc-status`.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Whether the client waits for `100 Continue` before it sends the body.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Makes the head of a client's request the head of the application's, or says why it cannot be carried.
pub(crate) fn prepare_request<B>(
    request: &mut Request<B>,
    survey: Survey,
    forwarded_for: &HeaderValue,
) -> Result<(), Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::bad_request(
            StatusCode::NOT_IMPLEMENTED,
            "CONNECT is not supported",
        ));
    }
    if survey.bytes > HEAD_BYTES_MAX {
        // The HTTP library stops reading there, but takes what the last read brought beyond.
        return Err(Refusal::bad_request(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            HEAD_TOO_LARGE,
        ));
    }
    if survey.wrong_host {
        // As in the target, there to mislead about the host: RFC 9110 section 4.2.4.
        return Err(Refusal::bad_request(
            StatusCode::BAD_REQUEST,
            "the Host header is no host",
        ));
    }
    if survey.content_lengths > 1 {
        // RFC 9110 section 8.6 lets a server take equal ones. Whoever reads only the first is told apart from who
        // reads the last, so this one does not.
        return Err(Refusal::bad_request(
            StatusCode::BAD_REQUEST,
            "more than one Content-Length header",
        ));
    }
    if request.version() == Version::HTTP_2 {
        check_http2(request, survey)?;
        if survey.proxy_authentication {
            // The other fields of one connection are malformed in HTTP/2, and have been refused.
            request.headers_mut().remove(PROXY_AUTHORIZATION);
            request.headers_mut().remove(PROXY_AUTHENTICATE);
        }
    } else {
        check_http1(request.version(), survey)?;
        prepare_http1(request, survey)?;
    }
    append_forwarded_for(request.headers_mut(), forwarded_for);
    request.extensions_mut().clear();
    Ok(())
}

/// Whether a `Host` can be one, with or without a port (RFC 9110 section 7.2); empty is allowed.
///
/// Says no to what somebody else could read as another host: user information, a path, white space.
pub(crate) fn is_host(value: &HeaderValue) -> bool {
    let misleads =
        |byte: &u8| matches!(byte, 0..=b' ' | b'"' | b'#' | b'/' | b'?' | b'@' | b'\\' | 0x7f..);
    !value.as_bytes().iter().any(misleads)
}

/// There is one host that the request is for, whoever looks for it where: RFC 9113 section 8.3.1.
fn check_http2<B>(request: &Request<B>, survey: Survey) -> Result<(), Refusal> {
    let refuse = |cause| Err(Refusal::bad_request(StatusCode::BAD_REQUEST, cause));
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse("user information in :authority");
    }
    if survey.hosts > 1 {
        return refuse("more than one Host header");
    }
    if survey.hosts == 1
        && let (Some(authority), Some(host)) = (authority, request.headers().get(HOST))
        && !host
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return refuse("Host and :authority name different hosts");
    }
    Ok(())
}

fn check_http1(version: Version, survey: Survey) -> Result<(), Refusal> {
    let refuse = |cause| Err(Refusal::bad_request(StatusCode::BAD_REQUEST, cause));
    if survey.hosts > 1 {
        return refuse("more than one Host header");
    }
    if survey.hosts == 0 && version == Version::HTTP_11 {
        return refuse("an HTTP/1.1 request needs a Host header");
    }
    if survey.transfer_encoding && survey.content_lengths > 0 {
        // RFC 9112 section 6.1: the stuff of request smuggling; a server may refuse it, and this one does.
        return refuse("both Content-Length and Transfer-Encoding");
    }
    if survey.transfer_encoding && version == Version::HTTP_10 {
        return refuse("Transfer-Encoding in an HTTP/1.0 request");
    }
    Ok(())
}

/// HTTP/1 only: origin form, version 1.1, no hop-by-hop fields but those of an upgrade.
fn prepare_http1<B>(request: &mut Request<B>, survey: Survey) -> Result<(), Refusal> {
    if request.version() == Version::HTTP_10 {
        // RFC 9110 section 10.1.1: it means nothing there, and the application would be waited for.
        request.headers_mut().remove(EXPECT);
        if survey.hosts == 0 {
            // The application is asked by HTTP/1.1, which needs one. RFC 9112 section 3.2: empty, if nobody said which.
            request
                .headers_mut()
                .insert(HOST, HeaderValue::from_static(""));
        }
    }
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = request.uri().authority() {
        if authority.as_str().contains('@') {
            // RFC 9110 section 4.2.4: there to mislead about the host.
            return Err(Refusal::bad_request(
                StatusCode::BAD_REQUEST,
                "user information in the request target",
            ));
        }
        // RFC 9112 section 3.2.2: with an absolute form, the received Host is ignored.
        let host = HeaderValue::try_from(authority.as_str()).map_err(|_| {
            Refusal::bad_request(
                StatusCode::BAD_REQUEST,
                "invalid authority in the request target",
            )
        })?;
        request.headers_mut().insert(HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    if survey.hop_by_hop {
        let headers = request.headers_mut();
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        if !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            // RFC 9112 section 6.1. The field goes on as `chunked` alone, so another coding would be lost.
            return Err(Refusal::bad_request(
                StatusCode::NOT_IMPLEMENTED,
                "a transfer coding other than chunked",
            ));
        }
        let upgrade = upgrade_token(headers);
        let te_trailers = headers
            .get_all(TE)
            .iter()
            .any(|value| has_token(value, "trailers"));
        remove_hop_by_hop(headers);
        if te_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(token) = upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, token);
        }
    }
    Ok(())
}

/// Cleans the head of the application's response; `upgrade` is the token of a 101, which stays.
pub(crate) fn prepare_response(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    if headers.keys().any(is_hop_by_hop) {
        remove_hop_by_hop(headers);
    }
    if let Some(token) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, token.clone());
    }
}

/// The protocol a client wants to change to, or the application has changed to.
///
/// `h2c` is none: RFC 9113 has dropped that upgrade, and a server may always ignore one.
pub(crate) fn upgrade_token(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .any(|value| has_token(value, "upgrade"));
    let token = headers.get(UPGRADE)?;
    (asked && !token.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| token.clone())
}

/// Fields that concern one connection only (RFC 9110 section 7.6.1).
///
/// `Trailer` is not among them: RFC 9110 lets it pass, and the HTTP library sends just the trailers it names.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == TE
        || *name == PROXY_AUTHENTICATE
        || *name == PROXY_AUTHORIZATION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        TE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        headers.remove(name);
    }
}

/// Fields that `Connection` names.
///
/// Those that frame the message or say whom it is for stay, whatever `Connection` says: taking them out would
/// change the meaning of the request, which is how such a header is abused.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::try_from(token.trim()).ok())
        .filter(|name| {
            ![
                CONTENT_LENGTH,
                HOST,
                TRAILER,
                X_FORWARDED_FOR,
                K_PROXY_REQUEST,
            ]
            .contains(name)
        })
        .collect()
}

fn has_token(value: &HeaderValue, wanted: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        value
            .split(',')
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    })
}

/// Says that the client came over TLS, unless somebody before us has said how the first of all came.
pub(crate) fn add_forwarded_proto(headers: &mut HeaderMap) {
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("https"));
}

/// Appends the client's address; several lines become one.
fn append_forwarded_for(headers: &mut HeaderMap, address: &HeaderValue) {
    match headers.entry(X_FORWARDED_FOR) {
        Entry::Vacant(vacant) => {
            vacant.insert(address.clone());
        }
        Entry::Occupied(mut occupied) => {
            let mut joined = Vec::new();
            for value in occupied.iter() {
                joined.extend_from_slice(value.as_bytes());
                joined.extend_from_slice(b", ");
            }
            joined.extend_from_slice(address.as_bytes());
            // Joining valid values with ", " is valid.
            occupied.insert(HeaderValue::from_bytes(&joined).unwrap_or_else(|_| address.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a valid request")
    }

    fn prepare(request: &mut Request<()>) -> Result<(), Refusal> {
        let survey = Survey::of(request.headers());
        prepare_request(request, survey, &HeaderValue::from_static("10.0.0.9"))
    }

    fn prepared(fields: &[(&str, &str)]) -> HeaderMap {
        let mut request = request(Version::HTTP_11, "/", fields);
        prepare(&mut request).expect("carried");
        request.headers().clone()
    }

    #[test]
    fn hop_by_hop_fields_go_and_the_rest_stays() {
        let head = prepared(&[
            ("host", "a"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("proxy-authorization", "secret"),
            ("te", "trailers, deflate"),
            ("user-agent", "u"),
        ]);
        let mut names: Vec<_> = head.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "te", "user-agent", "x-forwarded-for"]);
        assert_eq!(head[TE], "trailers");
    }

    #[test]
    fn connection_cannot_take_out_what_frames_or_addresses_a_message() {
        let head = prepared(&[
            ("host", "a"),
            ("connection", "content-length, host, x-forwarded-for"),
            ("content-length", "3"),
        ]);
        assert_eq!(head[CONTENT_LENGTH], "3");
        assert_eq!(head[HOST], "a");
    }

    #[test]
    fn forwarded_for_grows_and_several_lines_become_one() {
        assert_eq!(prepared(&[("host", "a")])[X_FORWARDED_FOR], "10.0.0.9");
        let head = prepared(&[
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
        ]);
        assert_eq!(head.get_all(X_FORWARDED_FOR).iter().count(), 1);
        assert_eq!(head[X_FORWARDED_FOR], "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9");
    }

    #[test]
    fn an_upgrade_is_kept_but_for_h2c() {
        let websocket = prepared(&[
            ("host", "a"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(websocket[CONNECTION], "upgrade");
        assert_eq!(websocket[UPGRADE], "websocket");
        let h2c = prepared(&[
            ("host", "a"),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
        ]);
        assert!(!h2c.contains_key(UPGRADE) && !h2c.contains_key("http2-settings"));
    }

    #[test]
    fn user_information_in_the_target_is_refused() {
        let fields = [("host", "a.example")];
        let mut request = request(Version::HTTP_11, "http://a.example@b.example/", &fields);
        let refusal = prepare(&mut request).expect_err("it names another host");
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn an_absolute_target_becomes_origin_form_and_governs_host() {
        let mut request = request(
            Version::HTTP_11,
            "http://real.example:81/p?q=1",
            &[("host", "other.example")],
        );
        prepare(&mut request).expect("carried");
        assert_eq!(request.uri(), "/p?q=1");
        assert_eq!(request.headers()[HOST], "real.example:81");
    }

    #[test]
    fn without_a_host_in_http_1_0_the_application_gets_an_empty_one() {
        let asked = |target, fields: &[(&str, &str)]| {
            let mut request = request(Version::HTTP_10, target, fields);
            prepare(&mut request).expect("carried");
            assert_eq!(request.version(), Version::HTTP_11);
            request.headers()[HOST].clone()
        };
        assert_eq!(asked("/", &[]), "");
        assert_eq!(asked("/", &[("host", "a")]), "a");
        assert_eq!(asked("http://b/", &[]), "b");
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        type Case<'a> = (Version, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 4] = [
            (
                Version::HTTP_11,
                &[],
                "an HTTP/1.1 request needs a Host header",
            ),
            (
                Version::HTTP_11,
                &[("host", "a"), ("host", "b")],
                "more than one Host header",
            ),
            (
                Version::HTTP_11,
                &[
                    ("host", "a"),
                    ("content-length", "3"),
                    ("transfer-encoding", "chunked"),
                ],
                "both Content-Length and Transfer-Encoding",
            ),
            (
                Version::HTTP_10,
                &[("transfer-encoding", "chunked")],
                "Transfer-Encoding in an HTTP/1.0 request",
            ),
        ];
        for (version, fields, cause) in cases {
            let refusal = prepare(&mut request(version, "/", fields)).expect_err(cause);
            assert_eq!(
                (refusal.status, refusal.details.as_ref()),
                (StatusCode::BAD_REQUEST, cause)
            );
        }
    }

    #[test]
    fn only_the_activator_makes_a_request_proxied() {
        for (value, expected) in [
            ("activator", Source::Proxied),
            ("Activator", Source::Direct),
            ("", Source::Direct),
        ] {
            assert_eq!(
                Survey::of(&prepared(&[("host", "a"), ("k-proxy-request", value)])).source(),
                expected
            );
        }
    }
}
