//! What Knative expects of the process beside an application: an answer to its probes, and its header fields.
//!
//! In a Knative pod this process stands in the place of the queue-proxy. The kubelet, the activator, the autoscaler
//! and the ingress ask it whether the pod can take requests, and the activator leaves notes in header fields that the
//! application must not see, or must see as if the client had written them.

mod forwarded;
mod headers;
mod probe;
mod readiness;
mod sources;

use http::Request;

use crate::connection::ClientConnection;
use crate::headers::{Survey, prepare_request};
use crate::refusal::Refusal;

pub(crate) use headers::{FORWARDED_HOST, FORWARDED_PROTO};
pub(crate) use probe::{Probe, UnderWay, is_probe_agent};
pub use readiness::{Readiness, ReadinessFuture};
pub use sources::{IpRange, IpRangeError, ProbeSources};

/// Knative's contract for the process beside an application.
#[derive(Debug, Clone, Default)]
pub struct Knative {
    /// Whether the application can take requests; `None` is always.
    pub readiness: Option<Readiness>,
    /// Whose probes are answered here.
    pub probe_sources: ProbeSources,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Treatment {
    /// It is carried, counted and held to the limit.
    Traffic,
    /// The kubelet asks the application itself: carried, but neither counted nor held.
    Bypass,
    /// It asks us.
    Answered(Probe),
}

impl Knative {
    /// Makes the head of a client's request the head of the application's, or says what else becomes of it.
    ///
    /// Does what [`prepare_request`] does, and what a request that bears marks of Knative needs besides.
    pub(crate) fn prepare<B>(
        &self,
        request: &mut Request<B>,
        survey: Survey,
        connection: &ClientConnection,
    ) -> Result<Treatment, Refusal> {
        if survey.is_forwarded() {
            // Before our own client is appended: the last hop is never in it.
            forwarded::translate(request.headers_mut());
        }
        prepare_request(request, survey, connection.forwarded_for())?;
        let treatment = if survey.may_probe() && self.probe_sources.admit(connection.remote_ip()) {
            let is_draining = connection.worker().is_draining();
            probe::treatment(request.headers(), is_draining)
        } else {
            Treatment::Traffic
        };
        headers::restore(request)?;
        Ok(treatment)
    }
}
