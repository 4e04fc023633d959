//! A model of Prequal, to compare with where many gateways share many backends.
//!
//! Wydrowski and others: "Load is not what you should balance: Introducing Prequal" (NSDI 2024). Gateways ask random
//! backends how many requests they have in flight and how long requests took lately, keep the last answers in a
//! pool, and choose from it: among those with few requests in flight the fastest, and if there is none, the one with
//! the fewest. The constants are the paper's. The answers to probes take no time here, which is in its favour.

use std::collections::VecDeque;

use super::backend::{Backend, Reception, seconds};
use super::events::Events;
use crate::random::SplitMix64;
use crate::scenario::{Fate, Record, Recorder, Scenario, Score};
use plimsoll_meter::Tick;

/// Probes for each request.
const PROBES_PER_REQUEST: usize = 3;

/// Answers that a gateway keeps.
const POOL_MAX: usize = 16;

/// The time after which an answer is void, seconds.
const AGE_MAX: f64 = 1.0;

/// The quantile of requests in flight from which a backend is hot: 2^−¼.
const HOT_QUANTILE: f64 = 0.840_896;

/// Answers from which that quantile is taken.
const RECENT_MAX: usize = 128;

/// Latencies of which a backend tells the median.
const LATENCIES_MAX: usize = 9;

/// What the paper calls δ: how much faster probes are to come than they go.
const SURPLUS: f64 = 1.0;

struct Probe {
    backend: usize,
    in_flight: usize,
    latency: f64,
    at: f64,
    /// How often it may still be used.
    uses: u32,
}

struct Client {
    pool: Vec<Probe>,
    recent: VecDeque<usize>,
    random: SplitMix64,
    /// Whether the next answer to be thrown away is the oldest, or the worst.
    oldest_next: bool,
}

struct Server {
    backend: Backend,
    /// Latencies of the last requests.
    latencies: VecDeque<f64>,
}

struct Request {
    arrival: f64,
    number: u64,
    backend: usize,
    over: bool,
}

enum Event {
    Arrival,
    Answer(usize),
    Timeout(usize),
}

struct Model<'a> {
    scenario: &'a Scenario,
    seed: u64,
    events: Events<Event>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    requests: Vec<Request>,
    recorder: Recorder,
}

/// Plays an open loop with Prequal in the gateways. Of faults, it knows those that change service times.
#[must_use]
pub fn run_prequal(scenario: &Scenario, seed: u64) -> Score {
    let server = |number| Server {
        backend: Backend::new(scenario.group(number).slots),
        latencies: VecDeque::new(),
    };
    let client = |number| Client {
        pool: Vec::new(),
        recent: VecDeque::new(),
        random: SplitMix64::stream(seed, number),
        oldest_next: true,
    };
    let mut model = Model {
        scenario,
        seed,
        events: Events::new(),
        clients: (0..scenario.gateways as u64).map(client).collect(),
        servers: (0..scenario.backend_count()).map(server).collect(),
        requests: Vec::new(),
        recorder: Recorder::new(scenario),
    };
    let mut moments = scenario.arrivals.moments(scenario.seconds, seed);
    let mut plan = |events: &mut Events<Event>| {
        if let Some(second) = moments.next() {
            events.put(tick(second), Event::Arrival);
        }
    };
    plan(&mut model.events);
    while let Some((at, event)) = model.events.next() {
        let now = seconds(at);
        match event {
            Event::Arrival => {
                model.arrive(now);
                plan(&mut model.events);
            }
            Event::Answer(request) => model.answer(now, request),
            Event::Timeout(request) => model.end(now, request, Fate::TimedOut),
        }
    }
    model.recorder.score()
}

impl Model<'_> {
    fn arrive(&mut self, now: f64) {
        let number = self.requests.len();
        let draws = Scenario::draws(self.seed, number as u64);
        let client = (draws.fate >> 32) as usize % self.clients.len();
        let client = &mut self.clients[client];
        let chosen = client.choose(now, self.servers.len());
        for _ in 0..PROBES_PER_REQUEST {
            let probed = client.draw(self.servers.len());
            let answer = self.servers[probed].probe(now, probed);
            client.keep(answer, self.servers.len());
        }
        let condition = self.scenario.condition(chosen, now);
        let server = &mut self.servers[chosen].backend;
        let reception = server.receive(now, number, &condition, draws.fate);
        self.recorder.attempt(now, chosen, server.open() as u64);
        self.requests.push(Request {
            arrival: now,
            number: number as u64,
            backend: chosen,
            over: false,
        });
        if reception == Reception::Begins {
            self.work(now, number);
        }
        let limit = self.scenario.client.timeout_ms / 1000.0;
        self.events.put(tick(now + limit), Event::Timeout(number));
    }

    fn work(&mut self, now: f64, request: usize) {
        let this = &self.requests[request];
        let draws = Scenario::draws(self.seed, this.number);
        let condition = self.scenario.condition(this.backend, now);
        let time = self.scenario.service_time(&condition, &draws).as_secs_f64();
        self.events.put(tick(now + time), Event::Answer(request));
    }

    fn answer(&mut self, now: f64, request: usize) {
        let this = &self.requests[request];
        let server = &mut self.servers[this.backend];
        server.latencies.push_back(now - this.arrival);
        if server.latencies.len() > LATENCIES_MAX {
            server.latencies.pop_front();
        }
        if let Some(next) = server.backend.finish(now, request) {
            self.work(now, next);
        }
        self.end(now, request, Fate::Answered);
    }

    fn end(&mut self, now: f64, request: usize, fate: Fate) {
        let this = &mut self.requests[request];
        if std::mem::replace(&mut this.over, true) {
            return;
        }
        self.recorder.record(Record {
            arrival: this.arrival,
            latency: now - this.arrival,
            fate,
            class: 0,
        });
    }
}

