//! The life of a request in the sidecar, from top to bottom.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use plimsoll_limit::{Breaker, Entry};
use plimsoll_meter::Clock;

use crate::answer;
use crate::body::{RequestBody, ResponseBody};
use crate::config::TimeLimits;
use crate::connection::ClientConnection;
use crate::deadline::Deadlines;
use crate::exchange::{Exchange, Hold};
use crate::forward::{Answered, forward};
use crate::headers::{self, Survey};
use crate::refusal::Refusal;
use crate::upstream::Pool;

/// What a worker of the sidecar needs besides: the one application.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) breaker: Option<Breaker>,
    pub(crate) limits: TimeLimits,
    pub(crate) pool: Rc<Pool>,
}

/// Carries one request: measure, hold, forward, answer.
///
/// What needs no waiting is done before there is a future, and what waits is given places, not values: the
/// future is moved once per request, so its size is a cost.
pub(crate) fn carry(
    app: &Rc<Application>,
    connection: &Rc<ClientConnection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let worker = connection.worker();
    let began = worker.shared.clock.now();
    let grpc = headers::is_grpc(&request);
    let survey = Survey::of(request.headers());
    let mut exchange = Exchange::begin(connection, None, survey.source(), began);
    let mut deadlines =
        Deadlines::start(app.limits, worker.shared.clock, &worker.spare_timers, began);
    let mut request = request.map(|body| RequestBody::new(body, connection));
    exchange.watch_body(request.body().link());
    exchange.observe(worker.shared.watch.arrived(connection, &mut request, began));
    let prepared = headers::prepare_request(&mut request, survey, connection.forwarded_for());
    let mut outgoing = Some(request);
    let app = Rc::clone(app);

    async move {
        let answered = match prepared {
            Ok(()) => {
                let attempt = pin!(hold_and_forward(&app, &mut exchange, &mut outgoing));
                answer::within(&mut deadlines, attempt).await
            }
            Err(refusal) => Err(refusal),
        };
        let connection = Rc::clone(exchange.connection());
        let mut response = match answered {
            Ok((response, carrier)) if answer::switches(&response) => {
                Box::pin(answer::switch_protocols(
                    response, carrier, exchange, deadlines,
                ))
                .await
            }
            Ok((response, carrier)) => {
                answer::pass_on(response, carrier, grpc, exchange, deadlines)
            }
            Err(refusal) => answer::refuse(refusal, grpc, exchange),
        };
        answer::report_load(&connection, grpc, &mut response);
        answer::say_goodbye(&connection, &mut response);
        Ok(response)
    }
}

/// Waits for a slot if there is a limit, then sends the request to the application.
async fn hold_and_forward(
    app: &Application,
    exchange: &mut Exchange,
    outgoing: &mut Option<Request<RequestBody>>,
) -> Result<Answered, Refusal> {
    let connection = Rc::clone(exchange.connection());
    let worker = connection.worker();
    let entry = app.breaker.as_ref().map(Breaker::enter).transpose();
    let (hold, since) = match entry.map_err(|_full| Refusal::queue_full())? {
        None => (Hold::Nothing, exchange.began()),
        Some(Entry::Running(slot)) => (Hold::Slot(slot), exchange.began()),
        Some(Entry::Waiting(place)) => {
            let has_body = outgoing
                .as_ref()
                .is_some_and(|request| !request.body().is_empty());
            let slot = if has_body && !connection.is_http2() {
                Box::pin(connection.unless_peer_closed(place)).await
            } else {
                place.await
            };
            (Hold::Slot(slot), worker.shared.clock.now())
        }
    };
    exchange.run(hold, since);
    let answered = forward(worker, &app.pool, outgoing, since).await;
    answered.map_err(|failed| failed.refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_size<'a, A: 'a, B: 'a, C, F: Future>(_: impl Fn(&'a A, &'a B, C) -> F) -> usize {
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
