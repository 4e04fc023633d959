//! What goes wrong, where and when.

use serde::Deserialize;

use super::Service;
use crate::random::SplitMix64;

/// Something that is so at some backends for some time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The first backend it hits, counted from 0.
    pub first: usize,
    /// How many it hits.
    pub count: usize,
    /// Seconds from the start.
    pub from: f64,
    /// Seconds from the start; at this moment it is over.
    pub to: f64,
    /// What is so.
    pub what: Trouble,
}

/// A way in which a backend is not what it was.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Service times are so many times as long.
    Slow(f64),
    /// Service times follow another distribution.
    Service(Service),
    /// Answers with an error, at once and without occupying a slot.
    Status(StatusFault),
    /// Answers with an error what comes above a rate.
    RateLimit(RateLimit),
    /// Accepts and never answers.
    Stall,
    /// Refuses connections; what it had in hand is reset.
    Gone,
    /// Is not in the list of endpoints.
    Absent,
    /// Service times are multiplied by a factor that changes again and again, at each backend on its own.
    Antagonist(Antagonist),
}

/// Error answers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusFault {
    /// HTTP status.
    pub code: u16,
    /// Time to the answer, milliseconds.
    pub after_ms: f64,
    /// Share of the requests that it happens to.
    #[serde(default = "everything")]
    pub share: f64,
    /// What its `Retry-After` says, seconds.
    pub retry_after: Option<f64>,
}

/// A token bucket that holds the tokens of a tenth of a second, at least one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second that it lets pass.
    pub per_second: f64,
    /// HTTP status of the others.
    pub code: u16,
    /// Time to that answer, milliseconds.
    pub after_ms: f64,
    /// What its `Retry-After` says, seconds.
    pub retry_after: Option<f64>,
}

/// A neighbour on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Antagonist {
    /// Seconds for which a factor holds.
    pub period: f64,
    /// The least factor: the machine is free.
    pub least: f64,
    /// The greatest factor: the neighbour takes all that is his.
    pub most: f64,
}

/// How a backend is at one moment.
#[derive(Clone, Debug)]
pub struct Condition<'a> {
    /// The distribution of service times.
    pub service: Service,
    /// What to multiply them by.
    pub factor: f64,
    /// Errors it answers with.
    pub status: Option<&'a StatusFault>,
    /// Its limit of rate.
    pub rate_limit: Option<&'a RateLimit>,
    /// Accepts and never answers.
    pub stalled: bool,
    /// Refuses connections.
    pub gone: bool,
    /// Is not in the list of endpoints.
    pub absent: bool,
}

impl Fault {
    /// Whether it hits `backend` at `second`.
    #[must_use]
    pub fn hits(&self, backend: usize, second: f64) -> bool {
        self.concerns(backend) && (self.from..self.to).contains(&second)
    }

    /// Whether it hits `backend` at some time.
    #[must_use]
    pub fn concerns(&self, backend: usize) -> bool {
        (self.first..self.first + self.count).contains(&backend)
    }

    /// What is wrong with the fault itself, if it is to hit one of `backends`.
    pub(super) fn problem(&self, backends: usize) -> Option<&'static str> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let sound = match &self.what {
            Trouble::Slow(factor) => positive(*factor),
            Trouble::Service(service) => service.is_sound(),
            Trouble::Status(fault) => {
                positive(fault.after_ms) && (0.0..=1.0).contains(&fault.share)
            }
            Trouble::RateLimit(limit) => positive(limit.after_ms) && positive(limit.per_second),
            Trouble::Antagonist(one) => {
                positive(one.period) && positive(one.least) && one.least <= one.most
            }
            Trouble::Stall | Trouble::Gone | Trouble::Absent => true,
        };
        if self.count == 0 || self.first + self.count > backends {
            Some("hits backends that do not exist")
        } else if !(0.0 <= self.from && self.from < self.to) {
            Some("ends before it begins")
        } else if !sound {
            Some("has a number that must be finite and above zero")
        } else {
            None
        }
    }
}

impl<'a> Condition<'a> {
    /// A backend on which nothing is wrong.
    pub(super) fn healthy(service: Service) -> Self {
        Self {
            service,
            factor: 1.0,
            status: None,
            rate_limit: None,
            stalled: false,
            gone: false,
            absent: false,
        }
    }

    /// Adds one trouble of `backend` at `second`.
    pub(super) fn suffer(&mut self, trouble: &'a Trouble, backend: usize, second: f64) {
        match trouble {
            Trouble::Slow(factor) => self.factor *= factor,
            Trouble::Service(service) => self.service = *service,
            Trouble::Status(fault) => self.status = Some(fault),
            Trouble::RateLimit(limit) => self.rate_limit = Some(limit),
            Trouble::Stall => self.stalled = true,
            Trouble::Gone => self.gone = true,
            Trouble::Absent => self.absent = true,
            Trouble::Antagonist(one) => self.factor *= one.factor(backend, second),
        }
    }

    /// Whether a request sent there would be answered well.
    #[must_use]
    pub fn answers(&self) -> bool {
        let fails = self.status.is_some_and(|fault| fault.share > 0.0);
        !(self.absent || self.gone || self.stalled || fails || self.rate_limit.is_some())
    }
}

impl Antagonist {
    /// The factor at one backend: uniform from least to most, another in every period.
    fn factor(&self, backend: usize, second: f64) -> f64 {
        let period = (second / self.period) as u64;
        let unit = SplitMix64::stream(period, backend as u64).next_unit();
        self.least + (self.most - self.least) * unit
    }
}

fn everything() -> f64 {
    1.0
}
