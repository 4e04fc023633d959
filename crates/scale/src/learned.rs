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

/// Bounds of a time that is reckoned with, in seconds.
const TIME_MIN: f64 = 0.001;
const TIME_MAX: f64 = 3_600.0;

/// Without a completion for four times as long as one should have taken, all
/// requests are taken to be longer. With times spread as by chance (exponential)
/// that happens once in 55 waits.
const SILENCE_FACTOR: f64 = 4.0;

/// How long a service takes to answer, and to start.
///
/// The time of a request is the time that requests have spent at replicas,
/// divided by how many have ended: the estimate of most likelihood for times cut
/// off by the end of watching, so that requests still running count as well.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Learned {
    /// Seconds that requests have spent at replicas, and how many ended.
    busy: f64,
    completions: f64,
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
        let seen =
            (SERVICE_TIME_PRIOR * PRIOR_WEIGHT + self.busy) / (PRIOR_WEIGHT + self.completions);
        self.measured.unwrap_or(seen).clamp(TIME_MIN, TIME_MAX)
    }

    /// The same, longer if no running request has ended for conspicuously long.
    pub(crate) fn service_time_now(&self, now: Tick, running: u32) -> f64 {
        let silence = self.last_completion.map_or(0.0, |last| {
            now.saturating_duration_since(last).as_secs_f64()
        });
        let at_least = silence * f64::from(running) / SILENCE_FACTOR;
        self.service_time().max(at_least).min(TIME_MAX)
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
        assert_eq!(learned.service_time_now(at(0), 5), SERVICE_TIME_PRIOR);
        assert_eq!(learned.service_time_now(at(8_000), 5), 10.0);
        learned.observe((first.0, &first.1), (at(10_000), &first.1));
        assert_eq!(learned.service_time(), 51.0);
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
