//! From one version of HTTP to the other, for endpoints that speak only one.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, Version};

use crate::body::RequestBody;
use crate::gateway::service::UpstreamProtocol;
use crate::refusal::Refusal;

/// Makes a prepared request one of the version that the endpoints speak.
///
/// Its answer needs nothing: the HTTP library writes a head, a length and trailers in the client's version, and what
/// belongs to a connection is taken out of every answer.
pub(crate) fn for_upstream(
    request: &mut Request<RequestBody>,
    protocol: UpstreamProtocol,
) -> Result<(), Refusal> {
    match (protocol, request.version()) {
        (UpstreamProtocol::Http1, Version::HTTP_2) => to_http1(request),
        (UpstreamProtocol::Http2, version) if version != Version::HTTP_2 => to_http2(request),
        _ => Ok(()),
    }
}

/// `:authority` becomes `Host`, and a body without a length is chunked.
fn to_http1(request: &mut Request<RequestBody>) -> Result<(), Refusal> {
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::try_from(authority.as_str());
        let host = host.map_err(|_| refuse("invalid :authority"))?;
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.version_mut() = Version::HTTP_11;
    let has_body = !request.body().is_empty();
    let headers = request.headers_mut();
    if !headers.contains_key(HOST) {
        return Err(refuse("neither :authority nor Host"));
    }
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    join_cookies(headers);
    Ok(())
}

/// RFC 9113 section 8.2.3: HTTP/2 may part the cookies, and HTTP/1 wants them in one field.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut joined = Vec::new();
    for crumb in headers.get_all(COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Joining valid values with "; " is valid.
    if let Ok(cookie) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, cookie);
    }
}

/// `Host` becomes `:authority`; what HTTP/2 has no words for goes: a switch of protocols, and the wait for
/// `100 Continue`, for which the client is then let through.
fn to_http2(request: &mut Request<RequestBody>) -> Result<(), Refusal> {
    let host = request.headers_mut().remove(HOST);
    let host = host
        .filter(|host| !host.is_empty())
        .ok_or_else(|| refuse("a request without Host"))?;
    let authority =
        Authority::try_from(host.as_bytes()).map_err(|_| refuse("invalid Host header"))?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| refuse("invalid request target"))?;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING, EXPECT] {
        headers.remove(name);
    }
    Ok(())
}

fn refuse(cause: &'static str) -> Refusal {
    Refusal::bad_request(StatusCode::BAD_REQUEST, cause)
}
