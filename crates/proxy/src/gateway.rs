//! The life of a request in the gateway, from top to bottom.

mod again;
mod demand;
mod local;
pub(crate) mod reports;
mod routes;
mod service;
mod translate;
mod verdict;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use plimsoll_balance::{EndpointId, Entry, Pick, PickError, QueueError, Waiting};
use plimsoll_meter::{Clock, Source, Tick};

use crate::answer;
use crate::body::{RequestBody, ResponseBody};
use crate::config::TimeLimits;
use crate::connection::ClientConnection;
use crate::deadline::Deadlines;
use crate::exchange::{Exchange, Hold};
use crate::forward::{Answered, NoAnswer, forward};
use crate::gateway::again::{ATTEMPTS_MAX, Copy};
use crate::headers::{self, Survey};
use crate::refusal::{Refusal, Shortage};

pub use demand::{Demand, Unavailable, WakeOn};
pub(crate) use local::{LocalGateway, LocalService};
pub use routes::{HostPattern, PATH_PREFIX_BYTES_MAX, ROUTES_MAX, Route, RouteError, Routes};
pub use service::{
    NoRetry, RefusalStatus, RetryReason, Service, ServiceSettings, ServiceView, UpstreamProtocol,
};
pub(crate) use verdict::{Picked, outcome_of_error};

/// How long a browser waits for an instance to start before it is shown a page.
const PAGE_PATIENCE: Duration = Duration::from_millis(400);

/// So often a request looks for an instance, whether one has taken it or not.
const TRIES_MAX: usize = 20;

/// A request that may be done twice is taken by so many instances that end without an answer, and then by no other: it may
/// be what ends them.
const LOSSES_MAX: usize = 2;

/// A request whose instance has died waits for another one so long, and twice as long each time, ...
const LOSS_NOTICE_TIME: Duration = Duration::from_millis(25);

/// ... so often: three quarters of a second in all. An instance that is ending may accept connections for most of that.
const LOSS_NOTICES: u32 = 5;

/// Carries one request: route, measure, choose an endpoint, forward, answer.
///
/// As in the sidecar, what needs no waiting is done before there is a future.
pub(crate) fn carry(
    gateway: &LocalGateway,
    connection: &Rc<ClientConnection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let worker = connection.worker();
    let clock = worker.shared.clock;
    let began = clock.now();
    let grpc = headers::is_grpc(&request);
    let survey = Survey::of(request.headers());
    let mut request = request.map(|body| RequestBody::new(body, connection));
    let prepared = headers::prepare_request(&mut request, survey, connection.forwarded_for());
    let is_tls = connection.is_tls();
    if is_tls {
        headers::add_forwarded_proto(request.headers_mut());
    }
    let routed = prepared.and_then(|()| route(gateway, &mut request, is_tls && !grpc));
    let limits =
        (routed.as_ref()).map_or_else(|_| TimeLimits::default(), |to| to.settings().limits);
    let mut deadlines = Deadlines::start(limits, clock, &worker.spare_timers, began);
    let mut exchange = Exchange::begin(
        connection,
        routed.as_ref().ok(),
        Some(Source::Direct),
        began,
    );
    exchange.watch_body(request.body().link());
    let mut outgoing = Some(request);

    async move {
        let answered = match routed {
            Ok(service) => {
                let errand = Errand {
                    service: &service,
                    grpc,
                    bytes: survey.bytes(),
                };
                let attempt = pin!(errand.run(&mut exchange, &mut outgoing));
                answer::within(&mut deadlines, attempt).await
            }
            Err(refusal) => Err(refusal),
        };
        let connection = Rc::clone(exchange.connection());
        let cold_start = exchange.cold_start();
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
        if let Some(waited) = cold_start {
            demand::tell_cold_start(response.headers_mut(), waited);
        }
        answer::say_goodbye(&connection, &mut response);
        Ok(response)
    }
}

