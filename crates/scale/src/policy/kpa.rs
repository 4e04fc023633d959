//! Knative's pod autoscaler: a window, a panic window, and a tick of two seconds.
//!
//! Load is averaged over each second, as those that are asked for it there do,
//! and a decision is made every two seconds. One thing alone is done at once: a
//! request that comes when there should be no replica. The queue here is what the
//! activator is there.

mod collector;
mod engine;
mod last_replica;

pub(crate) use engine::excess_burst_capacity;
pub use engine::{Averages, Evaluation, KpaEngine};

use std::time::Duration;

use plimsoll_meter::Tick;

use self::collector::Collector;
use self::last_replica::{LastReplica, Wish};
use super::Verdict;
use crate::config::ScaleConfig;
use crate::decision::Reason;
use crate::observation::{Load, Replicas};

/// How often it is decided.
const TICK: Duration = Duration::from_secs(2);

/// What the policy remembers of one service.
#[derive(Clone, Debug)]
pub(crate) struct Kpa {
    engine: KpaEngine,
    collector: Collector,
    last_replica: LastReplica,
    evaluation: Option<Evaluation>,
    next_tick: Tick,
    poked: bool,
}

impl Kpa {
    pub(crate) fn new(now: Tick, ready: u32, config: &ScaleConfig) -> Self {
        Self {
            engine: KpaEngine::new(now, Some(ready), config),
            collector: Collector::new(now, config),
            last_replica: LastReplica::new(now),
            evaluation: None,
            next_tick: now,
            poked: false,
        }
    }

    pub(crate) fn reconfigure(&mut self, now: Tick, config: &ScaleConfig) {
        self.engine.reconfigure(config);
        self.collector.reconfigure(now, config);
    }

    pub(crate) fn observe(&mut self, then: (Tick, &Load), now: (Tick, &Load), ready: u32) {
        self.collector.observe(then, now, ready);
        let asleep = self.evaluation.is_some_and(|last| last.desired == 0);
        if asleep && then.1.in_system() == 0 && now.1.in_system() > 0 {
            self.collector.report_at_once(now.0, now.1);
            self.poked = true;
        }
    }

    /// Nobody knows what has been: the windows age, and the last decision holds.
    pub(crate) fn resume(&mut self, now: Tick, load: &Load) {
        self.collector.resume(now, load);
    }

    pub(crate) fn decide(
        &mut self,
        now: Tick,
        load: &Load,
        replicas: &Replicas,
        config: &ScaleConfig,
        previous: u32,
    ) -> Verdict {
        if now >= self.next_tick || self.poked {
            let averages = self.collector.averages(now);
            let got = self
                .engine
                .evaluate(now, config, Some(replicas.ready), Some(averages));
            self.evaluation = got.or(self.evaluation);
            self.poked = false;
            while self.next_tick <= now {
                self.next_tick = self.next_tick.saturating_add(self.ticks_until(now));
            }
        }
        let evaluation = self.evaluation.unwrap_or_default();
        let (desired, wake) = match self.last_replica.apply(now, config, &evaluation, replicas) {
            Wish::Want(desired) => (desired, None),
            Wish::Leave(until) => (previous, until),
        };
        let kept = desired > evaluation.desired && wake.is_some();
        let averages = self.collector.averages(now);
        Verdict {
            desired,
            reason: if kept {
                Reason::Retention
            } else {
                evaluation.reason
            },
            needed: evaluation.needed,
            average: Some(averages.stable),
            panic_average: Some(averages.panic),
            kept_until: wake.filter(|_| kept),
            next: self.next(now, load, replicas, desired, wake),
            panic: evaluation.panic,
            burst_load: averages.panic,
        }
    }

    /// So many ticks that the next one is after `now`, at once however many passed.
    fn ticks_until(&self, now: Tick) -> Duration {
        let passed = now.saturating_duration_since(self.next_tick).as_nanos() / TICK.as_nanos();
        TICK.saturating_mul(u32::try_from(passed + 1).unwrap_or(u32::MAX))
    }

    /// A service that has nothing, wants nothing and gets nothing needs no tick.
    fn next(
        &self,
        now: Tick,
        load: &Load,
        replicas: &Replicas,
        desired: u32,
        wake: Option<Tick>,
    ) -> Option<Tick> {
        let asleep = desired == 0
            && self.evaluation.is_some_and(|last| last.desired == 0)
            && load.in_system() == 0
            && replicas.present() == 0;
        let tick = (!asleep).then_some(self.next_tick);
        match (tick, wake.filter(|wake| *wake > now)) {
            (Some(tick), Some(wake)) => Some(tick.min(wake)),
            (tick, wake) => tick.or(wake),
        }
    }
}
