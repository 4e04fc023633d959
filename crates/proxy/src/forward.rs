//! To the application and back: one request on one upstream connection.

use std::error::Error as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use plimsoll_meter::{Clock, Tick};
use plimsoll_wire::{Answer, ProxyError};
use tokio::sync::oneshot;

use crate::body::RequestBody;
use crate::headers;
use crate::refusal::Refusal;
use crate::tls::TlsFailure;
use crate::upstream::{ConnectError, Lease, Pool, StreamGuard};
use crate::worker::Worker;

/// How long the application may take to read the rest of a request that it has answered.
const REST_TIME_MAX: Duration = Duration::from_millis(50);

/// What keeps the answer flowing once its head is there.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// The connection is polled where the answer is.
    Inline {
        lease: Lease,
        /// The protocol that the client has asked to switch to.
        asked: Option<HeaderValue>,
    },
    /// The connection has a task of its own, which hears that the answer has ended when this is dropped.
    Task { _answering: oneshot::Sender<()> },
    /// One stream of a shared connection.
    Stream { _stream: StreamGuard },
}

/// The head of the application's answer and what carries the rest.
pub(crate) type Answered = (Response<Incoming>, Carrier);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    pub(crate) refusal: Refusal,
    /// The application has said that it did not look at the request, so that any may be repeated. It has not
    /// got a byte of what is still in its place.
    pub(crate) is_unprocessed: bool,
}

impl NoAnswer {
    /// The time for one try has passed.
    pub(crate) fn timeout() -> Self {
        Self {
            refusal: Refusal::timeout("time limit of one try"),
            is_unprocessed: false,
        }
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.refusal.answer == Answer::Timeout
    }
}

impl From<Refusal> for NoAnswer {
    /// It was never sent.
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            is_unprocessed: true,
        }
    }
}

/// Sends what is in `outgoing` on a connection of `pool`. `now` is the latest reading of the clock.
///
/// After a failure the request is in its place again if not a byte of it was accepted.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    outgoing: &mut Option<Request<RequestBody>>,
    now: Tick,
) -> Result<Answered, NoAnswer> {
    if outgoing.as_ref().map(Request::version) == Some(Version::HTTP_2) {
        return Box::pin(over_http2(worker, pool, outgoing, now)).await;
    }
    let mut reused = pool.reuse(now);
    loop {
        let is_fresh = reused.is_none();
        let lease = match reused.take() {
            Some(lease) => lease,
            None => Box::pin(pool.connect()).await.map_err(unreachable)?,
        };
        match over_http1(worker, lease, outgoing).await {
            Ok(answered) => return Ok(answered),
            // Not a byte of it was accepted: it may go once more, on a connection that is surely fresh.
            Err(_) if outgoing.is_some() && !is_fresh => {}
            Err(cause) => return Err(no_answer(&cause)),
        }
    }
}

fn no_answer(cause: &hyper::Error) -> NoAnswer {
    NoAnswer {
        refusal: refusal(cause),
        is_unprocessed: is_refused_stream(cause),
    }
}

fn refusal(cause: &hyper::Error) -> Refusal {
    let (word, text) = if let Some(word) = TlsFailure::word_of(cause) {
        (word, format!("TLS with the application failed: {cause}"))
    } else if cause.is_parse_too_large() {
        (
            ProxyError::HttpResponseHeaderSectionSize,
            "the head of the application's answer is too large".to_owned(),
        )
    } else if cause.is_parse() || breaks_http2(cause) {
        (
            ProxyError::HttpProtocolError,
            format!("the application's answer is not HTTP: {cause}"),
        )
    } else {
        (
            ProxyError::ConnectionTerminated,
            format!("the application closed the connection before it answered: {cause}"),
        )
    };
    Refusal::upstream(word, text)
}

/// What went wrong; puts the request back where it was if not a byte of it was accepted.
fn put_back(
    mut error: TrySendError<Request<RequestBody>>,
    outgoing: &mut Option<Request<RequestBody>>,
) -> hyper::Error {
    *outgoing = error.take_message();
    error.into_error()
}

/// Whether the peer has broken the rules of HTTP/2, and not just ended a stream or the connection.
fn breaks_http2(cause: &hyper::Error) -> bool {
    http2_cause(cause).is_some_and(h2::Error::is_library)
}

/// Whether the peer has turned the stream away before it looked at it (RFC 9113 section 8.7).
fn is_refused_stream(cause: &hyper::Error) -> bool {
    http2_cause(cause).is_some_and(|cause| {
        cause.is_reset() && cause.is_remote() && cause.reason() == Some(h2::Reason::REFUSED_STREAM)
    })
}

