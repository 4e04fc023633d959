//! How it is decided.

pub(crate) mod kpa;
pub(crate) mod plimsoll;

use plimsoll_meter::Tick;

use crate::decision::Reason;

/// What a policy says, before the minimum and the maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// How many there should be.
    pub(crate) desired: u32,
    pub(crate) reason: Reason,
    /// How many the load asks for.
    pub(crate) needed: u32,
    pub(crate) average: Option<f64>,
    pub(crate) panic_average: Option<f64>,
    pub(crate) kept_until: Option<Tick>,
    pub(crate) next: Option<Tick>,
    pub(crate) panic: bool,
    /// The load that is set against the burst capacity.
    pub(crate) burst_load: f64,
}
