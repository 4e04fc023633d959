//! What happens to header fields on the way: hop-by-hop ones go, `X-Forwarded-For` grows, the rest stays.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, Entry, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request};
use plimsoll_meter::Source;

use crate::refusal::Refusal;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const K_PROXY_REQUEST: HeaderName = HeaderName::from_static("k-proxy-request");

/// Which total a request counts in: Knative's activator marks what it forwards.
pub(crate) fn source(headers: &HeaderMap) -> Source {
    match headers.get(K_PROXY_REQUEST) {
        Some(value) if value == "activator" => Source::Proxied,
        _ => Source::Direct,
    }
}

/// Whether the caller speaks gRPC, and so expects failures in `grpc-status`.
pub(crate) fn is_grpc(head: &request::Parts) -> bool {
    head.version == Version::HTTP_2
        && head
            .headers
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
///
/// Returns the protocol token of an upgrade, if the client asks for one.
pub(crate) fn prepare_request(
    head: &mut request::Parts,
    forwarded_for: &HeaderValue,
) -> Result<Option<HeaderValue>, Refusal> {
    check(head)?;
    let upgrade = if head.version == Version::HTTP_2 {
        None
    } else {
        prepare_http1(head)?
    };
    append_forwarded_for(&mut head.headers, forwarded_for);
    head.extensions.clear();
    Ok(upgrade)
}

fn check(head: &request::Parts) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::bad_request(
            StatusCode::NOT_IMPLEMENTED,
            "CONNECT is not supported",
        ));
    }
    if head.version == Version::HTTP_2 {
        return Ok(());
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::bad_request(
            StatusCode::BAD_REQUEST,
            "more than one Host header",
        ));
    }
    if host.is_none() && head.version == Version::HTTP_11 {
        return Err(Refusal::bad_request(
            StatusCode::BAD_REQUEST,
            "an HTTP/1.1 request needs a Host header",
        ));
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        if head.headers.contains_key(CONTENT_LENGTH) {
            // RFC 9112 section 6.1: the stuff of request smuggling; a server may refuse it, and this one does.
            return Err(Refusal::bad_request(
                StatusCode::BAD_REQUEST,
                "both Content-Length and Transfer-Encoding",
            ));
        }
        if head.version == Version::HTTP_10 {
            return Err(Refusal::bad_request(
                StatusCode::BAD_REQUEST,
                "Transfer-Encoding in an HTTP/1.0 request",
            ));
        }
    }
    Ok(())
}

/// HTTP/1 only: origin form, version 1.1, no hop-by-hop fields but those of an upgrade.
fn prepare_http1(head: &mut request::Parts) -> Result<Option<HeaderValue>, Refusal> {
    head.version = Version::HTTP_11;
    if let Some(authority) = head.uri.authority() {
        // RFC 9112 section 3.2.2: with an absolute form, the received Host is ignored.
        let host = HeaderValue::try_from(authority.as_str()).map_err(|_| {
            Refusal::bad_request(
                StatusCode::BAD_REQUEST,
                "invalid authority in the request target",
            )
        })?;
        head.headers.insert(HOST, host);
        let path = head
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
    }
    if !head.headers.keys().any(is_hop_by_hop) {
        return Ok(None);
    }
    let upgrade = upgrade_token(&head.headers);
    let te_trailers = head
        .headers
        .get_all(TE)
        .iter()
        .any(|value| has_token(value, "trailers"));
    remove_hop_by_hop(&mut head.headers);
    if te_trailers {
        head.headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(token) = &upgrade {
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, token.clone());
    }
    Ok(upgrade)
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

    fn head(version: Version, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a valid request").into_parts().0
    }

    fn prepared(fields: &[(&str, &str)]) -> request::Parts {
        let mut head = head(Version::HTTP_11, "/", fields);
        prepare_request(&mut head, &HeaderValue::from_static("10.0.0.9")).expect("carried");
        head
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
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "te", "user-agent", "x-forwarded-for"]);
        assert_eq!(head.headers[TE], "trailers");
    }

    #[test]
    fn connection_cannot_take_out_what_frames_or_addresses_a_message() {
        let head = prepared(&[
            ("host", "a"),
            ("connection", "content-length, host, x-forwarded-for"),
            ("content-length", "3"),
        ]);
        assert_eq!(head.headers[CONTENT_LENGTH], "3");
        assert_eq!(head.headers[HOST], "a");
    }

    #[test]
    fn forwarded_for_grows_and_several_lines_become_one() {
        assert_eq!(
            prepared(&[("host", "a")]).headers[X_FORWARDED_FOR],
            "10.0.0.9"
        );
        let head = prepared(&[
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
        ]);
        assert_eq!(head.headers.get_all(X_FORWARDED_FOR).iter().count(), 1);
        assert_eq!(
            head.headers[X_FORWARDED_FOR],
            "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9"
        );
    }

    #[test]
    fn an_upgrade_is_kept_but_for_h2c() {
        let websocket = prepared(&[
            ("host", "a"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(websocket.headers[CONNECTION], "upgrade");
        assert_eq!(websocket.headers[UPGRADE], "websocket");
        let h2c = prepared(&[
            ("host", "a"),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
        ]);
        assert!(!h2c.headers.contains_key(UPGRADE) && !h2c.headers.contains_key("http2-settings"));
    }

    #[test]
    fn an_absolute_target_becomes_origin_form_and_governs_host() {
        let mut head = head(
            Version::HTTP_11,
            "http://real.example:81/p?q=1",
            &[("host", "other.example")],
        );
        prepare_request(&mut head, &HeaderValue::from_static("10.0.0.9")).expect("carried");
        assert_eq!(head.uri, "/p?q=1");
        assert_eq!(head.headers[HOST], "real.example:81");
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let cases: [(Version, &[(&str, &str)], &str); 4] = [
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
            let mut head = head(version, "/", fields);
            let refusal =
                prepare_request(&mut head, &HeaderValue::from_static("10.0.0.9")).expect_err(cause);
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
                source(&prepared(&[("host", "a"), ("k-proxy-request", value)]).headers),
                expected
            );
        }
    }
}
