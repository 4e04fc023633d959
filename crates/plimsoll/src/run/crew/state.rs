//! What is known of one service and its replicas.

use std::fmt;
use std::sync::Arc;

use plimsoll_fleet::ReplicaId;
use plimsoll_meter::{ConcurrencyMeter, Histogram, REQUEST_TIME_BOUNDS, Reporter, Tick};
use plimsoll_scale::{ConfigError, Decision, DecisionLog, Reason, Scaler};

use super::roster::Roster;
use crate::run::plan::ScaledPlan;

/// Decisions that are kept of each service, to be looked at.
const DECISIONS_MAX: usize = 200;

/// Who says how many replicas there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The load.
    Auto,
    /// Somebody has said so many.
    Fixed(u32),
    /// Somebody has said none; requests are refused.
    Stopped,
}

/// Why there are no replicas although there should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// One line for a person.
    pub(crate) reason: String,
    /// When it is tried again.
    pub(crate) until: Tick,
}

/// What is known of one service and its replicas.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) plan: ScaledPlan,
    pub(crate) mode: Mode,
    pub(crate) scaler: Scaler,
    pub(crate) roster: Roster<ReplicaId>,
    pub(crate) log: DecisionLog,
    /// The last decision, and when it was made for a person.
    pub(crate) decision: Option<Decision>,
    /// Decisions that changed the number, in the order of [`Reason::ALL`].
    pub(crate) decided: [u64; Reason::ALL.len()],
    /// How long replicas took to be ready.
    pub(crate) start_ups: Histogram,
    /// Replicas that were started, and those that ended before they were ready or could not be started.
    pub(crate) starts: u64,
    pub(crate) failures: u64,
    /// No requests are accepted until it is over.
    pub(crate) trouble: Option<Trouble>,
    /// The last that went wrong, told even while others serve; `None` once one was ready again.
    pub(crate) problem: Option<String>,
    /// Nothing is started before this.
    pub(crate) retry_at: Option<Tick>,
    pub(super) reporter: Reporter,
    pub(super) arrivals: u64,
    /// When a request last arrived.
    pub(super) last_arrival: Tick,
    /// Whether the last replica that ended had been ready before.
    pub(super) was_well: bool,
    /// It has made room for another service, and nobody has asked for it since: nothing is started for it to be kept.
    pub(super) gave_way: bool,
    /// It waits for others to make room.
    pub(super) waits_for_room: bool,
}

impl Mode {
    /// As the API names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fixed(_) => "fixed",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("as many replicas as the load needs"),
            Self::Fixed(1) => f.write_str("1 replica"),
            Self::Fixed(count) => write!(f, "{count} replicas"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl State {
    pub(super) fn new(
        plan: ScaledPlan,
        meter: &Arc<ConcurrencyMeter>,
        now: Tick,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            scaler: Scaler::new(plan.scale.clone(), now)?,
            plan,
            mode: Mode::Auto,
            roster: Roster::new(),
            log: DecisionLog::new(DECISIONS_MAX),
            decision: None,
            decided: [0; Reason::ALL.len()],
            start_ups: Histogram::new(&REQUEST_TIME_BOUNDS)
                .expect("the bounds of the crate rise strictly"),
            starts: 0,
            failures: 0,
            trouble: None,
            problem: None,
            retry_at: None,
            reporter: meter.reporter(now),
            arrivals: 0,
            last_arrival: now,
            was_well: false,
            gave_way: false,
            waits_for_room: false,
        })
    }

    /// How many replicas there are to be.
    pub(crate) fn desired(&self) -> u32 {
        let (wanted, least) = match (self.mode, &self.decision) {
            (Mode::Fixed(count), _) => (count, count),
            (Mode::Stopped, _) | (Mode::Auto, None) => (0, 0),
            (Mode::Auto, Some(decision)) => (decision.desired, self.plan.scale.min),
        };
        if self.gave_way {
            wanted.min(self.roster.counts().present().max(least))
        } else {
            wanted
        }
    }

    /// Keeps a decision.
    pub(super) fn note(&mut self, decision: Decision) {
        if decision.is_change() {
            let index = Reason::ALL.iter().position(|it| *it == decision.reason);
            if let Some(index) = index {
                self.decided[index] += 1;
            }
        }
        self.log.record(&decision);
        self.decision = Some(decision);
    }
}
