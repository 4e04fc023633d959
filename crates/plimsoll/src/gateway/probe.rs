//! One health check: a GET request, and whether its answer says that the endpoint is well.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_proxy::{ClientTls, UpstreamProtocol};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::plan::HealthPlan;
use super::tasks::Task;

/// How the gateway names itself to those it checks.
const AGENT: &str = concat!("plimsoll/", env!("CARGO_PKG_VERSION"), " (health check)");

/// How endpoints of a service are asked.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) plan: HealthPlan,
    /// Where it is the client's, checks are in HTTP/1.1.
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) tls: Option<Arc<ClientTls>>,
}

impl Probe {
    /// Asks the endpoint on a connection of its own. A status from 200 to 399 is well, as it is for Kubernetes.
    pub(crate) async fn ask(self, address: Arc<str>) -> Result<(), String> {
        let stream = TcpStream::connect(address.as_ref()).await.map_err(told)?;
        let response = match &self.tls {
            None => self.exchange(stream, &address).await?,
            Some(tls) => {
                let http2 = self.protocol == UpstreamProtocol::Http2;
                let stream = tls.connect(stream, http2).await.map_err(told)?;
                self.exchange(stream, &address).await?
            }
        };
        verdict(response.status())
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        address: &str,
    ) -> Result<Response<Incoming>, String> {
        let stream = TokioIo::new(stream);
        if self.protocol == UpstreamProtocol::Http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .map_err(told)?;
            let _connection = Task::spawn(async { drop(connection.await) });
            let request = self.request(address, Version::HTTP_2)?;
            return sender.send_request(request).await.map_err(told);
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(told)?;
        let _connection = Task::spawn(async { drop(connection.await) });
        let request = self.request(address, Version::HTTP_11)?;
        sender.send_request(request).await.map_err(told)
    }

    fn request(&self, address: &str, version: Version) -> Result<Request<Empty<Bytes>>, String> {
        let host = self.plan.host.as_deref().unwrap_or(address);
        let builder = Request::get(self.plan.path.as_str())
            .version(version)
            .header(USER_AGENT, AGENT);
        let builder = if version == Version::HTTP_2 {
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            let uri = Uri::builder()
                .scheme(scheme)
                .authority(host)
                .path_and_query(self.plan.path.as_str());
            builder.uri(uri.build().map_err(told)?)
        } else {
            builder.header(HOST, host)
        };
        builder.body(Empty::new()).map_err(told)
    }
}

fn verdict(status: StatusCode) -> Result<(), String> {
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("status {}", status.as_u16()))
    }
}

/// An error with what caused it.
fn told(error: impl Into<anyhow::Error>) -> String {
    fn write(error: &dyn Display) -> String {
        format!("{error:#}")
    }
    write(&error.into())
}