fn http2_cause(cause: &hyper::Error) -> Option<&h2::Error> {
    cause.source().and_then(|cause| cause.downcast_ref())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is given to map_err as it is"
)]
fn unreachable(error: ConnectError) -> NoAnswer {
    NoAnswer {
        refusal: Refusal::upstream(error.word(), error.to_string()),
        is_unprocessed: true,
    }
}

async fn over_http1(
    worker: &Rc<Worker>,
    mut lease: Lease,
    outgoing: &mut Option<Request<RequestBody>>,
) -> Result<Answered, hyper::Error> {
    let mut asked = None;
    if let Some(request) = outgoing {
        if !request.body().is_empty() {
            decline_upgrade(request.headers_mut());
            return Box::pin(with_body(worker, lease, outgoing)).await;
        }
        asked = request.headers().get(UPGRADE).cloned();
    }
    let mut answer = pin!(lease.connection.send(take(outgoing)));
    let response =
        std::future::poll_fn(|cx| lease.connection.drive(cx, |cx| answer.as_mut().poll(cx))).await;
    match response {
        Ok(response) => Ok((response, Carrier::Inline { lease, asked })),
        Err(error) => Err(put_back(error, outgoing)),
    }
}

/// A request with a body is not asked to switch protocols, which a server is always free to ignore: after a 101
/// the rest of the body would still have to come, for as long as the client likes.
fn decline_upgrade(headers: &mut HeaderMap) {
    if headers.remove(UPGRADE).is_some() {
        // Nothing else is left in it.
        headers.remove(CONNECTION);
    }
}

/// A body must flow to the application even while the client does not read the answer: the connection gets a
/// task of its own.
async fn with_body(
    worker: &Rc<Worker>,
    mut lease: Lease,
    outgoing: &mut Option<Request<RequestBody>>,
) -> Result<Answered, hyper::Error> {
    let mut request = take(outgoing);
    if headers::expects_continue(request.headers()) {
        hold_body(&mut request);
    }
    let answer = lease.connection.send(request);
    let (answering, answered) = oneshot::channel();
    tokio::task::spawn_local(drive_to_end(Rc::clone(worker), lease, answered));
    match answer.await {
        Ok(response) => Ok((
            response,
            Carrier::Task {
                _answering: answering,
            },
        )),
        Err(error) => Err(put_back(error, outgoing)),
    }
}

fn take(outgoing: &mut Option<Request<RequestBody>>) -> Request<RequestBody> {
    outgoing
        .take()
        .expect("a request stays in its place until it is sent, and is sent once")
}

/// Drives a connection until its request is done, and puts it back.
///
/// An application that has answered may leave the rest of the body unread for ever, so the connection is
/// closed when it does not come to rest in time after the end of the answer.
async fn drive_to_end(worker: Rc<Worker>, mut lease: Lease, mut answered: oneshot::Receiver<()>) {
    let mut rest = None;
    let is_free = std::future::poll_fn(|cx| {
        if let Poll::Ready(is_free) = lease.connection.poll_free(cx) {
            return Poll::Ready(is_free);
        }
        if rest.is_none() {
            let _ended = ready!(Pin::new(&mut answered).poll(cx));
        }
        rest.get_or_insert_with(|| Box::pin(tokio::time::sleep(REST_TIME_MAX)))
            .as_mut()
            .poll(cx)
            .map(|()| false)
    })
    .await;
    if is_free {
        lease.put_back(worker.shared.clock.now());
    }
}

/// Lets the body wait for the application's `100 Continue`, so that a client which asks first is told the
/// truth: the application's own "go on", or its final answer.
fn hold_body(request: &mut Request<RequestBody>) {
    let (open, gate) = oneshot::channel();
    request.body_mut().hold_until(gate);
    let open = Mutex::new(Some(open));
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE
            && let Ok(mut open) = open.lock()
            && let Some(open) = open.take()
        {
            // The body is gone if the final answer was faster.
            let _gone = open.send(());
        }
    });
}

async fn over_http2(
    worker: &Worker,
    pool: &Rc<Pool>,
    outgoing: &mut Option<Request<RequestBody>>,
    now: Tick,
) -> Result<Answered, NoAnswer> {
    let mut is_retry = false;
    let is_grpc = outgoing.as_ref().is_some_and(headers::is_grpc);
    loop {
        let mut connection = pool.http2(is_grpc).await.map_err(unreachable)?;
        let stream = connection.stream(worker.shared.clock, now);
        match connection.send(take(outgoing)).await {
            Ok(response) => return Ok((response, Carrier::Stream { _stream: stream })),
            Err(error) => {
                let cause = put_back(error, outgoing);
                if outgoing.is_none() || is_retry {
                    return Err(no_answer(&cause));
                }
                is_retry = true;
            }
        }
    }
}
