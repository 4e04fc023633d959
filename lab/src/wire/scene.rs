//! What clients and backends of one run share: the time, and the account of what happens.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::alarms::Alarms;
use crate::random::SplitMix64;
use crate::scenario::{Fate, Record, Recorder, Scenario, Score};
use crate::sim::backend::{Backend, Reception};

/// A request may be on its way for this long before it counts as one that waits in its gateway.
const TRANSIT: Duration = Duration::from_millis(10);

/// One run of a scenario. Its time is that of the scenario: a second of it takes `stretch` seconds.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) scenario: Scenario,
    pub(super) seed: u64,
    alarms: Arc<Alarms>,
    began: OnceLock<Instant>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    backends: Vec<Backend>,
    /// Those that wait for a slot, by the number of the attempt.
    queued: HashMap<usize, oneshot::Sender<()>>,
    attempts: usize,
    /// Attempts at each request so far.
    tries: HashMap<u64, u64>,
    /// Requests that clients of each gateway wait for.
    open: Vec<usize>,
    /// Since when a request waits in each gateway while one of its backends has nothing to do.
    idle_since: Vec<Option<f64>>,
    recorder: Recorder,
}

/// An attempt that has come to a backend.
pub(super) struct Received {
    /// Its number.
    pub(super) attempt: usize,
    /// What becomes of it.
    pub(super) reception: Reception,
    /// Ready when it gets a slot.
    pub(super) slot: oneshot::Receiver<()>,
}

