//! One request, held from arrival to the end of its answer.
//!
//! Everything a request occupies is given back when its [`Exchange`] is dropped, on whatever path: finished,
//! refused, timed out, cancelled by the client, or unwound by a panic. The clock is read twice: once by the
//! caller when the request arrives, once here when it ends, and all measurements share these two readings.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use plimsoll_balance::{self as balance, Endpoint};
use plimsoll_limit::Slot;
use plimsoll_meter::{Clock, ConcurrencyMeter, Source, Tick};
use plimsoll_wire::{Answer, ProxyError};

use crate::body::{BodyLink, ClientFault};
use crate::connection::ClientConnection;
use crate::gateway::{LocalService, Picked, outcome_of_error, reports};
use crate::observe::{Observed, RequestEnd};
use crate::orphan::SharedSlot;
use crate::refusal::Refusal;
use crate::stats::WorkerStats;

/// What is told of a request whose client left before it was answered. Nobody sees it; nginx made it customary.
const STATUS_CLIENT_GONE: u16 = 499;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) error: Option<ProxyError>,
}

/// What a request that runs holds.
#[derive(Debug)]
pub(crate) enum Hold {
    Nothing,
    /// One of the breaker's slots.
    Slot(Slot),
    /// The same, which may outlive the request.
    SharedSlot(SharedSlot),
    /// A place at an endpoint.
    Pick(Picked),
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Rc<ClientConnection>,
    /// Where the gateway counts it; what no service gets, and the sidecar's, is counted for the worker.
    service: Option<Rc<LocalService>>,
    /// `None` if it is left out of everything that is counted.
    source: Option<Source>,
    began: Tick,
    /// When the request could run: `began`, unless it waited in the queue.
    running_since: Option<Tick>,
    /// Whether it has waited for its endpoint to be started.
    cold: bool,
    hold: Hold,
    /// `None` if it has no body.
    body: Option<Rc<BodyLink>>,
    /// `None` until the answer is complete: a request dropped before was left by its client.
    outcome: Option<Outcome>,
    /// When it ended, if somebody has already looked.
    ended: Option<Tick>,
    /// The status of the answer, once there is one.
    status: Option<StatusCode>,
    /// How much of the answer's body has been handed on.
    response_bytes: u64,
    /// Who hears of its end.
    observed: Option<Box<dyn Observed>>,
}

impl Exchange {
    /// A request has arrived; without `source` it is not counted.
    pub(crate) fn begin(
        connection: &Rc<ClientConnection>,
        service: Option<&Rc<LocalService>>,
        source: Option<Source>,
        began: Tick,
    ) -> Self {
        let exchange = Self {
            connection: Rc::clone(connection),
            service: service.cloned(),
            source,
            began,
            running_since: None,
            cold: false,
            hold: Hold::Nothing,
            body: None,
            outcome: None,
            ended: None,
            status: None,
            response_bytes: 0,
            observed: None,
        };
        let worker = connection.worker();
        if let Some(source) = source {
            exchange.meter().enter(worker.index, source, began);
        }
        connection.request_began();
        worker.request_arrived();
        exchange
    }

    fn meter(&self) -> &ConcurrencyMeter {
        match &self.service {
            None => &self.connection.worker().shared.meter,
            Some(local) => local.service().meter(),
        }
    }

    fn stats(&self) -> &WorkerStats {
        let worker = self.connection.worker();
        match &self.service {
            None => worker.stats(),
            Some(local) => local.service().stats(worker.index),
        }
    }

    /// `observed` hears of its end.
    pub(crate) fn observe(&mut self, observed: Option<Box<dyn Observed>>) {
        self.observed = observed;
    }

