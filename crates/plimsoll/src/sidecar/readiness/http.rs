//! Probes by `GET`.
//!
//! What counts as ready is what the kubelet counts: a status from 200 to 399, after following redirects that stay on the
//! same host; one that leads elsewhere is not followed, and has been answered. (queue-proxy follows redirects to
//! anywhere.) `Host`, `User-Agent` and `Accept` of the probe are honoured, and a certificate is not verified.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_proxy::{ClientTls, ClientTlsConfig, Trust};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{authority, connect};
use crate::gateway::tasks::Task;

/// How probes name themselves. Applications and meshes know them by what is before the slash.
pub(super) const AGENT: &str = "kube-probe/plimsoll";

/// The most redirects that are followed: the kubelet's number.
const REDIRECTS_MAX: usize = 10;

/// A probe by HTTP/1.1, or by HTTP/2 where that was found out.
#[derive(Debug)]
pub(super) struct HttpProbe {
    target: Target,
    headers: HeaderMap,
    /// `None` if nothing is to be found out.
    detected: Option<Detected>,
}

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    path: PathAndQuery,
}

/// The protocol by which the application was ready the last time, to begin with the next time.
#[derive(Debug, Default)]
struct Detected(AtomicU8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1 = 1,
    Http2 = 2,
}

impl Detected {
    fn get(&self) -> Option<Protocol> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Protocol::Http1),
            2 => Some(Protocol::Http2),
            _ => None,
        }
    }

    fn set(&self, protocol: Option<Protocol>) {
        let known = protocol.map_or(0, |protocol| protocol as u8);
        self.0.store(known, Ordering::Relaxed);
    }
}

impl HttpProbe {
    pub(super) fn new(
        tls: bool,
        host: String,
        port: u16,
        path: PathAndQuery,
        mut headers: HeaderMap,
        detect_http2: bool,
    ) -> Self {
        // Whoever asks for an empty one wants none.
        for (name, default) in [(USER_AGENT, AGENT), (ACCEPT, "*/*")] {
            match headers.get(&name) {
                None => drop(headers.insert(name, HeaderValue::from_static(default))),
                Some(value) if value.is_empty() => drop(headers.remove(name)),
                Some(_) => {}
            }
        }
        Self {
            target: Target {
                tls,
                host,
                port,
                path,
            },
            headers,
            // Over TLS the handshake would decide; HTTP/1.1 is what the kubelet speaks.
            detected: (detect_http2 && !tls).then(Detected::default),
        }
    }

    pub(super) async fn ask(&self) -> Result<(), String> {
        let Some(detected) = &self.detected else {
            return self.ask_by(Protocol::Http1).await;
        };
        if let Some(known) = detected.get() {
            let asked = self.ask_by(known).await;
            if asked.is_err() {
                // It may be another application by now.
                detected.set(None);
            }
            return asked;
        }
        if self.ask_by(Protocol::Http2).await.is_ok() {
            detected.set(Some(Protocol::Http2));
            return Ok(());
        }
        let asked = self.ask_by(Protocol::Http1).await;
        if asked.is_ok() {
            detected.set(Some(Protocol::Http1));
        }
        asked
    }

