//! Weights from success rate, latency and load.

/// Settings of [`Policy::Wrr`](crate::Policy::Wrr).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrrConfig {}
