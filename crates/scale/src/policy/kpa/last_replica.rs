//! When the last replica may go, as Knative's reconciler decides it.

use plimsoll_meter::Tick;

use super::engine::Evaluation;
use crate::config::ScaleConfig;
use crate::observation::Replicas;

/// Where a service is between nothing and something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Wanted, and not yet ready.
    Activating,
    /// Ready since.
    Active(Tick),
    /// Not wanted since.
    Inactive(Tick),
}

/// What becomes of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wish {
    /// So many are wanted.
    Want(u32),
    /// What is there stays, until then at least.
    Leave(Option<Tick>),
}

/// Keeps the last replica for a window after it was ready, and then until
/// traffic has found its way through the queue and the retention is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastReplica {
    phase: Phase,
    /// Since when requests have gone through the queue.
    queued_since: Option<Tick>,
}

impl LastReplica {
    pub(super) const fn new(now: Tick) -> Self {
        Self {
            phase: Phase::Inactive(now),
            queued_since: Some(now),
        }
    }

    pub(super) fn apply(
        &mut self,
        now: Tick,
        config: &ScaleConfig,
        evaluation: &Evaluation,
        replicas: &Replicas,
    ) -> Wish {
        let want = evaluation.desired;
        let direct = want > 0 && evaluation.excess_burst_capacity >= 0.0;
        self.queued_since = if direct {
            None
        } else {
            self.queued_since.or(Some(now))
        };
        let min = if config.reachable { config.min } else { 0 };
        if want > 0 || min > 0 {
            if replicas.ready >= min.max(1) {
                if !matches!(self.phase, Phase::Active(_)) {
                    self.phase = Phase::Active(now);
                }
            } else {
                self.phase = Phase::Activating;
            }
            return Wish::Want(want);
        }
        if !config.scale_to_zero {
            return Wish::Want(1);
        }
        self.let_go(now, config, replicas)
    }

