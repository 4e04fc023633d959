//! The policy of our own: event driven, and reckoning with what is starting.
//!
//! Every rule gives a number of replicas; the largest counts.
//!
//! **Demand.** How many requests would be there at once if nobody had to wait?
//! Those that are running, or those that came within one service time, whichever
//! are more. A queue that grew while a replica started is not demand: its
//! requests came one after another. So a start that takes 30 s does not ask for
//! as many replicas as requests have come in 30 s.
//!
//! **Backlog.** What is in the queue beyond that must go as well. A replica that
//! is started for it is worth its start only if it then has more to do than that
//! took, so the queue is to be empty after [`BACKLOG_STARTS`] times the start-up
//! time. With quick starts this is every request; with slow ones a few replicas.
//!
//! **A wait that is shorter than a start** asks for nothing: whoever waits is
//! served before a new replica could be there. See [`WAIT_TOLERATED`].
//!
//! **Average.** Waits that are too short to act on, but go on and on, show in the
//! average of the demand over the window, against the target with its head-room.
//!
//! **Keep-alive.** What was needed is kept for a while, learned from how long it
//! usually took until it was needed again ([`Gaps`]).
//!
//! **Starting.** While requests wait, replicas that are starting are not given up.

use std::time::Duration;

use plimsoll_meter::Tick;

use super::Verdict;
use crate::arrivals::Arrivals;
use crate::config::{Metric, ScaleConfig};
use crate::decision::Reason;
use crate::gaps::Gaps;
use crate::hold::Hold;
use crate::learned::{BACKLOG_STARTS, Learned};
use crate::observation::{Load, Replicas};
use crate::window::LinearWindow;

/// Which part of a start-up time a request may have to wait before another
/// replica is started for it.
const WAIT_TOLERATED: f64 = 0.25;

/// How long a bucket of the window is.
const SECOND: Duration = Duration::from_secs(1);

/// What the policy remembers of one service.
#[derive(Clone, Debug)]
pub(crate) struct Plimsoll {
    window: LinearWindow,
    arrivals: Arrivals,
    /// The demand since the last observation.
    demand: f64,
    hold: Hold,
    gaps: Gaps,
    seen: bool,
}

/// What one moment asks for.
struct Need {
    replicas: u32,
    reason: Reason,
}

impl Plimsoll {
    pub(crate) fn new(config: &ScaleConfig) -> Self {
        Self {
            window: LinearWindow::new(config.window, SECOND),
            arrivals: Arrivals::default(),
            demand: 0.0,
            hold: Hold::default(),
            gaps: Gaps::new(),
            seen: false,
        }
    }

    pub(crate) fn reconfigure(&mut self, now: Tick, config: &ScaleConfig) {
        self.window.resize(now, config.window);
        let gaps = &self.gaps;
        self.hold.settle(|level| keep(gaps, level, config));
    }

    /// Takes in what has happened since `then`.
    pub(crate) fn observe(
        &mut self,
        then: Tick,
        now: Tick,
        load: &Load,
        learned: &Learned,
        config: &ScaleConfig,
    ) {
        let span = span(learned, config);
        if !self.seen {
            // What came before anybody looked came at some time before; what is
            // still there came now, as far as can be told.
            let old = load.arrivals.saturating_sub(u64::from(load.in_system()));
            self.arrivals = Arrivals::start_at(old);
            self.seen = true;
        }
        self.fill(then, now);
        self.arrivals.observe(now, load.arrivals, span);
        let fresh = self.arrivals.within(now, span);
        self.demand = match config.metric {
            Metric::Concurrency => unqueued(load, fresh),
            Metric::Rps => fresh as f64 / span.as_secs_f64(),
        };
    }

    /// Nobody knows what has been; `desired` replicas are kept as if they had
    /// been needed until now.
    pub(crate) fn resume(&mut self, now: Tick, desired: u32, config: &ScaleConfig) {
        self.window = LinearWindow::new(config.window, SECOND);
        self.gaps.interrupt();
        let kept = keep(&self.gaps, desired, config);
        self.hold.record(now, desired, kept);
        self.demand = 0.0;
        self.seen = false;
    }

