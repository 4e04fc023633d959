//! One request to a collector.
//!
//! Each has a connection of its own: there is one every few seconds at most, and a connection that waits in between is
//! one that somebody on the way forgets.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_proxy::{ClientTls, ClientTlsConfig, Trust};
use plimsoll_wire::grpc_status;
use plimsoll_wire::otlp::{self, PartialSuccess};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::endpoint::{Endpoint, Protocol};

/// How long one request may take: OpenTelemetry's default.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// How much of a collector's answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How much of a collector's complaint is told, in bytes.
const COMPLAINT_BYTES_MAX: usize = 200;

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("plimsoll/", env!("CARGO_PKG_VERSION")));

/// Sends to one endpoint.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    /// Made with the first connection that needs it, for it reads the certificates of the system.
    tls: Option<ClientTls>,
}

/// Why a collector did not take something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Whether it may take it later.
    pub(super) is_passing: bool,
}

impl Failure {
    fn passing(cause: impl std::fmt::Display) -> Self {
        Self {
            message: cause.to_string(),
            is_passing: true,
        }
    }
}

type Answer = Result<Option<PartialSuccess>, Failure>;

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tls: None,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `message`; what the collector did not take of it is returned.
    pub(super) async fn send(&mut self, message: &[u8]) -> Answer {
        let sent = tokio::time::timeout(REQUEST_TIME_MAX, self.try_send(message));
        sent.await.unwrap_or_else(|_| {
            Err(Failure::passing(format!(
                "no answer within {REQUEST_TIME_MAX:?}"
            )))
        })
    }

    async fn try_send(&mut self, message: &[u8]) -> Answer {
        let address = (self.endpoint.host(), self.endpoint.port);
        let stream = TcpStream::connect(address)
            .await
            .map_err(Failure::passing)?;
        if !self.endpoint.is_tls {
            return self.exchange(stream, message).await;
        }
        let tls = match self.tls.take() {
            Some(tls) => tls,
            None => self.new_tls()?,
        };
        let http2 = self.endpoint.protocol == Protocol::Grpc;
        let secured = tls.connect(stream, http2).await;
        self.tls = Some(tls);
        self.exchange(secured.map_err(Failure::passing)?, message)
            .await
    }

    fn new_tls(&self) -> Result<ClientTls, Failure> {
        let trust = match std::env::var_os("OTEL_EXPORTER_OTLP_CERTIFICATE") {
            Some(path) if !path.is_empty() => Trust::File(path.into()),
            _ => Trust::System,
        };
        let config = ClientTlsConfig {
            trust,
            server_name: Some(self.endpoint.host().to_owned()),
            identity: None,
        };
        ClientTls::new(&config).map_err(Failure::passing)
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        message: &[u8],
    ) -> Answer {
        let stream = TokioIo::new(stream);
        // The connection ends with this function, however that ends.
        let mut connections = JoinSet::new();
        match self.endpoint.protocol {
            Protocol::Grpc => {
                let request = self.grpc(message).map_err(Failure::passing)?;
                let http2 = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
                let (mut sender, connection) = http2.await.map_err(Failure::passing)?;
                connections.spawn(ended(connection));
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(Failure::passing)?;
                grpc_answer(response).await
            }
            Protocol::Http => {
                let request = self.http(message).map_err(Failure::passing)?;
                let http1 = hyper::client::conn::http1::handshake(stream);
                let (mut sender, connection) = http1.await.map_err(Failure::passing)?;
                connections.spawn(ended(connection));
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(Failure::passing)?;
                http_answer(response).await
            }
        }
    }

    fn http(&self, message: &[u8]) -> http::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(Uri::from(self.endpoint.path.clone()))
            .header(HOST, self.endpoint.authority.as_str())
            .header(CONTENT_TYPE, otlp::CONTENT_TYPE)
            .header(USER_AGENT, AGENT)
            .body(Full::from(message.to_vec()))?;
        add(request.headers_mut(), &self.endpoint.headers);
        Ok(request)
    }

    fn grpc(&self, message: &[u8]) -> http::Result<Request<Full<Bytes>>> {
        let scheme = if self.endpoint.is_tls {
            "https"
        } else {
            "http"
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.endpoint.authority.clone())
            .path_and_query(self.endpoint.path.clone())
            .build()?;
        let mut request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(uri)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, AGENT)
            .body(Full::from(otlp::grpc_frame(message)))?;
        add(request.headers_mut(), &self.endpoint.headers);
        Ok(request)
    }
}

fn ended<E>(
    connection: impl Future<Output = Result<(), E>> + Send + 'static,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    E: Send,
{
    Box::pin(async move {
        // Whatever it ends with, the request has heard of it.
        drop(connection.await);
    })
}

fn add(headers: &mut HeaderMap, more: &HeaderMap) {
    for (name, value) in more {
        headers.insert(name, value.clone());
    }
}

async fn http_answer(response: http::Response<Incoming>) -> Answer {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body.map(|body| body.to_bytes()).map_err(Failure::passing)?;
    if status.is_success() {
        return Ok(otlp::partial_success(&body));
    }
    // The list of the OTLP specification, "Failures".
    let is_passing = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    Err(Failure {
        message: format!("status {} {}", status.as_u16(), complaint(&body)),
        is_passing,
    })
}

async fn grpc_answer(response: http::Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Failure::passing(format!(
            "status {} instead of gRPC",
            head.status.as_u16()
        )));
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(Failure::passing)?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    let code = trailers.get(grpc_status::HEADER);
    match code.map(|code| grpc_status::read(code.as_bytes())) {
        Some(grpc_status::OK) => {
            let body = body.to_bytes();
            Ok(otlp::grpc_message(&body).and_then(otlp::partial_success))
        }
        Some(code) => {
            let words = trailers
                .get("grpc-message")
                .map_or(&b""[..], HeaderValue::as_bytes);
            Err(Failure {
                message: format!("gRPC status {code} {}", complaint(words)),
                // Cancelled, deadline, exhausted, aborted, out of range, unavailable, data loss: the list of the
                // OTLP specification.
                is_passing: matches!(code, 1 | 4 | 8 | 10 | 11 | 14 | 15),
            })
        }
        None => Err(Failure::passing("the answer has no gRPC status")),
    }
}

/// What a collector says, if it is not too much of it.
fn complaint(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(&words[..words.len().min(COMPLAINT_BYTES_MAX)]);
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
