//! The meter against oracles that add up whole requests in 128-bit integers.
//!
//! Averages are compared bit by bit. Events are delivered in any order, and any
//! number of reporters asks in between, at any time.
#![cfg(not(loom))]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use plimsoll_meter::{
    Clock, ConcurrencyMeter, ConcurrencyReport, InFlight, ManualClock, Reporter, Source, Tick,
};
use proptest::prelude::*;

const REPORTERS: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Request {
    shard: usize,
    source: Source,
    begin: u64,
    end: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The beginning of the request with this index is delivered.
    Enter(usize),
    /// Its end is, perhaps before its beginning.
    Leave(usize),
    /// A reporter begins, or if it has begun, reports.
    Ask { reporter: usize, now: u64 },
}

#[derive(Clone, Debug)]
struct Scenario {
    shards: usize,
    requests: Vec<Request>,
    steps: Vec<Step>,
}

/// What the meter ought to know: each request, and which events have come.
struct Oracle<'a> {
    requests: &'a [Request],
    entered: Vec<bool>,
    left: Vec<bool>,
}

/// What a reporter ought to have said so far, one entry per source.
#[derive(Clone, Copy)]
struct OracleReporter {
    last: u64,
    integral: [i128; 2],
    entries: [u64; 2],
}

const SOURCES: [Source; 2] = [Source::Direct, Source::Proxied];

// === impl Oracle ===

impl<'a> Oracle<'a> {
    fn new(requests: &'a [Request]) -> Self {
        Self {
            requests,
            entered: vec![false; requests.len()],
            left: vec![false; requests.len()],
        }
    }

    /// Each request of a source, with which of its events have been delivered.
    fn known(&self, source: Source) -> impl Iterator<Item = (&Request, bool, bool)> {
        let events = self.entered.iter().zip(&self.left);
        let all = self.requests.iter().zip(events);
        all.filter(move |(request, _)| request.source == source)
            .map(|(request, (&entered, &left))| (request, entered, left))
    }

    fn integral(&self, source: Source, now: u64) -> i128 {
        let now = i128::from(now);
        self.known(source)
            .map(|(request, entered, left)| {
                let (begin, end) = (i128::from(request.begin), i128::from(request.end));
                match (entered, left) {
                    (true, true) => end - begin,
                    (true, false) => now - begin,
                    (false, true) => end - now,
                    (false, false) => 0,
                }
            })
            .sum()
    }

    fn entries(&self, source: Source) -> u64 {
        self.known(source)
            .filter(|&(_, entered, _)| entered)
            .count() as u64
    }

    fn in_flight(&self, source: Source) -> u64 {
        let sum: i64 = self
            .known(source)
            .map(|(_, entered, left)| i64::from(entered) - i64::from(left))
            .sum();
        sum.max(0) as u64
    }

    fn reporter(&self, now: u64) -> OracleReporter {
        OracleReporter {
            last: now,
            integral: SOURCES.map(|source| self.integral(source, now)),
            entries: SOURCES.map(|source| self.entries(source)),
        }
    }

    fn check(&self, memory: &mut OracleReporter, now: u64, got: &ConcurrencyReport) {
        let now = now.max(memory.last);
        let period = now - memory.last;
        let mut time = [0_i128; 2];
        let mut requests = [0; 2];
        for (i, &source) in SOURCES.iter().enumerate() {
            if period > 0 {
                time[i] = (self.integral(source, now) - memory.integral[i]).max(0);
            }
            memory.integral[i] += time[i];
            requests[i] = self.entries(source) - memory.entries[i];
            memory.entries[i] += requests[i];
        }
        memory.last = now;

        let average = |time: i128| match period {
            0 => 0.0,
            _ => time as f64 / period as f64,
        };
        let [direct, proxied] = SOURCES.map(|source| self.in_flight(source));
        assert_eq!(got.period, Duration::from_nanos(period));
        assert_eq!(got.request_time.as_nanos() as i128, time[0] + time[1]);
        assert_eq!(got.proxied_request_time.as_nanos() as i128, time[1]);
        let (total_bits, proxied_bits) = (
            average(time[0] + time[1]).to_bits(),
            average(time[1]).to_bits(),
        );
        assert_eq!(got.average_concurrency.to_bits(), total_bits);
        assert_eq!(got.average_proxied_concurrency.to_bits(), proxied_bits);
        assert_eq!(got.requests, requests[0] + requests[1]);
        assert_eq!(got.proxied_requests, requests[1]);
        let total = direct + proxied;
        assert_eq!(got.in_flight, InFlight { total, proxied });
    }
}