/// Finds the service for a prepared request, and makes it one that the service's endpoints understand.
///
/// `is_agreed` says that the client's version was agreed with this gateway, which tells nothing of the endpoints'.
fn route(
    gateway: &LocalGateway,
    request: &mut Request<RequestBody>,
    is_agreed: bool,
) -> Result<Rc<LocalService>, Refusal> {
    let service = gateway.route(request).ok_or_else(Refusal::no_route)?;
    let protocol = match service.settings().protocol {
        UpstreamProtocol::Auto if is_agreed => UpstreamProtocol::Http1,
        protocol => protocol,
    };
    translate::for_upstream(request, protocol)?;
    Ok(service)
}

/// A request that has been routed, on its way to an endpoint and back.
#[derive(Clone, Copy)]
struct Errand<'a> {
    service: &'a Rc<LocalService>,
    grpc: bool,
    /// What the request occupies while it waits.
    bytes: u64,
}

impl Errand<'_> {
    /// Waits for an endpoint if none has a slot, sends the request there, and to others if that fails.
    async fn run(
        self,
        exchange: &mut Exchange,
        outgoing: &mut Option<Request<RequestBody>>,
    ) -> Result<Answered, Refusal> {
        let began = exchange.began();
        let balancer = self.service.balancer();
        balancer.retry_budget().deposit(began);
        let entry = balancer.enter(began, self.bytes);
        let (pick, since) = match entry.map_err(|cause| self.no_endpoint(&cause))? {
            Entry::Running(pick) => {
                if let Some(demand) = &self.service.settings().demand {
                    demand.arrived();
                }
                (pick, began)
            }
            Entry::Waiting(place) => self.wait(exchange, outgoing, place).await?,
        };
        // Only who has waited can have waited for it to come.
        let is_cold = since != began && pick.endpoint().joined_at() > began;
        exchange.run(Hold::Pick(Picked::new(pick)), since);
        if let Some(demand) = self.demand().filter(|_| is_cold) {
            demand.has_waited(exchange.ran_cold());
        }
        let copy = outgoing.as_ref().and_then(Copy::of);
        let mut came = self.attempt(exchange, outgoing, since).await;
        if again::reason(&came, outgoing.is_some(), copy.as_ref()).is_some() {
            came = Box::pin(self.send_elsewhere(exchange, outgoing, copy, came)).await;
        }
        match came {
            Ok(answered) => {
                exchange.head(&answered.0, self.grpc);
                Ok(answered)
            }
            Err(failed) => {
                Box::pin(self.lose(exchange, &failed)).await;
                Err(failed.refusal)
            }
        }
    }

    /// Ends a pick that has failed.
    ///
    /// An instance that is ending is noticed a moment later. Its slot stays taken for so long, or the next in the queue
    /// would be sent there.
    async fn lose(self, exchange: &mut Exchange, failed: &NoAnswer) {
        if self.demand().is_some() && failed.is_of_endpoint() {
            tokio::time::sleep(LOSS_NOTICE_TIME).await;
        }
        exchange.let_go(failed.outcome());
    }

    /// Waits in the service's queue; the place is given up when the client goes away.
    async fn wait(
        self,
        exchange: &Exchange,
        outgoing: &Option<Request<RequestBody>>,
        place: Waiting,
    ) -> Result<(Pick, Tick), Refusal> {
        let connection = exchange.connection();
        if let Some(demand) = self.demand() {
            demand.waits();
        }
        let has_body = outgoing
            .as_ref()
            .is_some_and(|request| !request.body().is_empty());
        let page = (self.service.settings().waiting_page.as_ref())
            .filter(|_| outgoing.as_ref().is_some_and(demand::wants_page))
            .filter(|_| self.service.balancer().is_empty());
        let pick = if let Some(page) = page {
            Box::pin(self.wait_or_show(exchange, place, page)).await?
        } else if has_body && !connection.is_http2() {
            Box::pin(connection.unless_peer_closed(place)).await
        } else {
            place.await
        };
        let mut pick = pick.map_err(|cause| self.no_room(&cause))?;
        let now = connection.worker().shared.clock.now();
        pick.begin_at(now);
        Ok((pick, now))
    }

    /// Waits for an instance that will be there soon; else the browser is shown a page, and asks again.
    async fn wait_or_show(
        self,
        exchange: &Exchange,
        place: Waiting,
        page: &Bytes,
    ) -> Result<Result<Pick, QueueError>, Refusal> {
        if let Ok(picked) = tokio::time::timeout(PAGE_PATIENCE, place).await {
            return Ok(picked);
        }
        if let Some(demand) = self.demand() {
            demand.gives_page(exchange.connection().worker().shared.clock.now());
        }
        let service = self.service.service().name();
        Err(Refusal::starting(service, page.clone()))
    }

    /// Who is told of requests that wait, if somebody is.
    fn demand(&self) -> Option<&Demand> {
        self.service.settings().demand.as_deref()
    }

    /// Sends the request to the endpoint that has been picked.
    async fn attempt(
        self,
        exchange: &Exchange,
        outgoing: &mut Option<Request<RequestBody>>,
        now: Tick,
    ) -> Result<Answered, NoAnswer> {
        let worker = exchange.connection().worker();
        let Some(endpoint) = exchange.endpoint() else {
            unreachable!("an attempt is made with a pick");
        };
        let pool = self.service.pool(endpoint)?;
        let came = match self.service.settings().per_try_timeout {
            None => forward(worker, &pool, outgoing, now).await,
            Some(time) => {
                let sent = Box::pin(forward(worker, &pool, outgoing, now));
                match tokio::time::timeout(time, sent).await {
                    Ok(came) => came,
                    Err(_passed) => {
                        if outgoing.is_none() {
                            // What nobody has got a byte of stays whole, for another endpoint.
                            exchange.stop_body();
                        }
                        Err(NoAnswer::timeout())
                    }
                }
            }
        };
        if came.as_ref().is_err_and(NoAnswer::is_of_endpoint) {
            // What else is open to it would fail as well, and maybe as late.
            pool.close_idle();
        }
        came
    }

    /// Sends a request that has failed to other endpoints: as long as it is safe, there are some, and the budget
    /// allows.
    async fn send_elsewhere(
        self,
        exchange: &mut Exchange,
        outgoing: &mut Option<Request<RequestBody>>,
        copy: Option<Copy>,
        mut came: Result<Answered, NoAnswer>,
    ) -> Result<Answered, NoAnswer> {
        let mut tried = Vec::with_capacity(ATTEMPTS_MAX);
        let (mut sent, mut losses) = (1, 0);
        for _ in 1..TRIES_MAX {
            let Some(reason) = again::reason(&came, outgoing.is_some(), copy.as_ref()) else {
                return came;
            };
            // What an instance has not even taken costs nobody anything but time, and the next instance is on its way.
            let is_free = reason == RetryReason::NotAccepted && self.demand().is_some();
            if !is_free && sent == ATTEMPTS_MAX {
                break;
            }
            sent += usize::from(!is_free);
            losses += usize::from(reason == RetryReason::Reset && self.demand().is_some());
            if losses == LOSSES_MAX {
                break;
            }
            tried.extend(exchange.endpoint().map(|endpoint| endpoint.id()));
            if let Err(failed) = &came {
                // Its slot is for others from now on. An answer is kept until there is a chance of a better one.
                self.lose(exchange, failed).await;
            }
            let may_wait = came.is_err();
            let next = self
                .next_pick(exchange, outgoing, &tried, may_wait, is_free)
                .await;
            let (pick, since) = match next {
                Ok(next) => next,
                Err(why) => {
                    self.service.service().count_no_retry(why);
                    return came;
                }
            };
            if let Ok((response, _)) = &came {
                exchange.head(response, self.grpc);
            }
            drop(came);
            self.service.service().count_retry(reason);
            exchange.run_elsewhere(Picked::new(pick));
            if outgoing.is_none() {
                *outgoing = copy.as_ref().map(Copy::request);
            }
            came = self.attempt(exchange, outgoing, since).await;
        }
        if again::reason(&came, outgoing.is_some(), copy.as_ref()).is_some() {
            self.service.service().count_no_retry(NoRetry::Attempts);
        }
        came
    }

    /// Another endpoint than those that were tried: within the budget, unless `is_free`.
    ///
    /// If none of the others has a slot, the request takes the next slot that is free, even that of one that has
    /// failed it: places in the queue are all alike, so that nobody waits while an endpoint idles.
    async fn next_pick(
        self,
        exchange: &Exchange,
        outgoing: &Option<Request<RequestBody>>,
        tried: &[EndpointId],
        may_wait: bool,
        is_free: bool,
    ) -> Result<(Pick, Tick), NoRetry> {
        let now = exchange.connection().worker().shared.clock.now();
        let balancer = self.service.balancer();
        let budget = balancer.retry_budget();
        if !is_free && budget.available(now) < 1.0 {
            // Before an endpoint is picked: one that is picked and given back looks used to the others.
            return Err(NoRetry::Budget);
        }
        let picked = match balancer.try_pick(now, tried) {
            Ok(pick) => Some(pick),
            Err(PickError::NoSlot) if may_wait => None,
            Err(_) if may_wait && self.demand().is_some() => None,
            Err(_) => return Err(NoRetry::NoEndpoint),
        };
        if !is_free && !budget.try_withdraw(now) {
            return Err(NoRetry::Budget);
        }
        if let Some(pick) = picked {
            return Ok((pick, now));
        }
        if self.demand().is_some()
            && let Some(found) = self.notice_loss(exchange, tried).await
        {
            return Ok(found);
        }
        match balancer.enter(now, self.bytes) {
            Ok(Entry::Running(pick)) => Ok((pick, now)),
            Ok(Entry::Waiting(place)) => {
                let waited = self.wait(exchange, outgoing, place).await;
                waited.map_err(|_too_old| NoRetry::NoEndpoint)
            }
            Err(_) => Err(NoRetry::NoEndpoint),
        }
    }

    /// Waits until it has been noticed that an instance has died: until there are none, so that one is started for
    /// those who wait, or others than those that were tried.
    ///
    /// An instance that lives and has failed is tried again in the end.
    async fn notice_loss(self, exchange: &Exchange, tried: &[EndpointId]) -> Option<(Pick, Tick)> {
        let clock = exchange.connection().worker().shared.clock;
        let balancer = self.service.balancer();
        for again in 0..LOSS_NOTICES {
            tokio::time::sleep(LOSS_NOTICE_TIME * 2_u32.pow(again)).await;
            let now = clock.now();
            match balancer.try_pick(now, tried) {
                Ok(pick) => return Some((pick, now)),
                Err(PickError::NoSlot) => return None,
                Err(_) if balancer.is_empty() => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// There is no endpoint, or no room in the queue.
    fn no_endpoint(self, cause: &PickError) -> Refusal {
        match cause {
            PickError::NoEndpoints | PickError::AllDraining => self.nobody(cause),
            _ => Refusal::no_room(self.service.settings().refusal, Shortage::QueueFull, cause),
        }
    }

    /// There is no endpoint, and why, if that is known.
    fn nobody(self, cause: &dyn Error) -> Refusal {
        let service = self.service.service().name();
        match self.demand().and_then(Demand::unavailable) {
            Some(why) => Refusal::unavailable(service, &why),
            None => Refusal::no_endpoint(service, cause),
        }
    }

    /// The wait was for nothing.
    fn no_room(self, cause: &QueueError) -> Refusal {
        if *cause == QueueError::NoEndpoints {
            return self.nobody(cause);
        }
        Refusal::no_room(
            self.service.settings().refusal,
            Shortage::QueueTimeout,
            cause,
        )
    }
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
