//! One question to the admin port.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::answers::Refusal;

/// How long an answer may take. The admin port answers from memory.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The most bytes of an answer: 10,000 endpoints are about a fifth of it.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asks the admin port at one address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    admin: SocketAddr,
}

impl Client {
    pub(crate) fn new(admin: SocketAddr) -> Self {
        Self { admin }
    }

    /// What there is at `path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        read(path, &self.text(path).await?)
    }

    /// The same as it is written.
    pub(crate) async fn text(&self, path: &str) -> anyhow::Result<String> {
        self.ask(Method::GET, path, "").await
    }

    /// Tells it something.
    pub(crate) async fn post(&self, path: &str, body: &str) -> anyhow::Result<String> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> anyhow::Result<String> {
        let asked = tokio::time::timeout(TIME_MAX, self.exchange(method, path, body));
        let Ok(answered) = asked.await else {
            bail!(
                "{} does not answer within {} s",
                self.admin,
                TIME_MAX.as_secs()
            );
        };
        let (status, is_json, text) = answered?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str::<Refusal>(&text) {
            Ok(refusal) => bail!("{} (accepted: {})", refusal.error, refusal.accepted),
            Err(_) if text.starts_with("there is /metrics, /healthz and /readyz") => bail!(
                "the metrics port of a sidecar is at {}; this asks the admin port of \
                 `plimsoll run` or `plimsoll gateway`",
                self.admin
            ),
            Err(_) if is_json => bail!("{} says {status}: {}", self.admin, text.trim()),
            Err(_) => bail!(
                "something else than Plimsoll answers at {}: {status} for {path}; \
                 name the admin port with --admin IP:PORT",
                self.admin
            ),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> anyhow::Result<(StatusCode, bool, String)> {
        let stream = TcpStream::connect(self.admin).await.map_err(|error| {
            if error.kind() == ErrorKind::ConnectionRefused {
                anyhow!(
                    "nothing listens on {}: start `plimsoll run` or `plimsoll gateway`, \
                     or name the admin port of the one that runs with --admin IP:PORT",
                    self.admin
                )
            } else {
                anyhow!("cannot connect to {}: {error}", self.admin)
            }
        })?;
        let no_http = || anyhow!("{} does not speak HTTP: is it the admin port?", self.admin);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .with_context(no_http)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.admin.to_string())
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let answer = sender.send_request(request).await.with_context(no_http)?;
        let status = answer.status();
        let content_type = answer.headers().get(CONTENT_TYPE);
        let is_json = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("the answer of {} broke off: {error}", self.admin));
        let text = String::from_utf8_lossy(&body?.to_bytes()).into_owned();
        Ok((status, is_json, text))
    }
}

/// Reads an answer.
pub(crate) fn read<T: DeserializeOwned>(path: &str, text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text)
        .with_context(|| format!("what {path} says is not understood: is it another version?"))
}