/// The integral of concurrency by sweeping over the events in order of time: not
/// the meter's formula in other words, but the definition.
fn sweep(requests: &[Request]) -> i128 {
    let mut events: Vec<(u64, i128)> = requests
        .iter()
        .flat_map(|request| [(request.begin, 1), (request.end, -1)])
        .collect();
    events.sort_unstable();
    let (mut integral, mut running, mut last) = (0, 0, 0);
    for (time, change) in events {
        integral += running * i128::from(time - last);
        running += change;
        last = time;
    }
    integral
}

fn meter(shards: usize) -> Arc<ConcurrencyMeter> {
    let shards = NonZeroUsize::new(shards).expect("scenarios have at least one shard");
    Arc::new(ConcurrencyMeter::new(shards))
}

fn at(nanos: u64) -> Tick {
    Tick::from_nanos(nanos)
}

/// A request of each source that is long enough to repay any report that said
/// too much, and the last report.
fn repay(meter: &ConcurrencyMeter, reporter: &mut Reporter, from: u64, length: u64) -> Duration {
    for source in SOURCES {
        meter.enter(0, source, at(from));
        meter.leave(0, source, at(from + length));
    }
    reporter.report(at(from + length)).request_time
}

/// Plays a scenario, checks every report, and then the conservation of the sum.
fn play(scenario: &Scenario) {
    let requests = &scenario.requests;
    let meter = meter(scenario.shards);
    let mut oracle = Oracle::new(requests);
    let mut reporters: [Option<(Reporter, OracleReporter)>; REPORTERS] =
        [const { None }; REPORTERS];
    let mut witness = meter.reporter(Tick::ZERO);
    let mut told = Duration::ZERO;
    for step in &scenario.steps {
        match *step {
            Step::Enter(i) => {
                meter.enter(requests[i].shard, requests[i].source, at(requests[i].begin));
                oracle.entered[i] = true;
            }
            Step::Leave(i) => {
                meter.leave(requests[i].shard, requests[i].source, at(requests[i].end));
                oracle.left[i] = true;
            }
            Step::Ask { reporter, now } => {
                told += witness.report(at(now)).request_time;
                match &mut reporters[reporter] {
                    Some((ours, theirs)) => oracle.check(theirs, now, &ours.report(at(now))),
                    unborn => {
                        *unborn = Some((meter.reporter(at(now)), oracle.reporter(now)));
                    }
                }
            }
        }
    }
    let last = scenario.last_tick();
    let length = (last + 1) * (requests.len() as u64 + 1);
    told += repay(&meter, &mut witness, last, length);
    let expected = sweep(requests) + 2 * i128::from(length);
    assert_eq!(told.as_nanos() as i128, expected);
}

impl Scenario {
    fn last_tick(&self) -> u64 {
        let ends = self.requests.iter().map(|r| r.end);
        let asks = self.steps.iter().map(|step| match *step {
            Step::Ask { now, .. } => now,
            Step::Enter(_) | Step::Leave(_) => 0,
        });
        ends.chain(asks).max().unwrap_or(0)
    }
}