    /// Adds the demand since `then` to the seconds it lasted.
    fn fill(&mut self, then: Tick, now: Tick) {
        const NANOS: u64 = 1_000_000_000;
        let oldest = now
            .as_nanos()
            .saturating_sub(u64::try_from(self.window.window().as_nanos()).unwrap_or(u64::MAX));
        let mut at = then.as_nanos().max(oldest);
        while at < now.as_nanos() {
            let end = (at / NANOS + 1).saturating_mul(NANOS).min(now.as_nanos());
            let part = (end - at) as f64 / NANOS as f64;
            self.window.record(Tick::from_nanos(at), self.demand * part);
            at = end;
        }
    }

    /// How many replicas there should be.
    pub(crate) fn decide(
        &mut self,
        now: Tick,
        load: &Load,
        replicas: &Replicas,
        learned: &Learned,
        config: &ScaleConfig,
    ) -> Verdict {
        let average = self.window.average(now);
        let need = self.need(now, load, replicas, learned, config, average);
        let mut desired = need.replicas;
        let mut reason = need.reason;
        let mut kept_until = None;

        let used = f64::from(load.in_system()) / concurrency_of_one(config);
        let useful = replicas.present().min(ceil(used));
        if load.waiting > 0 && useful > desired {
            desired = useful;
            reason = Reason::Starting;
        }
        self.gaps.observe(now, need.replicas, config.keep_alive);
        let kept = keep(&self.gaps, need.replicas, config);
        self.hold.record(now, need.replicas, kept);
        if let Some((level, until)) = self.hold.highest(now)
            && level > desired
        {
            desired = level;
            kept_until = Some(until);
            let learned = keep_alive(&self.gaps, level, config).max(config.scale_down_delay);
            let only_retained = level == 1 && learned < config.scale_to_zero_retention;
            reason = if only_retained {
                Reason::Retention
            } else {
                Reason::KeepAlive
            };
        }
        Verdict {
            desired,
            reason,
            needed: need.replicas,
            average,
            panic_average: None,
            kept_until,
            next: self.next(now, kept_until, load, learned),
            panic: false,
            burst_load: f64::from(load.in_system()),
        }
    }

    /// What the load asks for at this moment.
    fn need(
        &mut self,
        now: Tick,
        load: &Load,
        replicas: &Replicas,
        learned: &Learned,
        config: &ScaleConfig,
        average: Option<f64>,
    ) -> Need {
        let fresh = self.arrivals.within(now, span(learned, config));
        let unqueued = unqueued(load, fresh);
        let total = concurrency_of_one(config);
        let start_up = learned.start_up(now, replicas);
        let service = learned.service_time_now(now, load.running, start_up);

        // What runs while others wait may be backlog as well, so it counts once: as work to be
        // done, or as slots that are taken.
        let new = fresh.min(u64::from(load.in_system())) as f64;
        let share = (service / (BACKLOG_STARTS * start_up)).min(1.0);
        let with_backlog = new + ((f64::from(load.in_system()) - new) * share).floor();
        let demanded = ceil(unqueued / total);
        let mut at_once = ceil(unqueued.max(with_backlog) / total);
        let mut reason = if at_once > demanded {
            Reason::Backlog
        } else {
            Reason::Demand
        };

        let slots = f64::from(replicas.ready) * total;
        let wait = f64::from(load.waiting) * service;
        if replicas.ready > 0 && wait <= WAIT_TOLERATED * start_up * slots {
            at_once = ceil(f64::from(load.running) / total);
            reason = Reason::Demand;
        }
        if load.in_system() > 0 {
            at_once = at_once.max(1);
        }
        if config.metric == Metric::Rps {
            let rate = fresh as f64 / span(learned, config).as_secs_f64();
            let by_rate = ceil(rate / config.total());
            // Slots limit as well, if there are any; else the rate alone decides.
            let by_slots = if config.concurrency.is_some() {
                at_once
            } else {
                at_once.min(1)
            };
            at_once = by_rate.max(by_slots);
        }
        let present = match config.metric {
            Metric::Concurrency => demanded,
            Metric::Rps => at_once,
        };
        // The average of a load that has gone asks for nothing.
        let usual = average
            .map_or(0, |average| ceil(average / usual_of_one(config)))
            .min(present);
        if usual > at_once {
            return Need {
                replicas: usual,
                reason: Reason::Average,
            };
        }
        Need {
            replicas: at_once,
            reason,
        }
    }

