//! The end of every request's path: what came of it becomes the client's answer.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use plimsoll_wire::{Answer, ProxyError};

use crate::body::{ClientFault, ResponseBody};
use crate::connection::ClientConnection;
use crate::deadline::Deadlines;
use crate::exchange::Exchange;
use crate::forward::Carrier;
use crate::headers;
use crate::refusal::Refusal;
use crate::tunnel::Tunnel;

/// Whether the application agrees to another protocol.
pub(crate) fn switches<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// Tells an HTTP/1 client with its answer that the connection ends, if it is to.
pub(crate) fn say_goodbye(connection: &ClientConnection, response: &mut Response<ResponseBody>) {
    if connection.worker().is_ending() && !connection.is_http2() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Says how busy this instance is, if that has been published.
pub(crate) fn report_load(
    connection: &ClientConnection,
    grpc: bool,
    response: &mut Response<ResponseBody>,
) {
    if !switches(response) {
        let has_body = !response.body().is_end_stream();
        let reports = &connection.worker().shared.reports;
        reports.add_to_head(response.headers_mut(), grpc, has_body);
    }
}

/// Runs `attempt` until a time limit passes.
pub(crate) async fn within<T>(
    deadlines: &mut Deadlines,
    mut attempt: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
) -> Result<T, Refusal> {
    std::future::poll_fn(|cx| match attempt.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => deadlines
            .poll(cx)
            .map(|limit| Err(Refusal::timeout(limit.as_str()))),
    })
    .await
}

/// The application's answer, on its way to the client.
#[inline]
pub(crate) fn pass_on(
    response: Response<Incoming>,
    carrier: Carrier,
    grpc: bool,
    exchange: Exchange,
    mut deadlines: Deadlines,
) -> Response<ResponseBody> {
    deadlines.response_started();
    let (mut head, incoming) = response.into_parts();
    headers::prepare_response(&mut head.headers, None);
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    let body = ResponseBody::forwarded(incoming, head.status, grpc, exchange, deadlines, carrier);
    Response::from_parts(head, body)
}

/// Plimsoll's own answer.
pub(crate) fn refuse(
    mut refusal: Refusal,
    grpc: bool,
    mut exchange: Exchange,
) -> Response<ResponseBody> {
    if refusal.answer == Answer::UpstreamError
        && exchange.client_fault() == Some(ClientFault::Malformed)
    {
        refusal = Refusal::bad_request(StatusCode::BAD_REQUEST, "malformed request body");
    }
    exchange.refused(&refusal);
    refusal.into_response(grpc)
}

/// The application has agreed to another protocol: what follows are bytes, and the request lasts as long as
/// they flow.
pub(crate) async fn switch_protocols(
    response: Response<Incoming>,
    carrier: Carrier,
    mut exchange: Exchange,
    mut deadlines: Deadlines,
) -> Response<ResponseBody> {
    deadlines.upgraded();
    exchange.rest_follows();
    exchange.answers_with(response.status());
    let (mut head, _) = response.into_parts();
    let agreed = headers::upgrade_token(&head.headers);
    let asked = match &carrier {
        Carrier::Inline { asked, .. } => asked.clone(),
        _ => None,
    };
    let same = match (&asked, &agreed) {
        (Some(asked), Some(agreed)) => asked.as_bytes().eq_ignore_ascii_case(agreed.as_bytes()),
        _ => false,
    };
    let upstream = match carrier {
        Carrier::Inline { lease, .. } if same => lease.connection.into_upgraded().await,
        _ => None,
    };
    let Some((upstream, unread)) = upstream else {
        let cause = format!(
            "the application switched to {} where the client asked for {}",
            protocol(agreed.as_ref()),
            protocol(asked.as_ref())
        );
        return refuse(
            Refusal::upstream(ProxyError::HttpUpgradeFailed, cause),
            false,
            exchange,
        );
    };
    headers::prepare_response(&mut head.headers, agreed.as_ref());
    head.extensions.clear();
    let connection = Rc::clone(exchange.connection());
    connection.tunnel_follows(Tunnel::new(upstream, unread, exchange, deadlines));
    Response::from_parts(head, ResponseBody::local(bytes::Bytes::new()))
}

/// A protocol's token as an error text names it.
fn protocol(token: Option<&HeaderValue>) -> &str {
    token.map_or("no protocol", |token| {
        token.to_str().unwrap_or("a protocol without a name")
    })
}
