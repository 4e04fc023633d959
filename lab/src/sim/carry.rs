//! The life of a request: it comes, is sent, perhaps sent again, and ends.

use std::task::Poll;
use std::time::Duration;

use plimsoll_balance::{EndpointId, Entry, FailureKind, Outcome, Pick};

use super::backend::{Failure, Reception, seconds};
use super::gateway::{Place, backend_at};
use super::world::{Event, World};
use crate::random::SplitMix64;
use crate::scenario::{Arrivals, Draws, Fate, Record, Scenario};

/// One request.
pub(super) struct Request {
    arrival: f64,
    draws: Draws,
    gateway: usize,
    /// Where it has been.
    tried: Vec<EndpointId>,
    stage: Stage,
}

/// Where a request is.
enum Stage {
    /// In the queue of its gateway.
    Queued(Place),
    /// At a backend, as this attempt.
    Sent(usize),
    /// Nowhere: its client has an answer, or has gone.
    Over,
}

/// One sending of a request to a backend.
pub(super) struct Attempt {
    request: usize,
    backend: usize,
    /// What the balancer gave; gone when the balancer knows how it ended.
    pick: Option<Pick>,
    /// Whether it occupies its backend's slot, until its work is done and whoever waits for it.
    holds_slot: bool,
    /// When its head came.
    head: Option<f64>,
}

