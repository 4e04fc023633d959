//! What has been learned of a service: how long it takes to answer, and to start.

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::observation::{Load, Replicas};

/// How long a request takes until one has been seen, in seconds.
const SERVICE_TIME_PRIOR: f64 = 1.0;

/// For how many requests the prior stands.
const PRIOR_WEIGHT: f64 = 1.0;

/// After so many requests an older one counts less.
const REQUESTS_REMEMBERED: f64 = 512.0;

/// How long a start takes until one has been seen, in seconds.
const START_UP_PRIOR: f64 = 1.0;

/// How much a new start-up time counts against all before it.
const START_UP_WEIGHT: f64 = 0.3;

/// A queue is to be empty after so many start-up times.
pub(crate) const BACKLOG_STARTS: f64 = 4.0;

/// Bounds of a time that is reckoned with, in seconds.
const TIME_MIN: f64 = 0.001;
const TIME_MAX: f64 = 3_600.0;

/// Without a completion for so many times as long as a request takes, those that
/// are running are taken for ones of another kind.
const SILENCE_SERVICE_TIMES: f64 = 2.0;

/// That cannot be told in less than such a part of a start-up time: to wait for
/// what is running is cheaper then than to start another.
const SILENCE_STARTS: f64 = 0.5;

/// How long a service takes to answer, and to start.
///
/// The time of a request is the time that requests have spent at replicas,
/// divided by how many there were, those that are still running included. Were
/// they left out, the first of many that end together would be taken for very
/// long ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Learned {
    /// Seconds that requests have spent at replicas, and how many ended.
    busy: f64,
    completions: f64,
    running: f64,
    measured: Option<f64>,
    last_completion: Option<Tick>,
    start_up: Option<f64>,
    ready: u64,
    failed: u64,
}

impl Learned {
    /// Takes in what happened between two observations.
    pub(crate) fn observe(&mut self, then: (Tick, &Load), now: (Tick, &Load)) {
        let (then_at, then) = then;
        let (now_at, load) = now;
        let elapsed = now_at.saturating_duration_since(then_at).as_secs_f64();
        // Where everything is observed this is exact; where only averages are, the queue is
        // taken to have stood as it was.
        let running = load.concurrency.map_or_else(
            || f64::from(then.running),
            |average| (average - f64::from(then.waiting)).max(0.0),
        );
        let came = load.arrivals.saturating_sub(then.arrivals);
        let before = u64::from(then.in_system()).saturating_add(came);
        let ended = before.saturating_sub(u64::from(load.in_system()));
        self.busy += running * elapsed;
        self.completions += ended as f64;
        // Those that have just begun say nothing yet.
        self.running = (f64::from(then.running) - ended as f64).max(0.0);
        if ended > 0 || then.running == 0 {
            self.last_completion = Some(now_at);
        }
        if self.completions > REQUESTS_REMEMBERED {
            let factor = REQUESTS_REMEMBERED / self.completions;
            self.busy *= factor;
            self.completions = REQUESTS_REMEMBERED;
        }
        self.measured = load.service_time.map(|time| time.as_secs_f64());
    }

    /// Another replica is ready.
    pub(crate) fn replica_ready(&mut self, start_up: Duration) {
        let took = start_up.as_secs_f64().clamp(TIME_MIN, TIME_MAX);
        self.start_up = Some(match self.start_up {
            Some(known) => known + START_UP_WEIGHT * (took - known),
            None => took,
        });
        self.ready = self.ready.saturating_add(1);
    }

