//! The response future of the `tower` service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::{QueueFull, ServiceError};
use crate::slot::Slot;
use crate::waiting::{Entry, Waiting};

pin_project! {
    /// The future of a [`BreakerService`](crate::BreakerService): waits for a
    /// slot, makes the inner service ready, calls it, and gives the slot back
    /// when the inner future resolves.
    ///
    /// Cancel-safe: dropped at any point it gives back what it holds.
    ///
    /// # Panics
    ///
    /// If polled again after it resolved.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request>
    where
        S: Service<Request>,
    {
        #[pin]
        stage: Stage<S, Request, S::Future>,
    }
}

pin_project! {
    #[project = StageProjection]
    #[project_replace = StageReplaced]
    enum Stage<S, Request, F> {
        Refused { full: QueueFull },
        Queued { waiting: Waiting, service: S, request: Request },
        // The slot comes last so that it is dropped last: it goes to the next
        // caller only when the work of this one is gone.
        Readying { service: S, request: Request, slot: Slot },
        Running { #[pin] future: F, slot: Slot },
        Resolved,
    }
}

impl<S, Request> ResponseFuture<S, Request>
where
    S: Service<Request>,
{
    pub(crate) fn entered(entry: Entry, service: S, request: Request) -> Self {
        let stage = match entry {
            Entry::Running(slot) => Stage::Readying {
                service,
                request,
                slot,
            },
            Entry::Waiting(waiting) => Stage::Queued {
                waiting,
                service,
                request,
            },
        };
        Self { stage }
    }

    pub(crate) const fn refused(full: QueueFull) -> Self {
        Self {
            stage: Stage::Refused { full },
        }
    }
}

impl<S, Request> Future for ResponseFuture<S, Request>
where
    S: Service<Request>,
{
    type Output = Result<S::Response, ServiceError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            let result = match stage.as_mut().project() {
                StageProjection::Refused { full } => Err(ServiceError::QueueFull(*full)),
                StageProjection::Queued { waiting, .. } => {
                    let slot = ready!(Pin::new(waiting).poll(cx));
                    stage.as_mut().seat(slot);
                    continue;
                }
                StageProjection::Readying { service, .. } => match ready!(service.poll_ready(cx)) {
                    Ok(()) => {
                        stage.as_mut().call();
                        continue;
                    }
                    Err(error) => Err(ServiceError::Inner(error)),
                },
                StageProjection::Running { future, .. } => {
                    ready!(future.poll(cx)).map_err(ServiceError::Inner)
                }
                StageProjection::Resolved => panic!("`ResponseFuture` polled after it resolved"),
            };
            // Drops the inner future and the slot now, not when the caller
            // gets round to dropping this future.
            stage.set(Stage::Resolved);
            return Poll::Ready(result);
        }
    }
}

impl<S, Request> Stage<S, Request, S::Future>
where
    S: Service<Request>,
{
    /// From the queue to a slot.
    fn seat(mut self: Pin<&mut Self>, slot: Slot) {
        if let StageReplaced::Queued {
            service, request, ..
        } = self.as_mut().project_replace(Self::Resolved)
        {
            self.set(Self::Readying {
                service,
                request,
                slot,
            });
        }
    }

    /// From a service that is ready to its future.
    fn call(mut self: Pin<&mut Self>) {
        if let StageReplaced::Readying {
            mut service,
            request,
            slot,
        } = self.as_mut().project_replace(Self::Resolved)
        {
            let future = service.call(request);
            self.set(Self::Running { future, slot });
        }
    }
}

impl<S, Request> fmt::Debug for ResponseFuture<S, Request>
where
    S: Service<Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Refused { .. } => "refused",
            Stage::Queued { .. } => "queued",
            Stage::Readying { .. } => "readying",
            Stage::Running { .. } => "running",
            Stage::Resolved => "resolved",
        };
        f.debug_struct("ResponseFuture")
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
