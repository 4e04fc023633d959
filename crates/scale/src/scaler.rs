//! The scaler of one service: what it has seen, what it has learned, what it decides.

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::config::{ConfigError, Policy, ScaleConfig};
use crate::decision::{Decision, Inputs, Reason};
use crate::learned::Learned;
use crate::observation::{Load, Observation};
use crate::policy::Verdict;
use crate::policy::kpa::{self, Kpa};
use crate::policy::plimsoll::Plimsoll;

/// An observation older than this says nothing about now.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Decides how many replicas one service should have.
///
/// Tell it what happens with [`observe`](Self::observe), and ask with
/// [`decide`](Self::decide): after every arrival, completion and change of the
/// replicas, and at [`Decision::next`]. Neither reads a clock; `now` must not be
/// earlier than before, and is taken for the same moment if it is.
#[derive(Clone, Debug)]
pub struct Scaler {
    config: ScaleConfig,
    now: Tick,
    /// The last observation with a load, and when; `None` if what came after it had none.
    known: Option<(Tick, Load)>,
    last: Option<(Tick, Observation)>,
    learned: Learned,
    brain: Brain,
    desired: u32,
    /// Whether the initial number has been reached.
    initialized: bool,
}

#[derive(Clone, Debug)]
enum Brain {
    Plimsoll(Plimsoll),
    Kpa(Kpa),
}

/// What a [`Scaler`] has learned, and what it sees.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalerView {
    /// How it decides.
    pub policy: Policy,
    /// The last decided number.
    pub desired: u32,
    /// How long a replica works on a request; `None` before one has ended.
    pub service_time: Option<Duration>,
    /// How long a replica takes to be ready; `None` before one was.
    pub start_up: Option<Duration>,
    /// How many replicas have become ready.
    pub starts: u64,
    /// How many ended before they were ready.
    pub failed_starts: u64,
    /// How long the last replica is kept when it is idle. `plimsoll` only.
    pub keep_alive_last: Option<Duration>,
    /// How long the replicas of now are kept when they are idle. `plimsoll` only.
    pub keep_alive: Option<Duration>,
    /// When anything was last observed.
    pub observed: Option<Tick>,
}

impl Brain {
    fn new(now: Tick, ready: u32, config: &ScaleConfig) -> Self {
        match config.policy {
            Policy::Plimsoll => Self::Plimsoll(Plimsoll::new(config)),
            Policy::Kpa => Self::Kpa(Kpa::new(now, ready, config)),
        }
    }
}

