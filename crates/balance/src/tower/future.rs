//! The response future of the `tower` service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use plimsoll_meter::Clock;
use tower_service::Service;

use crate::error::PickError;
use crate::pick::{Entry, Pick, Waiting};
use crate::tower::classify::Classify;
use crate::tower::error::ServiceError;
use crate::tower::ongoing::Ongoing;
use crate::tower::service::Shared;

/// How often an endpoint is asked for that has a service. It is there at once,
/// but for an endpoint that left between the choice and the look at its service.
const CHOICES_MAX: u8 = 4;

pin_project! {
    /// The future of a [`BalancerService`](super::BalancerService): waits for an
    /// endpoint, makes its service ready, calls it, and has the answer
    /// classified.
    ///
    /// Cancel-safe: dropped at any point it gives back what it holds.
    ///
    /// # Panics
    ///
    /// If polled again after it resolved.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, C, Request>
    where
        S: Service<Request>,
    {
        shared: Arc<Shared<S, C>>,
        choices_left: u8,
        #[pin]
        stage: Stage<S, Request, S::Future>,
    }
}

pin_project! {
    #[project = StageProjection]
    #[project_replace = StageReplaced]
    enum Stage<S, Request, F> {
        Refused { cause: PickError },
        Queued { waiting: Waiting, request: Request },
        // The place at the endpoint comes last so that it is dropped last: it goes to the
        // next caller only when the work of this one is gone.
        Readying { service: S, request: Request, ongoing: Ongoing },
        Running { #[pin] future: F, ongoing: Ongoing },
        Resolved,
    }
}

impl<S, C, Request> ResponseFuture<S, C, Request>
where
    S: Service<Request> + Clone,
{
    /// Takes an endpoint for `request`, or a place in the queue.
    pub(super) fn enter(shared: Arc<Shared<S, C>>, request: Request) -> Self {
        let mut choices_left = CHOICES_MAX;
        let stage = enter(&shared, &mut choices_left, request);
        Self {
            shared,
            choices_left,
            stage,
        }
    }
}

impl<S, C, Request> Future for ResponseFuture<S, C, Request>
where
    S: Service<Request> + Clone,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<C::Response, ServiceError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (shared, mut stage) = (&**this.shared, this.stage);
        loop {
            match stage.as_mut().project() {
                StageProjection::Refused { cause } => {
                    let cause = *cause;
                    stage.set(Stage::Resolved);
                    return Poll::Ready(Err(ServiceError::NoEndpoint(cause)));
                }
                StageProjection::Queued { waiting, .. } => {
                    match ready!(Pin::new(waiting).poll(cx)) {
                        Ok(pick) => stage.as_mut().seat(shared, this.choices_left, pick),
                        Err(cause) => {
                            stage.set(Stage::Resolved);
                            return Poll::Ready(Err(ServiceError::Wait(cause)));
                        }
                    }
                }
                StageProjection::Readying { service, .. } => match ready!(service.poll_ready(cx)) {
                    Ok(()) => stage.as_mut().call(),
                    Err(error) => {
                        if let Some(ongoing) = stage.as_mut().end() {
                            ongoing.finish(shared.classify.not_ready(&error));
                        }
                        return Poll::Ready(Err(ServiceError::Inner(error)));
                    }
                },
                StageProjection::Running { future, .. } => {
                    let result = ready!(future.poll(cx));
                    let Some(ongoing) = stage.as_mut().end() else {
                        unreachable!("what has just run is running");
                    };
                    return Poll::Ready(shared.ended(result, ongoing));
                }
                StageProjection::Resolved => panic!("`ResponseFuture` polled after it resolved"),
            }
        }
    }
}

impl<S, C> Shared<S, C> {
    /// Has the end of the inner future classified.
    fn ended<Response, E>(
        &self,
        result: Result<Response, E>,
        mut ongoing: Ongoing,
    ) -> Result<C::Response, ServiceError<E>>
    where
        C: Classify<Response, E>,
    {
        match result {
            Ok(response) => {
                ongoing.head_received();
                Ok(self.classify.answered(response, ongoing))
            }
            Err(error) => {
                ongoing.finish(self.classify.failed(&error));
                Err(ServiceError::Inner(error))
            }
        }
    }
}

/// The first stage of `request`, which is neither at an endpoint nor in the queue.
fn enter<S, C, Request>(
    shared: &Shared<S, C>,
    choices_left: &mut u8,
    request: Request,
) -> Stage<S, Request, S::Future>
where
    S: Service<Request> + Clone,
{
    let endpoints = &shared.endpoints;
    while *choices_left > 0 {
        *choices_left -= 1;
        let now = endpoints.clock().now();
        // What more than itself a request occupies, only its type knows.
        let bytes = size_of::<Request>() as u64;
        let pick = match endpoints.balancer().enter(now, bytes) {
            Ok(Entry::Running(pick)) => pick,
            Ok(Entry::Waiting(waiting)) => return Stage::Queued { waiting, request },
            Err(cause) => return Stage::Refused { cause },
        };
        if let Some(service) = endpoints.service(pick.endpoint().address()) {
            let ongoing = Ongoing::new(pick, Arc::clone(endpoints.clock()));
            return Stage::Readying {
                service,
                request,
                ongoing,
            };
        }
    }
    let cause = PickError::NoEndpoints;
    Stage::Refused { cause }
}

impl<S, Request> Stage<S, Request, S::Future>
where
    S: Service<Request> + Clone,
{
    /// From the queue to an endpoint.
    fn seat<C>(
        mut self: Pin<&mut Self>,
        shared: &Shared<S, C>,
        choices_left: &mut u8,
        mut pick: Pick,
    ) {
        let StageReplaced::Queued { request, .. } = self.as_mut().project_replace(Self::Resolved)
        else {
            unreachable!("who has been granted an endpoint was waiting");
        };
        let endpoints = &shared.endpoints;
        // It may have been granted some time before this task was polled.
        pick.begin_at(endpoints.clock().now());
        let next = match endpoints.service(pick.endpoint().address()) {
            Some(service) => Self::Readying {
                service,
                request,
                ongoing: Ongoing::new(pick, Arc::clone(endpoints.clock())),
            },
            None => {
                drop(pick);
                enter(shared, choices_left, request)
            }
        };
        self.set(next);
    }

    /// From a service that is ready to its future.
    fn call(mut self: Pin<&mut Self>) {
        if let StageReplaced::Readying {
            mut service,
            request,
            ongoing,
        } = self.as_mut().project_replace(Self::Resolved)
        {
            let future = service.call(request);
            self.set(Self::Running { future, ongoing });
        }
    }
}

impl<S, Request, F> Stage<S, Request, F> {
    /// Drops what runs, and gives the place at the endpoint.
    fn end(self: Pin<&mut Self>) -> Option<Ongoing> {
        match self.project_replace(Self::Resolved) {
            StageReplaced::Readying { ongoing, .. } | StageReplaced::Running { ongoing, .. } => {
                Some(ongoing)
            }
            _ => None,
        }
    }
}

impl<S, C, Request> fmt::Debug for ResponseFuture<S, C, Request>
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
