//! Weights from the endpoints' own reports of load.

/// Settings of [`Policy::Orca`](crate::Policy::Orca).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrcaConfig {}
