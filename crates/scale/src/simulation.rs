//! What would happen: a service in virtual time, scaled by a real [`Scaler`].
//!
//! The model is small. Requests come at given times and last given times. They
//! wait in one first-in, first-out queue and go to the ready replica with the
//! fewest requests that has a free slot. A replica is ready a fixed time after it
//! was started. Whoever is not needed any more gets nothing new, finishes what it
//! has, and is gone. How long a request lasts does not depend on how many others
//! its replica has; for a service that slows down under load, give it slots.
//!
//! The scaler is asked after every event, as `plimsoll run` does it.

mod replicas;
mod timeline;
mod waits;

pub use timeline::{Step, Timeline};
pub use waits::Waits;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use plimsoll_meter::Tick;

use self::replicas::Fleet;
use crate::config::{ConfigError, ScaleConfig};
use crate::decision::Decision;
use crate::history::DecisionLog;
use crate::observation::{Load, Observation};
use crate::scaler::Scaler;

/// How many changes of mind are kept.
const DECISIONS_KEPT: usize = 1_000;

/// A request that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When, after the beginning.
    pub arrival: Duration,
    /// How long a replica works on it.
    pub duration: Duration,
}

/// What to simulate besides the requests.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How it is scaled.
    pub config: ScaleConfig,
    /// How long a replica takes to be ready.
    pub start_up: Duration,
    /// How long it goes on at least, after the beginning; it does not end before
    /// the last request has.
    pub until: Duration,
    /// How long one step of the timeline is.
    pub step: Duration,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it went on.
    pub length: Duration,
    /// How many requests came. All of them were served.
    pub requests: u64,
    /// How many of them were served by a replica that was not yet ready when they came.
    pub cold: u64,
    /// How long requests were in the queue.
    pub waits: Waits,
    /// How many replicas were started.
    pub starts: u64,
    /// The most replicas there were at once, starting and draining ones included.
    pub most: u32,
    /// How long replicas were there, from their start to their end, added up, in seconds.
    pub replica_seconds: f64,
    /// How long requests were worked on, added up, in seconds.
    pub busy_seconds: f64,
    /// What there was over time.
    pub timeline: Timeline,
    /// The last decisions that changed anything.
    pub decisions: DecisionLog,
}

struct World<'a> {
    setting: &'a Setting,
    scaler: Scaler,
    fleet: Fleet,
    queue: VecDeque<(Tick, Duration)>,
    ends: BinaryHeap<Reverse<(Tick, u32)>>,
    running: u32,
    arrivals: u64,
    cold: u64,
    waits: Waits,
    busy: f64,
    timeline: Timeline,
    decisions: DecisionLog,
    wake: Option<Tick>,
}

/// Plays the requests, which come in the order of their arrival, to the end.
///
/// One that comes earlier than the one before it is taken to come with it. The
/// time this takes is linear in the number of requests, at about a microsecond
/// for each.
///
/// # Errors
///
/// The first setting of the scaler that is not in its range.
pub fn simulate(
    setting: &Setting,
    requests: impl IntoIterator<Item = Request>,
) -> Result<Outcome, ConfigError> {
    let mut world = World {
        setting,
        scaler: Scaler::new(setting.config.clone(), Tick::ZERO)?,
        fleet: Fleet::new(setting.config.concurrency),
        queue: VecDeque::new(),
        ends: BinaryHeap::new(),
        running: 0,
        arrivals: 0,
        cold: 0,
        waits: Waits::default(),
        busy: 0.0,
        timeline: Timeline::new(setting.step),
        decisions: DecisionLog::new(DECISIONS_KEPT),
        wake: None,
    };
    let mut requests = requests.into_iter().peekable();
    let until = Tick::ZERO.saturating_add(setting.until);
    let mut now = Tick::ZERO;
    world.decide(now);
    loop {
        let arrival = requests
            .peek()
            .map(|request| Tick::ZERO.saturating_add(request.arrival).max(now));
        let at_rest = arrival.is_none() && world.arrivals_in_system() == 0;
        let Some(next) = world.next(arrival).filter(|&next| !at_rest || next < until) else {
            break;
        };
        now = next;
        world.advance(now);
        while let Some(request) =
            requests.next_if(|request| Tick::ZERO.saturating_add(request.arrival) <= now)
        {
            world.arrivals += 1;
            world.queue.push_back((now, request.duration));
        }
        world.dispatch(now);
        world.decide(now);
    }
    Ok(world.finish(now.max(until)))
}

impl World<'_> {
    fn arrivals_in_system(&self) -> usize {
        self.queue.len() + self.running as usize
    }

    /// When anything happens next.
    fn next(&self, arrival: Option<Tick>) -> Option<Tick> {
        let end = self.ends.peek().map(|Reverse((at, _))| *at);
        let ready = self.fleet.next_ready();
        [arrival, end, ready, self.wake].into_iter().flatten().min()
    }

    /// Requests end, and replicas become ready.
    fn advance(&mut self, now: Tick) {
        self.timeline
            .advance(now, self.fleet.view(now), self.arrivals_in_system());
        while let Some(&Reverse((at, replica))) = self.ends.peek() {
            if at > now {
                break;
            }
            self.ends.pop();
            self.running -= 1;
            self.fleet.end(now, replica);
        }
        for _ in 0..self.fleet.become_ready(now) {
            self.scaler.replica_ready(now, self.setting.start_up);
        }
    }

    /// Whoever waits goes to whoever has a slot.
    fn dispatch(&mut self, now: Tick) {
        while let Some(&(arrival, duration)) = self.queue.front() {
            let Some((replica, ready_at)) = self.fleet.take_slot() else {
                break;
            };
            self.queue.pop_front();
            self.waits.record(now.saturating_duration_since(arrival));
            self.cold += u64::from(ready_at > arrival);
            self.busy += duration.as_secs_f64();
            self.running += 1;
            let end = now.saturating_add(duration);
            self.ends.push(Reverse((end, replica)));
        }
    }

    fn decide(&mut self, now: Tick) {
        let observation = Observation {
            load: Some(Load {
                running: self.running,
                // Further than the end of a u32 nobody can tell the difference.
                waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
                arrivals: self.arrivals,
                ..Load::default()
            }),
            replicas: self.fleet.view(now),
        };
        self.scaler.observe(now, &observation);
        let decision = self.scaler.decide(now);
        self.apply(now, &decision);
        self.wake = decision
            .next
            .map(|next| next.max(now.saturating_add(RECHECK_MIN)));
    }

    fn apply(&mut self, now: Tick, decision: &Decision) {
        if decision.is_change() {
            self.decisions.record(decision);
        }
        let ready_at = now.saturating_add(self.setting.start_up);
        self.fleet.scale_to(now, decision.desired, ready_at);
    }

    fn finish(mut self, now: Tick) -> Outcome {
        self.timeline
            .advance(now, self.fleet.view(now), self.arrivals_in_system());
        let (starts, most, replica_seconds) = self.fleet.totals(now);
        Outcome {
            length: now.saturating_duration_since(Tick::ZERO),
            requests: self.arrivals,
            cold: self.cold,
            waits: self.waits,
            starts,
            most,
            replica_seconds,
            busy_seconds: self.busy,
            timeline: self.timeline,
            decisions: self.decisions,
        }
    }
}

/// Time passes between two looks, whatever a policy asks for.
const RECHECK_MIN: Duration = Duration::from_millis(1);