impl Server {
    /// What it answers to a probe.
    fn probe(&self, now: f64, number: usize) -> Probe {
        let mut latencies: Vec<f64> = self.latencies.iter().copied().collect();
        latencies.sort_by(f64::total_cmp);
        Probe {
            backend: number,
            in_flight: self.backend.open(),
            latency: latencies.get(latencies.len() / 2).copied().unwrap_or(0.0),
            at: now,
            uses: 0,
        }
    }
}

impl Client {
    fn draw(&mut self, count: usize) -> usize {
        (self.random.next_unit() * count as f64) as usize
    }

    fn keep(&mut self, mut probe: Probe, servers: usize) {
        self.recent.push_back(probe.in_flight);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        // How often an answer may be used so that the pool neither fills nor runs dry.
        let rest = (1.0 - POOL_MAX as f64 / servers as f64) * PROBES_PER_REQUEST as f64 - 1.0;
        let uses = ((1.0 + SURPLUS) / rest).max(1.0);
        probe.uses = uses as u32 + u32::from(self.random.next_unit() < uses.fract());
        self.pool.push(probe);
        if self.pool.len() > POOL_MAX {
            self.pool.remove(0);
        }
    }

    /// The backend for the next request.
    fn choose(&mut self, now: f64, servers: usize) -> usize {
        self.pool.retain(|probe| now - probe.at <= AGE_MAX);
        if self.pool.len() < 2 {
            return self.draw(servers);
        }
        let hot = self.hot();
        let cold = |probe: &&mut Probe| probe.in_flight < hot;
        let fastest = self.pool.iter_mut().filter(cold);
        let fastest = fastest.min_by(|a, b| a.latency.total_cmp(&b.latency));
        let backend = match fastest {
            Some(probe) => probe.take(),
            None => {
                let fewest = self.pool.iter_mut().min_by_key(|probe| probe.in_flight);
                fewest.map_or(0, Probe::take)
            }
        };
        self.pool.retain(|probe| probe.uses > 0);
        self.throw_away(hot);
        backend
    }

    /// From so many requests in flight a backend is hot.
    fn hot(&self) -> usize {
        let mut recent: Vec<usize> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        let rank = (recent.len() as f64 * HOT_QUANTILE) as usize;
        recent.get(rank).copied().unwrap_or(usize::MAX)
    }

    /// One answer goes with every request: the oldest and the worst in turns.
    fn throw_away(&mut self, hot: usize) {
        if self.pool.is_empty() {
            return;
        }
        self.oldest_next = !self.oldest_next;
        let badness = |probe: &Probe| {
            if probe.in_flight >= hot {
                (1, probe.in_flight as f64)
            } else {
                (0, probe.latency)
            }
        };
        let worst = (0..self.pool.len()).max_by(|a, b| {
            let (a, b) = (badness(&self.pool[*a]), badness(&self.pool[*b]));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let place = if self.oldest_next {
            0
        } else {
            worst.unwrap_or(0)
        };
        self.pool.remove(place);
    }
}

impl Probe {
    /// Uses it once: whoever is sent there is one request more in flight.
    fn take(&mut self) -> usize {
        self.in_flight += 1;
        self.uses = self.uses.saturating_sub(1);
        self.backend
    }
}

fn tick(second: f64) -> Tick {
    Tick::from_nanos((second * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Metric;
    use plimsoll_balance::Policy;

    #[test]
    fn it_leaves_slow_backends_alone_where_chance_does_not() {
        let all = Scenario::load_all(Scenario::folder()).unwrap();
        let many = all.iter().find(|scenario| scenario.id == "S13").unwrap();
        let short = many.for_seconds(8.0);
        let p99 = |score: Score| score.figure(Metric::P99Ms).unwrap();
        let prequal = p99(run_prequal(&short, 1));
        let random = p99(super::super::run(&short, &Policy::Random.into(), 1).unwrap());
        assert!(2.0 * prequal < random, "{prequal} {random}");
    }
}
