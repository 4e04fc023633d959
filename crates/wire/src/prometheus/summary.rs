//! The summary that the writer accepts.

use std::time::Duration;

/// A quantile that a summary may show.
///
/// A fixed set, because its text is a label value, and a float of a caller's
/// choice could be written in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantile {
    /// The median.
    P50,
    /// Nine of ten observations are not above it.
    P90,
    /// 99 of 100 observations are not above it.
    P99,
}

/// A summary of durations.
///
/// The quantiles are of recent observations; `count` and `sum` are of all since
/// the process began, as Prometheus wants them, so that `rate()` works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SummaryView {
    /// The quantiles, in the order of [`Quantile::ALL`]; `None` if there was
    /// nothing to observe.
    pub quantiles: [Option<Duration>; Quantile::ALL.len()],
    /// All observations.
    pub count: u64,
    /// The sum of all observations.
    pub sum: Duration,
}

impl Quantile {
    /// Every quantile, rising.
    pub const ALL: [Self; 3] = [Self::P50, Self::P90, Self::P99];

    /// The label value, the same in both formats, e.g. `0.99`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "0.5",
            Self::P90 => "0.9",
            Self::P99 => "0.99",
        }
    }
}