impl Scaler {
    /// A scaler of a service of which nothing is known yet.
    ///
    /// # Errors
    ///
    /// The first setting that is not in its range.
    pub fn new(config: ScaleConfig, now: Tick) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            brain: Brain::new(now, 0, &config),
            now,
            known: None,
            last: None,
            learned: Learned::default(),
            desired: 0,
            initialized: config.initial == 0,
            config,
        })
    }

    /// How it decides.
    #[must_use]
    pub const fn config(&self) -> &ScaleConfig {
        &self.config
    }

    /// Takes over other settings. What has been learned stays; another policy
    /// begins with empty windows.
    ///
    /// # Errors
    ///
    /// The first setting that is not in its range; nothing has changed then.
    pub fn reconfigure(&mut self, now: Tick, config: ScaleConfig) -> Result<(), ConfigError> {
        config.check()?;
        let now = self.advance(now);
        if config.policy == self.config.policy {
            match &mut self.brain {
                Brain::Plimsoll(brain) => brain.reconfigure(now, &config),
                Brain::Kpa(brain) => brain.reconfigure(now, &config),
            }
        } else {
            let ready = self.last.map_or(0, |(_, last)| last.replicas.ready);
            self.brain = Brain::new(now, ready, &config);
            if let Brain::Plimsoll(brain) = &mut self.brain {
                brain.resume(now, self.desired, &config);
            }
        }
        self.config = config;
        Ok(())
    }

    /// Takes in what is known now. Cheap: call it whenever something changed,
    /// and before [`decide`](Self::decide).
    pub fn observe(&mut self, now: Tick, observation: &Observation) {
        let now = self.advance(now);
        self.last = Some((now, *observation));
        let Some(load) = observation.load else {
            self.known = None;
            return;
        };
        let then = self.known.unwrap_or_else(|| {
            self.resume(now, &load);
            (now, load)
        });
        self.learned.observe((then.0, &then.1), (now, &load));
        match &mut self.brain {
            Brain::Plimsoll(brain) => {
                brain.observe(then.0, now, &load, &self.learned, &self.config);
            }
            Brain::Kpa(brain) => {
                brain.observe((then.0, &then.1), (now, &load), observation.replicas.ready);
            }
        }
        self.known = Some((now, load));
    }

    /// A replica has become ready, so long after it was started. Learns how long
    /// starts take; the number of ready replicas comes with the next observation.
    pub fn replica_ready(&mut self, now: Tick, start_up: Duration) {
        self.advance(now);
        self.learned.replica_ready(start_up);
    }

    /// A replica ended before it was ready.
    pub fn replica_failed(&mut self, now: Tick) {
        self.advance(now);
        self.learned.replica_failed();
    }

    /// How many replicas there should be. May be called at any time, and asks for
    /// the same number when nothing has changed.
    pub fn decide(&mut self, now: Tick) -> Decision {
        let now = self.advance(now);
        let fresh = |(at, _): &(Tick, Load)| now.saturating_duration_since(*at) <= STALE_AFTER;
        let decision = match (self.known.filter(fresh), self.last) {
            (Some((_, load)), Some((_, seen))) => self.decide_with(now, &load, &seen),
            _ => self.decide_without(now),
        };
        self.desired = decision.desired;
        decision
    }

    /// What it has learned, and what it sees.
    #[must_use]
    pub fn view(&self) -> ScalerView {
        let keep = |level: u32| match &self.brain {
            Brain::Plimsoll(brain) => Some(brain.keep_alive(level.max(1), &self.config)),
            Brain::Kpa(_) => None,
        };
        let (starts, failed_starts) = self.learned.starts();
        ScalerView {
            policy: self.config.policy,
            desired: self.desired,
            service_time: self.learned.known_service_time(),
            start_up: self.learned.known_start_up(),
            starts,
            failed_starts,
            keep_alive_last: keep(1),
            keep_alive: keep(self.desired),
            observed: self.last.map(|(at, _)| at),
        }
    }

    fn advance(&mut self, now: Tick) -> Tick {
        self.now = self.now.max(now);
        self.now
    }

    /// The first load after a time in which none was known.
    fn resume(&mut self, now: Tick, load: &Load) {
        match &mut self.brain {
            Brain::Plimsoll(brain) => brain.resume(now, self.desired, &self.config),
            Brain::Kpa(brain) => brain.resume(now, load),
        }
    }

    fn decide_with(&mut self, now: Tick, load: &Load, seen: &Observation) -> Decision {
        let replicas = &seen.replicas;
        let config = &self.config;
        let verdict = match &mut self.brain {
            Brain::Plimsoll(brain) => brain.decide(now, load, replicas, &self.learned, config),
            Brain::Kpa(brain) => brain.decide(now, load, replicas, config, self.desired),
        };
        if replicas.ready >= config.initial {
            self.initialized = true;
        }
        let (desired, reason) = self.bound(&verdict, seen);
        Decision {
            at: now,
            desired,
            previous: self.desired,
            reason,
            inputs: Inputs {
                running: load.running,
                waiting: load.waiting,
                needed: Some(verdict.needed),
                average: verdict.average,
                panic_average: verdict.panic_average,
                kept_until: verdict.kept_until.filter(|_| desired == verdict.desired),
                ..self.inputs(Some(seen))
            },
            next: verdict.next,
            panic: verdict.panic,
            excess_burst_capacity: kpa::excess_burst_capacity(
                &self.config,
                replicas.ready,
                verdict.burst_load,
            ),
        }
    }

    /// Applies what holds for every policy.
    fn bound(&self, verdict: &Verdict, seen: &Observation) -> (u32, Reason) {
        let config = &self.config;
        let (mut desired, mut reason) = (verdict.desired, verdict.reason);
        if desired == verdict.needed && desired < self.desired {
            reason = if desired == 0 {
                Reason::Idle
            } else {
                Reason::Surplus
            };
        } else if desired == 0 {
            reason = Reason::Idle;
        }
        let mut at_least = |least: u32, why: Reason| {
            if least > desired {
                (desired, reason) = (least, why);
            }
        };
        if verdict.desired > 0 {
            at_least(config.activation_scale, Reason::ActivationScale);
        }
        if config.reachable {
            at_least(config.min, Reason::Min);
            if !config.scale_to_zero {
                at_least(1, Reason::Min);
            }
            if !self.initialized {
                at_least(config.initial, Reason::Initial);
            }
        }
        if config.policy == Policy::Plimsoll {
            let starting = seen.replicas.starting.max(config.starts_max);
            let at_once = seen.replicas.ready.saturating_add(starting);
            if desired > at_once {
                (desired, reason) = (at_once, Reason::StartsMax);
            }
        }
        if desired > config.max_replicas() {
            (desired, reason) = (config.max_replicas(), Reason::Max);
        }
        (desired, reason)
    }

    /// Nothing is known: what was decided holds, within the bounds.
    fn decide_without(&self, now: Tick) -> Decision {
        let config = &self.config;
        let seen = self.last.map(|(_, seen)| seen);
        let least = if self.initialized {
            config.min
        } else {
            config.initial.max(config.min)
        };
        let reason = match () {
            () if self.desired < least && !self.initialized => Reason::Initial,
            () if self.desired < least => Reason::Min,
            () => Reason::NoData,
        };
        let desired = self.desired.max(least).min(config.max_replicas());
        let ready = seen.map_or(0, |seen| seen.replicas.ready);
        Decision {
            at: now,
            desired,
            previous: self.desired,
            reason,
            inputs: self.inputs(seen.as_ref()),
            next: None,
            panic: false,
            excess_burst_capacity: kpa::excess_burst_capacity(config, ready, 0.0),
        }
    }

    fn inputs(&self, seen: Option<&Observation>) -> Inputs {
        let replicas = seen.map(|seen| seen.replicas).unwrap_or_default();
        Inputs {
            ready: replicas.ready,
            starting: replicas.starting,
            draining: replicas.draining,
            per_replica: self.config.total(),
            service_time: self.learned.known_service_time(),
            start_up: self.learned.known_start_up(),
            ..Inputs::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::observation::Replicas;

    /// Knative's policy, so that nothing but the bounds counts.
    fn bounded(change: impl FnOnce(&mut ScaleConfig), ready: u32, desired: u32) -> u32 {
        let mut config = ScaleConfig {
            policy: Policy::Kpa,
            ..ScaleConfig::default()
        };
        change(&mut config);
        let mut scaler = Scaler::new(config, Tick::ZERO).expect("it can be");
        scaler.desired = ready;
        scaler.initialized |= ready >= scaler.config.initial;
        let verdict = Verdict {
            desired,
            reason: Reason::Demand,
            needed: desired,
            average: None,
            panic_average: None,
            kept_until: None,
            next: None,
            panic: false,
            burst_load: 0.0,
        };
        let seen = Observation {
            load: None,
            replicas: Replicas {
                ready,
                ..Replicas::default()
            },
        };
        scaler.bound(&verdict, &seen).0
    }

    #[test]
    fn the_bounds_are_those_of_knatives_reconciler() {
        let min = |config: &mut ScaleConfig| config.min = 2;
        let initial = |initial| move |config: &mut ScaleConfig| config.initial = initial;
        assert_eq!(bounded(min, 10, 0), 2);
        let hidden = |config: &mut ScaleConfig| (config.min, config.reachable) = (2, false);
        assert_eq!(bounded(hidden, 10, 0), 0);
        assert_eq!(bounded(|_| {}, 1, 10), 10);
        assert_eq!(bounded(|config| config.max = NonZeroU32::new(8), 1, 10), 8);
        assert_eq!(bounded(|_| {}, 0, 1), 1);
        assert_eq!(bounded(|_| {}, 0, 10), 10);
        assert_eq!(bounded(initial(2), 2, 1), 1, "reached earlier");
        assert_eq!(bounded(initial(2), 0, 1), 2, "not reached");
        assert_eq!(bounded(initial(0), 0, 0), 0);
        let hidden = |config: &mut ScaleConfig| (config.initial, config.reachable) = (2, false);
        assert_eq!(bounded(hidden, 0, 1), 1);
    }
}
