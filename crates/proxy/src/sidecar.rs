//! The life of a request in the sidecar, from top to bottom.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use plimsoll_limit::{Breaker, Entry};
use plimsoll_meter::{Clock, Tick};

use crate::answer;
use crate::body::{RequestBody, ResponseBody};
use crate::config::{SidecarOptions, TimeLimits};
use crate::connection::ClientConnection;
use crate::deadline::Deadlines;
use crate::exchange::{Exchange, Hold};
use crate::forward::{Answered, forward};
use crate::headers::{self, Survey};
use crate::knative::{Probe, Treatment, UnderWay};
use crate::orphan::Orphanage;
use crate::refusal::Refusal;
use crate::upstream::Pool;

/// What a worker of the sidecar needs besides: the one application.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) breaker: Option<Breaker>,
    pub(crate) limits: TimeLimits,
    pub(crate) options: Arc<SidecarOptions>,
    /// Where requests go on whose clients have gone.
    pub(crate) orphanage: Option<Orphanage>,
    pub(crate) pool: Rc<Pool>,
}

/// A request that has arrived, and what it occupies from now on.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one: a box would cost every request an allocation"
)]
enum Arrival {
    Carried {
        exchange: Exchange,
        deadlines: Deadlines,
        /// Whether it has to wait for a slot, or why it is not carried after all.
        admitted: Result<Admission, Refusal>,
    },
    Probe(Probe, UnderWay),
}

/// Whether a request is held to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Held,
    Free,
    /// It has its slot, since then.
    Running(Tick),
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
    let mut request = request.map(|body| RequestBody::new(body, connection));
    let arrival = arrive(app, connection, &mut request, began);
    let mut outgoing = Some(request);
    let app = Rc::clone(app);

    async move {
        let (mut exchange, mut deadlines, admitted) = match arrival {
            Arrival::Carried {
                exchange,
                deadlines,
                admitted,
            } => (exchange, deadlines, admitted),
            Arrival::Probe(probe, under_way) => {
                return Ok(Box::pin(answer_probe(&app, probe, under_way)).await);
            }
        };
        let admitted = match admitted {
            Ok(Admission::Held) if app.options.queue_is_untimed => {
                let running = Box::pin(hold(&app, &mut exchange, &outgoing)).await;
                running.map(|since| {
                    deadlines.begin_anew(since);
                    Admission::Running(since)
                })
            }
            admitted => admitted,
        };
        let answered = match admitted {
            Ok(admission) => {
                let attempt = pin!(hold_and_forward(
                    &app,
                    &mut exchange,
                    &mut outgoing,
                    admission
                ));
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

/// Looks at the head, makes it that of the application's request, and begins to measure.
fn arrive(
    app: &Application,
    connection: &Rc<ClientConnection>,
    request: &mut Request<RequestBody>,
    began: Tick,
) -> Arrival {
    let worker = connection.worker();
    let survey = Survey::of(request.headers());
    let observed = worker.shared.watch.arrived(connection, request, began);
    let prepared = match &app.options.knative {
        Some(knative) if survey.concerns_knative() => knative.prepare(request, survey, connection),
        _ => headers::prepare_request(request, survey, connection.forwarded_for())
            .map(|()| Treatment::Traffic),
    };
    let (source, admitted) = match prepared {
        Ok(Treatment::Answered(probe)) => {
            return Arrival::Probe(probe, UnderWay::begin(connection, observed));
        }
        Ok(Treatment::Bypass) => (None, Ok(Admission::Free)),
        Ok(Treatment::Traffic) => {
            let uncounted = &app.options.uncounted;
            let is_uncounted =
                !uncounted.is_empty() && uncounted.has(request.uri().path(), request.headers());
            (
                (!is_uncounted).then(|| survey.source()),
                Ok(Admission::Held),
            )
        }
        Err(refusal) => (Some(survey.source()), Err(refusal)),
    };
    let mut exchange = Exchange::begin(connection, None, source, began);
    exchange.watch_body(request.body().link());
    exchange.observe(observed);
    let clock = worker.shared.clock;
    Arrival::Carried {
        exchange,
        deadlines: Deadlines::start(app.limits, clock, &worker.spare_timers, began),
        admitted,
    }
}

/// Answers a probe in the application's place.
async fn answer_probe(
    app: &Application,
    probe: Probe,
    under_way: UnderWay,
) -> Response<ResponseBody> {
    let knative = app.options.knative.as_ref();
    let readiness = knative.and_then(|knative| knative.readiness.as_ref());
    under_way.end(probe.answer(readiness).await)
}

/// Waits for a slot if there is a limit, then sends the request to the application.
async fn hold_and_forward(
    app: &Application,
    exchange: &mut Exchange,
    outgoing: &mut Option<Request<RequestBody>>,
    admission: Admission,
) -> Result<Answered, Refusal> {
    let since = match admission {
        Admission::Held => hold(app, exchange, outgoing).await?,
        Admission::Running(since) => since,
        Admission::Free => {
            exchange.run(Hold::Nothing, exchange.began());
            exchange.began()
        }
    };
    let connection = Rc::clone(exchange.connection());
    let worker = connection.worker();
    let answered = match exchange.shared_slot() {
        None => forward(worker, &app.pool, outgoing, since).await,
        Some(slot) => Box::pin(slot.clone().forward(worker, &app.pool, outgoing, since)).await,
    };
    answered.map_err(|failed| failed.refusal)
}

/// Waits for a slot if there is a limit. Returns since when the request runs.
async fn hold(
    app: &Application,
    exchange: &mut Exchange,
    outgoing: &Option<Request<RequestBody>>,
) -> Result<Tick, Refusal> {
    let entry = app.breaker.as_ref().map(Breaker::enter).transpose();
    let (slot, since) = match entry.map_err(|_full| Refusal::queue_full())? {
        None => (None, exchange.began()),
        Some(Entry::Running(slot)) => (Some(slot), exchange.began()),
        Some(Entry::Waiting(place)) => {
            let connection = exchange.connection();
            let has_body = outgoing
                .as_ref()
                .is_some_and(|request| !request.body().is_empty());
            let slot = if has_body && !connection.is_http2() {
                Box::pin(connection.unless_peer_closed(place)).await
            } else {
                place.await
            };
            (Some(slot), connection.worker().shared.clock.now())
        }
    };
    let hold = match (slot, &app.orphanage) {
        (None, _) => Hold::Nothing,
        (Some(slot), None) => Hold::Slot(slot),
        (Some(slot), Some(orphanage)) => {
            let clock = exchange.connection().worker().shared.clock;
            let began = if app.options.queue_is_untimed {
                since
            } else {
                exchange.began()
            };
            let until = app.limits.total.map(|limit| began.saturating_add(limit));
            Hold::SharedSlot(orphanage.share(slot, clock, until))
        }
    };
    exchange.run(hold, since);
    Ok(since)
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