    async fn ask_by(&self, protocol: Protocol) -> Result<(), String> {
        let mut target = self.target.clone();
        let mut host = self.headers.get(HOST).cloned();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.exchange(&target, host.as_ref(), protocol).await?;
            let status = response.status();
            if !(status.is_success() || status.is_redirection()) {
                return Err(format!("status {}", status.as_u16()));
            }
            let Some(location) = response
                .headers()
                .get(LOCATION)
                .filter(|_| is_redirect(status))
            else {
                return Ok(());
            };
            let next = location.to_str().ok().and_then(|to| target.follow(to));
            let next = next.ok_or_else(|| format!("a redirect to {location:?}"))?;
            if next.host != target.host {
                return Ok(());
            }
            let is_elsewhere = (next.port, next.tls) != (target.port, target.tls);
            if is_elsewhere {
                host = None;
            }
            target = next;
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    async fn exchange(
        &self,
        target: &Target,
        host: Option<&HeaderValue>,
        protocol: Protocol,
    ) -> Result<Response<Incoming>, String> {
        let stream = connect(&target.host, target.port).await?;
        let request = self.request(target, host, protocol)?;
        if !target.tls {
            return send(stream, request, protocol).await;
        }
        // A name is sent in the handshake, an address is not.
        let is_address = target.host.parse::<std::net::IpAddr>().is_ok();
        let config = ClientTlsConfig {
            trust: Trust::InsecureAnyCertificate,
            server_name: (!is_address).then(|| target.host.clone()),
            identity: None,
        };
        let tls = ClientTls::new(&config).map_err(|error| error.to_string())?;
        let stream = tls.connect(stream, protocol == Protocol::Http2).await;
        send(
            stream.map_err(|error| format!("TLS: {error}"))?,
            request,
            protocol,
        )
        .await
    }

    fn request(
        &self,
        target: &Target,
        host: Option<&HeaderValue>,
        protocol: Protocol,
    ) -> Result<Request<Empty<Bytes>>, String> {
        let own = authority(&target.host, target.port);
        let host = match host.filter(|host| !host.is_empty()) {
            Some(host) => host.clone(),
            None => HeaderValue::try_from(&own).map_err(told)?,
        };
        let mut request = Request::new(Empty::new());
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().remove(HOST);
        if protocol == Protocol::Http2 {
            let scheme = if target.tls {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            };
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = Uri::builder()
                .scheme(scheme)
                .authority(host.as_bytes())
                .path_and_query(target.path.clone())
                .build()
                .map_err(told)?;
        } else {
            *request.uri_mut() = Uri::from(target.path.clone());
            request.headers_mut().insert(HOST, host);
            let close = HeaderValue::from_static("close");
            request.headers_mut().insert(CONNECTION, close);
        }
        Ok(request)
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
    protocol: Protocol,
) -> Result<Response<Incoming>, String> {
    let stream = TokioIo::new(stream);
    if protocol == Protocol::Http2 {
        let executor = TokioExecutor::new();
        let (mut sender, connection) = http2::handshake(executor, stream).await.map_err(told)?;
        let _connection = Task::spawn(async { drop(connection.await) });
        return sender.send_request(request).await.map_err(told);
    }
    let (mut sender, connection) = http1::handshake(stream).await.map_err(told)?;
    let _connection = Task::spawn(async { drop(connection.await) });
    sender.send_request(request).await.map_err(told)
}

/// Those that say where to go. The others from 300 to 399 are answers like any.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Target {
    /// What `Location` leads to (RFC 3986 section 5.2, as far as a probe has it); `None` if that is nowhere.
    fn follow(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let absolute = match location.strip_prefix("//") {
            Some(_) if self.tls => format!("https:{location}"),
            Some(_) => format!("http:{location}"),
            None => location.to_owned(),
        };
        let uri = absolute.parse::<Uri>().ok();
        if let Some(uri) = uri.filter(|uri| uri.scheme().is_some()) {
            let tls = match uri.scheme_str()? {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            let (host, port) = host_and_port(uri.authority()?, tls);
            let path = uri.path_and_query().cloned();
            let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
            return Some(Self {
                tls,
                host,
                port,
                path,
            });
        }
        let path = match location.as_bytes().first() {
            None => self.path.as_str().to_owned(),
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{}{location}", self.path.path()),
            Some(_) => {
                let folder = self.path.path().rfind('/').unwrap_or(0);
                format!("{}/{location}", &self.path.path()[..folder])
            }
        };
        Some(Self {
            path: PathAndQuery::try_from(path).ok()?,
            ..self.clone()
        })
    }
}

fn host_and_port(authority: &Authority, tls: bool) -> (String, u16) {
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    (bare.unwrap_or(host).to_owned(), port)
}

impl fmt::Display for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target {
            tls,
            host,
            port,
            path,
        } = &self.target;
        let scheme = if *tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{path}", authority(host, *port))
    }
}

/// An error with what caused it.
pub(super) fn told(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        let nowhere = Target {
            tls: false,
            host: String::new(),
            port: 1,
            path: PathAndQuery::from_static("/"),
        };
        nowhere.follow(text).unwrap()
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let from = target("http://a:8080/b/c?d");
        for (location, expected) in [
            ("https://b/x?y#z", "https://b:443/x?y"),
            ("http://[::1]:9/", "http://[::1]:9/"),
            ("//b:9/x", "http://b:9/x"),
            ("/x", "http://a:8080/x"),
            ("x", "http://a:8080/b/x"),
            ("?e", "http://a:8080/b/c?e"),
            ("", "http://a:8080/b/c?d"),
            ("http://b", "http://b:80/"),
        ] {
            assert_eq!(from.follow(location), Some(target(expected)), "{location}");
        }
        for location in ["ftp://a/", "/a b"] {
            assert_eq!(from.follow(location), None, "{location}");
        }
    }
}
