//! Why there is no endpoint.

/// Why a request got no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// The set is empty.
    #[error("there are no endpoints")]
    NoEndpoints,
    /// The set is not empty, but every endpoint is draining.
    #[error("every endpoint is draining")]
    AllDraining,
    /// Every endpoint that may be used is in the list to avoid.
    #[error("there is no other endpoint")]
    NoOther,
    /// No endpoint has a free slot, and the caller would not wait.
    #[error("no endpoint has a free slot")]
    NoSlot,
    /// No endpoint has a free slot, and as many wait as may.
    #[error("no endpoint has a free slot and the queue is full")]
    QueueFull,
    /// No endpoint has a free slot, and those who wait occupy as much memory as they may.
    #[error("no endpoint has a free slot and the queue holds as many bytes as it may")]
    QueueBytes,
}

/// Why a wait ended without an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// It waited as long as a request may.
    #[error("waited too long for an endpoint with a free slot")]
    TooOld,
    /// There is no endpoint, and from now on nobody waits for one.
    #[error("there are no endpoints")]
    NoEndpoints,
    /// The balancer is gone.
    #[error("the balancer was closed")]
    Closed,
}
