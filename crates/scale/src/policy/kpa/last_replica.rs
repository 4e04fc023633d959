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
            if replicas.present() > 0 && replicas.ready == 0 {
                return Wish::Leave(None);
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