    fn let_go(&mut self, now: Tick, config: &ScaleConfig, replicas: &Replicas) -> Wish {
        if self.phase == Phase::Activating {
            if replicas.ready == 0 && replicas.present() > 0 {
                return Wish::Leave(None);
            }
            if replicas.ready == 0 {
                // It has been given up, and there is nothing to keep.
                self.phase = Phase::Inactive(now);
                return Wish::Want(0);
            }
            self.phase = Phase::Active(now);
        }
        if let Phase::Active(since) = self.phase {
            let over = since.saturating_add(config.window);
            if now < over {
                return Wish::Want(1);
            }
            self.phase = Phase::Inactive(now);
        }
        let Phase::Inactive(since) = self.phase else {
            return Wish::Leave(None);
        };
        let retention = if config.reachable {
            config.scale_to_zero_retention
        } else {
            std::time::Duration::ZERO
        };
        let idle = now.saturating_duration_since(since);
        let grace = config.scale_to_zero_grace;
        if idle >= grace.max(retention) {
            return Wish::Want(0);
        }
        if idle < retention {
            return Wish::Leave(Some(since.saturating_add(retention)));
        }
        let queued = self.queued_since.unwrap_or(now);
        if now.saturating_duration_since(queued) >= grace {
            return Wish::Want(0);
        }
        Wish::Leave(Some(queued.saturating_add(grace)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decision::Reason;

    /// When the rows are looked at.
    const NOW: u64 = 100_000;

    /// A decision for none.
    const FOR_NONE: Evaluation = Evaluation {
        desired: 0,
        needed: 0,
        excess_burst_capacity: -1.0,
        panic: false,
        reason: Reason::Idle,
    };

    fn ago(seconds: u64) -> Tick {
        Tick::from_nanos((NOW - seconds) * 1_000_000_000)
    }

    /// What Knative's reconciler is set to in its own tests.
    fn config(change: fn(&mut ScaleConfig)) -> ScaleConfig {
        let mut config = ScaleConfig {
            scale_to_zero_grace: Duration::from_secs(60),
            window: Duration::from_secs(300),
            ..ScaleConfig::default()
        };
        change(&mut config);
        config
    }

    /// What becomes of a decision for none.
    fn zero(phase: Phase, queued: Option<Tick>, config: &ScaleConfig, ready: u32) -> Wish {
        let mut last = LastReplica {
            phase,
            queued_since: queued,
        };
        // Who is being activated has begun, and is not ready.
        let replicas = Replicas {
            ready,
            starting: u32::from(phase == Phase::Activating && ready == 0),
            ..Replicas::default()
        };
        last.apply(ago(0), config, &FOR_NONE, &replicas)
    }

    fn nothing(_: &mut ScaleConfig) {}

    fn unreachable(config: &mut ScaleConfig) {
        config.min = 2;
        config.reachable = false;
        config.scale_to_zero_retention = Duration::from_secs(600);
    }

    /// The phase, for how long requests have gone through the queue, and what is wanted; `None` is what is there.
    type Row = (
        &'static str,
        Phase,
        Option<u64>,
        fn(&mut ScaleConfig),
        Option<u32>,
    );

    #[track_caller]
    fn check(rows: &[Row]) {
        for (what, phase, queued, change, expected) in rows {
            let ready = u32::from(*phase != Phase::Activating);
            let wish = zero(*phase, queued.map(ago), &config(*change), ready);
            let wanted = match wish {
                Wish::Want(count) => Some(count),
                Wish::Leave(_) => None,
            };
            assert_eq!(wanted, *expected, "{what}: {wish:?}");
        }
    }

    fn retention(config: &mut ScaleConfig, seconds: u64) {
        config.scale_to_zero_retention = Duration::from_secs(seconds);
    }

    #[test]
    fn the_last_replica_stays_for_a_window_as_in_knative() {
        let active = |seconds| Phase::Active(ago(seconds));
        let short = |config: &mut ScaleConfig| config.window = Duration::from_secs(45);
        check(&[
            ("short of the window", active(299), None, nothing, Some(1)),
            ("and of its own", active(44), None, short, Some(1)),
            ("for the window", active(300), None, nothing, None),
            ("on its way", Phase::Activating, None, nothing, None),
        ]);
        let ten = zero(active(299), None, &config(nothing), 10);
        assert_eq!(ten, Wish::Want(1), "all but one go at once");
    }

    #[test]
    fn the_last_replica_goes_after_grace_and_retention_as_in_knative() {
        let inactive = |seconds| Phase::Inactive(ago(seconds));
        let longer = |config: &mut ScaleConfig| retention(config, 120);
        let as_long = |config: &mut ScaleConfig| retention(config, 60);
        let shorter = |config: &mut ScaleConfig| retention(config, 42);
        let queued = |config: &mut ScaleConfig| config.target_burst_capacity = -1.0;
        let kept = |config: &mut ScaleConfig| config.scale_to_zero = false;
        check(&[
            ("for the grace", inactive(60), None, nothing, Some(0)),
            ("the retention is longer", inactive(60), None, longer, None),
            ("and as long", inactive(60), None, as_long, Some(0)),
            ("for less", inactive(59), None, nothing, None),
            ("and queued for less", inactive(59), Some(59), nothing, None),
            (
                "queued for the grace",
                inactive(59),
                Some(60),
                nothing,
                Some(0),
            ),
            (
                "beyond the retention",
                inactive(59),
                Some(60),
                shorter,
                Some(0),
            ),
            ("always queued", inactive(60), None, queued, Some(0)),
            (
                "nothing leads there",
                inactive(60),
                None,
                unreachable,
                Some(0),
            ),
            ("nor for so long", inactive(59), None, unreachable, None),
            ("never to zero", inactive(9_999), None, kept, Some(1)),
        ]);
    }

    #[test]
    fn what_could_not_be_started_is_given_up() {
        let mut last = LastReplica {
            phase: Phase::Activating,
            queued_since: None,
        };
        let wish = last.apply(ago(0), &config(nothing), &FOR_NONE, &Replicas::default());
        assert_eq!(wish, Wish::Want(0));
    }
}
