//! Who may be used: the standing of each endpoint, and how low one must go.

use plimsoll_meter::Tick;

use crate::endpoint::Endpoint;
use crate::policy::orca::Reported;

/// How usable an endpoint is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Standing {
    /// As good as any.
    Usable = 0,
    /// Left out for failing, and about to be tried with one request.
    ProbeDue = 1,
    /// Left out for failing.
    Ejected = 2,
    /// Said to be down by active checks.
    Unhealthy = 3,
    /// Not in the set, or draining: gets nothing new, whatever the others do.
    Out = 4,
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
    /// When it last left the set.
    pub(crate) unused_since: Option<Tick>,
    /// What it says of its own load.
    pub(crate) reported: Reported,
}

/// How many endpoints stand where.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    counts: [u32; 5],
}

// === impl Standing ===

impl Standing {
    pub(crate) const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Usable,
            1 => Self::ProbeDue,
            2 => Self::Ejected,
            3 => Self::Unhealthy,
            _ => Self::Out,
        }
    }
}

// === impl Control ===

impl Control {
    /// The standing that follows from all of it.
    pub(crate) const fn standing(&self) -> Standing {
        if !self.member || self.draining {
            Standing::Out
        } else if self.unhealthy {
            Standing::Unhealthy
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

    /// The share it should have relative to the others.
    pub(crate) const fn share(&self) -> f32 {
        self.weight as f32
    }
}

// === impl Roll ===

impl Roll {
    /// Brings an endpoint's standing in line with its control.
    pub(crate) fn settle(&mut self, endpoint: &Endpoint, control: &Control) {
        let old = Standing::from_u8(endpoint.standing());
        let new = control.standing();
        self.leave(old);
        self.counts[new as usize] += 1;
        endpoint.set_standing(new);
    }

    /// The worst standing that may be used: the best there is.
    ///
    /// All may be ejected or unhealthy. Then the least bad are used: an answer
    /// from one of them is likelier than one from nowhere.
    pub(crate) fn floor(&self) -> Standing {
        let [usable, due, ejected, unhealthy, _] = self.counts;
        if usable > 0 {
            Standing::Usable
        } else if due + ejected > 0 {
            Standing::Ejected
        } else if unhealthy > 0 {
            Standing::Unhealthy
        } else {
            // Nobody: nothing that may be used stands here.
            Standing::Usable
        }
    }

    fn leave(&mut self, old: Standing) {
        // Endpoints begin outside the roll, as if they had been out.
        let count = &mut self.counts[old as usize];
        *count = count.saturating_sub(1);
    }
}