    /// The client's answer has this status.
    pub(crate) fn answers_with(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// More of the answer's body has been handed on.
    pub(crate) fn hands_on(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }

    /// It may run, since it arrived or has left the queue.
    pub(crate) fn run(&mut self, hold: Hold, since: Tick) {
        self.hold = hold;
        self.running_since = Some(since);
    }

    /// It has waited for its endpoint to be started. Returns for how long.
    pub(crate) fn ran_cold(&mut self) -> Duration {
        self.cold = true;
        self.waited()
    }

    /// How long it has waited for its endpoint to be started; `None` if it has not.
    pub(crate) fn cold_start(&self) -> Option<Duration> {
        self.cold.then(|| self.waited())
    }

    /// How long it was in the queue.
    fn waited(&self) -> Duration {
        let since = self.running_since.unwrap_or(self.began);
        since.saturating_duration_since(self.began)
    }

    /// It has been given to another endpoint; what held it before is over.
    pub(crate) fn run_elsewhere(&mut self, picked: Picked) {
        self.end_hold(None);
        self.hold = Hold::Pick(picked);
    }

    /// Its slot, if that is to be held for an answer without a client.
    pub(crate) fn shared_slot(&self) -> Option<&SharedSlot> {
        match &self.hold {
            Hold::SharedSlot(slot) => Some(slot),
            _ => None,
        }
    }

    /// The endpoint it has been given to.
    pub(crate) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        match &self.hold {
            Hold::Pick(picked) => Some(picked.pick().endpoint()),
            _ => None,
        }
    }

    /// The endpoint has failed it, unless it was the client.
    pub(crate) fn let_go(&mut self, outcome: balance::Outcome) {
        if let Hold::Pick(picked) = &mut self.hold
            && self.body.as_ref().is_none_or(|body| body.fault().is_none())
        {
            picked.failed(outcome);
        }
        self.end_hold(None);
    }

    /// The head of the endpoint's answer is there.
    pub(crate) fn head<B>(&mut self, response: &Response<B>, grpc: bool) {
        if let Hold::Pick(picked) = &mut self.hold {
            picked.head(response.status(), response.headers(), grpc);
        }
        self.hear(response.headers());
    }

    /// Passes on what the endpoint says of its load.
    fn hear(&mut self, fields: &HeaderMap) {
        let (Hold::Pick(picked), Some(local)) = (&mut self.hold, &self.service) else {
            return;
        };
        if let Some(report) = reports::read(fields) {
            local.service().count_report(report.as_ref().err().copied());
            if let Ok(report) = report {
                picked.report(self.connection.worker().shared.clock.now(), &report);
            }
        }
    }

    /// The rest of the answer is yet to come: an endpoint is measured by how soon it begins.
    pub(crate) fn rest_follows(&mut self) {
        if let Hold::Pick(picked) = &mut self.hold {
            picked.head_received(self.connection.worker().shared.clock.now());
        }
    }

