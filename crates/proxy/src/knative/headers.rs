//! The header fields by which Knative's parts talk to each other.
//!
//! Others of them, as `K-Proxy-Request`, `K-Network-Hash` or `Knative-Serving-Tag`, reach the application as they
//! came, which may read them.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, Version};

use crate::headers::is_host;
use crate::refusal::Refusal;

const K_ORIGINAL_HOST: HeaderName = HeaderName::from_static("k-original-host");
const REVISION: HeaderName = HeaderName::from_static("knative-serving-revision");
const NAMESPACE: HeaderName = HeaderName::from_static("knative-serving-namespace");
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Takes out what the activator has put in on the way: the application sees the host that the client asked for.
pub(super) fn restore<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let headers = request.headers_mut();
    headers.remove(REVISION);
    headers.remove(NAMESPACE);
    match headers.remove(K_ORIGINAL_HOST) {
        Some(host) if !host.is_empty() => set_host(request, host),
        _ => Ok(()),
    }
}

fn set_host<B>(request: &mut Request<B>, host: HeaderValue) -> Result<(), Refusal> {
    let wrong = || Refusal::bad_request(StatusCode::BAD_REQUEST, "K-Original-Host is no host");
    if !is_host(&host) {
        return Err(wrong());
    }
    if request.version() != Version::HTTP_2 {
        request.headers_mut().insert(HOST, host);
        return Ok(());
    }
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| wrong())?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = parts.scheme.or(Some(http::uri::Scheme::HTTP));
    parts.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| wrong())?;
    request.headers_mut().remove(HOST);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(
        version: Version,
        uri: &str,
        fields: &[(&str, &str)],
    ) -> Result<Request<()>, Refusal> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        restore(&mut request)?;
        Ok(request)
    }

    #[test]
    fn the_application_sees_the_host_that_the_client_asked_for() {
        let fields = [
            ("host", "nimporte.pas"),
            ("k-original-host", "a-better-host.com"),
        ];
        let request = restored(Version::HTTP_11, "/p", &fields).unwrap();
        assert_eq!(request.headers()[HOST], "a-better-host.com");
        assert!(!request.headers().contains_key(K_ORIGINAL_HOST));
        for uri in ["http://nimporte.pas/p?q", "/p?q"] {
            let request = restored(Version::HTTP_2, uri, &fields).unwrap();
            assert_eq!(request.uri(), "http://a-better-host.com/p?q");
            assert!(request.headers().is_empty());
        }
    }

    #[test]
    fn an_empty_original_host_goes_and_changes_nothing() {
        let request = restored(
            Version::HTTP_11,
            "/",
            &[("host", "a"), ("k-original-host", "")],
        )
        .unwrap();
        assert_eq!(request.headers()[HOST], "a");
        assert_eq!(request.headers().len(), 1);
    }

    #[test]
    fn an_original_host_that_is_none_is_refused() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let fields = [("k-original-host", "a@b")];
            let refusal = restored(version, "http://a/", &fields).unwrap_err();
            assert_eq!(refusal.details, "K-Original-Host is no host");
        }
    }

    #[test]
    fn the_names_of_revision_and_namespace_stay_with_knative_and_the_rest_passes() {
        let fields = [
            ("knative-serving-revision", "r"),
            ("knative-serving-namespace", "n"),
            ("k-proxy-request", "activator"),
            ("k-network-hash", "h"),
            ("knative-serving-tag", "t"),
        ];
        let request = restored(Version::HTTP_11, "/", &fields).unwrap();
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["k-network-hash", "k-proxy-request", "knative-serving-tag"]
        );
    }
}
