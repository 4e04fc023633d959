//! What may be sent again, and to whom.

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

use crate::body::RequestBody;
use crate::forward::{Answered, NoAnswer};
use crate::gateway::service::RetryReason;

/// How often one request is sent at most, the first time included.
pub(crate) const ATTEMPTS_MAX: usize = 5;

/// A copy of a request without a body: the HTTP library keeps what it has begun to send.
#[derive(Debug)]
pub(crate) struct Copy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Copy {
    /// A copy of `request`, unless it has a body: that is read once.
    pub(crate) fn of(request: &Request<RequestBody>) -> Option<Self> {
        request.body().is_empty().then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        })
    }

    /// The request once more.
    pub(crate) fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        *request.version_mut() = self.version;
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

/// Why a request should be sent to another endpoint, if it should and may.
///
/// What has not been accepted may be sent again whatever it is, for nobody has worked on it: it lies where it was
/// (`is_unsent`), or the endpoint has said so. What may have been worked on is sent again only if doing it twice
/// does what doing it once does (RFC 9110 section 9.2.2), and if there is a copy, thus no body.
///
/// 429 is passed on: it mostly speaks of this client, whom another endpoint would tell the same.
pub(crate) fn reason(
    came: &Result<Answered, NoAnswer>,
    is_unsent: bool,
    copy: Option<&Copy>,
) -> Option<RetryReason> {
    let is_idempotent = copy.is_some_and(|copy| copy.method.is_idempotent());
    match came {
        Ok((response, _)) => {
            (is_idempotent && is_gateway_failure(response)).then_some(RetryReason::Status)
        }
        Err(_) if is_unsent => Some(RetryReason::NotAccepted),
        Err(failed) if failed.is_unprocessed => copy.map(|_| RetryReason::NotAccepted),
        Err(failed) if is_idempotent => Some(if failed.is_timeout() {
            RetryReason::Timeout
        } else {
            RetryReason::Reset
        }),
        Err(_) => None,
    }
}

/// Statuses that speak of the endpoint and not of the request.
fn is_gateway_failure<B>(response: &Response<B>) -> bool {
    matches!(
        response.status(),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
