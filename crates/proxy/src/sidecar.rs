//! The life of a request, from top to bottom.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use plimsoll_limit::{Breaker, Entry};
use plimsoll_meter::Clock;
use plimsoll_wire::{Answer, ProxyError};

use crate::body::{ClientFault, RequestBody, ResponseBody};
use crate::connection::ClientConnection;
use crate::deadline::Deadlines;
use crate::exchange::Exchange;
use crate::forward::{Answered, Carrier, forward};
use crate::headers::{self, Survey};
use crate::refusal::Refusal;
use crate::tunnel::Tunnel;

/// Carries one request: measure, hold, forward, answer.
///
/// What needs no waiting is done before there is a future, and what waits is given places, not values: the
/// future is moved once per request, so its size is a cost.
pub(crate) fn carry(
    connection: &Rc<ClientConnection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let worker = connection.worker();
    let began = worker.shared.clock.now();
    let grpc = headers::is_grpc(&request);
    let survey = Survey::of(request.headers());
    let mut exchange = Exchange::begin(connection, survey.source(), began);
    let mut deadlines = Deadlines::start(
        worker.shared.limits,
        worker.shared.clock,
        &worker.spare_timers,
        began,
    );
    let mut request = request.map(|body| RequestBody::new(body, connection));
    exchange.watch_body(request.body().link());
    let prepared = headers::prepare_request(&mut request, survey, connection.forwarded_for());
    let mut outgoing = Some(request);

    async move {
        let answered = match prepared {
            Ok(()) => {
                within(
                    &mut deadlines,
                    pin!(hold_and_forward(&mut exchange, &mut outgoing)),
                )
                .await
            }
            Err(refusal) => Err(refusal),
        };
        let connection = Rc::clone(exchange.connection());
        let mut response = match answered {
            Ok((response, carrier)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Box::pin(switch_protocols(response, carrier, exchange, deadlines)).await
            }
            Ok((response, carrier)) => {
                deadlines.response_started();
                answer(response, carrier, grpc, exchange, deadlines)
            }
            Err(refusal) => refuse(refusal, grpc, exchange),
        };
        if connection.worker().is_draining() && !connection.is_http2() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Waits for a slot if there is a limit, then sends the request to the application.
async fn hold_and_forward(
    exchange: &mut Exchange,
    outgoing: &mut Option<Request<RequestBody>>,
) -> Result<Answered, Refusal> {
    let connection = Rc::clone(exchange.connection());
    let worker = connection.worker();
    let entry = worker
        .shared
        .breaker
        .as_ref()
        .map(Breaker::enter)
        .transpose();
    let (slot, since) = match entry.map_err(|_full| Refusal::queue_full())? {
        None => (None, exchange.began()),
        Some(Entry::Running(slot)) => (Some(slot), exchange.began()),
        Some(Entry::Waiting(place)) => {
            let has_body = outgoing
                .as_ref()
                .is_some_and(|request| !request.body().is_empty());
            let slot = if has_body && !connection.is_http2() {
                Box::pin(connection.unless_peer_closed(place)).await
            } else {
                place.await
            };
            (Some(slot), worker.shared.clock.now())
        }
    };
    exchange.run(slot, since);
    forward(worker, outgoing, since).await
}

/// Runs `attempt` until a time limit passes.
async fn within<T>(
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
fn answer(
    response: Response<Incoming>,
    carrier: Carrier,
    grpc: bool,
    exchange: Exchange,
    deadlines: Deadlines,
) -> Response<ResponseBody> {
    let (mut head, incoming) = response.into_parts();
    headers::prepare_response(&mut head.headers, None);
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    let body = ResponseBody::forwarded(incoming, head.status, grpc, exchange, deadlines, carrier);
    Response::from_parts(head, body)
}

/// Plimsoll's own answer.
fn refuse(mut refusal: Refusal, grpc: bool, mut exchange: Exchange) -> Response<ResponseBody> {
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
async fn switch_protocols(
    response: Response<Incoming>,
    carrier: Carrier,
    exchange: Exchange,
    mut deadlines: Deadlines,
) -> Response<ResponseBody> {
    deadlines.response_started();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn future_size<'a, A: 'a, B, F: Future>(_: impl Fn(&'a A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// The HTTP library moves the future of every request once, from the stack to its place.
    #[test]
    fn the_future_of_a_request_is_small() {
        const BYTES_MAX: usize = 2_048;
        let bytes = future_size(carry);
        assert!(
            bytes <= BYTES_MAX,
            "{bytes} bytes instead of at most {BYTES_MAX}"
        );
    }
}
