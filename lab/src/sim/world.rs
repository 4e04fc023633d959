//! The world: everything there is in a simulation, and what time does to it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use plimsoll_balance::Policy;
use plimsoll_meter::Tick;

use super::backend::{Backend, Failure, seconds};
use super::carry::{Attempt, Request};
use super::events::Events;
use super::gateway::{Gateway, Woken};
use super::player::Player;
use crate::scenario::{Arrivals, Moments, Recorder, Scenario, Score, Trouble};

/// How often a gateway does its housekeeping.
const ADVANCE_PERIOD: Duration = Duration::from_millis(100);

/// Everything there is.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    pub(super) now: Tick,
    pub(super) events: Events<Event>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) backends: Vec<Backend>,
    pub(super) requests: Vec<Request>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) recorder: Recorder,
    pub(super) woken: Arc<Woken>,
    /// Whether answers say how loaded their backend is.
    pub(super) reports: bool,
    moments: Moments<'a>,
    /// Requests that a closed loop may still send.
    left: usize,
    /// Requests that have come and not ended.
    pub(super) open: usize,
    more_to_come: bool,
}

/// What can happen. Numbers are places in [`World::requests`], [`World::attempts`], [`World::gateways`] and
/// [`Scenario::faults`](crate::scenario::Scenario).
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The next request of an open loop comes.
    Arrival,
    /// The head of an answer is there.
    Head(usize),
    /// An answer is complete.
    Answer(usize),
    /// A failure that occupied no slot is there.
    Refusal(usize, Failure),
    /// An attempt has taken as long as it may.
    TryTimeout(usize),
    /// A request has taken as long as it may.
    Timeout(usize),
    /// A gateway does its housekeeping.
    Advance(usize),
    /// A fault begins or ends.
    Edge(usize),
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, player: &Player, seed: u64) -> Result<Self> {
        let gateways = (0..scenario.gateways)
            .map(|number| Gateway::new(scenario, player, seed, number))
            .collect::<Result<_>>()?;
        let slots = |backend| Backend::new(scenario.group(backend).slots);
        Ok(Self {
            scenario,
            seed,
            now: Tick::ZERO,
            events: Events::new(),
            gateways,
            backends: (0..scenario.backend_count()).map(slots).collect(),
            requests: Vec::new(),
            attempts: Vec::new(),
            recorder: Recorder::new(scenario),
            woken: Arc::default(),
            // The others are to be judged by what they see for themselves.
            reports: matches!(player.policy, Policy::Orca(_)),
            moments: scenario.arrivals.moments(scenario.seconds, seed),
            left: 0,
            open: 0,
            more_to_come: true,
        })
    }

    /// Plays to the end.
    pub(super) fn play(mut self) -> Score {
        self.begin();
        while let Some((at, event)) = self.events.next() {
            self.pass(at);
            self.happen(event);
            self.look_at_woken();
            if self.open == 0 && !self.more_to_come {
                break;
            }
        }
        self.recorder.score()
    }

    fn begin(&mut self) {
        for gateway in 0..self.gateways.len() {
            // Gateways do not do their housekeeping all at once.
            let phase = ADVANCE_PERIOD.mul_f64(gateway as f64 / self.gateways.len() as f64);
            let first = Tick::ZERO.saturating_add(phase);
            self.events.put(first, Event::Advance(gateway));
        }
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            for edge in [fault.from, fault.to] {
                self.events.put(tick(edge), Event::Edge(number));
            }
        }
        if let Arrivals::Closed { clients, requests } = self.scenario.arrivals {
            self.left = requests;
            for client in 0..clients {
                self.send_another(client % self.gateways.len());
            }
        } else {
            self.plan_arrival();
        }
    }

    /// Lets time go on to `at`.
    fn pass(&mut self, at: Tick) {
        let passed = at.saturating_duration_since(self.now);
        // Only where slots are limited is it known that a backend could have done more.
        if !passed.is_zero() && self.scenario.endpoint_concurrency.is_some() {
            let second = seconds(self.now);
            let idle = |backend: usize| {
                self.backends[backend].open() == 0
                    && self.scenario.condition(backend, second).answers()
            };
            let mut gateways = self.gateways.iter().filter(|gateway| gateway.waiting > 0);
            if gateways.any(|gateway| gateway.backends.clone().any(idle)) {
                self.recorder.idle_while_queued(passed.as_secs_f64());
            }
        }
        self.now = at;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => {
                let number = self.requests.len();
                let fate = Scenario::draws(self.seed, number as u64).fate;
                self.arrive((fate >> 32) as usize % self.gateways.len());
                self.plan_arrival();
            }
            Event::Head(attempt) => self.head(attempt),
            Event::Answer(attempt) => self.answer(attempt),
            Event::Refusal(attempt, failure) => self.fail(attempt, failure),
            Event::TryTimeout(attempt) => self.give_up(attempt),
            Event::Timeout(request) => self.time_out(request),
            Event::Advance(gateway) => {
                self.gateways[gateway].balancer.advance(self.now);
                let next = self.now.saturating_add(ADVANCE_PERIOD);
                self.events.put(next, Event::Advance(gateway));
            }
            Event::Edge(fault) => self.edge(fault),
        }
    }

    fn plan_arrival(&mut self) {
        match self.moments.next() {
            Some(second) => self.events.put(tick(second), Event::Arrival),
            None => self.more_to_come = false,
        }
    }

    /// A client of a closed loop sends its next request.
    pub(super) fn send_another(&mut self, gateway: usize) {
        if self.left == 0 || seconds(self.now) >= self.scenario.seconds {
            self.more_to_come = false;
            return;
        }
        self.left -= 1;
        self.arrive(gateway);
    }

    fn edge(&mut self, fault: usize) {
        let fault = &self.scenario.faults[fault];
        match fault.what {
            Trouble::Absent => {
                for gateway in &self.gateways {
                    // The same addresses were accepted when the gateway was made.
                    let listed = gateway.list(self.scenario, self.now);
                    debug_assert!(listed.is_ok(), "{listed:?}");
                }
            }
            Trouble::Gone if tick(fault.from) == self.now => {
                for backend in fault.first..fault.first + fault.count {
                    for attempt in self.backends[backend].reset() {
                        self.lose(attempt);
                    }
                }
            }
            _ => {}
        }
    }

    fn look_at_woken(&mut self) {
        loop {
            let numbers = self.woken.take();
            if numbers.is_empty() {
                return;
            }
            for number in numbers {
                self.look_again(number);
            }
        }
    }

    /// The moment so many nanoseconds from now.
    pub(super) fn after(&self, duration: Duration) -> Tick {
        self.now.saturating_add(duration)
    }
}

fn tick(second: f64) -> Tick {
    Tick::from_nanos((second * 1e9) as u64)
}
