//! What can go wrong: with a request, and with a change of the set.

use std::error::Error;
use std::sync::Arc;

use crate::error::{PickError, QueueError};
use crate::registry::SetError;

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The error of a [`BalancerService`](super::BalancerService).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError<E> {
    /// There is no endpoint for the request; no inner service has seen it.
    #[error(transparent)]
    NoEndpoint(PickError),
    /// The wait for an endpoint was for nothing; no inner service has seen the
    /// request.
    #[error(transparent)]
    Wait(QueueError),
    /// The inner service failed, when it was made ready or when it was called.
    #[error(transparent)]
    Inner(E),
}

/// Why a change of the set was refused. The old set stays.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The set cannot be.
    #[error(transparent)]
    Set(#[from] SetError),
    /// No service could be made for an address.
    #[error("no service could be made for endpoint `{address}`: {cause}")]
    Make {
        /// The address.
        address: Arc<str>,
        /// What the factory says.
        #[source]
        cause: BoxError,
    },
}

/// Why [`BalancerService::follow`](super::BalancerService::follow) has ended.
/// The set stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum FollowError<E> {
    /// The stream of changes has failed.
    #[error("the source of endpoints has failed: {0}")]
    Source(E),
    /// A change was refused.
    #[error(transparent)]
    Change(ChangeError),
}

impl<E: Into<BoxError>> ServiceError<E> {
    /// The error in a box: for stacks of services that all have the same error.
    #[must_use]
    pub fn boxed(self) -> BoxError {
        match self {
            Self::NoEndpoint(cause) => cause.into(),
            Self::Wait(cause) => cause.into(),
            Self::Inner(cause) => cause.into(),
        }
    }
}
