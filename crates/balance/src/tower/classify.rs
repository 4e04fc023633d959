//! What responses and errors say of their endpoint.

use crate::outcome::{FailureKind, Outcome};
use crate::tower::ongoing::Ongoing;

/// What responses and errors say of their endpoint, and how long a request lasts.
pub trait Classify<Response, Error> {
    /// What the caller gets: the response itself, or one that is still watched.
    type Response;

    /// The inner future has given a response. Whoever can tell how it went
    /// [finishes](Ongoing::finish) `ongoing` here; whoever cannot yet puts it
    /// into the response.
    fn answered(&self, response: Response, ongoing: Ongoing) -> Self::Response;

    /// The outcome that an error of the inner future stands for.
    fn failed(&self, error: &Error) -> Outcome;

    /// The outcome that an error in place of readiness stands for. Unless said
    /// otherwise no connection could be made.
    fn not_ready(&self, error: &Error) -> Outcome {
        let _unused = error;
        Outcome::Failure(FailureKind::Connect)
    }
}

/// Takes the outcome from what the inner future gives: the request ends there.
///
/// For responses that are whole when they are there. The function gets a
/// reference to the response or to the error.
#[derive(Clone, Copy, Debug)]
pub struct ByResult<F>(
    /// What a result stands for.
    pub F,
);

impl<F, Response, Error> Classify<Response, Error> for ByResult<F>
where
    F: Fn(Result<&Response, &Error>) -> Outcome,
{
    type Response = Response;

    fn answered(&self, response: Response, ongoing: Ongoing) -> Response {
        let outcome = (self.0)(Ok(&response));
        ongoing.finish(outcome);
        response
    }

    fn failed(&self, error: &Error) -> Outcome {
        (self.0)(Err(error))
    }
}
