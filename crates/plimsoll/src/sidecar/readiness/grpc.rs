//! Probes by gRPC's health checking protocol, version 1 (`grpc.health.v1.Health/Check`), as the kubelet does it: without
//! TLS, ready if the service is `SERVING`.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

use super::http::{AGENT, told};
use super::{authority, connect};
use crate::gateway::tasks::Task;

/// The most that an answer may be, in bytes. It is seven.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What precedes a message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// `SERVING` of `ServingStatus`.
const SERVING: i32 = 1;

/// `UNIMPLEMENTED` of gRPC.
const UNIMPLEMENTED: &[u8] = b"12";

/// Asks whether a service is healthy.
#[derive(Debug)]
pub(super) struct GrpcProbe {
    pub(super) host: String,
    pub(super) port: u16,
    /// Empty is the server as a whole.
    pub(super) service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl GrpcProbe {
    pub(super) async fn ask(&self) -> Result<(), String> {
        let stream = connect(&self.host, self.port).await?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(told)?;
        let _connection = Task::spawn(async { drop(connection.await) });
        let response = sender.send_request(self.request()?).await.map_err(told)?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status().as_u16()));
        }
        check_status(response.headers())?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        if let Some(trailers) = body.trailers() {
            check_status(trailers)?;
        }
        verdict(&body.to_bytes())
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let message = HealthCheckRequest {
            service: self.service.clone(),
        }
        .encode_to_vec();
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.len());
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).map_err(told)?);
        body.put_slice(&message);
        let host = authority(&self.host, self.port);
        Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, AGENT)
            .body(Full::new(body.freeze()))
            .map_err(told)
    }
}

/// `grpc-status` is in the trailers, or in the head if there is nothing else.
fn check_status(fields: &HeaderMap) -> Result<(), String> {
    let message = || {
        let message = fields.get("grpc-message");
        message.map_or_else(String::new, |text| {
            format!(": {}", String::from_utf8_lossy(text.as_bytes()))
        })
    };
    match fields.get("grpc-status").map(|status| status.as_bytes()) {
        None | Some(b"0") => Ok(()),
        Some(UNIMPLEMENTED) => Err(
            "this server does not implement the gRPC health protocol (grpc.health.v1.Health)"
                .to_owned(),
        ),
        Some(status) => Err(format!(
            "grpc-status {}{}",
            String::from_utf8_lossy(status),
            message()
        )),
    }
}

fn verdict(body: &[u8]) -> Result<(), String> {
    let message = body
        .get(PREFIX_BYTES..)
        .ok_or("an answer without a message")?;
    let response = HealthCheckResponse::decode(message).map_err(told)?;
    match response.status {
        SERVING => Ok(()),
        2 => Err("the service is NOT_SERVING".to_owned()),
        3 => Err("the service is SERVICE_UNKNOWN".to_owned()),
        other => Err(format!("the service has status {other}")),
    }
}
