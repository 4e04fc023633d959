//! What happened in the last seconds, by buckets of time.
//!
//! [`ring`] is the one place that knows about time; the other files say what a
//! bucket holds.

mod bins;
mod body;
mod counter;
mod gauge;
#[cfg(all(test, loom))]
mod loom_tests;
mod ring;
mod shape;
mod summary;
#[cfg(all(test, not(loom)))]
mod tests;

pub use counter::{CounterBuckets, RollingCounter, Tally};
pub use gauge::{GaugeBuckets, GaugeReading, RollingGauge};
pub use ring::{Bucket, Place, Recycled, RollingWindow, Slot, Slots};
pub use shape::{WindowError, WindowShape};
pub use summary::{RollingSummary, SummarySnapshot};