impl World<'_> {
    /// A request comes to a gateway.
    pub(super) fn arrive(&mut self, gateway: usize) {
        let number = self.requests.len();
        self.open += 1;
        self.requests.push(Request {
            arrival: seconds(self.now),
            draws: Scenario::draws(self.seed, number as u64),
            gateway,
            tried: Vec::new(),
            stage: Stage::Over,
        });
        let limit = milliseconds(self.scenario.client.timeout_ms);
        self.events.put(self.after(limit), Event::Timeout(number));
        let balancer = &self.gateways[gateway].balancer;
        balancer.retry_budget().deposit(self.now);
        match balancer.enter(self.now, 0) {
            Ok(Entry::Running(pick)) => self.send(number, pick),
            Ok(Entry::Waiting(waiting)) => {
                self.requests[number].stage = Stage::Queued(Place::new(waiting));
                self.gateways[gateway].waiting += 1;
                self.look_again(number);
            }
            Err(_) => self.end(number, Fate::Failed, seconds(self.now)),
        }
    }

    /// A request that waits may have got an endpoint.
    pub(super) fn look_again(&mut self, number: usize) {
        let request = &mut self.requests[number];
        let Stage::Queued(place) = &mut request.stage else {
            return;
        };
        let Poll::Ready(result) = place.poll(number, &self.woken) else {
            return;
        };
        self.gateways[request.gateway].waiting -= 1;
        request.stage = Stage::Over;
        match result {
            Ok(pick) => self.send(number, pick),
            Err(_) => self.end(number, Fate::Failed, seconds(self.now)),
        }
    }

    fn send(&mut self, number: usize, pick: Pick) {
        let attempt = self.attempts.len();
        let backend = backend_at(pick.endpoint().address());
        let second = seconds(self.now);
        let request = &mut self.requests[number];
        let fate = SplitMix64::stream(request.draws.fate, request.tried.len() as u64).next_u64();
        request.tried.push(pick.endpoint().id());
        request.stage = Stage::Sent(attempt);
        let condition = self.scenario.condition(backend, second);
        let reception = self.backends[backend].receive(second, attempt, &condition, fate);
        let together = self.backends[backend].open() as u64;
        self.recorder.attempt(second, backend, together);
        self.attempts.push(Attempt {
            request: number,
            backend,
            pick: Some(pick),
            holds_slot: false,
            head: None,
        });
        match reception {
            Reception::Begins => self.work(attempt),
            Reception::Fails(after, failure) => {
                self.events
                    .put(self.after(after), Event::Refusal(attempt, failure));
            }
            Reception::Waits | Reception::Silent => {}
        }
        if let Some(ms) = self.scenario.client.try_timeout_ms {
            self.events
                .put(self.after(milliseconds(ms)), Event::TryTimeout(attempt));
        }
    }

    /// A backend begins with an attempt.
    fn work(&mut self, attempt: usize) {
        let this = &mut self.attempts[attempt];
        this.holds_slot = true;
        let draws = &self.requests[this.request].draws;
        let condition = self.scenario.condition(this.backend, seconds(self.now));
        let head = self.scenario.service_time(&condition, draws);
        let body = self.scenario.body_time(draws);
        if !body.is_zero() {
            self.events.put(self.after(head), Event::Head(attempt));
        }
        self.events
            .put(self.after(head + body), Event::Answer(attempt));
    }

    /// The head of an answer comes, and its body is yet to come.
    pub(super) fn head(&mut self, attempt: usize) {
        let this = &mut self.attempts[attempt];
        if let Some(pick) = &mut this.pick {
            this.head = Some(seconds(self.now));
            pick.head_received(self.now);
        }
    }

    /// A backend has done the work of an attempt.
    pub(super) fn answer(&mut self, attempt: usize) {
        let this = &mut self.attempts[attempt];
        if !std::mem::take(&mut this.holds_slot) {
            return;
        }
        let backend = &mut self.backends[this.backend];
        let next = backend.finish(seconds(self.now), attempt);
        if let Some(mut pick) = this.pick.take() {
            if self.reports {
                pick.report(self.now, &backend.report());
            }
            pick.finish(self.now, Outcome::Success);
            let request = this.request;
            let heard = this.head.unwrap_or_else(|| seconds(self.now));
            self.end(request, Fate::Answered, heard);
        }
        if let Some(next) = next {
            self.work(next);
        }
    }

    /// An attempt has failed; the gateway sends the request again where that can help.
    pub(super) fn fail(&mut self, attempt: usize, failure: Failure) {
        let Some(pick) = self.attempts[attempt].pick.take() else {
            return;
        };
        pick.finish(self.now, failure.outcome);
        let number = self.attempts[attempt].request;
        if !failure.speaks_of_endpoint || !self.send_again(number) {
            self.end(number, Fate::Failed, seconds(self.now));
        }
    }

    /// Whether the request could be sent to another backend.
    fn send_again(&mut self, number: usize) -> bool {
        let request = &self.requests[number];
        let balancer = &self.gateways[request.gateway].balancer;
        if request.tried.len() > self.scenario.client.retries as usize
            || !balancer.retry_budget().try_withdraw(self.now)
        {
            return false;
        }
        let picked = balancer.try_pick(self.now, &request.tried);
        picked.is_ok_and(|pick| {
            self.send(number, pick);
            true
        })
    }

    /// An attempt has taken too long; its backend does not learn of it, unless it has not begun.
    pub(super) fn give_up(&mut self, attempt: usize) {
        if self.attempts[attempt].pick.is_some() {
            self.backends[self.attempts[attempt].backend].abandon(attempt);
            self.fail(attempt, Failure::of_endpoint(FailureKind::Timeout));
        }
    }

    /// The connection of an attempt broke.
    pub(super) fn lose(&mut self, attempt: usize) {
        self.attempts[attempt].holds_slot = false;
        self.fail(attempt, Failure::of_endpoint(FailureKind::Reset));
    }

    /// A request has taken too long.
    pub(super) fn time_out(&mut self, number: usize) {
        let request = &mut self.requests[number];
        match std::mem::replace(&mut request.stage, Stage::Over) {
            Stage::Over => return,
            Stage::Queued(place) => {
                self.gateways[request.gateway].waiting -= 1;
                drop(place);
            }
            Stage::Sent(attempt) => {
                let this = &mut self.attempts[attempt];
                if this.head.is_some() {
                    // A stream is in time when it has begun in time.
                    request.stage = Stage::Sent(attempt);
                    return;
                }
                let pick = this.pick.take();
                self.backends[this.backend].abandon(attempt);
                if let Some(pick) = pick {
                    pick.finish(self.now, Outcome::Failure(FailureKind::Timeout));
                }
            }
        }
        self.end(number, Fate::TimedOut, seconds(self.now));
    }

    /// The client has an answer, since `heard`, or has gone.
    fn end(&mut self, number: usize, fate: Fate, heard: f64) {
        let request = &mut self.requests[number];
        request.stage = Stage::Over;
        self.open -= 1;
        let (gateway, arrival) = (request.gateway, request.arrival);
        let class = self.scenario.class(&request.draws);
        self.recorder.record(Record {
            arrival,
            latency: heard - arrival,
            fate,
            class,
        });
        if matches!(self.scenario.arrivals, Arrivals::Closed { .. }) {
            self.send_another(gateway);
        }
    }
}

fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}