    /// When something may change although nothing happens.
    fn next(
        &self,
        now: Tick,
        kept_until: Option<Tick>,
        load: &Load,
        learned: &Learned,
    ) -> Option<Tick> {
        // While requests wait, time itself is news: they have waited longer.
        let waiting = (load.waiting > 0).then(|| {
            let service = Duration::from_secs_f64(learned.service_time());
            now.saturating_add(service.clamp(RECHECK_MIN, RECHECK_MAX))
        });
        // So it is while there are more than one replica's load on average.
        match (kept_until, waiting) {
            (Some(kept), Some(waiting)) => Some(kept.min(waiting)),
            (kept, waiting) => kept.or(waiting),
        }
    }

    /// How long so many replicas would be kept.
    pub(crate) fn keep_alive(&self, level: u32, config: &ScaleConfig) -> Duration {
        keep(&self.gaps, level, config)
    }
}

/// How soon and how late it is looked again while requests wait.
const RECHECK_MIN: Duration = Duration::from_millis(100);
const RECHECK_MAX: Duration = Duration::from_secs(1);

/// Over which time arrivals are counted.
fn span(learned: &Learned, config: &ScaleConfig) -> Duration {
    match config.metric {
        Metric::Concurrency => Duration::from_secs_f64(learned.service_time()),
        Metric::Rps => config.panic_window(),
    }
}

/// How many requests would be there if none had to wait.
fn unqueued(load: &Load, fresh: u64) -> f64 {
    let in_system = u64::from(load.in_system());
    // At most the number of those in the system, which is exact.
    fresh.min(in_system).max(u64::from(load.running)) as f64
}

/// How many requests one replica can have at once.
fn concurrency_of_one(config: &ScaleConfig) -> f64 {
    match (config.metric, config.concurrency) {
        (Metric::Concurrency, _) => config.total(),
        (Metric::Rps, Some(limit)) => f64::from(limit.get()),
        (Metric::Rps, None) => f64::INFINITY,
    }
}

/// How much of the average load one replica is meant to carry. Of whole slots
/// the head-room is less than one: a replica with one slot has none to spare.
fn usual_of_one(config: &ScaleConfig) -> f64 {
    let target = config.target_value();
    match config.metric {
        Metric::Concurrency if config.concurrency.is_some() => {
            (target - 1e-9).ceil().min(config.total())
        }
        _ => target,
    }
}

fn keep_alive(gaps: &Gaps, level: u32, config: &ScaleConfig) -> Duration {
    let bounds = config.keep_alive;
    gaps.keep_alive(level, bounds)
        .unwrap_or_else(|| config.window.clamp(bounds.min, bounds.max))
}

fn keep(gaps: &Gaps, level: u32, config: &ScaleConfig) -> Duration {
    let keep = keep_alive(gaps, level, config).max(config.scale_down_delay);
    if level == 1 {
        keep.max(config.scale_to_zero_retention)
    } else {
        keep
    }
}

/// The next whole number, with what is left of sums of fractions taken for nothing.
fn ceil(number: f64) -> u32 {
    // A conversion stops at the largest number there is.
    (number - 1e-6).ceil().max(0.0) as u32
}