    /// A replica ended before it was ready.
    pub(crate) const fn replica_failed(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    /// How many replicas became ready, and how many did not.
    pub(crate) const fn starts(&self) -> (u64, u64) {
        (self.ready, self.failed)
    }

    /// How long a request takes, in seconds, with a guess if none has ended yet.
    pub(crate) fn service_time(&self) -> f64 {
        let requests = PRIOR_WEIGHT + self.completions + self.running;
        let seen = (SERVICE_TIME_PRIOR * PRIOR_WEIGHT + self.busy) / requests;
        self.measured.unwrap_or(seen).clamp(TIME_MIN, TIME_MAX)
    }

    /// The time until a request in the queue may count on a slot, in seconds: the
    /// same, or much more if nothing has ended for conspicuously long.
    pub(crate) fn service_time_now(&self, now: Tick, running: u32, start_up: f64) -> f64 {
        let usual = self.service_time();
        let silence = self
            .last_completion
            .filter(|_| running > 0)
            .map_or(0.0, |last| {
                now.saturating_duration_since(last).as_secs_f64()
            });
        let patience = (usual * SILENCE_SERVICE_TIMES).max(start_up * SILENCE_STARTS);
        if silence > patience {
            (silence * BACKLOG_STARTS).max(usual)
        } else {
            usual
        }
    }

    /// How long a request takes, once one has ended.
    pub(crate) fn known_service_time(&self) -> Option<Duration> {
        let known = self.completions > 0.0 || self.measured.is_some();
        known.then(|| Duration::from_secs_f64(self.service_time()))
    }

    /// How long a start takes, in seconds: what is known, or a guess, but no
    /// less than one has been taking already.
    pub(crate) fn start_up(&self, now: Tick, replicas: &Replicas) -> f64 {
        let age = replicas
            .oldest_start
            .filter(|_| replicas.starting > 0)
            .map_or(0.0, |start| {
                now.saturating_duration_since(start).as_secs_f64()
            });
        self.start_up
            .unwrap_or(START_UP_PRIOR)
            .max(age)
            .min(TIME_MAX)
    }

    /// How long a start takes, once one has succeeded.
    pub(crate) fn known_start_up(&self) -> Option<Duration> {
        self.start_up.map(Duration::from_secs_f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn load(running: u32, arrivals: u64) -> Load {
        Load {
            running,
            arrivals,
            ..Load::default()
        }
    }

    #[test]
    fn the_time_of_a_request_is_learned() {
        let mut learned = Learned::default();
        assert_eq!(learned.known_service_time(), None);
        assert_eq!(learned.service_time(), SERVICE_TIME_PRIOR);
        for turn in 0..1_000 {
            let begin = (at(turn * 100), &load(1, turn + 1));
            learned.observe(begin, (at(turn * 100 + 50), &load(0, turn + 1)));
        }
        assert!((learned.service_time() - 0.05).abs() < 0.003, "{learned:?}");
    }

    #[test]
    fn requests_that_do_not_end_are_taken_for_long_ones() {
        let mut learned = Learned::default();
        let first = (at(0), load(5, 5));
        learned.observe((at(0), &load(0, 0)), (first.0, &first.1));
        assert_eq!(learned.service_time(), SERVICE_TIME_PRIOR);
        learned.observe((first.0, &first.1), (at(10_000), &first.1));
        assert_eq!(learned.service_time(), 51.0 / 6.0);
        assert_eq!(learned.service_time_now(at(10_000), 5, 60.0), 51.0 / 6.0);
        assert_eq!(learned.service_time_now(at(40_000), 5, 60.0), 160.0);
        assert_eq!(learned.service_time_now(at(40_000), 0, 60.0), 51.0 / 6.0);
    }

    #[test]
    fn a_start_takes_at_least_as_long_as_it_has_taken() {
        let mut learned = Learned::default();
        let none = Replicas::default();
        assert_eq!(learned.start_up(at(0), &none), START_UP_PRIOR);
        let starting = Replicas {
            starting: 1,
            oldest_start: Some(at(0)),
            ..none
        };
        assert_eq!(learned.start_up(at(7_000), &starting), 7.0);
        learned.replica_ready(Duration::from_secs(30));
        assert_eq!(learned.start_up(at(7_000), &starting), 30.0);
        learned.replica_ready(Duration::from_secs(20));
        assert_eq!(learned.known_start_up(), Some(Duration::from_secs(27)));
    }
}
