//! Who may be used: the standing of each endpoint, and how low one must go.

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::config::EjectionConfig;
use crate::eject::{Ejection, EjectionReason, Record, ejections_max};
use crate::endpoint::Endpoint;
use crate::journal::Journal;
use crate::policy::orca::Reported;
use crate::trial::Trials;

/// How usable an endpoint is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Standing {
    /// As good as any.
    Usable = 0,
    /// Left out for failing.
    Ejected = 1,
    /// Said to be down by active checks.
    Unhealthy = 2,
    /// Not in the set, or draining: gets nothing new, whatever the others do.
    Out = 3,
}

/// What the owner and the statistics say about an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Whether it is in the set.
    pub(crate) member: bool,
    /// The static weight.
    pub(crate) weight: u32,
    pub(crate) draining: bool,
    pub(crate) unhealthy: bool,
    pub(crate) ejection: Option<Ejection>,
    pub(crate) record: Record,
    /// Ejections ever, by [`EjectionReason::index`].
    pub(crate) ejections: [u64; EjectionReason::COUNT],
    /// Since when it starts slowly.
    pub(crate) ramp_since: Option<Tick>,
    pub(crate) trials: Trials,
    /// When it last left the set.
    pub(crate) unused_since: Option<Tick>,
    /// What it says of its own load.
    pub(crate) reported: Reported,
}

/// How many endpoints stand where, and what may be done about those that fail.
#[derive(Debug)]
pub(crate) struct Roll {
    counts: [u32; 4],
    pub(crate) ejection: EjectionConfig,
    pub(crate) slow_start: Duration,
    pub(crate) journal: Journal,
}

/// The part of its share that an endpoint begins with when it starts slowly.
/// Envoy's default is the same.
const RAMP_MIN: f32 = 0.1;

// === impl Standing ===

impl Standing {
    pub(crate) const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Usable,
            1 => Self::Ejected,
            2 => Self::Unhealthy,
            _ => Self::Out,
        }
    }
}

// === impl Control ===

impl Control {
    /// It is left out from now on.
    pub(crate) const fn eject(&mut self, ejection: Ejection) {
        self.ejections[ejection.reason.index()] += 1;
        self.ejection = Some(ejection);
    }

    /// The standing that follows from all of it.
    pub(crate) const fn standing(&self) -> Standing {
        if !self.member || self.draining {
            Standing::Out
        } else if self.unhealthy {
            Standing::Unhealthy
        } else if self.ejection.is_some() {
            Standing::Ejected
        } else {
            Standing::Usable
        }
    }

    /// It is in the set.
    pub(crate) const fn join(&mut self, weight: u32) {
        self.member = true;
        self.weight = weight;
        self.unused_since = None;
    }

    /// It is not in the set any more.
    pub(crate) const fn leave(&mut self, now: Tick) {
        self.member = false;
        self.unused_since = Some(now);
    }

    /// The share it should have relative to the others: the static weight, of
    /// which it gets more and more over `slow_start`.
    pub(crate) fn share(&mut self, now: Tick, slow_start: Duration) -> f32 {
        let weight = self.weight as f32;
        let Some(since) = self.ramp_since else {
            return weight;
        };
        let age = now.saturating_duration_since(since);
        if age >= slow_start {
            self.ramp_since = None;
            return weight;
        }
        weight * age.div_duration_f32(slow_start).max(RAMP_MIN)
    }
}

// === impl Roll ===

impl Roll {
    pub(crate) fn new(ejection: EjectionConfig, slow_start: Duration) -> Self {
        Self {
            counts: [0; 4],
            ejection,
            slow_start,
            journal: Journal::default(),
        }
    }

    /// Brings an endpoint's standing in line with its control.
    pub(crate) fn settle(&mut self, endpoint: &Endpoint, control: &Control) {
        let old = endpoint.standing();
        let new = control.standing();
        // Endpoints begin outside the roll, as if they had been out.
        let count = &mut self.counts[usize::from(old)];
        *count = count.saturating_sub(1);
        self.counts[new as usize] += 1;
        endpoint.set_standing(new);
    }

    /// The worst standing that may be used: the best there is.
    ///
    /// All may be ejected or unhealthy. Then the least bad are used: an answer
    /// from one of them is likelier than one from nowhere.
    pub(crate) const fn floor(&self) -> Standing {
        match self.counts {
            [0, 0, unhealthy, _] if unhealthy > 0 => Standing::Unhealthy,
            [0, ejected, ..] if ejected > 0 => Standing::Ejected,
            _ => Standing::Usable,
        }
    }

    /// Whether another endpoint may be left out: a bounded share may, and never
    /// the last that is usable.
    pub(crate) fn may_eject(&self) -> bool {
        let [usable, ejected, ..] = self.counts;
        let most = ejections_max(usable + ejected, self.ejection.share_max);
        self.ejection.enabled && usable >= 2 && ejected < most
    }

    /// How many are left out.
    pub(crate) const fn ejected(&self) -> u32 {
        self.counts[Standing::Ejected as usize]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_best_there_is_may_be_used() {
        let rows = [
            ([1, 1, 1, 1], Standing::Usable),
            ([0, 1, 1, 1], Standing::Ejected),
            ([0, 0, 1, 1], Standing::Unhealthy),
            ([0, 0, 0, 1], Standing::Usable),
        ];
        for (counts, expected) in rows {
            let roll = Roll {
                counts,
                ..Roll::new(EjectionConfig::default(), Duration::ZERO)
            };
            assert_eq!(roll.floor(), expected, "{counts:?}");
        }
    }

    #[test]
    fn a_share_grows_to_the_weight() {
        let slow_start = Duration::from_secs(10);
        let at = |seconds: u64| Tick::from_nanos(seconds * 1_000_000_000);
        let mut control = Control {
            weight: 4,
            ramp_since: Some(at(0)),
            ..Control::default()
        };
        let shares = [0, 5, 9, 10, 5].map(|seconds| control.share(at(seconds), slow_start));
        assert_eq!(shares, [0.4, 2.0, 3.6, 4.0, 4.0]);
    }
}
