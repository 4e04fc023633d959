//! What a service runs with whose replicas are local processes: each value valid, every default filled in.

use std::time::Duration;

use plimsoll_fleet::CommandSpec;
use plimsoll_proxy::UpgradedLimits;
use plimsoll_scale::ScaleConfig;

/// The word of the program's command line for the built-in application.
pub(crate) const APP_COMMAND: &str = "demo-app";

/// How many requests a replica works on at once without a setting.
pub(crate) const CONCURRENCY_DEFAULT: u32 = 80;

/// How many replicas there may be without a setting.
pub(crate) const MAX_DEFAULT: u32 = 10;

/// How long a request may wait for a replica without a setting: as long as it may take altogether.
pub(crate) const QUEUE_AGE_DEFAULT: Duration = Duration::from_secs(300);

/// How long `plimsoll run` serves after a signal until no request has come. It is on a desk, and Ctrl-C is meant.
pub(crate) const DRAIN_QUIET_DEFAULT: Duration = Duration::ZERO;

/// How long a replica stays before it has to make room for others, without a setting.
pub(crate) const RESIDENCE_DEFAULT: Duration = Duration::from_secs(10);

/// What replicas of all services have to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoomPlan {
    /// Bytes that all together may have; `None` is no limit.
    pub(crate) memory: Option<u64>,
    /// How long one stays after it was ready before it has to make room for others.
    pub(crate) residence: Duration,
}

/// The command of a service, and how many of it there are to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScaledPlan {
    pub(crate) command: CommandSpec,
    pub(crate) scale: ScaleConfig,
    /// Whether browsers are shown a page while a replica starts.
    pub(crate) waiting_page: bool,
    /// Time limits of upgraded connections.
    pub(crate) websockets: UpgradedLimits,
}
