//! A body that ends its request when it ends itself.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::outcome::{FailureKind, Outcome};
use crate::tower::http::{Head, grpc_outcome};
use crate::tower::ongoing::Ongoing;

pin_project! {
    /// The body of an answer, whose request lasts until it has ended; see
    /// [`Http`](super::Http).
    #[derive(Debug)]
    pub struct MeasuredBody<B> {
        #[pin]
        inner: B,
        watch: Watch,
    }
}

/// The request of a body.
#[derive(Debug)]
struct Watch {
    head: Head,
    /// `None` once it has ended.
    ongoing: Option<Ongoing>,
}

impl<B: Body> MeasuredBody<B> {
    pub(super) fn new(inner: B, head: Head, mut ongoing: Ongoing) -> Self {
        if head.outcome.is_failure() && !head.awaits_trailers {
            ongoing.if_dropped(head.outcome);
        }
        let ongoing = Some(ongoing);
        let mut watch = Watch { head, ongoing };
        if inner.is_end_stream() {
            watch.end(head.outcome);
        }
        Self { inner, watch }
    }
}

impl Watch {
    fn end(&mut self, outcome: Outcome) {
        if let Some(ongoing) = self.ongoing.take() {
            ongoing.finish(outcome);
        }
    }

    /// The body broke off. What the head has told stands.
    fn broke_off(&mut self) {
        let told = self.head.outcome;
        let stands = told.is_failure() && !self.head.awaits_trailers;
        let reset = Outcome::Failure(FailureKind::Reset);
        self.end(if stands { told } else { reset });
    }

    fn saw<T>(&mut self, frame: &Frame<T>) {
        if let Some(trailers) = frame.trailers_ref() {
            let told = grpc_outcome(trailers).filter(|_| self.head.awaits_trailers);
            self.end(told.unwrap_or(self.head.outcome));
        }
    }
}

impl<B: Body> Body for MeasuredBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let polled = ready!(this.inner.as_mut().poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => this.watch.saw(frame),
            Some(Err(_)) => this.watch.broke_off(),
            None => this.watch.end(this.watch.head.outcome),
        }
        // Whoever sees that there is no more need not ask for it.
        if this.inner.is_end_stream() {
            this.watch.end(this.watch.head.outcome);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