/// Requests within a horizon of 100 ns to 11 days. The delivery of an event lags
/// its tick by up to a jitter of nothing, a little, or more than the horizon.
fn scenarios() -> impl Strategy<Value = Scenario> {
    let horizon = prop_oneof![
        Just(100_u64),
        Just(1_000_000_000),
        Just(1_000_000_000_000_000)
    ];
    let jitter = prop_oneof![Just(0_u64), Just(20), Just(200)];
    (1..5_usize, horizon, jitter).prop_flat_map(|(shards, horizon, percent)| {
        let lag = 0..=horizon / 100 * percent;
        let source = prop_oneof![Just(Source::Direct), Just(Source::Proxied)];
        let request = (
            0..8_usize,
            source,
            0..horizon,
            0..=horizon,
            lag.clone(),
            lag.clone(),
        );
        let ask = (0..REPORTERS, 0..2 * horizon, lag);
        let requests = prop::collection::vec(request, 0..40);
        let asks = prop::collection::vec(ask, 0..30);
        (requests, asks).prop_map(move |(drawn, asks)| {
            let mut requests = Vec::new();
            let mut timeline = Vec::new();
            for (i, (shard, source, begin, length, lag_in, lag_out)) in
                drawn.into_iter().enumerate()
            {
                let end = begin + length;
                requests.push(Request {
                    shard,
                    source,
                    begin,
                    end,
                });
                timeline.push((begin + lag_in, Step::Enter(i)));
                timeline.push((end + lag_out, Step::Leave(i)));
            }
            for (reporter, now, lag) in asks {
                timeline.push((now + lag, Step::Ask { reporter, now }));
            }
            timeline.sort_by_key(|&(delivery, _)| delivery);
            let steps = timeline.into_iter().map(|(_, step)| step).collect();
            Scenario {
                shards,
                requests,
                steps,
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_report_equals_the_oracle(scenario in scenarios()) {
        play(&scenario);
    }
}

/// Steele and Vigna's splitmix64: the test needs no better, and no crate for it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// A million events in one go, delivered up to 50 µs late, with a report about
/// every thousand. The oracle's sums are running ones here, but do not wrap.
#[test]
fn a_million_events() {
    const EVENTS: usize = 1_000_000;
    let mut random = Random(0x0005_EED0_F1E7);
    let meter = meter(16);
    let mut now = u64::MAX / 2; // so that all the wrapping sums do wrap
    let mut reporter = meter.reporter(at(now));
    let (mut open, mut stamps, mut told, mut requests) = (Vec::new(), 0_i128, 0_i128, 0_u64);
    let mut previous = now;
    for _ in 0..EVENTS {
        now += random.below(2_000);
        let time = now - random.below(50_000);
        if open.is_empty() || random.below(200) > open.len() as u64 {
            let shard = random.below(64) as usize;
            meter.enter(shard, Source::Direct, at(time));
            open.push(shard);
            stamps -= i128::from(time);
            requests += 1;
        } else {
            let shard = open.swap_remove(random.below(open.len() as u64) as usize);
            meter.leave(shard, Source::Direct, at(time));
            stamps += i128::from(time);
        }
        if random.below(1_000) == 0 && now > previous {
            let integral = stamps + open.len() as i128 * i128::from(now);
            let fresh = (integral - told).max(0);
            let report = reporter.report(at(now));
            let average = fresh as f64 / (now - previous) as f64;
            assert_eq!(report.average_concurrency.to_bits(), average.to_bits());
            assert_eq!(report.in_flight.total, open.len() as u64);
            assert_eq!(report.requests, requests);
            told += fresh;
            (previous, requests) = (now, 0);
        }
    }
    assert!(open.len() > 50, "the run was meant to have a load");
}

/// Real threads, a shared clock, and a reader in their midst.
#[test]
fn threads_lose_nothing() {
    const THREADS: usize = 4;
    const REQUESTS: u64 = 20_000;
    let meter = meter(3); // fewer shards than threads, so that some share one
    let clock = ManualClock::default();
    let mut reporter = meter.reporter(clock.now());
    let (mut told, mut counted) = (Duration::ZERO, 0);
    let lasted: Duration = thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (meter, clock) = (&meter, &clock);
                scope.spawn(move || {
                    (0..REQUESTS).fold(Duration::ZERO, |sum, i| {
                        let source = SOURCES[i as usize % 2];
                        let began = clock.advance(Duration::from_nanos(1 + i % 3));
                        let guard = meter.begin(number, source, began, clock);
                        let ended = clock.advance(Duration::from_nanos(i % 7));
                        sum + guard.finish(ended)
                    })
                })
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let report = reporter.report(clock.now());
            // One word after another is read, a shard's direct requests and then its proxied ones: a thread may
            // be seen with the one and, a moment later, with the other.
            assert!(report.in_flight.total <= (THREADS * SOURCES.len()) as u64);
            assert!(report.average_proxied_concurrency <= report.average_concurrency);
            told += report.request_time;
            counted += report.requests;
        }
        let times = writers
            .into_iter()
            .map(|w| w.join().expect("a writer does not panic"));
        times.sum()
    });
    let report = reporter.report(clock.now());
    told += report.request_time;
    counted += report.requests;
    assert_eq!(counted, THREADS as u64 * REQUESTS);
    assert_eq!(meter.in_flight(), InFlight::default());

    let repaid = Duration::from_secs(1);
    let from = clock.now().as_nanos();
    told += repay(&meter, &mut reporter, from, repaid.as_nanos() as u64);
    assert_eq!(told, lasted + repaid * 2);
}
