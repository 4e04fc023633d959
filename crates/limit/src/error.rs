//! What can go wrong: a parameter out of range, or no place left.

use crate::breaker::{MAX_CONCURRENCY, MAX_QUEUE_DEPTH};

/// A parameter of a [`Breaker`](crate::Breaker) is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BreakerError {
    /// The number of slots is above [`MAX_CONCURRENCY`].
    #[error("concurrency must be between 0 and {MAX_CONCURRENCY}, got {got}")]
    Concurrency {
        /// The value that was given.
        got: usize,
    },
    /// The queue has no place, or more than [`MAX_QUEUE_DEPTH`].
    #[error("queue depth must be between 1 and {MAX_QUEUE_DEPTH}, got {got}")]
    QueueDepth {
        /// The value that was given.
        got: usize,
    },
}

/// Every slot is taken and every place in the queue too: the caller is
/// refused at once.
///
/// The text is the one Knative's queue-proxy answers with, status 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pending request queue full")]
pub struct QueueFull;

/// The error of a [`BreakerService`](crate::BreakerService).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError<E> {
    /// The breaker refused the request; the inner service never saw it.
    #[error(transparent)]
    QueueFull(QueueFull),
    /// The inner service failed, when it was made ready or when it was called.
    #[error(transparent)]
    Inner(E),
}