    /// The trailers of the endpoint's answer are there.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Hold::Pick(picked) = &mut self.hold {
            picked.trailers(trailers);
        }
        self.hear(trailers);
    }

    /// Whatever goes wrong from now on, the endpoint is not to blame.
    pub(crate) fn acquit(&mut self) {
        if let Hold::Pick(picked) = &mut self.hold {
            picked.failed(balance::Outcome::Cancelled);
        }
    }

    /// Gives back what holds the request, at `now`, or at this moment.
    fn end_hold(&mut self, now: Option<Tick>) {
        match std::mem::replace(&mut self.hold, Hold::Nothing) {
            Hold::Nothing => {}
            Hold::Slot(slot) => drop(slot),
            Hold::SharedSlot(slot) => drop(slot),
            Hold::Pick(picked) => {
                let clock = self.connection.worker().shared.clock;
                picked.end(now.unwrap_or_else(|| clock.now()));
            }
        }
    }

    /// Its body will tell here if it does not come to its end.
    pub(crate) fn watch_body(&mut self, body: Option<Rc<BodyLink>>) {
        self.body = body;
    }

    /// What is known to be wrong with its body.
    pub(crate) fn client_fault(&self) -> Option<ClientFault> {
        self.body.as_ref().and_then(|body| body.fault())
    }

    /// Breaks its body off, if that has not ended.
    pub(crate) fn stop_body(&self) {
        if let Some(body) = &self.body {
            body.stop();
        }
    }

    /// When it arrived.
    pub(crate) fn began(&self) -> Tick {
        self.began
    }

    /// The connection it came on.
    pub(crate) fn connection(&self) -> &Rc<ClientConnection> {
        &self.connection
    }

    /// The application's answer is complete. Returns the moment of the request's end: the clock's second
    /// reading.
    pub(crate) fn answered(&mut self, status: StatusCode) -> Tick {
        if let Hold::Pick(picked) = &mut self.hold {
            picked.whole();
        }
        self.status = Some(status);
        self.outcome = Some(Outcome {
            answer: Answer::from_app(status.as_u16()),
            error: None,
        });
        *self
            .ended
            .insert(self.connection.worker().shared.clock.now())
    }

    /// Plimsoll answers in the application's place, or breaks its answer off: counts and logs why.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.status = Some(refusal.status);
        self.response_bytes = refusal.text.len() as u64;
        self.failed(refusal.answer, refusal.error, &refusal.details);
    }

    /// The answer was broken off after it had begun.
    pub(crate) fn failed(&mut self, answer: Answer, error: ProxyError, details: &str) {
        if answer == Answer::UpstreamError && self.client_fault() == Some(ClientFault::Gone) {
            // The application was not sent the whole request: its failure is the client's leaving.
            return;
        }
        if let Hold::Pick(picked) = &mut self.hold {
            let waits_for_client = self.body.as_ref().is_some_and(|body| body.waits());
            picked.failed(match answer {
                Answer::UpstreamError => outcome_of_error(error),
                Answer::Timeout if !waits_for_client => outcome_of_error(error),
                _ => balance::Outcome::Cancelled,
            });
        }
        self.outcome = Some(Outcome {
            answer,
            error: Some(error),
        });
        // The throttle needs no exact time: that of arrival saves a reading.
        self.connection
            .log_failure(answer, error, details, self.began);
    }

    /// All there is to tell of its end.
    fn end(&self, outcome: Outcome, ended: Tick) -> RequestEnd {
        RequestEnd {
            answer: outcome.answer,
            error: outcome.error,
            status: match (self.status, outcome.answer) {
                (Some(status), _) => status.as_u16(),
                (None, Answer::ClientGone) => STATUS_CLIENT_GONE,
                (None, _) => StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
            },
            request_bytes: self.body.as_ref().map_or(0, |body| body.bytes()),
            response_bytes: self.response_bytes,
            running_since: self.running_since,
            ended,
        }
    }

    /// How it would be counted if it ended now.
    fn outcome(&self) -> Outcome {
        self.outcome.unwrap_or_else(|| {
            if std::thread::panicking() {
                Outcome {
                    answer: Answer::InternalError,
                    error: Some(ProxyError::ProxyInternalError),
                }
            } else {
                Outcome {
                    answer: Answer::ClientGone,
                    error: None,
                }
            }
        })
    }
}

impl Exchange {
    /// Counts it among those that have ended.
    fn count(&self, outcome: Outcome, now: Tick) {
        let stats = self.stats();
        stats.count_request(outcome.answer);
        if let Some(error) = outcome.error {
            stats.count_error(error);
        }
        stats.record_request_time(now.saturating_duration_since(self.began));
        if let Some(since) = self.running_since {
            stats.record_queue_wait(since.saturating_duration_since(self.began));
            stats.record_upstream_time(now.saturating_duration_since(since));
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let outcome = self.outcome();
        let clock = self.connection.worker().shared.clock;
        let now = self.ended.unwrap_or_else(|| clock.now());
        self.end_hold(Some(now));
        if let Some(source) = self.source {
            let worker = self.connection.worker().index;
            // In this order, so that who sees nothing in flight finds all of it counted.
            self.count(outcome, now);
            self.meter().leave(worker, source, now);
        }
        self.connection.request_ended();
        if let Some(observed) = self.observed.take() {
            observed.ended(&self.end(outcome, now));
        }
    }
}