impl Scene {
    pub(super) fn new(scenario: Scenario, seed: u64, alarms: Arc<Alarms>) -> Self {
        let slots = |backend| Backend::new(scenario.group(backend).slots);
        let state = State {
            backends: (0..scenario.backend_count()).map(slots).collect(),
            queued: HashMap::new(),
            attempts: 0,
            tries: HashMap::new(),
            open: vec![0; scenario.gateways],
            idle_since: vec![None; scenario.gateways],
            recorder: Recorder::new(&scenario),
        };
        Self {
            scenario,
            seed,
            alarms,
            began: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    /// Time begins.
    pub(super) fn begin(&self) {
        self.began.get_or_init(Instant::now);
    }

    /// Seconds of the scenario since its beginning; zero before.
    pub(super) fn now(&self) -> f64 {
        self.second(Instant::now())
    }

    /// The second of the scenario at a moment.
    pub(super) fn second(&self, at: Instant) -> f64 {
        let began = self.began.get().copied().unwrap_or(at);
        let real = at.saturating_duration_since(began);
        real.as_secs_f64() / self.scenario.wire_stretch
    }

    /// So much time of the scenario, in real time.
    pub(super) fn real(&self, time: Duration) -> Duration {
        time.mul_f64(self.scenario.wire_stretch)
    }

    /// The moment of a second of the scenario.
    pub(super) fn moment(&self, second: f64) -> Instant {
        let began = self.began.get().copied().unwrap_or_else(Instant::now);
        began + self.real(Duration::from_secs_f64(second))
    }

    /// Lets so much time of the scenario pass.
    pub(super) async fn pass(&self, time: Duration) {
        self.until(Instant::now() + self.real(time)).await;
    }

    /// Returns at a moment, or at once if it has passed.
    pub(super) async fn until(&self, moment: Instant) {
        self.alarms.sleep_until(moment).await;
    }

    /// The gateway of a request in an open loop.
    pub(super) fn gateway(&self, request: u64) -> usize {
        let fate = Scenario::draws(self.seed, request).fate;
        (fate >> 32) as usize % self.scenario.gateways
    }

    /// The backends of a gateway.
    pub(super) fn backends_of(&self, gateway: usize) -> std::ops::Range<usize> {
        let all = self.scenario.backend_count();
        if !self.scenario.split {
            return 0..all;
        }
        let part = all / self.scenario.gateways;
        gateway * part..(gateway + 1) * part
    }

    /// A client has sent a request to a gateway.
    pub(super) fn sent(&self, gateway: usize) {
        let mut state = self.state.lock();
        state.open[gateway] += 1;
        self.look(&mut state);
    }

    /// The client of a request that came at `due` has heard of it at `heard`, or gives up then.
    pub(super) fn ended(
        &self,
        gateway: usize,
        request: u64,
        due: Instant,
        heard: Instant,
        fate: Fate,
    ) {
        let arrival = self.second(due);
        let class = self.scenario.class(&Scenario::draws(self.seed, request));
        let mut state = self.state.lock();
        state.open[gateway] -= 1;
        state.recorder.record(Record {
            arrival,
            latency: self.second(heard) - arrival,
            fate,
            class,
        });
        self.look(&mut state);
    }

    /// An attempt at a request has come to a backend.
    pub(super) fn receive(&self, backend: usize, request: u64) -> Received {
        let second = self.now();
        let condition = self.scenario.condition(backend, second);
        let mut state = self.state.lock();
        let attempt = state.attempts;
        state.attempts += 1;
        let tries = state.tries.entry(request).or_default();
        let draws = Scenario::draws(self.seed, request);
        let fate = SplitMix64::stream(draws.fate, *tries).next_u64();
        *tries += 1;
        let reception = state.backends[backend].receive(second, attempt, &condition, fate);
        let together = state.backends[backend].open() as u64;
        state.recorder.attempt(second, backend, together);
        let (granted, slot) = oneshot::channel();
        if reception == Reception::Waits {
            state.queued.insert(attempt, granted);
        }
        self.look(&mut state);
        Received {
            attempt,
            reception,
            slot,
        }
    }

    /// The work of an attempt is done: the next one may begin.
    pub(super) fn finish(&self, backend: usize, attempt: usize) {
        let second = self.now();
        let mut state = self.state.lock();
        let mut next = state.backends[backend].finish(second, attempt);
        while let Some(granted) = next.and_then(|next| state.queued.remove(&next)) {
            // One whose connection has just ended does not take the slot; the one behind it does.
            next = match granted.send(()) {
                Ok(()) => None,
                Err(()) => next.and_then(|gone| state.backends[backend].finish(second, gone)),
            };
        }
        self.look(&mut state);
    }

    /// Nobody waits for an attempt any more.
    pub(super) fn abandon(&self, backend: usize, attempt: usize) {
        let mut state = self.state.lock();
        state.queued.remove(&attempt);
        state.backends[backend].abandon(attempt);
        self.look(&mut state);
    }

    /// Everything that a backend had in hand is lost.
    pub(super) fn reset(&self, backend: usize) {
        let mut state = self.state.lock();
        for attempt in state.backends[backend].reset() {
            state.queued.remove(&attempt);
        }
    }

    /// The figures of what has happened so far.
    pub(super) fn score(&self) -> Score {
        self.state.lock().recorder.clone().score()
    }

    /// Notes in which gateways a request waits that a backend could work on.
    fn look(&self, state: &mut State) {
        // Only where slots are limited is it known that a backend could have done more.
        if self.scenario.endpoint_concurrency.is_none() {
            return;
        }
        let second = self.now();
        for gateway in 0..self.scenario.gateways {
            let at_backends = |backend: usize| state.backends[backend].open();
            let there: usize = self.backends_of(gateway).map(at_backends).sum();
            let idle = |backend: usize| {
                at_backends(backend) == 0 && self.scenario.condition(backend, second).answers()
            };
            let waits = state.open[gateway] > there && self.backends_of(gateway).any(idle);
            match (state.idle_since[gateway], waits) {
                (None, true) => state.idle_since[gateway] = Some(second),
                (Some(since), false) => {
                    state.idle_since[gateway] = None;
                    let passed = second - since;
                    if passed * self.scenario.wire_stretch > TRANSIT.as_secs_f64() {
                        state.recorder.idle_while_queued(passed);
                    }
                }
                (None, false) | (Some(_), true) => {}
            }
        }
    }
}
