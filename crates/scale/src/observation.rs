//! What is known about a service at one moment.

use std::time::Duration;

use plimsoll_meter::Tick;

/// What is known about a service at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// Its load; `None` if nothing is known of it. Unknown is not zero: without
    /// it nothing is started and nothing stopped.
    pub load: Option<Load>,
    /// Its replicas.
    pub replicas: Replicas,
}

/// The load of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests at replicas.
    pub running: u32,
    /// Requests in the queue.
    pub waiting: u32,
    /// Requests that have ever come, those that were refused left out.
    pub arrivals: u64,
    /// The average of running and waiting requests together, weighted by time,
    /// since the last observation. `None` if what was seen then has held until
    /// now; so it is whenever everything that changes is observed.
    pub concurrency: Option<f64>,
    /// How long a replica works on a request, on average, without the time in
    /// the queue, if the caller has measured it. `None` is to be worked out.
    pub service_time: Option<Duration>,
}

/// The replicas of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Those that get requests.
    pub ready: u32,
    /// Those that have been started and are not yet ready.
    pub starting: u32,
    /// When the first of the starting ones was started.
    pub oldest_start: Option<Tick>,
    /// Those that finish what they have and get nothing new.
    pub draining: u32,
}

impl Load {
    /// Requests that are there, running or waiting.
    #[must_use]
    pub const fn in_system(&self) -> u32 {
        self.running.saturating_add(self.waiting)
    }
}

impl Replicas {
    /// Those that carry load, or soon will.
    #[must_use]
    pub const fn present(&self) -> u32 {
        self.ready.saturating_add(self.starting)
    }
}
