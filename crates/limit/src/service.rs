//! The `tower` service.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::breaker::Breaker;
use crate::error::ServiceError;
use crate::future::ResponseFuture;

/// A service behind a [`Breaker`].
///
/// **When the slot is taken.** In `call`, which also fixes the order in the
/// queue. Never in `poll_ready`, which is always ready: a clone that was made
/// ready and then left idle would hold a slot that nobody uses. The inner
/// service is cloned in `call` and made ready once the slot is there, so that
/// a request in the queue holds nothing of it.
///
/// **When it is given back.** When the inner future resolves, or is dropped.
/// For HTTP that is when the response *head* is there, while its body may
/// still be streaming. Where the body is part of the work, take the slot with
/// [`Breaker::acquire`] in a handler and move it into the response body
/// instead; a layer that knows nothing of the response type cannot do it.
#[derive(Debug, Clone)]
pub struct BreakerService<S> {
    inner: S,
    breaker: Breaker,
}

impl<S> BreakerService<S> {
    /// `inner` behind `breaker`.
    #[must_use]
    pub const fn new(inner: S, breaker: Breaker) -> Self {
        Self { inner, breaker }
    }

    /// The breaker in front.
    #[must_use]
    pub const fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The service behind.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Gives up the breaker and returns the service behind.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Request> Service<Request> for BreakerService<S>
where
    S: Service<Request> + Clone,
{
    type Response = S::Response;
    type Error = ServiceError<S::Error>;
    type Future = ResponseFuture<S, Request>;

    /// Always ready: requests wait in the queue, not before it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.breaker.enter() {
            Ok(entry) => ResponseFuture::entered(entry, self.inner.clone(), request),
            Err(full) => ResponseFuture::refused(full),
        }
    }
}

/// An inner service that cannot fail leaves one way to: the queue is full.
impl From<ServiceError<Infallible>> for crate::QueueFull {
    fn from(error: ServiceError<Infallible>) -> Self {
        match error {
            ServiceError::QueueFull(full) => full,
            ServiceError::Inner(never) => match never {},
        }
    }
}
